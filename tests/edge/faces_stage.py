"""A face process whose networks are a function, eyes that answer its credits, and the link that the worker has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import wire
from edge.facelink import FaceLink
from edge.faces import FaceProcess
from models.errors import ImageRejected
from models.faces.pipeline import Face, PhotoFace, Rgb
from models.recognition import EmbedderContract, FaceQuality
from tests.edge.doubles import until

CONTRACT = EmbedderContract(model="double", digest="00", dimensions=128, metric="euclidean")
GOOD = FaceQuality(
    face_px=80, eye_px=40.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
)


@dataclass
class Networks:
    """Find one face wherever a crop is bright; the embedding is the crop's first value."""

    detections: int = 0
    embeddings: int = 0
    followed: int = 0
    batches: list[int] = field(default_factory=list)
    quality_: FaceQuality = GOOD
    boxes: list[tuple[int, int, int, int]] = field(default_factory=lambda: [(10, 10, 89, 89)])
    liveness: None = None
    face_to_eyes: float = 2.3
    least_px: list[int] = field(default_factory=list)

    @property
    def contract(self) -> EmbedderContract:
        return CONTRACT

    def detect(self, rgb: Rgb, *, min_face_px: int, max_face_px: int | None = None) -> list[Face]:
        self.detections += 1
        self.least_px.append(min_face_px)
        return [Face(box=box, landmarks=np.zeros((5, 2), np.float32), score=1.0) for box in self.boxes]

    def follow(self, rgb: Rgb, *, near: Sequence[tuple[int, int, int, int]]) -> list[Face]:
        self.followed += 1
        return [Face(box=box, landmarks=np.zeros((5, 2), np.float32), score=1.0) for box in self.boxes if box in near]

    def quality(self, rgb: Rgb, face: Face) -> FaceQuality:
        return self.quality_

    def embed_all(self, pictures: Sequence[tuple[Rgb, Sequence[Face]]]) -> NDArray[np.float32]:
        values = [float(rgb[0, 0, 0]) for rgb, faces in pictures for _ in faces]
        self.embeddings += len(values)
        self.batches.append(len(values))
        return np.repeat(np.array(values, np.float32)[:, None], 128, axis=1)

    def photo(self, content: bytes) -> PhotoFace:
        if content == b"nobody":
            raise ImageRejected("no_face", "nobody is in it")
        return PhotoFace(embedding=np.ones(128, np.float32), quality=GOOD, contract=CONTRACT)


@dataclass
class Stage:
    process: FaceProcess
    networks: Networks
    link: FaceLink
    socket: Path
    sightings: list[wire.FaceSighting] = field(default_factory=list)
    unusable: list[wire.FaceUnusable] = field(default_factory=list)
    eyes: list[Eye] = field(default_factory=list)

    async def eye(self, camera_id: str = "c1") -> Eye:
        """Connect an eye."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        await wire.write(writer, wire.EyeHello(camera_id=camera_id))
        self.eyes.append(Eye(camera_id, reader, writer))
        return self.eyes[-1]


@contextlib.asynccontextmanager
async def stage(folder: Path, *, whole_s: float = 5.0, **more: Any) -> AsyncIterator[Stage]:
    networks = Networks(**more)
    process = FaceProcess(load=lambda: networks, whole_s=whole_s)  # type: ignore[arg-type,return-value]
    socket = folder / "f.sock"
    link = FaceLink(socket)
    on = Stage(process, networks, link, socket)
    link.on_sighting, link.on_unusable = on.sightings.append, on.unusable.append
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run(socket))
        await until(socket.exists)

        async def linked() -> None:
            with contextlib.suppress(Exception):
                await link.run(lambda: None)

        tasks.create_task(linked())
        await until(lambda: link.ready)
        yield on
        for eye in on.eyes:
            eye.writer.close()
        running.cancel()


@dataclass
class Eye:
    """One eye that answers credits with what it is given."""

    camera_id: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    credits: int = 0
    wholes: int = 0
    watches: int = 0

    async def listen(self) -> None:
        while (message := await wire.read(self.reader, wire.to_eye)) is not None:
            if isinstance(message, wire.Credit):
                self.credits += 1
                self.wholes += message.whole
            else:
                self.watches += 1

    async def show(self, value: int = 200, *, frame_no: int = 1, late_s: float = 0.0) -> None:
        shown = crop(self.camera_id, value=value, frame_no=frame_no, captured_at=time.time() - late_s)
        await wire.write(self.writer, shown)


def crop(camera_id: str = "c1", *, value: int = 200, frame_no: int = 1, captured_at: float | None = None) -> wire.Crop:
    return wire.Crop(
        camera_id=camera_id, frame_no=frame_no, captured_at=captured_at or time.time(), age_ms=5.0,
        x=100, y=50, w=100, h=100, cols=100, rows=100, frame_w=640, frame_h=360,
        pixels=bytes([value]) * (100 * 100 * 3),
    )  # fmt: skip


def attend(camera_id: str = "c1", *, for_s: float = 10.0, **more: Any) -> wire.Attend:
    return wire.Attend(door_id="d1", camera_id=camera_id, until=time.time() + for_s, **more)
