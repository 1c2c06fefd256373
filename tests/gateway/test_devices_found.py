"""Devices that were found: kept clean and bounded, their credentials sealed at rest, certificates trusted only by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Column, Connection, select

from gateway.auth.vault import Vault, is_wrapped
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.devices_found import FOUND_MOST, Asked, InUse, device_by_id, device_id, devices_found, keep_candidate
from gateway.store.tables import commands, devices
from models.device_orders import Discover, ProbeDevice
from models.devices import Candidate, Part
from models.errors import NotFound
from tests.gateway.finding import DEVICE, PIN, SECRET, URL, Desk
from tests.gateway.support import EDGE, Clock, SigningEdge


@pytest.fixture
def store(migrated_file: Path, tmp_path: Path) -> Iterator[Store]:
    """Yield a store that seals; both databases do alike (test_store)."""
    file = tmp_path / "gateway.db"
    shutil.copyfile(migrated_file, file)
    made = Store(f"sqlite:///{file}", vault=Vault(b"k" * 32))
    yield made
    made.close()


@pytest.fixture
def desk(manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime) -> Desk:
    return Desk(manager, edge, runtime)


async def test_a_search_is_an_order_and_its_devices_are_listed(desk: Desk) -> None:
    body = {"edge_id": EDGE, "wires": ["onvif"], "networks": ["192.0.2.0/24"], "for_s": 5}
    waiting = await desk.call("POST", "/discover", 202, json=body)
    assert (waiting["state"], waiting["kind"]) == ("waiting", "discover")
    order = desk.order()
    assert isinstance(order, Discover)
    assert (order.wires, order.networks) == (("onvif",), ("192.0.2.0/24",))
    ended = await desk.ends(candidates=(DEVICE,), detail="mqtt: away")
    assert (ended["state"], ended["detail"]) == ("confirmed", "mqtt: away")
    (listed,) = (await desk.call("GET", ""))["items"]
    assert listed["id"] == ended["devices"][0] == device_id("a", DEVICE)
    assert (listed["state"], listed["reach"], listed["serial"], len(listed["parts"])) == ("found", "known", "7", 2)
    assert listed["has_credentials"] is False


async def test_a_search_that_nobody_answers_is_over_after_its_time(desk: Desk, clock: Clock) -> None:
    waiting = await desk.call("POST", "/discover", 202, json={"edge_id": EDGE, "for_s": 5})
    clock.turn(seconds=8)
    shown = await desk.call("GET", f"/orders/{waiting['id']}")
    assert (shown["state"], shown["reason"]) == ("expired", "no_answer")


async def test_what_a_device_says_of_itself_is_cut_and_cleaned(desk: Desk) -> None:
    wild = msgspec.structs.replace(
        DEVICE, maker="M\x1b[2J" * 500, detail="d" * 5000, clock_off_s=float("inf"),
        parts=tuple(Part(id=f"p{n}", kind="door", settings={"password": "x", "k\n": 1}) for n in range(200)),
    )  # fmt: skip
    key = await desk.found(wild, msgspec.structs.replace(DEVICE, id="\n"))
    shown = await desk.call("GET", f"/{key}")
    assert len(shown["maker"]) <= 200
    assert "\x1b" not in shown["maker"]
    assert (len(shown["parts"]), shown["parts"][0]["settings"], shown["clock_off_s"]) == (64, {}, None)
    assert len((await desk.call("GET", ""))["items"]) == 1


async def test_a_search_that_hears_less_forgets_nothing(desk: Desk) -> None:
    key = await desk.found(DEVICE)
    moved = Candidate(id=DEVICE.id, wire="onvif", address="http://192.0.2.77/", reach="heard")
    assert await desk.found(moved) == key
    shown = await desk.call("GET", f"/{key}")
    assert (shown["address"], shown["reach"], len(shown["parts"])) == ("http://192.0.2.77/", "known", 2)


SHUT = Candidate(
    id="onvif-192.0.2.9:18085", wire="onvif", address="https://192.0.2.9:18085/onvif/device_service", reach="answers",
    fingerprint=PIN, trouble="certificate",
)  # fmt: skip
HEARD = Candidate(id="onvif-uuid-7", wire="onvif", address=SHUT.address, reach="heard")


@pytest.mark.parametrize(("first", "second"), [(HEARD, SHUT), (SHUT, HEARD)])
async def test_a_device_that_a_search_heard_and_somebody_asked_by_address_is_one(
    desk: Desk, first: Candidate, second: Candidate
) -> None:
    """Until its certificate is trusted it tells no lasting name, so the address and port say which one it is."""
    key = await desk.found(first)
    assert await desk.found(second) == key
    assert await desk.found(HEARD) == key
    (listed,) = (await desk.call("GET", ""))["items"]
    assert (listed["id"], listed["reach"], listed["fingerprint"]) == (key, "answers", PIN)
    await desk.call("POST", f"/{key}/probe", 202, json={"trust": True})
    opened = msgspec.structs.replace(DEVICE, id=HEARD.id, address=SHUT.address, fingerprint=PIN)
    await desk.ends(candidates=(opened,))
    shown = await desk.call("GET", f"/{key}")
    assert (shown["reach"], shown["trouble"]) == ("known", "")
    elsewhere = msgspec.structs.replace(HEARD, address="https://192.0.2.50/onvif/device_service")
    assert await desk.found(elsewhere) == key, "its lasting name is known now"


async def test_who_shows_another_certificate_at_an_address_is_another_device(desk: Desk) -> None:
    key = await desk.found(msgspec.structs.replace(HEARD, fingerprint="cd" * 32))
    assert await desk.found(SHUT) != key
    assert await desk.found(msgspec.structs.replace(HEARD, id="onvif-uuid-8")) != key


async def test_a_device_at_another_port_is_another_one(desk: Desk) -> None:
    key = await desk.found(HEARD)
    other = msgspec.structs.replace(SHUT, id="onvif-192.0.2.9", address="https://192.0.2.9/onvif/device_service")
    assert await desk.found(other) != key


def test_devices_that_nobody_wants_are_bounded(runtime: Runtime, clock: Clock) -> None:
    def flood(connection: Any) -> None:
        for n in range(FOUND_MOST + 3):
            one = Candidate(id=f"d{n}", wire="onvif", address="x")
            clock.turn(seconds=1)
            here = InUse(doors=(), cameras=())
            keep_candidate(connection, one, here=here, site_id="a", edge_id=EDGE, at=clock(), asked=Asked())

    runtime.store.write_now(flood)
    kept = runtime.store.read_now(devices_found, site_ids=frozenset("a"))
    assert (len(kept), kept[-1].candidate.id) == (FOUND_MOST, "d3")


# ---- credentials ------------------------------------------------------------------------------------------------------


async def test_credentials_are_sealed_at_rest_and_in_no_answer(desk: Desk, runtime: Runtime) -> None:
    body = {"edge_id": EDGE, "wire": "onvif", "address": URL, "user": "admin", "password": SECRET}
    asked = await desk.call("POST", "/probe", 202, json=body)
    order = desk.order()
    assert isinstance(order, ProbeDevice)
    assert (order.user, order.password) == ("admin", SECRET)
    ended = await desk.ends(candidates=(DEVICE,))
    shown = await desk.call("GET", f"/{ended['devices'][0]}")
    assert shown["has_credentials"] is True
    assert SECRET not in f"{asked} {ended} {shown}"
    for column in (commands.c.body, devices.c.credentials):
        (text,) = runtime.store.read_now(_texts, column)
        assert is_wrapped(text)
    assert SECRET not in str(runtime.store.read_now(audit_rows))
    assert SECRET not in repr(order)


def _texts(connection: Connection, column: Column[str]) -> list[str]:
    return list(connection.execute(select(column)).scalars())


async def test_credentials_that_a_device_refused_are_not_kept(desk: Desk) -> None:
    refused = msgspec.structs.replace(DEVICE, reach="trusted", trouble="credentials", parts=())
    key = await desk.known(refused)
    shown = await desk.call("GET", f"/{key}")
    assert (shown["has_credentials"], shown["trouble"], shown["reach"]) == (False, "credentials", "trusted")


async def test_a_certificate_is_trusted_once_somebody_says_so_and_never_another(desk: Desk) -> None:
    stuck = Candidate(id="onvif-7", wire="onvif", address=URL, reach="answers", trouble="certificate", fingerprint=PIN)
    key = await desk.found(stuck)
    await desk.call("POST", f"/{key}/probe", 202, json={"trust": True, "user": "admin", "password": SECRET})
    order = desk.order()
    assert isinstance(order, ProbeDevice)
    assert order.fingerprint == PIN
    await desk.ends(candidates=(msgspec.structs.replace(DEVICE, fingerprint=PIN),))
    await desk.call("POST", f"/{key}/probe", 202, json={})
    again = desk.order()
    assert isinstance(again, ProbeDevice)
    assert (again.fingerprint, again.password) == (PIN, SECRET)
    await desk.ends(candidates=(msgspec.structs.replace(stuck, fingerprint="cd" * 32),))
    await desk.call("POST", f"/{key}/probe", 202, json={})
    third = desk.order()
    assert isinstance(third, ProbeDevice)
    assert third.fingerprint == PIN, "a certificate that nobody compared is not trusted"


ROGUE = "http://198.51.100.66/onvif/device_service"


async def test_kept_credentials_are_not_sent_to_where_somebody_says_that_the_device_is_now(desk: Desk) -> None:
    key = await desk.known()
    assert await desk.found(Candidate(id=DEVICE.id, wire="onvif", address=ROGUE, reach="heard")) == key
    shown = await desk.call("GET", f"/{key}")
    assert (shown["address"], shown["reach"], shown["trouble"]) == (URL, "known", "moved")
    assert ROGUE in shown["detail"]
    await desk.call("POST", f"/{key}/probe", 202, json={})
    order = desk.order()
    assert isinstance(order, ProbeDevice)
    assert (order.address, order.password) == (URL, SECRET)
    await desk.ends(candidates=(msgspec.structs.replace(DEVICE, address=ROGUE),))
    assert (await desk.call("GET", f"/{key}"))["address"] == URL, "the credentials that were sent are the kept ones"
    await desk.found(Candidate(id=DEVICE.id, wire="onvif", address=URL, reach="heard"))
    assert (await desk.call("GET", f"/{key}"))["trouble"] == ""


async def test_a_device_that_took_freshly_given_credentials_elsewhere_has_moved(desk: Desk) -> None:
    key = await desk.known()
    assert await desk.known(msgspec.structs.replace(DEVICE, address=ROGUE, trouble="", reach="known")) == key
    assert (await desk.call("GET", f"/{key}"))["address"] == ROGUE


async def test_another_device_at_the_address_of_a_known_one_takes_neither_its_place_nor_its_credentials(
    desk: Desk,
) -> None:
    key = await desk.known()
    for other in (
        msgspec.structs.replace(DEVICE, id="onvif-another", serial="999", parts=()),
        msgspec.structs.replace(DEVICE, serial="999"),
    ):
        await desk.call("POST", f"/{key}/probe", 202, json={"user": "admin", "password": "of the other one"})
        await desk.ends(candidates=(other,))
        shown = await desk.call("GET", f"/{key}")
        assert (shown["serial"], shown["trouble"], len(shown["parts"])) == ("7", "another_device", 2)
        assert "999" in shown["detail"]
    await desk.call("POST", f"/{key}/probe", 202, json={})
    order = desk.order()
    assert isinstance(order, ProbeDevice)
    assert order.password == SECRET
    away = Candidate(id="onvif-192.0.2.9", wire="onvif", address=URL, trouble="unreachable")
    await desk.ends(candidates=(away,))
    assert (await desk.call("GET", f"/{key}"))["trouble"] == "unreachable", "who was not reached has told no name"


async def test_a_device_without_a_certificate_has_none_to_trust(desk: Desk) -> None:
    key = await desk.found(DEVICE)
    await desk.call("POST", f"/{key}/probe", 409, json={"trust": True})


def test_an_unknown_device_is_not_there(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        runtime.store.read_now(device_by_id, "dv-none", site_ids=frozenset("a"))


async def test_what_is_configured_by_hand_is_not_offered_as_new(desk: Desk) -> None:
    hello = Candidate(id="mqtt-gate", wire="mqtt", address="gate", parts=(Part(id="gate", kind="door"),))
    stream = Candidate(id="c", wire="rtsp", address="x", parts=(Part(id="s", kind="camera", url="rtsp://192.0.2.1/s"),))
    await desk.found(hello, stream, DEVICE)
    shown = {one["address"]: one for one in (await desk.call("GET", ""))["items"]}
    assert (shown["gate"]["state"], shown["gate"]["parts"][0]["adopted_as"]) == ("adopted", "gate")
    assert (shown["x"]["state"], shown["x"]["parts"][0]["adopted_as"]) == ("adopted", "cam")
    assert shown[URL]["state"] == "found"
