"""The worker's side of the face process: asks it to look, hears what it sees, has photos embedded and pictures taken.

It decides nothing; who is asked for is kept over reconnections, so a face process that was killed goes on where it was.
What is seen at a door goes to edge.attention, unless somebody took the door for an enrolment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from config.process import Good
from edge import wire
from models.errors import Conflict, DeviceUnreachable
from models.zones import Rectangle

log = logging.getLogger("gatehouse.edge.facelink")

PHOTO_S = 15.0
PICTURE_S = 20.0
READY_S = 8.0

Answer = TypeVar("Answer", wire.PhotoFace, wire.Picture)
Taker = Callable[[wire.FaceSighting | wire.FaceUnusable], None]
"""Who took a door: it hears what would else go to the attention, and must not block."""


OFF = "faces are off on this edge, and this needs them: set `edge.faces.enabled`"
"""What is said where no face process was started, and none will be."""


class FaceLink:
    """Talk to the face process of this edge; without one (`enabled`) say so at once instead of waiting for it."""

    def __init__(self, socket: Path, *, enabled: bool = True, now: Callable[[], float] = time.time) -> None:
        self.socket = socket
        self.enabled = enabled
        self._now = now
        self._attends: dict[str, wire.Attend] = {}
        self._outbox: asyncio.Queue[wire.ToFaces] = asyncio.Queue(64)
        self._held: dict[str, wire.Attend] = {}
        self._takers: dict[str, Taker] = {}
        self._photos: dict[str, asyncio.Future[wire.PhotoFace]] = {}
        self._pictures: dict[str, asyncio.Future[wire.Picture]] = {}
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
            self._fail_answers()
            writer.close()
        raise DeviceUnreachable("face process", "it closed the connection")

    def _fail_answers(self) -> None:
        """Tell who waits for a photo or a picture that nobody will answer."""
        told = DeviceUnreachable("face process", "it went away while it looked at the picture")
        waiting: list[asyncio.Future[wire.PhotoFace] | asyncio.Future[wire.Picture]] = [*self._photos.values()]
        for answer in [*waiting, *self._pictures.values()]:
            if not answer.done():
                answer.set_exception(told)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await wire.write(writer, await self._outbox.get())

    def _take(self, message: wire.FromFaces, good: Good) -> None:
        if isinstance(message, wire.FaceSighting | wire.FaceUnusable):
            self._seen(message)
        elif isinstance(message, wire.FacesHealth):
            self.health = message
            if message.ready:
                self._usable.set()
            good()
        elif isinstance(message, wire.PhotoFace):
            _settle(self._photos, message)
        else:
            _settle(self._pictures, message)

    def _seen(self, message: wire.FaceSighting | wire.FaceUnusable) -> None:
        taker = self._takers.get(message.door_id)
        if taker is not None:
            taker(message)
        elif isinstance(message, wire.FaceSighting):
            self.on_sighting(message)
        else:
            self.on_unusable(message)

    # ---- faces at a door --------------------------------------------------------------------------------------------

    def attend(self, attend: wire.Attend) -> None:
        """Ask for faces at a door until a time; while the door is taken, only its taker (`enrol`) asks at once."""
        if attend.door_id in self._takers and not attend.enrol:
            self._held[attend.door_id] = attend
            return
        self._attends[attend.door_id] = attend
        self._put(attend)

    def ignore(self, door_id: str) -> None:
        """Ask for faces at a door no longer; a taker goes on until it lets go."""
        if door_id in self._takers:
            self._held.pop(door_id, None)
        elif self._attends.pop(door_id, None) is not None:
            self._put(wire.Ignore(door_id=door_id))

    def take(self, door_id: str, taker: Taker) -> None:
        """Let `taker` alone hear what is seen at a door until `release`; it asks by `attend` with `enrol`.

        Raises:
            Conflict: somebody else has taken this door.
        """
        if door_id in self._takers:
            raise Conflict(f"somebody is being enrolled at door {door_id} already")
        self._takers[door_id] = taker
        before = self._attends.pop(door_id, None)
        if before is not None:
            self._held[door_id] = before
            self._put(wire.Ignore(door_id=door_id))

    def release(self, door_id: str) -> None:
        """Let go of a door; what was asked for it meanwhile is asked again."""
        if self._takers.pop(door_id, None) is None:
            return
        self.ignore(door_id)
        held = self._held.pop(door_id, None)
        if held is not None and held.until > self._now():
            self.attend(held)

    # ---- one answer each --------------------------------------------------------------------------------------------

    async def photo(self, image: bytes, *, request_id: str) -> wire.PhotoFace:
        """Have the one face of an enrolment photo embedded.

        Raises:
            DeviceUnreachable: the face process is away or does not answer, or faces are off here (`faces_off`).
        """
        asked = wire.EmbedPhoto(request_id=request_id, image=image)
        return await self._answer(asked, self._photos, limit_s=PHOTO_S)

    async def picture(self, camera_id: str, *, masks: tuple[Rectangle, ...], request_id: str) -> wire.Picture:
        """Have one picture of a camera taken, without its privacy masks' insides and without a recognisable face.

        Raises:
            DeviceUnreachable: the face process is away or does not answer, or faces are off here (`faces_off`).
        """
        asked = wire.TakePicture(request_id=request_id, camera_id=camera_id, masks=masks)
        return await self._answer(asked, self._pictures, limit_s=PICTURE_S)

    async def _answer(
        self, asked: wire.EmbedPhoto | wire.TakePicture, waiting: dict[str, asyncio.Future[Answer]], *, limit_s: float
    ) -> Answer:
        if not self.enabled:
            raise DeviceUnreachable("face process", OFF).because("faces_off")
        try:
            async with asyncio.timeout(READY_S):
                await self._usable.wait()
        except TimeoutError as error:
            raise DeviceUnreachable("face process", "it is not ready; the first start converts its networks") from error
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting[asked.request_id] = answer
        try:
            self._put(asked)
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError as error:
            raise DeviceUnreachable("face process", f"no answer within {limit_s:.0f} s") from error
        finally:
            waiting.pop(asked.request_id, None)

    def _put(self, message: wire.ToFaces) -> None:
        if not self._connected:
            return  # attentions are sent again on connection
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1


def _settle(waiting: dict[str, asyncio.Future[Answer]], answer: Answer) -> None:
    asked = waiting.pop(answer.request_id, None)
    if asked is not None and not asked.done():
        asked.set_result(answer)
