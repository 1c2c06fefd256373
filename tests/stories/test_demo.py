"""`gatehouse demo` plays what the README says, and Ctrl-C leaves nothing running."""

from __future__ import annotations

import asyncio
import signal

import psutil
import pytest

from gateway.rehearsal.actors import until
from gateway.rehearsal.processes import descendants, module_argv

pytestmark = [pytest.mark.timeout(300)]
TOLD = {
    "a resident shows her face at the gate": "the gate says unlocked",
    "a stranger shows his face at the gate": "the gate says denied (not_recognised)",
    "a print of the resident's photo at the gate": "the gate says denied",
    "a card at the side door": "the side door says unlocked",
    "the side door is forced": "the door is closed again",
}


async def _scenes(output: asyncio.StreamReader) -> dict[str, str]:
    """Return what was told of each scene, up to the forced door."""
    told: dict[str, str] = {}
    async with asyncio.timeout(200):
        while "the side door is forced" not in told:
            line = (await output.readline()).decode()
            assert line, f"the demo ended: {told}"
            title, _, outcome = line.strip().partition(": ")
            if title in TOLD:
                told[title] = outcome
    return told


async def test_the_demo_plays_its_scenes_and_ctrl_c_leaves_nothing_running() -> None:
    demo = await asyncio.create_subprocess_exec(
        *module_argv("gateway", "demo", "--headless", "--port", "0"),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert demo.stderr is not None
    running: dict[int, str] = {}
    try:
        told = await _scenes(demo.stderr)
        running = descendants(demo.pid)
    finally:
        demo.send_signal(signal.SIGINT)
        _, status = await asyncio.gather(demo.stderr.read(), asyncio.wait_for(demo.wait(), 60))
    assert {title: outcome for title, outcome in told.items() if TOLD[title] not in outcome} == {}
    assert status == 0
    assert len(running) >= 8

    async def gone() -> bool:
        return not any(psutil.pid_exists(pid) for pid in running)

    await until(gone, what="the end of every process of the demo", within_s=10)
