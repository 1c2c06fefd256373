"""Bytes over the link: relays once, bounded and whole or not at all; uploads streamed, digested and taken once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from edge.channel import Upload
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput, NotFound
from models.link import MAX_PHOTO_BYTES, RELAY_MESSAGE_BYTES
from tests.edge.doubles import now, policy
from tests.edge.gateway_double import GatewayDouble
from tests.edge.linked import linked

BIG = bytes(range(256)) * 1000


async def test_a_ticket_leads_to_its_bytes_once(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.photos = {"t1": BIG, "exact": b"x" * RELAY_MESSAGE_BYTES, "none": b""}
        assert await side.relay.fetch("t1", limit_bytes=MAX_PHOTO_BYTES) == BIG
        assert await side.relay.fetch("exact", limit_bytes=RELAY_MESSAGE_BYTES) == b"x" * RELAY_MESSAGE_BYTES
        assert await side.relay.fetch("none", limit_bytes=1) == b""
        with pytest.raises(NotFound):
            await side.relay.fetch("t1", limit_bytes=MAX_PHOTO_BYTES)


async def test_more_than_the_reader_allows_is_refused_while_it_comes(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.photos = {"t": b"x" * (MAX_PHOTO_BYTES + 1)}
        with pytest.raises(InvalidInput):
            await side.relay.fetch("t", limit_bytes=MAX_PHOTO_BYTES)


@pytest.mark.parametrize("ticket", ["", "../policy", "a/b", "a?b", "\u00e9", "x" * 300])
async def test_a_ticket_leads_nowhere_else(tmp_path: Path, ticket: str) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        with pytest.raises(InvalidInput):
            await side.relay.fetch(ticket, limit_bytes=10)


async def test_what_is_cut_off_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    async with GatewayDouble(policy(), torn=True) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.photos = {"t": BIG}
        gateway.relayed = {"up": b""}
        with pytest.raises(DeviceUnreachable):
            await side.relay.fetch("t", limit_bytes=MAX_PHOTO_BYTES)
        with pytest.raises(DeviceUnreachable):
            await side.relay.send("up", BIG)


async def test_what_is_sent_arrives_in_short_messages(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.relayed = {"up": b""}
        await side.relay.send("up", BIG)
        assert gateway.relayed["up"] == BIG
        with pytest.raises(NotFound):
            await side.relay.send("unknown", BIG)


async def test_a_wrong_clock_is_learnt_at_the_handshake(tmp_path: Path) -> None:
    async with GatewayDouble(policy(), clock_ahead_s=7200.0) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.photos = {"t": b"photo"}
        assert await side.relay.fetch("t", limit_bytes=10) == b"photo"
        gateway.public_key = None
        with pytest.raises(DeviceUnreachable):
            await side.relay.fetch("t", limit_bytes=10)


async def test_a_gateway_that_is_away_is_said(tmp_path: Path) -> None:
    gateway = GatewayDouble(policy())
    async with gateway, linked(tmp_path, gateway, start=False) as side:
        relay, channel = side.relay, side.channel
        await gateway.__aexit__()
        with pytest.raises(DeviceUnreachable):
            await relay.fetch("t", limit_bytes=10)
        (tmp_path / "clip.mp4").write_bytes(b"film")
        with pytest.raises(DeviceUnreachable):
            await channel.upload(clip(), tmp_path / "clip.mp4")


def clip(media_id: str = "m1") -> Upload:
    return Upload(id=media_id, camera_id="c1", at=now(), kind="video/mp4", blurred=True, fact_id="f1")


async def test_a_file_is_uploaded_with_what_it_is_about_and_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(BIG)
    async with GatewayDouble(policy(), clock_ahead_s=7200.0) as gateway, linked(tmp_path, gateway, start=False) as side:
        media = clip()
        assert await side.channel.upload(media, file)
        assert not await side.channel.upload(media, file)
        about, content = gateway.media["m1"]
        assert content == BIG
        assert about == {
            "id": "m1", "camera": "c1", "at": media.at.isoformat(), "blurred": "yes", "fact": "f1", "type": "video/mp4",
        }  # fmt: skip
        file.write_bytes(b"another film")
        with pytest.raises(DeviceRefused):
            await side.channel.upload(media, file)


async def test_files_that_are_empty_or_too_long_are_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    picture = Upload(id="m2", camera_id="c1", at=now() - timedelta(minutes=1), kind="image/jpeg", blurred=False)
    assert "fact=" not in picture.target
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        for content in (b"", b"x" * (MAX_PHOTO_BYTES + 1)):
            file.write_bytes(content)
            with pytest.raises(InvalidInput):
                await side.channel.upload(picture, file)
        assert gateway.media == {}


async def test_a_busy_gateway_gets_the_file_again_later(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(BIG)

    def busy(request: HttpRequest, _body: bytes) -> Response | None:
        return Response(status_code=503) if request.url.path == "/edge/v1/media" else None

    async with GatewayDouble(policy(), fail=busy) as gateway, linked(tmp_path, gateway, start=False) as side:
        with pytest.raises(DeviceUnreachable):
            await side.channel.upload(clip(), file)
        gateway.fail = lambda _request, _body: None
        assert await side.channel.upload(clip(), file)
