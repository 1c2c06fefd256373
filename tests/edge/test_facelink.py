"""The worker's side of the face process: what waits for one that goes away is told at once, and it goes on with the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from edge import wire
from edge.facelink import FaceLink
from models.errors import Conflict, DeviceUnreachable
from models.recognition import FaceQuality
from tests.edge.doubles import until


def sighting(door_id: str) -> wire.FaceSighting:
    quality = FaceQuality(
        face_px=80, eye_px=40.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
    )
    return wire.FaceSighting(
        door_id=door_id, camera_id="c1", track_id="t", frame_no=1, captured_at=1.0, age_ms=1.0, first_usable_at=1.0,
        embedding=b"", contract="m", quality=quality, box=(0.0, 0.0, 80.0, 80.0),
    )  # fmt: skip


def attend(*, until: float = 200.0, enrol: bool = False) -> wire.Attend:
    return wire.Attend(door_id="d1", camera_id="c1", until=until, enrol=enrol)


@asynccontextmanager
async def face_process(socket: Path, *, answers: bool) -> AsyncIterator[list[wire.ToFaces]]:
    """Run a face process that is ready, and answers photos or goes away over them."""
    heard: list[wire.ToFaces] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.write(writer, wire.FacesHealth(ready=True, contract="m"))
        while (message := await wire.read(reader, wire.to_faces)) is not None:
            heard.append(message)
            if isinstance(message, wire.Attend):
                await wire.write(writer, sighting(message.door_id))
                told = wire.FaceUnusable(door_id=message.door_id, camera_id="c1", reason="blurred", captured_at=1.0)
                await wire.write(writer, told)
            if isinstance(message, wire.TakePicture):
                await wire.write(writer, wire.Picture(request_id=message.request_id, ok=True, jpeg=b"jpeg"))
            if isinstance(message, wire.EmbedPhoto):
                if not answers:
                    break
                face = np.ones(128, "<f4").tobytes()
                await wire.write(writer, wire.PhotoFace(request_id=message.request_id, ok=True, embedding=face))
        writer.close()

    server = await asyncio.start_unix_server(serve, path=str(socket))
    try:
        yield heard
    finally:
        server.close()
        await server.wait_closed()


async def test_a_photo_is_answered_and_one_that_kills_the_process_is_told_at_once(tmp_path: Path) -> None:
    link = FaceLink(tmp_path / "faces.sock")
    with pytest.raises(DeviceUnreachable):
        await link.run(lambda: None)
    async with face_process(link.socket, answers=True):
        running = asyncio.create_task(link.run(lambda: None))
        await until(lambda: link.ready)
        assert (await link.photo(b"photo", request_id="r1")).ok
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not link.ready
    link.socket.unlink(missing_ok=True)
    async with face_process(link.socket, answers=False):
        running = asyncio.create_task(link.run(lambda: None))
        await until(lambda: link.ready)
        async with asyncio.timeout(5):
            with pytest.raises(DeviceUnreachable, match="went away"):
                await link.photo(b"photo", request_id="r2")
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended, DeviceUnreachable)


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[FaceLink, list[wire.ToFaces]]]:
    """Have a link at 100 s to a face process that sees somebody whenever it is asked to look."""
    link = FaceLink(folder / "faces.sock", now=lambda: 100.0)
    async with face_process(link.socket, answers=True) as heard:
        running = asyncio.create_task(link.run(lambda: None))
        await until(lambda: link.ready)
        yield link, heard
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_picture_is_answered_and_its_masks_are_told(tmp_path: Path) -> None:
    async with linked(tmp_path) as (link, heard):
        masks = ((0.0, 0.0, 0.5, 0.5),)
        assert (await link.picture("c1", masks=masks, request_id="r1")).jpeg == b"jpeg"
        assert heard[-1] == wire.TakePicture(request_id="r1", camera_id="c1", masks=masks)


async def test_who_takes_a_door_hears_it_alone_and_what_was_asked_before_goes_on_afterwards(tmp_path: Path) -> None:
    async with linked(tmp_path) as (link, heard):
        attention: list[wire.FaceSighting | wire.FaceUnusable] = []
        taken: list[wire.FaceSighting | wire.FaceUnusable] = []
        link.on_sighting = link.on_unusable = attention.append
        link.attend(attend())
        await until(lambda: len(attention) == 2)
        link.take("d1", taken.append)
        with pytest.raises(Conflict):
            link.take("d1", taken.append)
        link.attend(attend(enrol=True))
        link.attend(attend(until=210.0))
        await until(lambda: len(taken) == 2)
        assert len(attention) == 2, "an act at the door while somebody is enrolled there is not looked at"
        link.release("d1")
        link.release("d1")
        await until(lambda: len(attention) == 4)
        asked = [message for message in heard if isinstance(message, wire.Attend | wire.Ignore)]
        ignored = wire.Ignore(door_id="d1")
        assert asked == [attend(), ignored, attend(enrol=True), ignored, attend(until=210.0)]


@pytest.mark.parametrize("ended", ["by itself", "by its door"])
async def test_an_attention_that_ended_while_the_door_was_taken_is_not_asked_again(tmp_path: Path, ended: str) -> None:
    async with linked(tmp_path) as (link, heard):
        link.attend(attend(until=100.0 if ended == "by itself" else 200.0))
        link.take("d1", lambda _: None)
        if ended == "by its door":
            link.ignore("d1")
        link.release("d1")
        assert (await link.photo(b"photo", request_id="r1")).ok
        assert [type(message) for message in heard] == [wire.WorkerHello, wire.Attend, wire.Ignore, wire.EmbedPhoto]
