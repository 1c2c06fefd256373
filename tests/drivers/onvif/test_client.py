"""The SOAP client against a server that lies, stalls, floods and redirects: bounded, clear, and no secret given away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lxml import etree

from drivers.onvif import contracts
from drivers.onvif.client import OnvifClient
from drivers.onvif.endpoint import endpoint_of
from drivers.onvif.media import Media
from drivers.onvif.security import WSSE, WSU, username_token
from drivers.onvif.soap import Fault, unpack
from drivers.onvif.transport import Transport, Unanswered
from models.errors import DeviceUnreachable, GatehouseError, InvalidInput
from tests.drivers.contract import now
from tests.drivers.onvif.rigs import running, simulated

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve one answer to everybody; yield the address and what was received."""
    received: list[bytes] = []
    talking: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            received.append(await reader.read(65536))
            await answer(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/onvif/device_service", received
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


def saying(head: bytes, body: bytes = b"", *, times: int = 1) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n")
        for _ in range(times):
            writer.write(body)
            await writer.drain()

    return answer


async def stalling(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<")
    for _ in range(100):
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.2)


async def ask(url: str, **changes: Any) -> Any:
    endpoint = endpoint_of({"url": url, "user": "edge", "password": "hunter2", "timeout_s": 0.5, **changes})
    async with asyncio.timeout(5), Transport(endpoint) as transport:
        return await transport.post(url, b"<a/>", content_type="text/xml", limit_s=0.5, max_bytes=65536)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (saying(b"200 OK", b"x" * 65536, times=64), InvalidInput),
        (saying(b"200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b"), InvalidInput),
        (saying(b"banana"), GatehouseError),
        (saying(b"401 No\r\nWWW-Authenticate: Digest realm=x, nonce=y, qop=auth-int"), GatehouseError),
        (saying(b"200 OK\r\nX: " + b"y" * 300_000), GatehouseError),
        (saying(b"200 OK\r\nContent-Length: 100", b"short"), Unanswered),
        (stalling, Unanswered),
    ],
    ids=["flood", "compressed", "nonsense", "digest", "headers", "cut", "stall"],
)
async def test_a_bad_answer_is_one_clear_error_within_the_limit(answer: Answer, error: type[Exception]) -> None:
    async with hostile(answer) as (url, _):
        with pytest.raises(error) as caught:
            await ask(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "challenge",
    [b'Basic realm="x"', b"Digest realm=x, nonce=y, algorithm=MD4", b"Negotiate", b"Digest"],
)
async def test_the_password_answers_no_weak_or_unknown_challenge(challenge: bytes) -> None:
    async with hostile(saying(b"401 No\r\nWWW-Authenticate: " + challenge)) as (url, received):
        with contextlib.suppress(GatehouseError):
            assert (await ask(url)).status == 401
    assert len(received) == 1
    assert b"uthorization" not in b"".join(received)


async def test_a_redirect_is_not_followed() -> None:
    async with hostile(saying(b"200 OK", b"stolen")) as (elsewhere, visited):
        head = b"302 Found\r\nLocation: " + elsewhere.encode()
        async with hostile(saying(head)) as (url, _):
            assert (await ask(url)).status == 302
    assert visited == []


async def test_nobody_at_the_address_means_that_nothing_was_sent() -> None:
    async with hostile(stalling) as (url, _):
        pass
    with pytest.raises(DeviceUnreachable) as caught:
        await ask(url)
    assert not isinstance(caught.value, Unanswered)


async def test_the_token_is_the_profiles_own_example() -> None:
    """ONVIF Core, 5.9.4 and the OASIS profile: SHA-1 of nonce, time and password."""
    nonce = base64.b64decode("LKqI6G/AikKCQrN0zqZFlg==")
    created = datetime(2010, 9, 16, 7, 50, 45, tzinfo=UTC)
    header = username_token("user", "userpassword", created=created, nonce=nonce)
    told = header.findtext(f".//{{{WSSE}}}Password")
    stamp = header.findtext(f".//{{{WSU}}}Created") or ""
    assert stamp == "2010-09-16T07:50:45.000Z"
    wanted = hashlib.sha1(nonce + stamp.encode() + b"userpassword", usedforsecurity=False).digest()
    assert told == base64.b64encode(wanted).decode()
    assert b"userpassword" not in etree.tostring(header)


async def test_the_clock_is_measured_in_the_devices_own_time() -> None:
    unit = simulated()
    unit.faults.add("clock_hour_off")
    async with running(unit) as site, OnvifClient(site.endpoint(), now=now) as client:
        assert abs(client.offset - timedelta(hours=1)) < timedelta(seconds=2)


async def test_an_operation_that_the_device_does_not_know_is_told_apart() -> None:
    async with running(simulated()) as site, OnvifClient(site.endpoint(), now=now) as client:
        with pytest.raises(Fault) as caught:
            await client.ask("device", "GetUsers")
        assert caught.value.unknown
        with pytest.raises(InvalidInput):
            await client.ask("device", "NoSuchThing")


@pytest.mark.parametrize("second", [True, False])
async def test_cameras_come_by_media2_and_else_by_media(second: bool) -> None:
    unit = simulated()
    if not second:
        unit.faults.add("lies_capabilities")  # it lists Media2 and refuses it
    async with running(unit) as site, OnvifClient(site.endpoint(), now=now) as client:
        media = Media(client)
        (camera,) = await media.cameras()
        assert (camera.source, camera.sub.token, camera.main.token) == ("video-1", "sub", "main")
        assert (camera.sub.width_px, camera.main.width_px, camera.main.codec) == (640, 1920, "h264")
        assert camera.picture_url == f"{unit.origin}/onvif/snapshot"
        assert await media.presets("sub") == {"home": "Home", "gate": "Gate"}


def test_the_files_of_the_services_come_from_the_package_alone() -> None:
    for url in ("http://192.0.2.1/a.wsdl", "/etc/passwd", "../../../etc/passwd"):
        with pytest.raises((InvalidInput, OSError)):
            contracts.Local().load(url)  # type: ignore[no-untyped-call]


def test_an_answer_of_another_shape_is_refused() -> None:
    envelope = unpack(
        b'<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><x/></e:Body></e:Envelope>', where="x"
    )
    with pytest.raises(InvalidInput):
        contracts.answer("door", "GetDoorState", envelope=envelope, where="x")
