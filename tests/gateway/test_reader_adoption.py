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
from gateway.store.tables import commands, devices, doors
from models.device_orders import InstallKey, ProbeDevice, TryPart
from models.devices import Candidate, Part, Setting
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
