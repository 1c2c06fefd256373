"""Child processes of a rehearsal: started, awaited until ready, found in the process tree, killed, never left behind.

It starts programs by their command line only: `gateway` may not import `drivers` or `edge`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from models.errors import GatehouseError, InvalidInput

READY_LINE_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask the kernel to end this child when its parent dies, however that happens (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """Run one program until closed; its first line of output that is a JSON object with `ready` is its address card."""

    def __init__(self, name: str, argv: list[str], *, log_dir: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = log_dir / f"{name}.log"
        self._argv = argv
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Return the process id; raises `InvalidInput` before the start."""
        if self._process is None:
            raise InvalidInput(self.name, "start it first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *, within_s: float, stdin: bytes | None = None) -> dict[str, object]:
        """Start the program and return its ready line.

        Raises:
            GatehouseError: it ended or stayed silent; the message quotes the end of its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._env,
                limit=READY_LINE_BYTES,
                preexec_fn=_die_with_parent,
            )
        if stdin is not None and self._process.stdin is not None:
            self._process.stdin.write(stdin)
            await self._process.stdin.drain()
        try:
            ready = await asyncio.wait_for(self._ready(), within_s)
        except (TimeoutError, EOFError) as error:
            await self.stop()
            how = f"in {within_s:.0f} s" if isinstance(error, TimeoutError) else "but ended"
            raise GatehouseError(f"{self.name} did not become ready {how}:\n{self.tail()}") from error
        self._drain = asyncio.create_task(self._copy_output())
        return ready

    async def _ready(self) -> dict[str, object]:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 - set by start
        async for line in self._process.stdout:
            if line.startswith(b"{"):
                with contextlib.suppress(json.JSONDecodeError):
                    card = json.loads(line)
                    if isinstance(card, dict) and card.get("ready"):
                        return card
            with self.log.open("ab") as log:
                log.write(line)
        raise EOFError

    async def _copy_output(self) -> None:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 - set by start
        with self.log.open("ab") as log:
            while chunk := await self._process.stdout.read(READY_LINE_BYTES):
                log.write(chunk)
                log.flush()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:]) if self.log.exists() else ""

    async def stop(self, *, within_s: float = 10.0) -> None:
        """End the program: politely, then for certain."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), within_s)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)


def module_argv(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs one of our modules with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def descendants(pid: int) -> dict[int, str]:
    """Return the process ids below one process with their command lines, from /proc (proc(5))."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    frontier = [pid]
    while frontier:
        parent = frontier.pop()
        for child in (p for p, above in parents.items() if above == parent):
            with contextlib.suppress(OSError):
                found[child] = (
                    Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
            frontier.append(child)
    return found


def kill_descendant(pid: int, *words: str) -> int:
    """Kill (SIGKILL) the one process below `pid` whose command line has all the words, and return its id.

    Raises:
        GatehouseError: there is no such process.
    """
    for child, command in sorted(descendants(pid).items()):
        if all(word in command for word in words):
            os.kill(child, signal.SIGKILL)
            return child
    raise GatehouseError(f"no process with {' '.join(words)} is running")


def cost_of(pids: list[int]) -> tuple[float, float]:
    """Return (CPU seconds used so far, proportional resident memory in MB) of processes, from /proc."""
    ticks = os.sysconf("SC_CLK_TCK")
    cpu_s = memory_mb = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / ticks
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory_mb += next(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:")) / 1024
    return cpu_s, memory_mb
