"""A still goes from the face process straight to the gateway: never without its faces hidden, never over a file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from starlette.responses import Response

from config.process import Backoff, keep_running
from edge import wire
from edge.clock import SteadyClock
from edge.facelink import FaceLink
from edge.stills import MOST_BYTES, Stills
from models.link import TakeStill
from models.places import Camera, CameraRegister
from tests.edge.doubles import EDGE, now, policy
from tests.edge.gateway_double import GatewayDouble
from tests.edge.linked import linked

JPEG = b"\xff\xd8\xff\xe0 a picture whose faces are hidden"
MASK = (0.0, 0.0, 0.5, 0.2)
ENTRY = CameraRegister(
    purpose="the gate", place_class="community_common", sign_confirmed_on=date(2026, 1, 1), banned_area_checked=True,
    privacy_masks=(MASK,),
)  # fmt: skip


def camera(camera_id: str, **more: object) -> Camera:
    about = {"site_id": "s1", "name": "C", "edge_id": EDGE, "url": "rtsp://192.0.2.1/s", "register": ENTRY}
    return Camera(id=camera_id, **(about | {"door_id": "d1"} | more))  # type: ignore[arg-type]


CAMERAS = (camera("c1"), camera("hall", door_id=None), camera("off", register=None))


@dataclass
class Studio:
    """Stills over a real socket and a real link: what was asked of the face process, and how it answers."""

    stills: Stills
    gateway: GatewayDouble
    picture: wire.Picture = field(default_factory=lambda: wire.Picture(request_id="", ok=True, jpeg=JPEG, faces=2))
    asked: list[wire.TakePicture] = field(default_factory=list)

    async def take(self, camera_id: str = "c1") -> tuple[str, str | None]:
        order = TakeStill(id=f"o-{camera_id}", camera_id=camera_id, deadline=now() + timedelta(seconds=10))
        result = await self.stills.take(order)
        assert result.media_id == (order.id if result.state == "confirmed" else None)
        return result.state, result.reason


@contextlib.asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    made: Studio

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.write(writer, wire.FacesHealth(ready=True, contract="m"))
        while (message := await wire.read(reader, wire.to_faces)) is not None:
            if isinstance(message, wire.TakePicture):
                made.asked.append(message)
                told = made.picture
                answer = wire.Picture(
                    request_id=message.request_id, ok=told.ok, reason=told.reason, jpeg=told.jpeg, faces=told.faces
                )
                await wire.write(writer, answer)
        writer.close()

    link = FaceLink(folder / "faces.sock")
    server = await asyncio.start_unix_server(serve, path=str(link.socket))
    async with GatewayDouble(policy()) as gateway, linked(folder, gateway, start=False) as side:
        stills = Stills(clock=SteadyClock(), channel=side.channel, link=link, cameras=lambda: CAMERAS)
        made = Studio(stills=stills, gateway=gateway)
        running = asyncio.create_task(keep_running("link", link.run, backoff=Backoff(first_s=0.01)))
        yield made
        running.cancel()
    server.close()


async def test_a_still_reaches_the_gateway_with_its_masks_applied_and_leaves_no_file(tmp_path: Path) -> None:
    async with studio(tmp_path) as made:
        assert await made.take() == ("confirmed", None)
        about, content = made.gateway.media["o-c1"]
        assert (content, about["camera"], about["blurred"], about["type"]) == (JPEG, "c1", "yes", "image/jpeg")
        assert [(one.camera_id, one.masks) for one in made.asked] == [("c1", (MASK,))]
        left = [path.name for path in tmp_path.rglob("*") if path.is_file() and JPEG in path.read_bytes()]
        assert left == []


@pytest.mark.parametrize(
    ("camera_id", "reason"), [("c9", "unknown_camera"), ("off", "unknown_camera"), ("hall", "no_door")]
)
async def test_a_camera_that_is_not_ours_or_not_on_gives_none(tmp_path: Path, camera_id: str, reason: str) -> None:
    async with studio(tmp_path) as made:
        assert await made.take(camera_id) == ("refused", reason)
        assert made.asked == []


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (wire.Picture(request_id="", ok=False, reason="unblurrable"), "unblurrable"),
        (wire.Picture(request_id="", ok=False, reason="unblurrable", jpeg=JPEG), "unblurrable"),
        (wire.Picture(request_id="", ok=True, jpeg=b""), "unusable"),
        (wire.Picture(request_id="", ok=True, jpeg=b"x" * (MOST_BYTES + 1)), "unusable"),
    ],
)
async def test_what_cannot_be_hidden_is_not_sent(tmp_path: Path, picture: wire.Picture, reason: str) -> None:
    async with studio(tmp_path) as made:
        made.picture = picture
        assert await made.take() == ("failed", reason)
        assert made.gateway.media == {}


async def test_a_gateway_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    async with studio(tmp_path) as made:
        for status in (503, 413):
            answer = Response(status_code=status)
            made.gateway.fail = partial(_always, answer)
            assert await made.take() == ("failed", "not_sent")


def _always(answer: Response, *_asked: object) -> Response:
    return answer
