"""What cameras cost: an eye beside FFmpeg on the same stream, many eyes at once, dead cameras, and an eye's memory.

Processor time is that of the whole process, by its own clock; the simulated cameras, encoded once and played from memory
in a process of their own, are not counted. Timings decide no test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import msgspec
import psutil

from edge import wire
from models.benchmarks import Benchmark
from models.errors import GatehouseError, InvalidInput

FLEETS: Final = (1, 2, 4, 8, 16)
GOP_S: Final = 4
FPS: Final = 10
CORES: Final = 2
FLAT: Final = 1.25
WARM_UP_S: Final = 6.0
WINDOWS: Final = 6
START_S: Final = 60.0
STREAM: Final = f"640x360, {FPS} frames/s, key frame every {GOP_S} s, quiet scene"
Tell = Callable[[str], None]


@dataclass
class Watched:
    """One process that is measured, and what it did in each window: seconds of processor time per second."""

    pid: int
    shares: list[float] = field(default_factory=list)

    def cost_s(self) -> float:
        """Return the processor time that the process has used, all its threads, ended ones too, in s."""
        return time.clock_gettime(~self.pid << 3 | 2)  # CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)

    @property
    def share(self) -> float:
        """The mean over all windows."""
        return sum(self.shares) / len(self.shares)


class Reports:
    """Hear how every eye's camera is, as the worker does."""

    def __init__(self) -> None:
        self.last: dict[str, wire.EyeHealth] = {}
        self._heard = asyncio.Condition()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the reports of one eye."""
        with contextlib.suppress(InvalidInput):
            while (health := await wire.read(reader, wire.eye_health)) is not None:
                self.last[health.camera_id] = health
                async with self._heard:
                    self._heard.notify_all()
        writer.close()

    async def until(self, state: str, eyes: Sequence[str]) -> None:
        """Wait until these eyes report this state.

        Raises:
            GatehouseError: one does not within a minute.
        """
        try:
            async with asyncio.timeout(START_S), self._heard:
                await self._heard.wait_for(
                    lambda: all(eye in self.last and self.last[eye].state == state for eye in eyes)
                )
        except TimeoutError as error:
            raise GatehouseError(f"bench cameras: not every eye is {state} within {START_S:.0f} s") from error


class Yard:
    """Simulated cameras and the processes that watch them, ended with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self.reports = Reports()
        self.urls: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        server = await asyncio.start_unix_server(self.reports.hear, self._folder / "w")
        self._stack.callback(server.close)
        paths = [argument for number in range(max(FLEETS)) for argument in ("--path", f"c{number}")]
        options = ["--port", "0", "--gop", str(GOP_S), "--fps", str(FPS), *paths]
        simulator = await self._start(sys.executable, "-m", "drivers", "simulate", "camera", *options, hears=True)
        async with asyncio.timeout(START_S):
            said = await simulator.stdout.readline() if simulator.stdout else b""
        if not said:
            raise GatehouseError("bench cameras: the simulated cameras did not start")
        self.urls = json.loads(said)["urls"]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def fleet(self) -> AsyncIterator[None]:
        """End what is started in this block with it."""
        outer, self._stack = self._stack, contextlib.AsyncExitStack()
        try:
            yield
        finally:
            await self._stack.aclose()
            self._stack = outer

    async def eye(self, name: str, url: str, *, rate: str) -> Watched:
        """Start the eye of a camera."""
        told = {"camera_id": name, "url": url, "rate": rate, "worker_socket": str(self._folder / "w")}
        process = await self._start(sys.executable, "-m", "edge", "eye", line=msgspec.json.encode(told))
        return Watched(process.pid)

    async def ffmpeg(self, url: str) -> Watched:
        """Start FFmpeg, decoding the same to nothing.

        Raises:
            GatehouseError: FFmpeg is not installed.
        """
        program = shutil.which("ffmpeg")
        if program is None:
            raise GatehouseError("bench cameras: ffmpeg is not installed: run `make setup` as root")
        quiet = ["-nostdin", "-v", "error", "-filter_threads", "1", "-threads", "1", "-rtsp_transport", "tcp"]
        process = await self._start(program, *quiet, "-i", url, "-an", "-fps_mode", "passthrough", "-f", "null", "-")
        return Watched(process.pid)

    async def _start(self, *argv: str, line: bytes = b"", hears: bool = False) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if hears else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._stack.push_async_callback(_end, process)
        if line and process.stdin:
            process.stdin.write(line + b"\n")
            await process.stdin.drain()
        return process


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def measure(watched: Sequence[Watched], *, seconds: float, windows: int) -> None:
    """Take the cost of each process over equal windows that add up to `seconds`.

    Raises:
        GatehouseError: one of them ended.
    """
    before, began = [_cost_s(one) for one in watched], time.monotonic()
    for _ in range(windows):
        await asyncio.sleep(seconds / windows)
        now = time.monotonic()
        for number, one in enumerate(watched):
            cost_s = _cost_s(one)
            one.shares.append((cost_s - before[number]) / (now - began))
            before[number] = cost_s
        began = now


def _cost_s(watched: Watched) -> float:
    try:
        return watched.cost_s()
    except OSError as error:
        raise GatehouseError("bench cameras: a process that is measured ended; is the machine overloaded?") from error


def run(*, seconds: float, tell: Tell) -> list[Benchmark]:
    """Measure for `seconds` per part (60 for figures worth publishing) and return the rows.

    Raises:
        GatehouseError: a process did not start, or ended.
    """
    with tempfile.TemporaryDirectory(prefix="gh-bench-") as folder:
        return asyncio.run(_run(Path(folder), seconds=seconds, tell=tell))


async def _run(folder: Path, *, seconds: float, tell: Tell) -> list[Benchmark]:
    async with Yard(folder) as yard:
        tell(f"an eye beside FFmpeg, and dead cameras, for {seconds:.0f} s")
        async with yard.fleet():
            rows = await _beside_ffmpeg(yard, seconds=seconds)
        curve = []
        for number in FLEETS:
            tell(f"{number} cameras at once for {seconds / 2:.0f} s")
            async with yard.fleet():
                curve.append((float(number), await _fleet(yard, number, seconds=seconds / 2)))
        return [*rows, fleet_row(curve)]


async def _beside_ffmpeg(yard: Yard, *, seconds: float) -> list[Benchmark]:
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        full = await yard.eye("full", yard.urls["c0"], rate="full")
        key = await yard.eye("key", yard.urls["c0"], rate="key")
        glance = await yard.eye("glance", yard.urls["c0"], rate="auto")
        dead = [
            await yard.eye("refuses", "rtsp://127.0.0.1:9/x", rate="full"),
            await yard.eye("silent", f"rtsp://127.0.0.1:{port}/x", rate="full"),
        ]
        theirs = await yard.ffmpeg(yard.urls["c0"])
        await yard.reports.until("live", ("full", "key", "glance"))
        await yard.reports.until("unreachable", ("refuses", "silent"))
        await asyncio.sleep(WARM_UP_S)
        await measure([full, key, glance, *dead, theirs], seconds=seconds, windows=WINDOWS)
        memory_mb = psutil.Process(full.pid).memory_info().rss / 1e6
    return [
        beside("decode_cost", full, theirs=theirs, target=1.2, what=f"every picture; {STREAM}"),
        beside("keyframe_cost", key, theirs=theirs, target=0.2, what=f"key frames only; {STREAM}"),
        beside("glance_cost", glance, theirs=theirs, target=None, what=f"two pictures every ten seconds; {STREAM}"),
        _dead(dead),
        Benchmark(
            name="eye_memory",
            unit="MB",
            ours=round(memory_mb, 1),
            target=100.0,
            met=memory_mb <= 100,
            detail=f"resident, of the eye that decodes every picture, after {seconds:.0f} s",
        ),
    ]


def beside(name: str, ours: Watched, *, theirs: Watched, target: float | None, what: str) -> Benchmark:
    """Make the row of an eye beside FFmpeg: our cost over theirs."""
    factor = ours.share / theirs.share
    costs = f"{ours.share * 100:.2f} % of a core, FFmpeg to null on one thread {theirs.share * 100:.2f} %"
    return Benchmark(
        name=name,
        unit="x FFmpeg's cost",
        ours=round(factor, 3),
        target=target,
        met=target is None or factor <= target,
        samples=tuple(round(a / b, 3) for a, b in zip(ours.shares, theirs.shares, strict=True)),
        detail=f"{what}; {costs}",
    )


def _dead(eyes: Sequence[Watched]) -> Benchmark:
    percent = max(eye.share for eye in eyes) * 100
    return Benchmark(
        name="dead_device",
        unit="% of a core",
        ours=round(percent, 4),
        target=0.1,
        met=percent <= 0.1,
        samples=tuple(round(eye.share * 100, 4) for eye in eyes),
        detail="the eye of a camera that refuses connections, and of one that never answers, while they back off; the worse",
    )


async def _fleet(yard: Yard, number: int, *, seconds: float) -> float:
    names = [f"c{camera}" for camera in range(number)]
    eyes = [await yard.eye(f"{number}-{name}", yard.urls[name], rate="full") for name in names]
    await yard.reports.until("live", [f"{number}-{name}" for name in names])
    await asyncio.sleep(WARM_UP_S)
    await measure(eyes, seconds=seconds, windows=1)
    return sum(eye.share for eye in eyes) / number


def fleet_row(curve: Sequence[tuple[float, float]]) -> Benchmark:
    """Make the row of many cameras at once, of what one costs (parts of a core) at each number of them."""
    cost = curve[-1][1]
    growth = cost / min(share for _, share in curve)
    return Benchmark(
        name="cameras_per_machine",
        unit="cameras",
        ours=float(int(CORES / cost)),
        met=growth <= FLAT,
        samples=tuple(round(share * 100, 3) for _, share in curve),
        curve=tuple((number, round(share * 1000, 3)) for number, share in curve),
        detail=f"every picture decoded, {STREAM}; {CORES} cores over the cost of one of {curve[-1][0]:.0f}, which is "
        f"{growth:.2f} times that at the cheapest number; the curve is in ms of processor per camera and second",
    )
