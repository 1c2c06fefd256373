"""Benchmarks of a face on its way through an edge: one frame of a door's camera, and the memory of a real face process.

`python -m edge bench faces` runs them after those of the networks (models.faces.bench).
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge import wire
from edge.faces_look import Look, Looker, Tally, View
from edge.motion import MotionGate
from edge.tracks import Tracks
from models.benchmarks import Benchmark
from models.faces.bench import head, picture
from models.faces.pipeline import FacePipeline

Rgb = NDArray[np.uint8]

TARGET_DOOR_MS: Final = 40.0
TARGET_MEMORY_MB: Final = 350.0
MAX_GROWTH_MB: Final = 8.0
SIZE: Final = (640, 360)
STARTS_S: Final = 60.0


def run(
    portraits_dir: Path, cache_dir: Path, *, frames: int = 60, crops: int = 500, photos: int = 50
) -> list[Benchmark]:
    """Measure a door's frame from the motion gate to the embedding, and a face process that is fed crops and photos."""
    pipeline = FacePipeline(cache_dir=cache_dir, threads=1)
    scene = arrival(head(pipeline, picture(portraits_dir / "obama2.jpg")), frames=frames)
    shown = [(portraits_dir / name).read_bytes() for name in ("obama.jpg", "obama2.jpg", "biden.jpg")]
    memory = asyncio.run(_fed(cache_dir, scene, shown, counts=(crops, photos)))
    return [*_door(pipeline, scene), _memory(memory, crops=crops, photos=photos)]


def arrival(face: Rgb, *, frames: int) -> list[Rgb]:
    """Return frames of 640 x 360 of a still, uneven place in which a head comes into the picture and sways."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(60, 180, (9, 16, 3), dtype=np.uint8))
    place = coarse.resize(SIZE, Image.Resampling.BICUBIC)
    person = Image.fromarray(face).resize((200, 200))
    scene = []
    for at in range(frames):
        shown = place.copy()
        if at:
            shown.paste(person, (220 + round(20 * np.sin(at / 3)), 80 + round(6 * np.cos(at / 4))))
        scene.append(np.asarray(shown))
    return scene


def _door(pipeline: FacePipeline, scene: Sequence[Rgb]) -> list[Benchmark]:
    """Time each frame's way: motion gate, crop, detection or following, alignment, quality, embedding."""
    looker, gate = Looker(pipeline, tally=Tally(), watch=lambda _: None), MotionGate()
    attend = wire.Attend(door_id="d", camera_id="c", until=1e12)
    view = View(Tracks(new_id=lambda: uuid.uuid4().hex))
    whole: list[float] = []
    followed: list[float] = []
    area, seen = (0, 0, 0, 0), 0
    for number, rgb in enumerate(scene):
        first = number % 2 == 1  # every other frame is the first one of its person
        if first:
            view = View(Tracks(new_id=lambda: uuid.uuid4().hex))
        began = time.thread_time()
        moving = gate.observe(rgb[:, :, 1], number / 10)
        if moving is None:
            continue
        area = moving
        found = looker.look_at([Look(crop=_crop(rgb, area, number), attend=attend, view=view)], at=number / 10)
        (whole if first else followed).append((time.thread_time() - began) * 1000)
        seen += sum(one.problem is None for one in found[0])
    detail = f"640 x 360, crop of {area[2]} x {area[3]} by the motion gate; {seen} faces embedded in {len(scene) - 1} frames; "
    return [
        _timed("door_frame", whole, f"{detail}the first frame: gate, whole pass, align, measure, embed"),
        _timed("door_follow", followed, f"{detail}the next frame: the face is followed"),
    ]


def _timed(name: str, samples: list[float], detail: str) -> Benchmark:
    ours = statistics.median(samples)
    return Benchmark(
        name=name,
        unit="ms",
        ours=ours,
        target=TARGET_DOOR_MS,
        met=ours <= TARGET_DOOR_MS,
        samples=tuple(samples),
        detail=detail,
    )


def _crop(rgb: Rgb, area: tuple[int, int, int, int], number: int) -> wire.Crop:
    x, y, w, h = area
    return wire.Crop(
        camera_id="c", frame_no=number, captured_at=time.time(), age_ms=0.0, x=x, y=y, w=w, h=h, cols=w, rows=h,
        frame_w=SIZE[0], frame_h=SIZE[1], pixels=np.ascontiguousarray(rgb[y : y + h, x : x + w]).tobytes(),
    )  # fmt: skip


async def _fed(
    cache_dir: Path, scene: Sequence[Rgb], photos: Sequence[bytes], *, counts: tuple[int, int]
) -> list[float]:
    """Return the resident memory (MB) of a real face process while it is fed crops, and then photos."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "faces.sock"
        argv = ["-m", "edge", "faces", "--socket", str(socket), "--cache-dir", str(cache_dir), "--log-level", "error"]
        process = await asyncio.create_subprocess_exec(sys.executable, *argv)
        try:
            await asyncio.to_thread(_wait_for, socket)
            return await _feed(socket, process.pid, scene, photos, counts=counts)
        finally:
            process.terminate()
            await process.wait()


def _wait_for(socket: Path) -> None:
    """Wait until the face process listens.

    Raises:
        TimeoutError: it does not.
    """
    limit = time.monotonic() + STARTS_S
    while not socket.exists():
        if time.monotonic() > limit:
            raise TimeoutError("the face process does not listen")
        time.sleep(0.05)


async def _feed(
    socket: Path, pid: int, scene: Sequence[Rgb], photos: Sequence[bytes], *, counts: tuple[int, int]
) -> list[float]:
    """Be worker and eye: answer each credit with a crop, and send photos in between."""
    from_worker, to_worker = await asyncio.open_unix_connection(str(socket))
    from_eye, to_eye = await asyncio.open_unix_connection(str(socket))
    ready, answers = asyncio.Event(), asyncio.Queue[wire.PhotoFace]()
    resident: list[float] = []
    try:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(STARTS_S + counts[0] + counts[1]):
            hearing = tasks.create_task(_hear(from_worker, ready, answers))
            await wire.write(to_worker, wire.WorkerHello())
            await ready.wait()
            await wire.write(to_eye, wire.EyeHello(camera_id="c"))
            await wire.write(to_worker, wire.Attend(door_id="d", camera_id="c", until=time.time() + 3600))
            for number in range(counts[0]):
                await _credit(from_eye)
                area = (0, 0, SIZE[0] - 160 * (number % 3), SIZE[1])
                await wire.write(to_eye, _crop(scene[number % len(scene)], area, number))
                if number * counts[1] // counts[0] != (number + 1) * counts[1] // counts[0]:
                    image = photos[number % len(photos)]
                    await wire.write(to_worker, wire.EmbedPhoto(request_id=str(number), image=image))
                    await answers.get()
                    resident.append(_resident_mb(pid))
            hearing.cancel()
        return resident
    finally:
        to_worker.close()
        to_eye.close()


async def _credit(reader: asyncio.StreamReader) -> None:
    """Wait until the face process can take one more crop.

    Raises:
        ConnectionError: it ended.
    """
    message: wire.ToEye | None = wire.Watch(until=0.0)
    while not isinstance(message, wire.Credit):
        message = await wire.read(reader, wire.to_eye)
        if message is None:
            raise ConnectionError("the face process ended")


async def _hear(reader: asyncio.StreamReader, ready: asyncio.Event, answers: asyncio.Queue[wire.PhotoFace]) -> None:
    """Take in what the face process says, so that it never waits for us.

    Raises:
        ConnectionError: it ended.
    """
    while (message := await wire.read(reader, wire.from_faces)) is not None:
        if isinstance(message, wire.PhotoFace):
            answers.put_nowait(message)
        elif isinstance(message, wire.FacesHealth) and message.ready:
            ready.set()
    raise ConnectionError("the face process ended")


def _resident_mb(pid: int) -> float:
    """Return the resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def _memory(resident: list[float], *, crops: int, photos: int) -> Benchmark:
    """Judge the largest resident memory, and whether it still grows in the second half."""
    part = max(1, len(resident) // 4)
    growth = statistics.mean(resident[-part:]) - statistics.mean(resident[part : 2 * part] or resident)
    most = max(resident)
    return Benchmark(
        name="face_process_memory",
        unit="MB",
        ours=most,
        target=TARGET_MEMORY_MB,
        met=most <= TARGET_MEMORY_MB and growth <= MAX_GROWTH_MB,
        samples=tuple(resident),
        detail=f"largest resident memory of a real face process, {crops} crops and {photos} enrolment photos; "
        f"the last quarter {growth:+.1f} MB over the second",
    )
