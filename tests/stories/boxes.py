"""Edges as boxes in a story: the real worker with its link, spool and key store, on a door wire and a face process in memory.

Their clock is the gateway's, which the story turns; their network is a cable that the story pulls.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.process import Supervisor
from config.settings import Settings
from edge import wire
from edge.attention import Faces
from edge.worker import Worker
from models.access import Request
from models.recognition import FaceQuality
from tests.edge.doubles import MemoryWire
from tests.edge.porch import Link

QUALITY = FaceQuality(
    face_px=160, eye_px=80.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
)


class MovingClock:
    """A clock that goes, and that the story turns on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._at = datetime.now(UTC)
        self.turned = timedelta()

    def __call__(self) -> datetime:
        return self._at + self.turned + timedelta(seconds=time.monotonic() - self._began)

    def turn(self, **by: float) -> None:
        self.turned += timedelta(**by)

    def unix(self) -> float:
        return self().timestamp()

    def boot(self) -> float:
        return time.monotonic() + self.turned.total_seconds()


def face_of(name: bytes) -> NDArray[np.float32]:
    """Return an embedding of unit length that is far from everybody else's."""
    vector = np.random.default_rng(zlib.crc32(name)).normal(size=128)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class FaceProcess(Link):
    """A face process that finds in a photo the face of whom its bytes name, and sees at doors whom the story sends."""

    ready: bool = True
    socket: Path = Path("unused")

    async def photo(self, image: bytes, *, request_id: str) -> wire.PhotoFace:
        embedding = face_of(image).astype("<f4").tobytes()
        return wire.PhotoFace(request_id=request_id, ok=True, embedding=embedding, contract="m", quality=QUALITY)


class Cable:
    """A TCP way to the gateway that can be pulled."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._flows: set[asyncio.Task[None]] = set()
        self.port = 0

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        assert self._server is not None
        self._server.close()
        for flow in list(self._flows):
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._flows.add(task)
        try:
            up, out = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(_pump(reader, out), _pump(up, writer))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._flows.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    finally:
        writer.close()


@dataclass
class Wired:
    """The wires of a box: one in memory."""

    wire: MemoryWire = field(default_factory=MemoryWire)
    counters: dict[str, int] = field(default_factory=dict)

    def open(self, _doors: Any) -> MemoryWire:
        return self.wire

    def key(self, _door: Any) -> str:
        return "memory"


class Box(Worker):
    """One edge of the story."""

    def __init__(self, folder: Path, *, edge_id: str, cable: Cable, clock: MovingClock) -> None:
        self.folder = folder
        self.cable = cable
        self.serves = asyncio.Event()
        self.wires = Wired()
        self.faces = FaceProcess()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").touch()
        edge = {
            "id": edge_id, "name": edge_id, "gateway": f"http://127.0.0.1:{cable.port}", "data_dir": str(folder / "data"),
            "token_file": str(folder / "token"), "faces": {"enabled": False},
        }  # fmt: skip
        super().__init__(Settings.model_validate({"edge": edge}), wall=clock.unix, steady=clock.boot)

    def _make_doors(self, tasks: asyncio.TaskGroup) -> None:
        super()._make_doors(tasks)
        self._keeper._open_driver = self.wires.open
        self._keeper._driver_key = self.wires.key

    def _make_faces(self, tasks: asyncio.TaskGroup) -> None:
        self._link = self.faces  # type: ignore[assignment]
        super()._make_faces(tasks)

    async def _begin(self, tasks: asyncio.TaskGroup, children: Supervisor) -> None:
        await super()._begin(tasks, children)
        self.serves.set()

    def _faces_allowed(self) -> Faces:
        return Faces(profile="demo")

    # ---- what the story sees ----------------------------------------------------------------------------------------

    def held(self) -> list[str]:
        """Return whose templates are here."""
        return sorted(one.person_id for one in self._keys.sealed())

    def matched_at(self, door_id: str) -> set[str]:
        """Return who would be recognised at a door."""
        gallery = self._faces.attention.galleries.doors.get(door_id)
        return set() if gallery is None else set(gallery.people.people)

    def asks(self, **request: Any) -> None:
        """Let somebody act at a door."""
        self.wires.wire.ask(Request(**request))

    @property
    def version(self) -> tuple[int, int]:
        policy = self._policies.current
        return (0, 0) if policy is None else (policy.epoch, policy.n)


@contextlib.asynccontextmanager
async def running(box: Box) -> AsyncIterator[Box]:
    """Run a box for the length of the block."""
    task = asyncio.create_task(box.run())
    serves = asyncio.create_task(box.serves.wait())
    await asyncio.wait({task, serves}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    try:
        assert not task.done(), task.exception()
        yield box
    finally:
        serves.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await box.cable.pull()
