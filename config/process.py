"""What every process starts with: logging, the one restart policy, and child processes that never outlive their parent.

Nothing here knows what a process does. `keep_running` is the only place that retries and the only one that catches
`Exception`; whatever it runs simply runs until it ends, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import random
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Literal, Self

log = logging.getLogger(__name__)

Good = Callable[[], None]
Start = Callable[[Good], Awaitable[None]]
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*:[^/\s]*@")
_LINE_LIMIT_BYTES = 65_536
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def blotted(text: str) -> str:
    """Return a text without the user names and passwords of the addresses in it."""
    return _CREDENTIALS.sub("…@", text)


class _Text(logging.Formatter):
    """One line for people; credentials in addresses are blotted out."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process} %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return blotted(super().format(record))


class _Json(logging.Formatter):
    """One JSON object per line; credentials in addresses are blotted out."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps({key: blotted(value) for key, value in entry.items()}, ensure_ascii=False)


def set_up_logging(
    process: str, *, level: str = "info", style: Literal["text", "json"] = "text", stream: IO[str] | None = None
) -> None:
    """Send the log of this process to a stream (standard error), as lines for people or as JSON.

    Args:
        process: the name that marks the lines.
        level: debug, info, warning or error.
        style: `text`, or `json` for one object per line.
        stream: where the lines go, if not to standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json(process) if style == "json" else _Text(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "amqtt", "transitions", "alembic", "multipart"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Space restarts: `first_s` doubling to `cap_s`, each drawn from the upper `jitter` part of its span."""

    first_s: float = 1.0
    cap_s: float = 60.0
    jitter: float = 0.5

    def delay_s(self, failures: int, *, draw: Callable[[], float]) -> float:
        """Return the wait in seconds before the next try, after that many failures in a row (1 for the first).

        Args:
            failures: how many tries in a row have failed.
            draw: a source of numbers in [0, 1).
        """
        span: float = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return span * (1.0 - self.jitter * draw())


async def keep_running(  # the one restart policy
    name: str,
    start: Start,
    *,
    backoff: Backoff | None = None,
    draw: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run something for ever: start it, and start it again whenever it ends or raises, until this task is cancelled.

    One WARNING says that it was lost and why; nothing more is said until one INFO says that it is back.

    Args:
        name: what the log calls it.
        start: runs until it ends; it is handed a function to call once it works, which resets the back-off.
        backoff: the spacing of restarts.
        draw: a source of numbers in [0, 1) for the jitter.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """
    backoff = backoff or Backoff()
    failures, lost_at = 0, 0.0

    def good() -> None:
        nonlocal failures
        if failures:
            log.info("%s is back after %d tries in %.1f s", name, failures, clock() - lost_at)
        failures = 0

    while True:
        try:
            await start(good)
            reason = "it ended"
        except Exception as error:  # whatever ended it, it is started again
            reason = f"{type(error).__name__}: {error}"
            log.debug("%s ended", name, exc_info=True)
        failures += 1
        if failures == 1:
            lost_at = clock()
            log.warning("%s is lost, starting it again: %s", name, reason)
        await sleep(backoff.delay_s(failures, draw=draw))


@dataclass(frozen=True, kw_only=True)
class Command:
    """Describe a child process. What is secret goes to its standard input, never into `argv` or the environment.

    `on_line` sees each line of its output before it is passed on; a true answer swallows the line. `settle_s` is how
    long it must live to count as good; `grace_s` how long it may take to end when told to.
    """

    name: str
    argv: Sequence[str]
    stdin: bytes | None = None
    environment: Mapping[str, str] | None = None
    on_line: Callable[[str], bool | None] | None = None
    settle_s: float = 2.0
    grace_s: float = 5.0
    output: IO[str] | None = None


class ChildEnded(Exception):  # noqa: N818 - caught by keep_running only; the reason is its evidence
    """Say how a child process ended."""


@dataclass
class Supervisor:
    """Keep child processes running; leaving the block ends them all, and the death of this process kills them.

    Use as `async with Supervisor() as family:` and `family.keep(command)`; `pids` tells who runs now.
    """

    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.5, cap_s=30.0))
    pids: dict[str, int] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def keep(self, command: Command) -> None:
        """Start a child now and again whenever it ends. A name is kept once: the older child of that name is ended."""
        self.drop(command.name)
        run = keep_running(command.name, lambda good: self._once(command, good), backoff=self.backoff)
        self._tasks[command.name] = self._group.create_task(run, name=command.name)

    def drop(self, name: str) -> None:
        """End a child and do not start it again; nothing happens if there is none of that name."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def _once(self, command: Command, good: Good) -> None:
        try:
            await run_child(command, good, started=lambda pid: self.pids.update({command.name: pid}))
        finally:
            self.pids.pop(command.name, None)


async def run_child(
    command: Command, good: Good = lambda: None, *, started: Callable[[int], None] = lambda _: None
) -> None:
    """Run a child process until it ends; cancelling ends it: SIGTERM to its group, SIGKILL after the grace.

    Raises:
        ChildEnded: always, when the child ended by itself, with its exit status or signal.
        OSError: it could not be started.
    """
    parent = os.getpid()
    process = await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=asyncio.subprocess.PIPE if command.stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=None if command.environment is None else dict(command.environment),
        start_new_session=True,
        preexec_fn=lambda: _die_with(parent),
    )
    started(process.pid)
    reader = asyncio.ensure_future(_pass_on(command, process.stdout))
    try:
        await _feed(process, command.stdin)
        try:
            async with asyncio.timeout(command.settle_s):
                await process.wait()
        except TimeoutError:
            good()
        code = await process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reader), 1.0)
    finally:
        await _in_any_case(asyncio.ensure_future(_end(process, command.grace_s)))
        reader.cancel()
    reason = f"status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    raise ChildEnded(f"process {process.pid} ended with {reason}")


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this new process when its parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


async def _feed(process: asyncio.subprocess.Process, text: bytes | None) -> None:
    if text is None or process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text)
        await process.stdin.drain()
        process.stdin.close()


async def _in_any_case(ending: asyncio.Task[None]) -> None:
    """Wait for the end of a child however often this task is cancelled meanwhile, and be cancelled only then."""
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """End what is left of the child's process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _pass_on(command: Command, stream: asyncio.StreamReader | None) -> None:
    """Pass the child's output on, line by line with its name; a line that is too long is cut into several."""
    rest = b""
    while stream is not None and (piece := await stream.read(_LINE_LIMIT_BYTES)):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LINE_LIMIT_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _say(command, line)
    if rest:
        _say(command, rest)


def _say(command: Command, raw: bytes) -> None:
    line = raw.decode("utf-8", "replace").rstrip("\r")
    if command.on_line is not None and command.on_line(line):
        return
    output = command.output or sys.stderr
    output.write(line + "\n" if line.startswith("{") else f"{command.name} | {line}\n")
    output.flush()


def run(main: Callable[[], Awaitable[None]]) -> int:
    """Run a composition root until it ends or SIGINT, SIGTERM or SIGHUP asks it to; return the exit status."""

    async def guarded() -> int:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            log.debug("told to stop")
        return 0

    return asyncio.run(guarded())
