"""The simulated device over HTTP: who may ask, what is refused, how it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from drivers.onvif.simauth import Access
from drivers.onvif.simcall import ELSEWHERE, FAULTS
from drivers.onvif.simcertificate import Certificate
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simhttp import MAX_CONNECTIONS, MAX_HEAD_BYTES, BadRequest, read_request
from drivers.onvif.simserver import BOMB, EXTERNAL, HANDLERS, HUGE_BYTES, SimulatedOnvif
from drivers.onvif.simsoap import MAX_REQUEST_BYTES, NAMESPACES, SoapFault, envelope, parse, tag
from drivers.onvif.simulator import Order, obey
from models.errors import InvalidInput
from tests.drivers.contract import now
from tests.drivers.onvif.asking import PASSWORD, USER, Client, asking, soap, username_token, values

WHO = "<tds:GetDeviceInformation/>"
TIME = "<tds:GetSystemDateAndTime/>"
DENIED = ["s:Sender", "ter:NotAuthorized"]


async def raw(client: Client, content: bytes) -> bytes:
    """Send bytes and return everything that comes until the device closes."""
    reader, writer = await asyncio.open_connection(*client.unit.address)
    try:
        writer.write(content)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("digest", ["md5", "sha256", "both"])
async def test_a_digest_is_enough_by_each_hash(digest: str) -> None:
    async with asking(digest=digest) as client:
        assert values(await client.ask(WHO), "tds:SerialNumber") == ["SIM-0001"]


async def test_a_username_token_is_enough() -> None:
    async with asking() as client:
        assert values(await client.ask(WHO, header=username_token(now()), auth=False), "tds:Model")


async def test_time_and_services_are_told_to_anybody_and_nothing_else_is() -> None:
    async with asking() as client:
        for body in (TIME, "<tds:GetServices/>", "<tds:GetCapabilities/>"):
            assert (await client.send(soap(body), auth=False)).status_code == 200
        for name in HANDLERS:
            answer = await client.send(soap(f"<{name}/>"), auth=False)
            told = {"tds:GetSystemDateAndTime", "tds:GetServices", "tds:GetCapabilities", "tds:GetHostname"}
            told |= {"tds:GetServiceCapabilities", "tds:GetEndpointReference"}
            assert (answer.status_code == 401) == (name not in told), name


async def test_a_wrong_password_is_refused_both_ways() -> None:
    async with asking() as client:
        wrong = httpx.DigestAuth("edge", "wrong")
        url = f"{client.unit.origin}/onvif/device_service"
        assert (await client.http.post(url, content=soap(WHO), auth=wrong)).status_code == 401
        header = username_token(now(), password="wrong")
        assert await client.fault(WHO, header=header, auth=False) == (400, DENIED)


async def test_a_proof_is_good_once() -> None:
    async with asking() as client:
        url = f"{client.unit.origin}/onvif/device_service"
        first = await client.http.post(url, content=soap(WHO), auth=httpx.DigestAuth("edge", 'gate "& <7> ü'))
        assert first.status_code == 200
        again = await client.http.post(
            url, content=soap(WHO), headers={"Authorization": first.request.headers["authorization"]}
        )
        assert again.status_code == 401
        assert "stale=true" in again.headers["www-authenticate"]


async def test_a_token_of_another_hour_is_refused_until_the_offset_is_heeded() -> None:
    async with asking() as client:
        client.unit.misbehave("clock_hour_off", on=True)
        assert await client.fault(WHO, header=username_token(now()), auth=False) == (400, DENIED)
        told = await client.ask(TIME, auth=False)
        hour = int(values(told, "tt:UTCDateTime/tt:Time/tt:Hour")[0])
        assert (hour - datetime.now(UTC).hour) % 24 in {0, 1, 2}
        later = now() + timedelta(hours=1)
        assert values(await client.ask(WHO, header=username_token(later), auth=False), "tds:Model")


async def test_a_device_takes_only_the_proof_that_it_says() -> None:
    async with asking() as client:
        client.unit.misbehave("digest_only", on=True)
        assert (await client.send(soap(WHO, username_token(now())), auth=False)).status_code == 401
        await client.ask(WHO)
        client.unit.misbehave("digest_only", on=False)
        client.unit.misbehave("wss_only", on=True)
        assert await client.fault(WHO) == (400, DENIED)
        await client.ask(WHO, header=username_token(now(), nonce=b"another"), auth=False)


async def test_an_unknown_operation_is_refused_as_such() -> None:
    async with asking() as client:
        assert await client.fault("<tds:FormatDisk/>") == (500, ["s:Receiver", "ter:ActionNotSupported"])
        assert await client.fault('<x xmlns="urn:of:nobody"/>') == (500, ["s:Receiver", "ter:ActionNotSupported"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GET",
        b"<a/>",
        b"\xff\xfe",
        BOMB,
        EXTERNAL,
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a"><a/>',
        soap(""),
        soap("<a/><b/>"),
        b"<a>" * 5000,
        b"<a>" + b"<b/>" * 6000 + b"</a>",
        b"<s:Envelope/>",
    ],
)
async def test_what_is_no_envelope_is_answered_400(content: bytes) -> None:
    async with asking() as client:
        answer = await client.send(content)
        assert (answer.status_code, values(etree.fromstring(answer.content), "s:Value")[0]) == (400, "s:Sender")
        await client.ask(WHO)


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_whatever_comes_is_an_element_or_a_fault(content: bytes) -> None:
    refused: tuple[str, ...] = ()
    root = None
    try:
        root = parse(content)
    except SoapFault as fault:
        refused = fault.subcodes
    assert (root is None) == (refused == ("ter:WellFormed",))


@given(st.text(max_size=200), st.text(max_size=200))
def test_every_text_arrives_as_it_was_but_for_what_xml_cannot_say(content: str, attribute: str) -> None:
    root = parse(envelope(tag("tt:Name", content, token=attribute)))
    found = root.find(".//{*}Name")
    assert found is not None

    def sayable(text: str) -> str:
        kept = "".join(
            c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
        )
        return kept.replace("\r\n", "\n").replace("\r", "\n")

    kept = [c for c in content if not "\ud800" <= c <= "\udfff"]
    assert (found.text or "") == sayable("".join(kept))
    assert found.get("token", "").split() == sayable(attribute).split()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"POST /onvif/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /onvif/x HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", b"413"),
        (b"POST /onvif/x HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST /onvif/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /onvif/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_REQUEST_BYTES + 1), b"413"),
        (b"POST /onvif/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1), b"431"),
        (b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 70 + b"\r\n", b"400"),
        (b"GET /other HTTP/1.1\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /onvif/device_service HTTP/1.1\r\nConnection: close\r\n\r\n", b"405"),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(content: bytes, status: bytes) -> None:
    async with asking() as client:
        assert (await raw(client, content)).split()[1] == status


class Nowhere:
    """A writer whose bytes are kept."""

    def __init__(self) -> None:
        self.kept = b""

    def write(self, data: bytes) -> None:
        self.kept += data


HEADS = st.sampled_from(
    [
        b"POST /onvif/x HTTP/1.1\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
    ]
)


@given(st.lists(HEADS | st.binary(max_size=40), max_size=8).map(b"".join))
async def test_whatever_comes_over_http_is_a_request_or_refused(content: bytes) -> None:
    reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
    reader.feed_data(content)
    reader.feed_eof()
    status = 0
    request = None
    with contextlib.suppress(EOFError):
        try:
            request = await read_request(reader, Nowhere(), max_body=1000)  # type: ignore[arg-type]
        except BadRequest as refused:
            status = refused.status
    assert status in {0, 400, 413, 431}
    if request is not None:
        assert len(request.body) <= len(content)
        assert content.startswith(request.method.encode("latin-1"))


async def test_a_chunked_request_is_read() -> None:
    content = soap(TIME)
    head = b"POST /onvif/device_service HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    async with asking() as client:
        answer = await raw(client, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
        assert b"GetSystemDateAndTimeResponse" in answer


async def test_more_connections_than_it_holds_are_cut_and_come_back_later() -> None:
    async with asking() as client:
        held = [await asyncio.open_connection(*client.unit.address) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection(*client.unit.address)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, other in (*held, (reader, writer)):
            other.close()
        async with asyncio.timeout(5):
            while True:
                try:
                    await client.ask(WHO)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.01)


async def test_a_picture_wants_a_digest_and_is_black_while_covered() -> None:
    async with asking() as client:
        url = f"{client.unit.origin}/onvif/snapshot"
        assert (await client.http.get(url)).status_code == 401
        sizes = []
        for covered in (False, True):
            client.unit.device.senses["cover"] = covered
            answer = await client.http.get(url, auth=httpx.DigestAuth("edge", 'gate "& <7> ü'))
            assert answer.content.startswith(b"\xff\xd8")
            sizes.append(len(answer.content))
        assert sizes[0] > 2 * sizes[1]


async def test_each_misbehaviour_that_spoils_answers_does_and_ends() -> None:
    async with asking() as client:
        for fault, shown in (("garbage", b"<s:Bo"), ("bomb", b"ENTITY a8"), ("external_entity", b"file:///")):
            client.unit.misbehave(fault, on=True)  # type: ignore[arg-type]
            assert shown in (await client.send(soap(WHO))).content
            client.unit.misbehave(fault, on=False)  # type: ignore[arg-type]
        await client.ask(WHO)


async def test_a_huge_answer_does_not_say_how_long_it_is() -> None:
    async with asking() as client:
        client.unit.misbehave("huge", on=True)
        url = f"{client.unit.origin}/onvif/device_service"
        async with client.http.stream("POST", url, content=soap(TIME)) as answer:
            assert "content-length" not in answer.headers
            got = 0
            async for piece in answer.aiter_bytes():
                got += len(piece)
                if got > HUGE_BYTES // 4:
                    break
        assert got > HUGE_BYTES // 4


async def test_a_silent_device_answers_when_it_speaks_again() -> None:
    async with asking() as client:
        client.unit.misbehave("silent", on=True)
        waiting = asyncio.create_task(client.ask(WHO))
        await client.unit.until(lambda: client.unit.requests == 1)
        assert not waiting.done()
        client.unit.misbehave("silent", on=False)
        assert values(await waiting, "tds:SerialNumber")


async def test_a_rebooting_device_is_away_and_comes_back() -> None:
    async with asking() as client:
        client.unit.reboot(for_s=0.2)
        with pytest.raises(httpx.TransportError):
            await client.ask(WHO)
        await client.unit.until(lambda: not client.unit.away)
        await client.ask(WHO)


async def test_a_wrong_host_is_told_in_every_address() -> None:
    async with asking() as client:
        client.unit.misbehave("wrong_host", on=True)
        services = await client.ask("<tds:GetServices/>")
        subscription = await client.ask("<tev:CreatePullPointSubscription/>", path="/onvif/event_service")
        stream = await client.ask("<trt:GetStreamUri><trt:ProfileToken>sub</trt:ProfileToken></trt:GetStreamUri>")
        told = [*values(services, "tds:XAddr"), *values(subscription, "wsa:Address"), *values(stream, "tt:Uri")]
        assert len(told) >= 10
        assert all(f"//{ELSEWHERE}:" in address for address in told)


async def test_a_device_of_relays_names_no_doors_and_has_none() -> None:
    device = SimulatedDevice(Identity(), relays_only=True)
    unit = SimulatedOnvif(device, access=Access(user=USER, password=PASSWORD), now=now, rng=random.Random(4))
    async with asking(unit=unit) as client:
        told = values(await client.ask("<tds:GetServices/>"), "tds:Namespace")
        assert not [namespace for namespace in told if "doorcontrol" in namespace or "accesscontrol" in namespace]
        scopes = values(await client.ask("<tds:GetScopes/>"), "tt:ScopeItem")
        assert not {scope for scope in scopes if scope.endswith(("Profile/C", "Profile/D"))}
        for name in ("tdc:GetDoorInfoList", "tac:GetAccessPointInfoList"):
            assert (await client.fault(f"<{name}/>"))[1] == ["s:Receiver", "ter:ActionNotSupported"]
        inputs = (await client.ask("<tmd:GetDigitalInputs/>")).findall(".//tmd:DigitalInputs", NAMESPACES)
        assert {element.get("token") for element in inputs} == {"gate-exit", "gate-call", "gate-contact"}
        for order in (Order(act="card", value="17"), Order(act="duress")):
            assert not (await obey(unit, order)).ok


async def test_a_device_that_lies_has_doors_that_it_does_not_name_and_no_media2() -> None:
    async with asking() as client:
        client.unit.misbehave("lies_capabilities", on=True)
        told = values(await client.ask("<tds:GetServices/>"), "tds:Namespace")
        assert "http://www.onvif.org/ver20/media/wsdl" in told
        assert not [namespace for namespace in told if "doorcontrol" in namespace]
        assert (await client.fault("<tr2:GetProfiles/>"))[1] == ["s:Receiver", "ter:ActionNotSupported"]
        await client.ask("<tdc:GetDoorInfoList/>")


async def test_a_certificate_is_kept_and_may_expire(tmp_path: Path) -> None:
    first = Certificate(tmp_path / "tls", host="127.0.0.1", now=now())
    again = Certificate(tmp_path / "tls", host="127.0.0.1", now=now())
    assert first.fingerprint == again.fingerprint
    assert (tmp_path / "tls" / "device.pem").stat().st_mode & 0o077 == 0
    async with asking() as plain:
        unit = plain.unit
    unit.certificate = again
    async with asking(unit=unit) as client:
        await client.ask(WHO)
        unit.misbehave("expired_certificate", on=True)
        trusting = ssl.create_default_context(cadata=again.pem.decode())
        async with httpx.AsyncClient(verify=trusting, trust_env=False) as stranger:
            with pytest.raises(httpx.ConnectError, match="expired"):
                await stranger.get(unit.origin)
            unit.misbehave("expired_certificate", on=False)
            assert (await stranger.get(unit.origin)).status_code == 404


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "device.pem").write_text("no certificate")
    with pytest.raises(InvalidInput, match="--tls-dir"):
        Certificate(tmp_path, host="127.0.0.1", now=now())


def test_every_misbehaviour_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "onvif-simulator.md").read_text()
    assert [fault for fault in FAULTS if f"`{fault}`" not in page] == []
