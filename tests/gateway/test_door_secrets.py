"""Passwords and keys of door drivers: at rest, in answers, in the policy of the edge, and as they were kept before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Connection, insert, select

from config.settings import GatewaySettings
from gateway.auth.vault import Vault, is_wrapped
from gateway.opening import open_store
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.places import door_by_id, put_door
from gateway.store.policy import current_policy
from gateway.store.rewrapping import has_clear_secrets, wrap_clear_secrets
from gateway.store.tables import doors
from gateway.store.types import as_text
from gateway.store.whole import Whole
from models.places import Door
from models.policy import Policy
from tests.gateway.placing import API, made
from tests.gateway.support import BEGINNING, EDGE, furnish

SECRET = "0b0d7ead5715" + "c0ffee" * 3 + "07"
"""As a reader wants its key: 32 hexadecimal digits."""
ONVIF: dict[str, Any] = {
    "kind": "onvif",
    "url": "http://192.0.2.9/onvif/device_service",
    "user": "gatehouse",
    "password": SECRET,
}
LINE: dict[str, Any] = {
    "kind": "osdp",
    "port": "/dev/ttyUSB0",
    "readers": [{"door": "pw", "address": 1, "key": SECRET}],
}
DRIVERS = (ONVIF, LINE, {"kind": "osdp", "port": "/dev/ttyUSB0", "key": SECRET})
DOOR = Door(id="pw", site_id="a", name="Back door", edge_id=EDGE, driver=ONVIF)


def bare(driver: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in driver.items() if name != "password"}


def policy(store: Store) -> Policy:
    return store.write_now(current_policy, EDGE, site_id="a", at=BEGINNING)


def driven(store: Store) -> dict[str, object]:
    """Return the driver settings that the edge is given."""
    return next(door.driver for door in policy(store).doors if door.id == "pw")


def dump(connection: Connection) -> str:
    """Return all that a backup holds."""
    whole = Whole(connection)
    return b"".join(line for name in whole.names() for line in whole.lines(name)).decode()


def kept(connection: Connection) -> tuple[str, int]:
    row = connection.execute(select(doors.c.secrets, doors.c.version).where(doors.c.id == "pw")).one()
    return row.secrets, row.version


@pytest.fixture
def sealing(store: Store) -> Store:
    """Return the store with a vault, furnished."""
    made_now = Store(store.engine.url.render_as_string(hide_password=False), vault=Vault(bytes(range(32))))
    furnish(made_now)
    return made_now


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stolen_database_holds_no_secret_of_a_driver(sealing: Store, driver: dict[str, Any]) -> None:
    sealing.write_now(put_door, msgspec.structs.replace(DOOR, driver=driver))
    assert driven(sealing) == driver, "its edge is told"
    assert SECRET not in sealing.read_now(dump)
    assert is_wrapped(sealing.read_now(kept)[0])
    assert SECRET not in str(sealing.read_now(door_by_id, "pw"))
    sealing.close()


def test_a_door_that_is_applied_again_is_the_same(sealing: Store) -> None:
    for _ in range(2):
        sealing.write_now(put_door, DOOR, seeded=True)
        first, number = sealing.read_now(kept), policy(sealing).n
    sealing.write_now(put_door, DOOR, seeded=True)
    assert (sealing.read_now(kept), policy(sealing).n) == (first, number)
    sealing.write_now(put_door, msgspec.structs.replace(DOOR, driver=ONVIF | {"password": "n3w"}), seeded=True)
    assert (driven(sealing)["password"], sealing.read_now(kept)[1], policy(sealing).n) == ("n3w", 2, number + 1)
    sealing.write_now(put_door, msgspec.structs.replace(DOOR, driver=bare(ONVIF)), seeded=True)
    assert (driven(sealing), sealing.read_now(kept)) == (bare(ONVIF), ("", 3)), "what a site file leaves out is gone"
    sealing.close()


def old_row(connection: Connection) -> None:
    values = {"site_id": "a", "edge_id": EDGE, "name": DOOR.name, "record": as_text(DOOR)}
    connection.execute(insert(doors).values(id="pw", **values))


def test_secrets_from_before_are_moved_and_wrapped(sealing: Store) -> None:
    sealing.write_now(old_row)
    before = policy(sealing)
    assert sealing.read_now(has_clear_secrets)
    assert sealing.write_now(wrap_clear_secrets) == 1
    assert not sealing.read_now(has_clear_secrets)
    assert SECRET not in sealing.read_now(dump)
    assert (driven(sealing), sealing.read_now(kept)[1]) == (ONVIF, 1)
    assert policy(sealing).n == before.n, "the edge is told nothing new"
    sealing.close()


def test_no_file_of_the_database_holds_a_secret_once_a_gateway_opened_it(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path)
    old = Store(settings.database_url())
    old.migrate()
    furnish(old)
    old.write_now(old_row)
    old.close()
    assert holding(tmp_path) != []
    for _ in range(2):
        store = open_store(settings)
        assert driven(store) == ONVIF
        store.close()
        assert holding(tmp_path) == []


def holding(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.is_file() and SECRET.encode() in file.read_bytes()]


async def test_a_drivers_secret_is_taken_and_never_shown(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    answers = [await manager.post(f"{API}/doors", json={"id": "pw", "name": "P", "edge_id": EDGE, "driver": ONVIF})]
    changes: list[dict[str, Any]] = [{"name": "Q"}, {"driver": bare(ONVIF) | {"timeout_s": 3}}]
    answers += [await manager.patch(f"{API}/doors/pw/settings", json=change) for change in changes]
    answers += [await manager.get(f"{API}/doors/pw{rest}") for rest in ("", "/settings")]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200]
    assert [answer.text for answer in answers if SECRET in answer.text or '"password"' in answer.text] == []
    assert (answers[-1].json()["has_secret"], answers[-1].json()["driver"]) == (True, bare(ONVIF) | {"timeout_s": 3})
    assert driven(runtime.store) == ONVIF | {"timeout_s": 3}, "a change of something else keeps it"
    await made(manager, "/readers", {"id": "r-out", "door_id": "pw", "side": "out"})
    assert driven(runtime.store)["password"] == SECRET, "a reader takes nothing from its door"
    assert SECRET not in msgspec.json.encode(await runtime.store.read(audit_rows)).decode()


async def test_a_drivers_secret_is_replaced_by_another_and_dropped_with_its_driver(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await made(manager, "/doors", {"id": "pw", "name": "P", "edge_id": EDGE, "driver": LINE})
    sorted_anew = {**LINE, "readers": [{"door": "pw", "address": 0, "plain": True}, {"door": "pw", "address": 1}]}
    fresh = "d1" * 16
    anew = {**LINE, "readers": [{"door": "pw", "address": 1, "key": fresh}]}
    for change, keys in ((sorted_anew, [None, SECRET]), (anew, [fresh])):
        answer = await manager.patch(f"{API}/doors/pw/settings", json={"driver": change})
        assert (answer.status_code, answer.json()["has_secret"]) == (200, True)
        assert [reader.get("key") for reader in driven(runtime.store)["readers"]] == keys  # type: ignore[attr-defined]
    answer = await manager.patch(f"{API}/doors/pw/settings", json={"driver": {"kind": "mqtt"}})
    assert (answer.json()["has_secret"], driven(runtime.store)) == (False, {"kind": "mqtt"})
    assert (await runtime.store.read(kept))[0] == ""


async def test_a_drivers_secret_goes_to_no_other_host(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await made(manager, "/doors", {"id": "pw", "name": "P", "edge_id": EDGE, "driver": ONVIF})
    elsewhere = bare(ONVIF) | {"url": "http://198.51.100.9/onvif/device_service"}
    answer = await manager.patch(f"{API}/doors/pw/settings", json={"driver": elsewhere})
    assert (answer.status_code, answer.json()["where"]) == (422, "driver.password")
    assert driven(runtime.store) == ONVIF
    answer = await manager.patch(f"{API}/doors/pw/settings", json={"driver": elsewhere | {"password": "theirs"}})
    assert (answer.status_code, driven(runtime.store)["password"]) == (200, "theirs")
