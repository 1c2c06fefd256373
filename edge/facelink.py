"""The worker's side of the face process: asks it to look, hears what it sees, and has enrolment photos embedded.

It decides nothing; who is asked for is kept over reconnections, so a face process that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from config.process import Good
from edge import wire
from models.errors import DeviceUnreachable

log = logging.getLogger("gatehouse.edge.facelink")

PHOTO_S = 15.0
READY_S = 8.0


class FaceLink:
    """Talk to the face process of this edge."""

    def __init__(self, socket: Path, *, now: Callable[[], float] = time.time) -> None:
        self.socket = socket
        self._now = now
        self._attends: dict[str, wire.Attend] = {}
        self._outbox: asyncio.Queue[wire.ToFaces] = asyncio.Queue(64)
        self._photos: dict[str, asyncio.Future[wire.PhotoFace]] = {}
        self._connected = False
        self._usable = asyncio.Event()
        self.on_sighting: Callable[[wire.FaceSighting], None] = lambda _: None
        self.on_unusable: Callable[[wire.FaceUnusable], None] = lambda _: None
        self.health: wire.FacesHealth | None = None
        self.dropped = 0

    @property
    def ready(self) -> bool:
        """Return whether the face process is there and its networks are loaded."""
        return self._connected and self.health is not None and self.health.ready

    async def run(self, good: Good) -> None:
        """Be connected until the connection ends; `keep_running` begins again.

        Raises:
            DeviceUnreachable: the face process is not there, or went away.
            InvalidInput: it sent what is not ours.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError as error:
            raise DeviceUnreachable("face process", error.strerror or str(error)) from error
        try:
            while not self._outbox.empty():
                self._outbox.get_nowait()  # what was asked of the one before
            await wire.write(writer, wire.WorkerHello())
            for attend in self._attends.values():
                if attend.until > self._now():
                    await wire.write(writer, attend)
            self._connected = True
            sending = asyncio.ensure_future(self._send(writer))
            try:
                while (message := await wire.read(reader, wire.from_faces)) is not None:
                    self._take(message, good)
            finally:
                sending.cancel()
        except ConnectionError as error:
            raise DeviceUnreachable("face process", str(error)) from error
        finally:
            self._connected, self.health = False, None
            self._usable.clear()
            self._fail_photos()
            writer.close()
        raise DeviceUnreachable("face process", "it closed the connection")

    def _fail_photos(self) -> None:
        """Tell who waits for a photo that nobody will answer."""
        for waiting in self._photos.values():
            if not waiting.done():
                waiting.set_exception(DeviceUnreachable("face process", "it went away while it looked at the photo"))

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await wire.write(writer, await self._outbox.get())

    def _take(self, message: wire.FromFaces, good: Good) -> None:
        if isinstance(message, wire.FaceSighting):
            self.on_sighting(message)
        elif isinstance(message, wire.FaceUnusable):
            self.on_unusable(message)
        elif isinstance(message, wire.FacesHealth):
            self.health = message
            if message.ready:
                self._usable.set()
            good()
        elif isinstance(message, wire.PhotoFace) and message.request_id in self._photos:
            waiting = self._photos.pop(message.request_id)
            if not waiting.done():
                waiting.set_result(message)

    def attend(self, attend: wire.Attend) -> None:
        """Ask for faces at a door until a time."""
        self._attends[attend.door_id] = attend
        self._put(attend)

    def ignore(self, door_id: str) -> None:
        """Ask for faces at a door no longer."""
        if self._attends.pop(door_id, None) is not None:
            self._put(wire.Ignore(door_id=door_id))

    async def photo(self, image: bytes, *, request_id: str) -> wire.PhotoFace:
        """Have the one face of an enrolment photo embedded.

        Raises:
            DeviceUnreachable: the face process is away or does not answer.
        """
        try:
            async with asyncio.timeout(READY_S):
                await self._usable.wait()
        except TimeoutError as error:
            raise DeviceUnreachable("face process", "it is not ready; the first start converts its networks") from error
        waiting: asyncio.Future[wire.PhotoFace] = asyncio.get_running_loop().create_future()
        self._photos[request_id] = waiting
        try:
            self._put(wire.EmbedPhoto(request_id=request_id, image=image))
            async with asyncio.timeout(PHOTO_S):
                return await waiting
        except TimeoutError as error:
            raise DeviceUnreachable("face process", f"no answer within {PHOTO_S:.0f} s") from error
        finally:
            self._photos.pop(request_id, None)

    def _put(self, message: wire.ToFaces) -> None:
        if not self._connected:
            return  # attentions are sent again on connection
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1
