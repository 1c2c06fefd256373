"""Real child processes: restarted, told to stop, killed with their parent; and a log that keeps secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from config.process import Backoff, ChildEnded, Command, Good, Supervisor, keep_running, run_child, set_up_logging

PYTHON = sys.executable


async def until(condition: Callable[[], bool], *, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def python(code: str, name: str = "child", **more: object) -> Command:
    return Command(name=name, argv=[PYTHON, "-c", code], output=io.StringIO(), **more)  # type: ignore[arg-type]


@pytest.fixture
def plain_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_the_wait_doubles_to_a_cap_and_jitter_only_shortens_it() -> None:
    backoff = Backoff(first_s=1, cap_s=60, jitter=0.5)
    assert [backoff.delay_s(n, draw=lambda: 0.0) for n in (1, 2, 3, 7, 8, 5000)] == [1, 2, 4, 60, 60, 60]
    assert backoff.delay_s(3, draw=lambda: 0.999) == pytest.approx(2.0, abs=0.01)


async def test_what_ends_is_started_again_and_success_resets_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    runs = iter(["fail", "fail", "work", "fail", "stop"])

    async def start(good: Good) -> None:
        match next(runs):
            case "fail":
                raise OSError("no route")
            case "work":
                good()
            case _:
                raise asyncio.CancelledError

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with caplog.at_level(logging.INFO, "config.process"), pytest.raises(asyncio.CancelledError):
        await keep_running("camera", start, draw=lambda: 0.0, clock=lambda: 0.0, sleep=sleep)
    assert waits == [1, 2, 1, 2]
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("WARNING", "camera is lost, starting it again: OSError: no route"),
        ("INFO", "camera is back after 2 tries in 0.0 s"),
        ("WARNING", "camera is lost, starting it again: it ended"),
    ]


async def test_a_child_says_how_it_ended() -> None:
    with pytest.raises(ChildEnded, match="status 3"):
        await run_child(python("raise SystemExit(3)"))
    with pytest.raises(ChildEnded, match="SIGKILL"):
        await run_child(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))


async def test_a_secret_goes_in_on_standard_input_and_output_comes_back_by_line() -> None:
    seen: list[str] = []
    command = python("import sys; print(sys.stdin.read() + '!'); print('x' * 200000)", stdin=b"pa\xc3\xa4ss")

    def swallow(line: str) -> bool:
        seen.append(line)
        return True

    swallowing = Command(name="c", argv=command.argv, stdin=command.stdin, on_line=swallow)
    with pytest.raises(ChildEnded, match="status 0"):
        await run_child(swallowing)
    assert seen[0] == "paäss!"
    assert sum(map(len, seen[1:])) == 200_000


async def test_a_line_that_is_not_swallowed_is_passed_on_with_the_name() -> None:
    command = python("print('hello'); print('{\"a\": 1}')", name="edge")
    with pytest.raises(ChildEnded):
        await run_child(command)
    assert isinstance(command.output, io.StringIO)
    assert command.output.getvalue() == 'edge | hello\n{"a": 1}\n'


async def test_a_killed_child_is_started_again() -> None:
    async with Supervisor(backoff=Backoff(first_s=0.01)) as family:
        family.keep(python("import time; time.sleep(60)"))
        await until(lambda: "child" in family.pids)
        first = family.pids["child"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: family.pids.get("child", first) != first)
        second = family.pids["child"]
    assert gone(first)
    assert gone(second)


async def test_a_dropped_child_is_not_started_again() -> None:
    async with Supervisor(backoff=Backoff(first_s=0.01)) as family:
        family.keep(python("import time; time.sleep(60)"))
        await until(lambda: "child" in family.pids)
        pid = family.pids["child"]
        family.drop("child")
        await until(lambda: gone(pid))
        await until(lambda: family.pids == {})


async def test_a_child_that_ignores_the_request_and_its_own_children_are_killed(tmp_path: Path) -> None:
    ready = tmp_path / "pids"
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sub = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(ready)!r}).write_text(f'{{os.getpid()}} {{sub.pid}} .')\n"
        "time.sleep(60)\n"
    )
    async with Supervisor() as family:
        family.keep(python(code, grace_s=0.3))
        await until(lambda: ready.exists() and ready.read_text().endswith("."))
        pids = [int(word) for word in ready.read_text().split()[:2]]
    await until(lambda: all(gone(pid) for pid in pids))


async def test_an_error_in_the_block_ends_the_children_all_the_same() -> None:
    pid = 0
    with pytest.raises(ValueError, match="boom"):
        async with Supervisor() as family:
            family.keep(
                python("import signal, time; signal.signal(15, lambda *_: time.sleep(0.3) or exit()); time.sleep(60)")
            )
            await until(lambda: "child" in family.pids)
            pid = family.pids["child"]
            raise ValueError("boom")
    assert gone(pid)


PARENT = """
import asyncio, sys
from config.process import Command, Supervisor, run
async def main():
    async with Supervisor() as family:
        code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        family.keep(Command(name="c", argv=[sys.executable, "-c", code]))
        await asyncio.Event().wait()
sys.exit(run(main))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_however_a_parent_ends_nothing_is_left_running(number: signal.Signals) -> None:
    parent = subprocess.Popen([PYTHON, "-c", PARENT], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    line = await asyncio.to_thread(parent.stderr.readline)
    child = int(line.split("|")[1])
    parent.send_signal(number)
    code = await asyncio.to_thread(parent.wait, 10)
    parent.stderr.close()
    assert code == (-9 if number == signal.SIGKILL else 0)
    await until(lambda: gone(child))


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.usefixtures("plain_logging")
def test_the_log_never_shows_credentials_of_an_address(style: str) -> None:
    stream = io.StringIO()
    set_up_logging("eye", style=style, stream=stream)  # type: ignore[arg-type]
    try:
        raise OSError("rtsp://admin:p@ss:w0rd@10.0.0.9/main refused")
    except OSError:
        logging.getLogger("edge.eye").exception("cannot open %s", "rtsp://admin:hunter2@10.0.0.9/main")
    text = stream.getvalue()
    assert "10.0.0.9" in text
    assert "hunter2" not in text
    assert "w0rd" not in text
    if style == "json":
        entry = json.loads(text)
        assert (entry["process"], entry["level"], entry["logger"]) == ("eye", "error", "edge.eye")
