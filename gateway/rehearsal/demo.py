"""`gatehouse demo`: the whole system with simulators on this machine, and a scenario in a loop for people to watch.

The scenario: a resident opens a door with her face, a stranger is not let in, nor a photo of the resident, a card opens,
a door is forced and closed, a camera goes dark and comes back. What the liveness check does not see, the demo says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import webbrowser
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.rehearsal.stage import Stage
from models.errors import GatehouseError

PAUSE_S = 6.0
CAMERA_DARK_S = 30.0
WALK_THROUGH_S = 2.0
UNLOCK_LAPSES_S = 12.0
"""After a card an opening of the side door is the resident's for 3 s of validity, 5 s of unlock and 2.5 s of leeway."""
Tell = Callable[[str], None]


async def run_demo(directory: Path, *, tell: Tell, port: int, for_s: float | None, browse: bool) -> None:
    """Run the demo until SIGINT or SIGTERM, or for a time in seconds; leave nothing running.

    Args:
        directory: an empty directory for the run's data and logs.
        tell: takes one line at a time.
        port: TCP port of the console; 0 takes a free one.
        for_s: seconds to play for; None plays until interrupted.
        browse: open the console in this machine's browser, if it has one.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.create_task(_play(directory, stop, tell=tell, port=port, for_s=for_s, browse=browse))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        tell("stopping everything")
        starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting


async def _play(
    directory: Path, stop: asyncio.Event, *, tell: Tell, port: int, for_s: float | None, browse: bool
) -> None:
    async with Stage(directory, tell=tell, port=port) as stage:
        welcome(stage, tell)
        if browse and os.environ.get("DISPLAY"):
            await asyncio.to_thread(webbrowser.open, stage.url)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                while not stop.is_set():
                    for title, scene in SCENES:
                        await _show(stage, title, scene, tell=tell)
                        await asyncio.sleep(PAUSE_S)


def welcome(stage: Stage, tell: Tell) -> None:
    """Print the console's address, the log-ins and the limits of the demo."""
    tell("")
    tell(f"  Console    {stage.url}")
    for role, password in stage.passwords.items():
        tell(f"  Log in     {role} / {password}")
    tell(
        "  Limits     simulated devices, this machine only; parallax refuses flat photos, not a screen that replays a face"
    )
    tell("  Ctrl-C     stops everything")
    tell("")


async def _show(stage: Stage, title: str, scene: Callable[[Stage], Awaitable[str]], *, tell: Tell) -> None:
    try:
        tell(f"{title}: {await scene(stage)}")
    except GatehouseError as error:
        tell(f"{title}: went wrong: {error}")


def _said(outcome: Mapping[str, Any]) -> str:
    reason = outcome.get("reason")
    return f"{outcome['outcome']} ({reason})" if reason else str(outcome["outcome"])


async def _resident(stage: Stage) -> str:
    return f"the gate says {_said(await stage.visit('resident'))}"


async def _stranger(stage: Stage) -> str:
    return f"the gate says {_said(await stage.visit('stranger'))}"


async def _photo(stage: Stage) -> str:
    return f"the gate says {_said(await stage.visit('photo'))}"


async def _card(stage: Stage) -> str:
    outcome = await stage.present_card("side", stage.card)
    if outcome["outcome"] == "unlocked":
        await stage.act("side", "open")
        await asyncio.sleep(WALK_THROUGH_S)
        await stage.act("side", "close")
    return f"the side door says {_said(outcome)}"


async def _force(stage: Stage) -> str:
    await asyncio.sleep(UNLOCK_LAPSES_S)
    mark = stage.ear.mark()
    await stage.act("side", "force")
    try:
        _, alert = await stage.ear.hear("alert", lambda a: a["kind"] == "door_forced", since=mark)
        await asyncio.sleep(PAUSE_S)
    finally:
        await stage.act("side", "close")
    return f"alert {alert['id'][:8]} on the console; the door is closed again"


async def _dark(stage: Stage) -> str:
    await stage.cameras.ask(camera="lobby", fault="cut", for_s=CAMERA_DARK_S)
    await asyncio.sleep(CAMERA_DARK_S + PAUSE_S)
    return f"without a picture for {CAMERA_DARK_S:.0f} s"


SCENES: tuple[tuple[str, Callable[[Stage], Awaitable[str]]], ...] = (
    ("a resident shows her face at the gate", _resident),
    ("a stranger shows his face at the gate", _stranger),
    ("a print of the resident's photo at the gate", _photo),
    ("a card at the side door", _card),
    ("the side door is forced", _force),
    ("the lobby camera goes dark", _dark),
)
