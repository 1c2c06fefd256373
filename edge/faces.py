"""The face process of an edge: crops of door cameras in, sightings out, and templates from enrolment photos.

It looks only where the worker asked it to (`Attend`), takes crops by credit, newest only, and computes in one thread
(edge.faces_look). It knows no person, opens no door, and keeps nothing: tracks end with their faces, pixels with their
frame.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import msgspec

from config.process import run, set_up_logging
from edge import wire
from edge.faces_asked import Asked
from edge.faces_look import Look, Looker, Seen, Tally, View, Watch, built_in
from edge.sockets import listen
from edge.tracks import Tracks
from models.errors import DeviceUnreachable, InvalidInput, ModelFileError
from models.faces.own_models import read_own_models
from models.faces.pipeline import FacePipeline
from models.zones import bounds

log = logging.getLogger("gatehouse.edge.faces")

STALE_MS = 1500.0
HEALTH_S = 10.0
PUMP_S = 0.1
UNUSABLE_EVERY_S = 1.0
MAX_EYES = 256
WATCH_S = 2.0
WHOLE_S = 5.0


@dataclass(eq=False)
class EyeLink:
    """Hold one connected eye: at most one credit is out, at most one crop waits."""

    camera_id: str
    writer: asyncio.StreamWriter
    views: dict[str, View] = field(default_factory=dict)
    """By door: doors that share a camera have each their own tracks and watchers."""
    crop: wire.Crop | None = None
    credited: bool = False
    watched_until: float = 0.0
    whole: asyncio.Future[wire.Crop] | None = None


@dataclass
class FaceProcess:
    """Serve the face socket of one edge."""

    load: Callable[[], FacePipeline]
    now: Callable[[], float] = time.time
    watch: Watch = built_in
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
    whole_s: float = WHOLE_S
    _contract: str = ""
    _attends: dict[str, wire.Attend] = field(default_factory=dict)
    _eyes: dict[str, EyeLink] = field(default_factory=dict)
    _worker: asyncio.StreamWriter | None = None
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _told: dict[str, float] = field(default_factory=dict)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "faces"))
    tally: Tally = field(default_factory=Tally)
    stale: int = 0
    busy_ms: float = 0.0

    def __post_init__(self) -> None:
        """Be ready to be asked."""
        self._asked = Asked(thread=self._thread, whole=self._whole, tell=self._tell)

    async def run(self, socket: Path) -> None:
        """Listen at a socket until cancelled; the networks load meanwhile.

        Raises:
            ModelFileError: the networks cannot be loaded.
        """
        server = await listen(socket, self._meet)
        try:
            async with server, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_health())
                pipeline = await self._load()
                tasks.create_task(self._pump())
                tasks.create_task(self._look_forever(Looker(pipeline, tally=self.tally, watch=self.watch)))
                tasks.create_task(self._asked.answer_photos(pipeline))
                tasks.create_task(self._asked.answer_pictures(pipeline))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
            for writer in (*(eye.writer for eye in self._eyes.values()), self._worker):
                if writer is not None:
                    writer.close()

    async def _load(self) -> FacePipeline:
        log.info("loading the face networks; the first start converts them, which takes some seconds")
        began = time.monotonic()
        pipeline = await asyncio.get_running_loop().run_in_executor(self._thread, self.load)
        self._contract = pipeline.contract.id
        log.info("face networks ready after %.1f s: %s", time.monotonic() - began, self._contract)
        await self._say_health()
        return pipeline

    # ---- who connects -----------------------------------------------------------------------------------------------

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await wire.read(reader, wire.to_faces)
            if isinstance(first, wire.EyeHello) and len(self._eyes) < MAX_EYES:
                await self._hear_eye(EyeLink(first.camera_id, writer), reader)
            elif isinstance(first, wire.WorkerHello):
                await self._hear_worker(reader, writer)
        except InvalidInput as error:
            log.warning("a message cannot be read: %s", error)
        except ConnectionError as error:
            log.debug("a connection ended: %s", error)
        finally:
            writer.close()

    async def _hear_eye(self, eye: EyeLink, reader: asyncio.StreamReader) -> None:
        old = self._eyes.get(eye.camera_id)
        if old is not None:
            old.writer.close()
        self._eyes[eye.camera_id] = eye
        try:
            while (message := await wire.read(reader, wire.to_faces)) is not None:
                if isinstance(message, wire.Crop) and message.camera_id == eye.camera_id:
                    self._take_crop(eye, message)
        finally:
            if self._eyes.get(eye.camera_id) is eye:
                del self._eyes[eye.camera_id]

    def _take_crop(self, eye: EyeLink, crop: wire.Crop) -> None:
        whole = (crop.x, crop.y, crop.w, crop.h) == (0, 0, crop.frame_w, crop.frame_h)
        if eye.whole is not None and whole:
            if not eye.whole.done():
                eye.whole.set_result(crop)
            eye.whole = None
        else:
            eye.crop = crop
            self._arrived.set()
        eye.credited = eye.whole is not None  # a crop that was on its way before the whole frame was asked for

    async def _hear_worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = writer
        self._attends.clear()
        await self._say_health()
        try:
            while (message := await wire.read(reader, wire.to_faces)) is not None:
                await self._obey(message)
        finally:
            if self._worker is writer:
                self._worker = None
                self._attends.clear()  # nobody is there to be told: stop looking

    async def _obey(self, message: wire.ToFaces) -> None:
        if isinstance(message, wire.Attend):
            self._attends[message.door_id] = message
            self._due.set()
        elif isinstance(message, wire.Ignore):
            gone = self._attends.pop(message.door_id, None)
            if gone is not None and gone.camera_id in self._eyes:
                self._forget(self._eyes[gone.camera_id], message.door_id)
        elif isinstance(message, wire.EmbedPhoto):
            await self._asked.photo(message)
        elif isinstance(message, wire.TakePicture):
            await self._asked.picture(message)

    def _forget(self, eye: EyeLink, door_id: str) -> None:
        """Forget whom an eye saw at a door; what the networks' thread still holds goes with its look."""
        eye.views.pop(door_id, None)
        if not self._attended(eye.camera_id):
            eye.crop = None

    def _attended(self, camera_id: str) -> list[wire.Attend]:
        """Return the live attentions for a camera, next first: enrolments, then the doors in turn; forget dead ones."""
        now = self.now()
        for door_id in [door_id for door_id, attend in self._attends.items() if attend.until <= now]:
            del self._attends[door_id]
        asked = [attend for attend in self._attends.values() if attend.camera_id == camera_id]
        return sorted(asked, key=lambda attend: not attend.enrol)

    # ---- crops ------------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        """Give credit to the eyes of attended cameras, one crop at a time."""
        while True:
            for eye in tuple(self._eyes.values()):
                await self._credit(eye)
            self._due.clear()
            await _at_most(self._due, PUMP_S)

    async def _credit(self, eye: EyeLink) -> None:
        asked, now = self._attended(eye.camera_id), self.now()
        doors = {attend.door_id for attend in asked}
        eye.views = {door: view for door, view in eye.views.items() if door in doors and not view.over(at=now)}
        if not asked:
            return
        attend = asked[0]
        try:
            if eye.watched_until < min(attend.until, self.now() + WATCH_S / 2):
                eye.watched_until = min(attend.until, self.now() + WATCH_S)
                await wire.write(eye.writer, wire.Watch(until=eye.watched_until, zone=bounds(attend.near_zone)))
            if not eye.credited and eye.crop is None:
                eye.credited = True
                await wire.write(eye.writer, wire.Credit())
        except ConnectionError as error:
            log.debug("eye %s is gone: %s", eye.camera_id, error)

    async def _whole(self, camera_id: str) -> wire.Crop:
        """Return the next frame of a camera as a whole.

        Raises:
            DeviceUnreachable: no eye looks through this camera, or no frame came in time.
        """
        eye = self._eyes.get(camera_id)
        if eye is None:
            raise DeviceUnreachable(camera_id, "no eye looks through this camera")
        answer: asyncio.Future[wire.Crop] = asyncio.get_running_loop().create_future()
        eye.whole = answer
        eye.credited = True
        try:
            await wire.write(eye.writer, wire.Credit(whole=True))
            async with asyncio.timeout(self.whole_s):
                return await answer
        except (ConnectionError, TimeoutError) as error:
            raise DeviceUnreachable(camera_id, f"no frame within {self.whole_s:.0f} s") from error
        finally:
            eye.whole = None

    async def _look_forever(self, looker: Looker) -> None:
        while True:
            waiting = [eye for eye in self._eyes.values() if eye.crop is not None]
            if not waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            looks = [look for eye in waiting if (look := await self._due_look(eye)) is not None]
            if looks:
                await self._look_at(looker, looks)

    async def _due_look(self, eye: EyeLink) -> tuple[EyeLink, Look] | None:
        """Return what to look at for an eye; an unwanted or stale crop is dropped unseen."""
        crop, asked = eye.crop, self._attended(eye.camera_id)
        if crop is not None and asked:
            if max(crop.age_ms, (self.now() - crop.captured_at) * 1000) <= STALE_MS:
                view = eye.views.setdefault(asked[0].door_id, View(tracks=Tracks(new_id=self.new_id)))
                return eye, Look(crop=crop, attend=asked[0], view=view)
            self.stale += 1
        eye.crop = None  # without an attention nobody acted at this door (R12)
        await self._credit(eye)
        return None

    async def _look_at(self, looker: Looker, waiting: list[tuple[EyeLink, Look]]) -> None:
        """Look at the crops that waited longest; what did not fit into the time of one look stays for the next."""
        waiting.sort(key=lambda one: one[1].crop.captured_at)
        began = time.monotonic()
        call = partial(looker.look_at, [look for _, look in waiting], at=self.now())
        seen = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        self.busy_ms += (time.monotonic() - began) * 1000
        for (eye, look), faces in zip(waiting, seen, strict=False):
            if eye.crop is look.crop:
                eye.crop = None
            if self._still_asked(look.attend):
                await self._report(look, faces)
            await self._credit(eye)

    def _still_asked(self, attend: wire.Attend) -> bool:
        """Let the other doors of its camera come first now; return whether it is still asked for, and in the same way.

        What was seen for somebody who passes is no picture for an enrolment, and was judged by other gates.
        """
        now = self._attends.pop(attend.door_id, None)
        if now is None:
            return False
        self._attends[attend.door_id] = now
        return msgspec.structs.replace(now, until=attend.until) == attend

    async def _report(self, look: Look, faces: list[Seen]) -> None:
        crop, attend = look.crop, look.attend
        if attend.enrol and not faces:
            await self._report_unusable(look, "no_face")
        for face in faces:
            if face.problem is not None:
                await self._report_unusable(look, face.problem)
                continue
            face.track.first_usable_at = face.track.first_usable_at or crop.captured_at
            sighting = wire.FaceSighting(
                door_id=attend.door_id,
                camera_id=crop.camera_id,
                track_id=face.track.id,
                frame_no=crop.frame_no,
                captured_at=crop.captured_at,
                age_ms=max(crop.age_ms, (self.now() - crop.captured_at) * 1000),
                first_usable_at=face.track.first_usable_at,
                embedding=face.embedding,
                contract=self._contract,
                quality=face.quality,
                box=face.box,
                liveness=face.liveness,
            )
            await self._tell(sighting)

    async def _report_unusable(self, look: Look, problem: str) -> None:
        """Say why a face is of no use: at every picture for an enrolment, else at most once a second."""
        attend, now = look.attend, self.now()
        if attend.enrol or now - self._told.get(attend.door_id, 0.0) >= UNUSABLE_EVERY_S:
            self._told[attend.door_id] = now
            told = wire.FaceUnusable(
                door_id=attend.door_id,
                camera_id=look.crop.camera_id,
                reason=problem,
                captured_at=look.crop.captured_at,
            )
            await self._tell(told)

    # ---- what the worker is told ------------------------------------------------------------------------------------

    async def _tell_health(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_S)
            await self._say_health()

    async def _say_health(self) -> None:
        tally = self.tally
        health = wire.FacesHealth(
            ready=bool(self._contract),
            contract=self._contract,
            crops=tally.crops,
            faces=tally.faces,
            embeddings=tally.embeddings,
            stale=self.stale,
            busy_ms=round(self.busy_ms, 1),
        )
        await self._tell(health)

    async def _tell(self, message: wire.FromFaces) -> None:
        if self._worker is None:
            return
        try:
            await wire.write(self._worker, message)
        except ConnectionError as error:
            log.debug("the worker is gone: %s", error)


async def _at_most(event: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return


def main(argv: list[str] | None = None) -> int:
    """Run the face process until it is told to stop: `python -m edge faces`."""
    parser = argparse.ArgumentParser(prog="python -m edge faces", description=main.__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen at")
    parser.add_argument("--cache-dir", type=Path, required=True, help="folder of the converted networks")
    parser.add_argument("--threads", type=int, default=1, help="threads that the networks may use")
    parser.add_argument("--models", default="{}", metavar="JSON", help="networks of one's own")
    parser.add_argument("--log-style", choices=("text", "json"), default="text")
    parser.add_argument("--log-level", default="info")
    given = parser.parse_args(argv)
    set_up_logging("faces", level=given.log_level, style=given.log_style)
    try:
        own = read_own_models(given.models)
    except (InvalidInput, ModelFileError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    cv2.setNumThreads(given.threads)  # the liveness check's optical flow would take every core
    process = FaceProcess(load=lambda: FacePipeline(cache_dir=given.cache_dir, threads=given.threads, own=own))
    try:
        return run(lambda: process.run(given.socket))
    except* ModelFileError as group:
        told = "; ".join(str(error) for error in group.exceptions)
        log.error("no face is looked at: %s", told)  # noqa: TRY400 - the sentence says it, a trace says no more
    return 2


if __name__ == "__main__":
    sys.exit(main())
