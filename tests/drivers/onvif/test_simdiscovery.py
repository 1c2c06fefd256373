"""WS-Discovery of the simulated device: found by the group and at its address, and nobody else's business."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from drivers.onvif.simauth import Access
from drivers.onvif.simcall import ELSEWHERE
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simdiscovery import ACTIONS, GROUP, Announcer, asks_for, discoverable
from drivers.onvif.simserver import SimulatedOnvif
from drivers.onvif.simsoap import NAMESPACES, parse
from tests.drivers.contract import now
from tests.drivers.onvif.asking import DECLARED, Client, asking, values

OWN = ("onvif://www.onvif.org/Profile/C", "onvif://www.onvif.org/name/simulated")


def probe(inside: str = "<d:Types>dn:NetworkVideoTransmitter</d:Types>", message_id: str = "urn:uuid:1") -> bytes:
    header = f"<a:Action>{ACTIONS}/Probe</a:Action><a:MessageID>{message_id}</a:MessageID>"
    body = f"<s:Header>{header}</s:Header><s:Body><d:Probe>{inside}</d:Probe></s:Body>"
    return f"<s:Envelope{DECLARED}>{body}</s:Envelope>".encode()


class Listener(asyncio.DatagramProtocol):
    """Gather datagrams."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.got.put_nowait(data)

    async def next(self, *, limit_s: float = 5.0) -> etree._Element:
        async with asyncio.timeout(limit_s):
            return parse(await self.got.get())


@contextlib.asynccontextmanager
async def listening(group_port: int | None = None) -> AsyncIterator[tuple[Listener, asyncio.DatagramTransport]]:
    """Listen on loopback; with a port, to the group."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.bind((GROUP if group_port else "127.0.0.1", group_port or 0))
    if group_port:
        member = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    sock.setblocking(False)
    transport, listener = await asyncio.get_running_loop().create_datagram_endpoint(Listener, sock=sock)
    try:
        yield listener, transport
    finally:
        transport.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def findable() -> AsyncIterator[tuple[Client, int]]:
    port = free_port()
    async with asking() as client, discoverable(client.unit, host="127.0.0.1", port=port, rng=random.Random(1)):
        yield client, port


@pytest.mark.parametrize("to", ["127.0.0.1", GROUP])
async def test_a_probe_is_answered_with_address_scopes_and_the_same_identity(to: str) -> None:
    async with findable() as (client, port), listening() as (listener, transport):
        transport.sendto(probe(message_id="urn:uuid:mine"), (to, port))
        match = await listener.next()
        assert values(match, "a:RelatesTo") == ["urn:uuid:mine"]
        assert values(match, "d:XAddrs") == [f"{client.unit.origin}/onvif/device_service"]
        assert "onvif://www.onvif.org/Profile/C" in values(match, "d:Scopes")[0].split()
        reference = values(match, "a:EndpointReference/a:Address")
        assert reference == [f"urn:uuid:{client.unit.device.identity.uuid}"]


async def test_it_says_hello_and_bye_and_hello_again_after_a_reboot() -> None:
    port = free_port()
    async with listening(port) as (listener, _), asking() as client:
        async with discoverable(client.unit, host="127.0.0.1", port=port, rng=random.Random(1)):
            assert values(await listener.next(), "d:Hello/d:MetadataVersion") == ["1"]
            client.unit.reboot(for_s=0.05)
            assert values(await listener.next(), "d:Hello/d:MetadataVersion") == ["1"]
        assert len((await listener.next()).findall(".//d:Bye", NAMESPACES)) == 1


async def test_what_is_no_probe_for_it_is_not_answered() -> None:
    junk = [
        b"",
        b"\xff" * 100,
        b"<a/>",
        probe("<d:Types>dn:NetworkVideoDisplay</d:Types>"),
        probe("<d:Scopes>onvif://www.onvif.org/name/another</d:Scopes>"),
        probe("<x>" * 60 + "</x>" * 60 + "y" * 9000),
        probe().replace(b"a:MessageID", b"a:Other"),
        probe().replace(b"d:Probe", b"d:Resolve"),
    ]
    async with findable() as (client, port), listening() as (listener, transport):
        for content in junk:
            transport.sendto(content, ("127.0.0.1", port))
        client.unit.misbehave("wrong_host", on=True)
        transport.sendto(probe(message_id="urn:uuid:last"), ("127.0.0.1", port))
        answer = await listener.next()
        assert values(answer, "a:RelatesTo") == ["urn:uuid:last"], "nothing was answered before"
        assert ELSEWHERE in values(answer, "d:XAddrs")[0]


async def test_a_device_that_is_away_cannot_be_found() -> None:
    async with findable() as (client, port), listening() as (listener, transport):
        client.unit.reboot(for_s=0.2)
        transport.sendto(probe(message_id="urn:uuid:early"), ("127.0.0.1", port))
        await client.unit.until(lambda: not client.unit.away)
        transport.sendto(probe(message_id="urn:uuid:late"), ("127.0.0.1", port))
        assert values(await listener.next(), "a:RelatesTo") == ["urn:uuid:late"]


@pytest.mark.parametrize(
    ("inside", "fits"),
    [
        ("", True),
        ("<d:Types>tds:Device dn:NetworkVideoTransmitter</d:Types>", True),
        ("<d:Types>tds:Device dn:Other</d:Types>", False),
        ("<d:Types>Device</d:Types>", False),
        ("<d:Scopes>onvif://www.onvif.org/Profile</d:Scopes>", True),
        ("<d:Scopes>ONVIF://www.onvif.org/profile/c/</d:Scopes>", True),
        ("<d:Scopes>onvif://www.onvif.org/Prof</d:Scopes>", False),
        ("<d:Scopes>onvif://www.onvif.org/Profile/C onvif://www.onvif.org/Profile/Z</d:Scopes>", False),
        (f'<d:Scopes MatchBy="{ACTIONS}/strcmp0">onvif://www.onvif.org/Profile</d:Scopes>', False),
        (f'<d:Scopes MatchBy="{ACTIONS}/strcmp0">onvif://www.onvif.org/Profile/C</d:Scopes>', True),
        ('<d:Scopes MatchBy="urn:ldap">onvif://www.onvif.org/Profile/C</d:Scopes>', False),
    ],
)
def test_a_probe_means_devices_with_every_type_and_scope_that_it_names(inside: str, fits: bool) -> None:
    found = parse(probe(inside)).find(".//d:Probe", NAMESPACES)
    assert found is not None
    assert asks_for(found, OWN) is fits


UNIT = SimulatedOnvif(SimulatedDevice(Identity()), access=Access(), now=now, rng=random.Random(1))


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: probe(escape(text))))
def test_whatever_arrives_is_no_error(content: bytes) -> None:
    sent: list[bytes] = []
    announcer = Announcer(UNIT, rng=random.Random(1))
    announcer.sender = lambda data, _: sent.append(data)
    announcer.datagram_received(content, ("127.0.0.1", 9))
    assert all(b"ProbeMatches" in answer for answer in sent)
