"""Card readers from a line to doors: a key by the explicit step alone, kept wrapped; a reader on each side; a replacement."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Connection, Table, select

from gateway.auth.vault import Vault
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.devices_found import credentials_of
from gateway.store.edges import waiting_commands
from gateway.store.places import put_door
from gateway.store.tables import commands, devices, doors
from models.device_orders import InstallKey, ProbeDevice, TryPart
from models.devices import Candidate, Part, Setting
from models.link import Result
from models.places import Door
from tests.gateway.finding import WHY, Desk
from tests.gateway.support import EDGE, SigningEdge

PORT = "/dev/ttyUSB0"
INPUTS = {"open": 0, "exit": 1, "inverted": [0]}
LINE = {"edge_id": EDGE, "wire": "osdp", "address": PORT}


@pytest.fixture
def store(migrated_file: Path, tmp_path: Path) -> Iterator[Store]:
    """Yield a store that seals."""
    file = tmp_path / "gateway.db"
    shutil.copyfile(migrated_file, file)
    made = Store(f"sqlite:///{file}", vault=Vault(b"k" * 32))
    yield made
    made.close()


@pytest.fixture
def desk(manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime) -> Desk:
    return Desk(manager, edge, runtime)


def reader(address: int, *, serial: int = 0, reach: str = "answers", **more: Any) -> Candidate:
    number = serial or 0x1000 + address
    where: dict[str, Setting] = {"kind": "osdp", "port": PORT, "baud_rate": 9600, "address": address}
    part = Part(
        id=str(address), kind="door", name=f"reader {address}", capabilities=("card", "feedback", "pin"),
        settings={**where, "plain": False, "strike": 0},
    )  # fmt: skip
    return Candidate(
        id=f"osdp-005eed-{number:08x}", wire="osdp", address=f"{PORT}#{address}", reach=reach, maker="005EED",  # type: ignore[arg-type]
        serial=f"{number:08X}", parts=(part,), **more,
    )  # fmt: skip


async def line_of(desk: Desk, *readers: Candidate) -> list[str]:
    """Ask a line who is on it; return the ids of its devices."""
    await desk.call("POST", "/probe", 202, json=LINE)
    return list((await desk.ends(candidates=readers))["devices"])


async def keyed(desk: Desk, key: str) -> str:
    """Have a reader given its key; return the key, which only its edge is told."""
    await desk.call("POST", f"/{key}/key", 202, json={})
    order = desk.order()
    assert isinstance(order, InstallKey)
    await desk.ends()
    return order.key


def _rows(connection: Connection, table: Table) -> str:
    return str(connection.execute(select(table)).all())


def in_policy(desk: Desk, door_id: str) -> dict[str, Any]:
    return next(door for door in desk.policy().doors if door.id == door_id).driver


async def both_sides(desk: Desk) -> tuple[str, str, list[str]]:
    """Adopt two readers of a line as the porch's, outside and inside; return their devices and their keys."""
    first, second = await line_of(desk, reader(0), reader(1))
    secrets = [await keyed(desk, key) for key in (first, second)]
    wiring = {"side": "in", "strike": 0, "inputs": INPUTS, "keypad": "flat_pin"}
    await desk.call(
        "POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch", "name": "Porch", "wiring": wiring}
    )
    inside = {"part": "1", "door_id": "porch", "wiring": {"side": "out", "keypad": "off"}}
    told = await desk.call("POST", f"/{second}/adopt", 201, json=inside)
    assert told["parts"][0]["adopted_as"] == "porch"
    return first, second, secrets


async def test_a_reader_is_known_once_it_has_its_key_and_is_tried_with_it(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    shown = await desk.call("GET", f"/{first}")
    assert (shown["reach"], shown["has_credentials"], shown["address"]) == ("answers", False, f"{PORT}#0")
    secret = await keyed(desk, first)
    shown = await desk.call("GET", f"/{first}")
    assert (shown["reach"], shown["has_credentials"]) == ("known", True)
    await desk.call("POST", f"/{first}/try", 202, json={"part": "0", "act": "signal", "strike": 2})
    order = desk.order()
    assert isinstance(order, TryPart)
    assert (order.act, order.settings["key"], order.settings["strike"]) == ("signal", secret, 2)
    assert order.reason == "adoption"


async def test_two_readers_are_one_door_whose_edge_alone_is_told_their_keys(desk: Desk, runtime: Runtime) -> None:
    first, second, secrets = await both_sides(desk)
    assert all(len(bytes.fromhex(secret)) == 16 for secret in set(secrets))
    assert in_policy(desk, "porch") == {
        "kind": "osdp", "port": PORT, "baud_rate": 9600,
        "readers": [
            {"address": 0, "side": "in", "keypad": "flat_pin", "strike": 0, "inputs": INPUTS, "key": secrets[0]},
            {"address": 1, "side": "out", "keypad": "off", "key": secrets[1]},
        ],
    }  # fmt: skip
    door = next(door for door in desk.policy().doors if door.id == "porch")
    assert [(one.side, one.kinds) for one in door.readers] == [("in", ("card", "pin")), ("out", ("card",))]
    shown = [(await desk.client.get(f"/api/v1/{path}", headers=WHY)).text for path in ("doors/porch", "devices")]
    kept = [runtime.store.read_now(_rows, table) for table in (devices, doors, commands)]
    rows = runtime.store.read_now(audit_rows)
    assert not [one for one in secrets if one in f"{shown} {kept} {rows}"]
    actions = sorted(row.actor for row in rows if row.action == "device.key")
    assert actions == [EDGE] * 2 + ["u-manager"] * 2
    await desk.call("POST", f"/{second}/try", 409, json={"part": "1", "act": "unlock"})
    await desk.call("DELETE", f"/{first}", 409)


async def test_a_key_needs_a_reason_and_a_reader_that_takes_one(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    bare = await desk.client.post(f"/api/v1/devices/{first}/key", json={})
    assert (bare.status_code, "say why" in bare.text) == (422, True)
    plain = await line_of(desk, reader(4, trouble="unsupported", detail="it has no secure channel"))
    await desk.call("POST", f"/{plain[0]}/key", 422, json={})
    await desk.call("POST", f"/{await desk.known()}/key", 422, json={})


async def test_a_key_whose_end_nobody_told_is_sent_again_and_tried_by_asking(desk: Desk, runtime: Runtime) -> None:
    (first,) = await line_of(desk, reader(0))
    await desk.call("POST", f"/{first}/key", 202, json={})
    sent = desk.order()
    assert isinstance(sent, InstallKey)
    await desk.ends("failed", reason="no_answer")
    await desk.call("POST", f"/{first}/adopt", 409, json={"part": "0", "id": "porch"})
    await desk.call("POST", f"/{first}/key", 202, json={"pause": True})
    again = desk.order()
    assert isinstance(again, InstallKey)
    assert (again.key, again.pause) == (sent.key, True)
    await desk.ends("refused", reason="in_use", detail="the line serves gate")
    await desk.call("POST", f"/{first}/probe", 202, json={})
    asked = desk.order()
    assert isinstance(asked, ProbeDevice)
    assert (asked.address, asked.password) == (f"{PORT}#0", sent.key)
    await desk.ends(candidates=(reader(0, reach="known"),))
    held = runtime.store.read_now(credentials_of, first, site_id="a")
    assert (held.password, held.pending) == (sent.key, "")


async def test_a_search_of_the_line_forgets_no_key_and_no_adoption(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    secret = await keyed(desk, first)
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch"})
    assert await line_of(desk, reader(0)) == [first]
    shown = await desk.call("GET", f"/{first}")
    assert (shown["reach"], shown["trouble"], shown["parts"][0]["adopted_as"]) == ("known", "", "porch")
    assert in_policy(desk, "porch")["readers"][0]["key"] == secret


async def test_a_reader_without_a_key_is_adopted_only_to_speak_in_clear(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    told = await desk.call("POST", f"/{first}/adopt", 409, json={"part": "0", "id": "porch"})
    assert "no key of its own" in str(told)
    body = {"part": "0", "id": "porch", "wiring": {"plain": True, "strike": 0}}
    await desk.call("POST", f"/{first}/adopt", 201, json=body)
    assert in_policy(desk, "porch")["readers"] == [
        {"address": 0, "side": "in", "keypad": "pin", "strike": 0, "plain": True}
    ]


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"door_id": "porch", "wiring": {"side": "in"}}, 409, "has a reader on that side"),
        ({"door_id": "away", "wiring": {"side": "out"}}, 422, "not on this line"),
        ({"door_id": "none", "wiring": {"side": "out"}}, 404, "none"),
        ({"id": "back", "wiring": {"inputs": {"open": 300}}}, 422, "open"),
        ({"id": "back", "wiring": {"inputs": {"lid": 3}}}, 422, "lid"),
    ],
)
async def test_a_reader_that_does_not_fit_its_door_is_refused(
    desk: Desk, body: dict[str, Any], status: int, why: str
) -> None:
    first, second = await line_of(desk, reader(0), reader(1))
    for key in (first, second):
        await keyed(desk, key)
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch"})
    driver = {"kind": "osdp", "port": "/dev/ttyUSB1", "baud_rate": 9600, "readers": [{"address": 1, "plain": True}]}
    away = {"id": "away", "name": "A", "site_id": "a", "edge_id": EDGE, "driver": driver}
    assert (await desk.client.post("/api/v1/doors", json=away, headers=WHY)).status_code == 201
    told = await desk.call("POST", f"/{second}/adopt", status, json={"part": "1", **body})
    assert why in str(told)


async def test_a_reader_at_an_address_that_a_door_names_already_is_that_door(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    driver = {"kind": "osdp", "port": PORT, "readers": [{"door": "hand", "plain": True}]}
    hand = {"id": "hand", "name": "H", "site_id": "a", "edge_id": EDGE, "driver": driver}
    assert (await desk.client.post("/api/v1/doors", json=hand, headers=WHY)).status_code == 201
    await keyed(desk, first)
    told = await desk.call("POST", f"/{first}/adopt", 409, json={"part": "0", "id": "porch"})
    assert "hand" in str(told)
    await desk.call("POST", f"/{first}/try", 409, json={"part": "0", "act": "unlock"})


async def test_a_new_reader_takes_the_place_of_one_with_its_wiring_and_its_own_key(desk: Desk) -> None:
    first, second = await line_of(desk, reader(0), reader(1))
    await keyed(desk, first)
    kept = await keyed(desk, second)
    wiring = {"strike": 0, "inputs": {"open": 0}}
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch", "wiring": wiring})
    await desk.call("POST", f"/{second}/adopt", 201, json={"part": "1", "door_id": "porch", "wiring": {"side": "out"}})
    (new,) = await line_of(desk, reader(0, serial=0x2000))
    assert new != first
    told = await desk.call("POST", f"/{first}/replace", 409, json={"by": new})
    assert told["reason"] == "no_key"
    await desk.call("POST", f"/{new}/adopt", 409, json={"part": "0", "id": "other", "wiring": {"plain": True}})
    secret = await keyed(desk, new)
    told = await desk.call("POST", f"/{first}/replace", json={"by": new})
    assert told["parts"][0]["adopted_as"] == "porch"
    outside, inside = in_policy(desk, "porch")["readers"]
    assert outside == {
        "address": 0, "side": "in", "keypad": "pin", "strike": 0, "inputs": {"open": 0}, "key": secret,
    }  # fmt: skip
    assert (inside["address"], inside["key"]) == (1, kept)
    assert (await desk.call("GET", f"/{first}"))["state"] == "removed"
    assert msgspec.json.encode(desk.policy())


# ---- a line stays in service ------------------------------------------------------------------------------------------


async def refused(desk: Desk, method: str, path: str, **body: Any) -> str:
    """Have the door or device API refuse something for what it would do to a line; return what it says."""
    answer = await desk.client.request(method, f"/api/v1/{path}", headers=WHY, json=body)
    told = answer.json()
    assert (answer.status_code, told.get("reason")) == (422, "driver_refused"), answer.text
    return str(told["detail"])


def by_hand(door_id: str, *, address: int, edge_id: str = EDGE, **line: Any) -> dict[str, Any]:
    driver = {"kind": "osdp", "port": PORT, "baud_rate": 9600, "readers": [{"address": address, "plain": True}]}
    return {"id": door_id, "name": door_id, "site_id": "a", "edge_id": edge_id, "driver": driver | line}


async def porch(desk: Desk) -> tuple[str, str]:
    """Adopt one of two readers of a line; return their devices."""
    first, second = await line_of(desk, reader(0), reader(1))
    for key in (first, second):
        await keyed(desk, key)
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch"})
    return first, second


async def test_a_reader_that_would_give_its_door_a_second_strike_is_not_adopted(desk: Desk) -> None:
    _, second = await porch(desk)
    before = in_policy(desk, "porch")
    body = {"part": "1", "door_id": "porch", "wiring": {"side": "out", "strike": 0}}
    assert "two strikes" in await refused(desk, "POST", f"devices/{second}/adopt", **body)
    assert in_policy(desk, "porch") == before
    assert (await desk.call("GET", f"/{second}"))["parts"][0]["adopted_as"] is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (by_hand("back", address=0), "an address of its own"),
        (by_hand("back", address=4, baud_rate=38400), "one driver"),
        (by_hand("back", address=4) | {"driver": {"kind": "osdp", "port": PORT}}, "key"),
    ],
)
async def test_no_door_is_made_that_would_put_the_others_of_its_line_out_of_service(
    desk: Desk, body: dict[str, Any], why: str
) -> None:
    await porch(desk)
    assert why in await refused(desk, "POST", "doors", **body)
    assert {door.id for door in desk.policy().doors if door.driver.get("kind") == "osdp"} == {"porch"}


async def test_a_door_is_neither_changed_nor_moved_to_where_it_would_do_so(desk: Desk, runtime: Runtime) -> None:
    await porch(desk)
    elsewhere = msgspec.convert(by_hand("yard", address=0, edge_id="edge-2"), Door)
    runtime.store.write_now(put_door, elsewhere)
    assert "beside porch" in await refused(desk, "PATCH", "doors/yard/settings", edge_id=EDGE)
    beside = by_hand("back", address=5)
    assert (await desk.client.post("/api/v1/doors", json=beside, headers=WHY)).status_code == 201
    assert "beside porch" in await refused(
        desk, "PATCH", "doors/back/settings", driver=by_hand("", address=0)["driver"]
    )
    renamed = await desk.client.patch("/api/v1/doors/yard/settings", headers=WHY, json={"name": "Yard"})
    assert renamed.status_code == 200


async def test_a_line_that_is_out_of_service_already_is_put_right_door_by_door(desk: Desk, runtime: Runtime) -> None:
    for name in ("d1", "d2", "d3"):
        runtime.store.write_now(put_door, msgspec.convert(by_hand(name, address=0), Door))
    right = by_hand("", address=1)["driver"]
    answer = await desk.client.patch("/api/v1/doors/d1/settings", headers=WHY, json={"driver": right})
    assert answer.status_code == 200, answer.text
    await refused(desk, "PATCH", "doors/d1/settings", driver=right | {"baud_rate": 9601})


async def test_what_a_device_says_of_itself_is_judged_before_it_is_a_door(desk: Desk) -> None:
    part = Part(id="d", kind="door", settings={"kind": "onvif", "url": "http://192.0.2.9/x", "door": "d", "wibble": 1})
    told = Candidate(id="onvif-9", wire="onvif", address="http://192.0.2.9/x", reach="known", parts=(part,))
    key = await desk.known(told)
    assert "no such setting" in await refused(desk, "POST", f"devices/{key}/adopt", part="d", id="z")


# ---- keys and wiring --------------------------------------------------------------------------------------------------


async def test_a_question_that_was_asked_before_a_new_key_loses_none(desk: Desk, runtime: Runtime) -> None:
    (first,) = await line_of(desk, reader(0))
    old = await keyed(desk, first)
    await desk.call("POST", f"/{first}/probe", 202, json={})
    await desk.call("POST", f"/{first}/key", 202, json={})
    waiting = runtime.store.read_now(waiting_commands, EDGE, at=runtime.clock())
    asked = next(one for one in waiting if isinstance(one, ProbeDevice))
    sent = next(one for one in waiting if isinstance(one, InstallKey))
    for order, told in ((asked, (reader(0, reach="known"),)), (sent, ())):
        result = Result(command_id=order.id, state="confirmed", at=desk.edge.clock(), candidates=told)
        if order is sent:
            assert runtime.store.read_now(credentials_of, first, site_id="a").pending == sent.key
            await desk.call("DELETE", f"/{first}", 409)
        assert (await desk.edge.send("POST", "/edge/v1/results", result)).status_code == 204
    held = runtime.store.read_now(credentials_of, first, site_id="a")
    assert (held.password, held.pending, old != sent.key) == (sent.key, "", True)
    await desk.call("DELETE", f"/{first}", 204)


async def test_a_new_door_has_the_strike_that_its_reader_named_unless_another_is_said(desk: Desk) -> None:
    (first,) = await line_of(desk, reader(0))
    await keyed(desk, first)
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch", "wiring": {"inputs": INPUTS}})
    (entry,) = in_policy(desk, "porch")["readers"]
    assert (entry["strike"], entry["inputs"]) == (0, INPUTS)


async def test_a_door_without_a_strike_is_made_only_by_who_says_so(desk: Desk) -> None:
    told = reader(0)
    (part,) = told.parts
    bare = msgspec.structs.replace(
        part, settings={name: part.settings[name] for name in ("port", "baud_rate", "address")}
    )
    (first,) = await line_of(desk, msgspec.structs.replace(told, parts=(bare,)))
    await keyed(desk, first)
    answer = await desk.call("POST", f"/{first}/adopt", 422, json={"part": "0", "id": "porch"})
    assert answer["reason"] == "no_strike"
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch", "wiring": {"strike": None}})
    assert "strike" not in in_policy(desk, "porch")["readers"][0]


async def test_a_reader_with_a_key_speaks_by_it_in_the_place_of_one_in_clear(desk: Desk) -> None:
    first, second = await line_of(desk, reader(0), reader(1))
    await desk.call("POST", f"/{first}/adopt", 201, json={"part": "0", "id": "porch", "wiring": {"plain": True}})
    secret = await keyed(desk, second)
    await desk.call("POST", f"/{first}/replace", json={"by": second})
    (entry,) = in_policy(desk, "porch")["readers"]
    assert (entry["address"], entry["key"], "plain" in entry) == (1, secret, False)


async def test_doors_stand_still_for_a_question_only_for_a_reason_that_is_on_record(
    desk: Desk, runtime: Runtime
) -> None:
    (first,) = await line_of(desk, reader(0))
    for path, body in (("probe", LINE), (f"{first}/probe", {})):
        bare = await desk.client.post(f"/api/v1/devices/{path}", json=body | {"pause": True})
        assert (bare.status_code, "say why" in bare.text) == (422, True)
        await desk.call("POST", f"/{path}", 202, json=body | {"pause": True})
    rows = [row for row in runtime.store.read_now(audit_rows) if row.action == "device.probe" and row.result == "sent"]
    told = [(row.detail["address"], row.detail["pause"]) for row in rows]
    assert sorted(told) == [(PORT, "no"), (PORT, "yes"), (f"{PORT}#0", "yes")]
