"""Devices found by multicast and address by address, and asked what they are: what is told, and what is not believed."""

from __future__ import annotations

import asyncio
import random
import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog import DISCOVERERS, PROBERS
from drivers.onvif.discovery import addresses_in, match_of
from drivers.onvif.simcertificate import Certificate
from drivers.onvif.simdiscovery import discoverable
from drivers.onvif.simserver import SimulatedOnvif
from models.devices import Candidate
from models.errors import InvalidInput
from tests.drivers.contract import now
from tests.drivers.onvif.rigs import PASSWORD, running, simulated

AT = datetime(2026, 11, 23, tzinfo=UTC)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def search(*networks: str, port: int, limit_s: float = 2.5) -> list[Candidate]:
    discover = DISCOVERERS["onvif"]()
    settings = {"interface": "127.0.0.1", "port": port}
    return [found async for found in discover(settings, networks=networks, now=now, limit_s=limit_s)]


async def ask(unit: SimulatedOnvif, **changes: Any) -> Candidate:
    settings = {"address": f"{unit.origin}/onvif/device_service", "user": "edge", "password": PASSWORD, **changes}
    return await PROBERS["onvif"]()(settings, now=now)


async def test_a_device_is_found_by_multicast_once_and_on_its_own_host() -> None:
    port = free_udp_port()
    unit = simulated()
    unit.faults.add("wrong_host")
    async with running(unit), discoverable(unit, host="127.0.0.1", port=port, rng=random.Random(1)):
        (found,) = await search(port=port)
    assert found.address == f"{unit.origin}/onvif/device_service"
    assert found.id == f"onvif-{unit.device.identity.uuid}"
    assert (found.wire, found.reach, found.model) == ("onvif", "heard", "sim")


@pytest.mark.parametrize("end", ["", "/"])
async def test_an_address_without_a_path_means_the_device_service(end: str) -> None:
    unit = simulated()
    async with running(unit):
        found = await ask(unit, address=f"{unit.origin}{end}")
    assert (found.reach, found.trouble) == ("known", "")
    assert found.address == f"{unit.origin}/onvif/device_service"


async def test_a_device_that_no_multicast_reaches_is_found_by_its_address() -> None:
    unit = simulated()
    async with running(unit):
        host, port = unit.address
        (found,) = await search(f"{host}:{port}", port=free_udp_port(), limit_s=1.5)
    assert (found.id, found.reach) == (f"onvif-{unit.device.identity.uuid}", "trusted")


async def test_a_probe_climbs_the_ladder_and_names_the_parts() -> None:
    async with running(simulated("gate", "garage")) as site:
        found = await ask(site.unit)
    assert (found.reach, found.trouble, found.maker, found.serial) == ("known", "", "Gatehouse", "SIM-0001")
    assert found.id == f"onvif-{site.unit.device.identity.uuid}"
    camera, *doors = found.parts
    assert (camera.kind, camera.url, camera.codec) == ("camera", "rtsp://127.0.0.1:8554/gate", "h264")
    assert (camera.width_px, camera.height_px, camera.capabilities) == (640, 360, ("presets",))
    assert [(part.kind, part.id) for part in doors] == [
        ("door", "gate"),
        ("door", "garage"),
        ("relay", "gate-relay"),
        ("relay", "garage-relay"),
    ]
    assert doors[0].settings == {"kind": "onvif", "url": found.address, "door": "gate"}
    assert "contact" in doors[0].capabilities


@pytest.mark.parametrize("fault", ["wrong_host", "lies_capabilities", "clock_hour_off", "wss_only", "digest_only"])
async def test_a_device_with_a_quirk_is_known_all_the_same(fault: Any) -> None:
    unit = simulated()
    unit.faults.add(fault)
    async with running(unit):
        found = await ask(unit)
    assert (found.reach, found.trouble) == ("known", "")
    assert [part.id for part in found.parts] == ["video-1", "gate", "gate-relay"]
    assert found.clock_off_s is not None
    assert (found.clock_off_s > 3590) == (fault == "clock_hour_off")
    assert all("198.51.100.1" not in part.url for part in found.parts)


async def test_wrong_credentials_leave_a_device_below_known_and_are_not_told_again() -> None:
    async with running(simulated()) as site:
        found = await ask(site.unit, password="something else")
    assert (found.reach, found.trouble, found.code, found.parts) == ("trusted", "credentials", "wrong_login", ())
    assert "something else" not in repr(found)


async def test_nobody_at_an_address_is_a_candidate_with_its_trouble() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = await PROBERS["onvif"]()({"address": f"127.0.0.1:{port}"}, now=now)
    assert (found.reach, found.trouble, found.code) == ("heard", "unreachable", "no_tls")


async def test_credentials_go_to_no_certificate_that_nobody_vouches_for() -> None:
    unit = simulated()
    unit.certificate = Certificate(None, host="127.0.0.1", now=now())
    fingerprint = unit.certificate.fingerprint
    async with running(unit):
        stopped = await ask(unit)
        asked = unit.requests
        other = await ask(unit, fingerprint="0" * 64)
        pinned = await ask(unit, fingerprint=fingerprint)
    assert (stopped.reach, stopped.trouble, stopped.fingerprint) == ("answers", "certificate", fingerprint)
    assert (other.reach, other.trouble, asked) == ("answers", "certificate", 0)
    assert (stopped.code, other.code) == ("unvouched", "other_certificate")
    assert (pinned.reach, pinned.fingerprint) == ("known", fingerprint)
    assert all(part.settings["fingerprint"] == fingerprint for part in pinned.parts)


@pytest.mark.parametrize("address", ["", "http://", "ftp://192.0.2.1/", "http://a:b@192.0.2.1/", "http://192.0.2.1:0/"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput):
        await PROBERS["onvif"]()({"address": address}, now=now)


@pytest.mark.parametrize(
    ("networks", "count"),
    [
        (("192.0.2.0/29",), 6),
        (("192.0.2.7",), 1),
        (("192.0.2.7:8080", "192.0.2.7:8080"), 1),
        (("2001:db8::7",), 1),
        ((), 0),
    ],
)
def test_networks_become_addresses(networks: tuple[str, ...], count: int) -> None:
    assert len(addresses_in(networks)) == count


@pytest.mark.parametrize(
    "network", ["10.0.0.0/8", "nobody", "192.0.2.1:0", "192.0.2.1:99999", "2001:db8::/64", "192.0.2.1/33"]
)
def test_a_network_that_cannot_be_searched_is_refused(network: str) -> None:
    with pytest.raises(InvalidInput):
        addresses_in((network,))


def test_too_many_addresses_at_a_time_are_refused() -> None:
    with pytest.raises(InvalidInput):
        addresses_in(("192.0.2.0/23", "198.51.100.0/23", "203.0.113.0/23"))


MATCH = (
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:a="urn:a" xmlns:d="urn:d"><e:Header>'
    "<a:RelatesTo>{asked}</a:RelatesTo></e:Header><e:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference>"
    "<a:Address>urn:uuid:7</a:Address></a:EndpointReference><d:XAddrs>{addresses}</d:XAddrs></d:ProbeMatch>"
    "</d:ProbeMatches></e:Body></e:Envelope>"
)


@pytest.mark.parametrize(
    ("addresses", "wanted"),
    [
        ("http://192.0.2.5/onvif/device_service", "http://192.0.2.5/onvif/device_service"),
        ("http://198.51.100.9:81/x http://192.0.2.5:8080/y", "http://192.0.2.5:8080/y"),
        ("http://198.51.100.9:81/x", "http://192.0.2.5:81/x"),
        ("file:///etc/passwd", None),
        ("http://u:p@192.0.2.5/", None),
        ("", None),
    ],
)
def test_a_match_is_looked_for_on_the_host_that_sent_it(addresses: str, wanted: str | None) -> None:
    raw = MATCH.format(asked="urn:uuid:1", addresses=addresses).encode()
    found = match_of(raw, sender="192.0.2.5", asked={"urn:uuid:1"}, at=AT)
    assert (found.address if found else None) == wanted


def test_a_match_that_answers_nobody_is_not_heard() -> None:
    raw = MATCH.format(asked="urn:uuid:2", addresses="http://192.0.2.5/").encode()
    assert match_of(raw, sender="192.0.2.5", asked={"urn:uuid:1"}, at=AT) is None


@given(st.binary(max_size=400))
def test_no_datagram_ends_the_search(raw: bytes) -> None:
    assert match_of(raw, sender="192.0.2.5", asked={"urn:uuid:1"}, at=AT) is None


async def test_a_search_ends_in_time_where_nobody_is() -> None:
    began = asyncio.get_running_loop().time()
    assert await search(port=free_udp_port(), limit_s=0.5) == []
    assert asyncio.get_running_loop().time() - began < 2
