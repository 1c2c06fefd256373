"""The local wire: every message comes back as it was, and what is none is refused at the rim."""

from __future__ import annotations

import asyncio

import pytest

from edge import wire
from models.errors import InvalidInput
from models.recognition import FaceQuality

QUALITY = FaceQuality(
    face_px=120, eye_px=50.0, blur=90.0, brightness=120.0, contrast=40.0, yaw=0.1, roll_deg=2.0, inside=1.0
)
CROP = wire.Crop(
    camera_id="gate",
    frame_no=7,
    captured_at=1e9,
    age_ms=12.0,
    x=2,
    y=4,
    w=160,
    h=160,
    cols=2,
    rows=1,
    frame_w=640,
    frame_h=360,
    pixels=b"rgbrgb",
)


def _reader(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def test_messages_come_back_as_they_were() -> None:
    to_faces: list[wire.ToFaces] = [
        wire.EyeHello(camera_id="gate"),
        CROP,
        wire.WorkerHello(),
        wire.Attend(door_id="d", camera_id="gate", until=2e9, near_zone=(0.2, 0, 0.8, 1)),
        wire.Ignore(door_id="d"),
        wire.EmbedPhoto(request_id="1", image=b"\xff\xd8"),
    ]
    reader = _reader(b"".join(map(wire.frame, to_faces)))
    for message in to_faces:
        assert await wire.read(reader, wire.to_faces) == message
    assert await wire.read(reader, wire.to_faces) is None
    sighting = wire.FaceSighting(
        door_id="d",
        camera_id="gate",
        track_id="t",
        frame_no=7,
        captured_at=1e9,
        age_ms=1.0,
        first_usable_at=1e9,
        embedding=bytes(512),
        contract="c",
        quality=QUALITY,
        box=(1, 2, 3, 4),
    )
    photo = wire.PhotoFace(request_id="1", ok=True, embedding=bytes(512), contract="c", quality=QUALITY)
    reader = _reader(wire.frame(sighting) + wire.frame(photo) + wire.frame(wire.FacesHealth(ready=True, contract="c")))
    assert await wire.read(reader, wire.from_faces) == sighting
    assert await wire.read(reader, wire.from_faces) == photo


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", wire.frame(wire.Credit()), b"\0\0\0\2{}", b"\0\0\0\5\x81\xa2\xc3(\x01"],
)
async def test_what_is_no_message_for_this_side_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        await wire.read(_reader(data), wire.to_faces)


async def test_half_a_message_is_the_end() -> None:
    assert await wire.read(_reader(wire.frame(CROP)[:-1]), wire.to_faces) is None


def test_a_message_above_the_bound_is_not_sent() -> None:
    with pytest.raises(InvalidInput, match="exceeds"):
        wire.frame(wire.EmbedPhoto(request_id="1", image=bytes(wire.MAX_MESSAGE_BYTES)))
