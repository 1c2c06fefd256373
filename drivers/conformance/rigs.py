"""The simulators that a driver is examined against: started over the real wire, with the settings that reach them.

A third party names its own: a command whose first JSON line says `ready`, `control`, and the `settings` of its driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from models.errors import InvalidInput

READY_S: Final = 30.0
LINE_BYTES: Final = 64 * 1024
STDERR_CHARS: Final = 400
Card = dict[str, Any]


class Runner:
    """Start programs and end them all when the block ends."""

    def __init__(self, stack: AsyncExitStack, *, new_secret: Callable[[], str]) -> None:
        self._stack = stack
        self.new_secret = new_secret

    async def start(self, argv: list[str]) -> Card:
        """Start a program and return its ready line.

        Raises:
            InvalidInput: it did not become ready; quotes what it said.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, limit=LINE_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise InvalidInput("--simulator", f"{argv[0]} cannot be run: {error.strerror}") from error
        self._stack.push_async_callback(_end, process)
        said: list[str] = []
        errors = asyncio.create_task(_listen(process.stderr, said))
        self._stack.callback(errors.cancel)
        card: Card | None = None
        with contextlib.suppress(TimeoutError, ValueError):
            card = await asyncio.wait_for(_ready(process.stdout), READY_S)
        if card is None:
            raise InvalidInput("simulator", f"{argv[-1]} did not become ready: {''.join(said)[-STDERR_CHARS:]}")
        return card

    async def ours(self, *words: str) -> Card:
        """Start one of our own programs (`python -m drivers …`). Raises as `start`."""
        return await self.start([sys.executable, "-m", "drivers", *words])


async def _ready(stream: asyncio.StreamReader | None) -> Card | None:
    while stream is not None and (line := await stream.readline()):
        if line.startswith(b"{"):
            card = json.loads(line)
            if isinstance(card, dict) and card.get("ready"):
                return card
    return None


async def _listen(stream: asyncio.StreamReader | None, said: list[str]) -> None:
    while stream is not None and (piece := await stream.read(LINE_BYTES)):
        said[:] = [*said, piece.decode("utf-8", "replace")][-16:]


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running(*, new_secret: Callable[[], str]) -> AsyncIterator[Runner]:
    """Give a runner whose programs end with the block."""
    async with AsyncExitStack() as stack:
        yield Runner(stack, new_secret=new_secret)


async def mqtt(runner: Runner, folder: Path, *, door_id: str) -> tuple[Mapping[str, object], Card]:
    """Run a broker and a simulated door on it."""
    edge, door = runner.new_secret(), runner.new_secret()
    users = {"edge": {"password": edge}, "doors": {door_id: door}}
    _write(folder / "users.json", json.dumps(users))
    broker = await runner.ours("mqtt", "broker", "--dir", str(folder), "--port", str(_free_port()))
    address = f"{broker['host']}:{broker['port']}"
    files = ("--users", str(folder / "users.json"), "--store", str(folder / "door.json"))
    card = await runner.ours("simulate", "door", "--broker", address, *files, "--door", door_id)
    own = {"host": broker["host"], "port": broker["port"], "username": "edge", "password": edge}
    return {"kind": "mqtt", **own}, card


async def onvif(runner: Runner, folder: Path, *, door_id: str) -> tuple[Mapping[str, object], Card]:
    """Run a simulated device with one door, which asks who is there."""
    password = runner.new_secret()
    _write(folder / "password", password + "\n")
    asked = ("--user", "edge", "--password-file", str(folder / "password"))
    card = await runner.ours("simulate", "onvif", "--door", door_id, *asked, "--store", str(folder / "device.json"))
    own = {"url": card["address"], "user": "edge", "password": password, "door": door_id, "pull_s": 2}
    return {"kind": "onvif", **own}, card


async def osdp(runner: Runner, folder: Path, *, door_id: str) -> tuple[Mapping[str, object], Card]:
    """Run a simulated reader on a pseudo-terminal, with a key of its own."""
    key_file = folder / "reader.key"
    _write(key_file, runner.new_secret().encode().hex()[:32])
    card = await runner.ours("simulate", "osdp", "--door", door_id, "--key-file", str(key_file))
    inputs = {"open": 0, "exit": 1, "emergency": 2, "mains_lost": 3, "battery_low": 4}
    own = {"port": card["port"], "address": 0, "key_file": str(key_file), "strike": 0, "inputs": inputs}
    return {"kind": "osdp", **own}, card


RIGS: Final = {"mqtt": mqtt, "onvif": onvif, "osdp": osdp}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
