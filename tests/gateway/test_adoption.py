"""Parts of found devices: tried on record, adopted as doors and cameras, replaced under their ids, and removed for good."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from sqlalchemy import Connection, select

from gateway.auth.vault import Vault, is_wrapped
from gateway.media import drop_old_stills
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.places import put_camera, put_door
from gateway.store.policy import current_policy
from gateway.store.tables import cameras
from models.device_orders import TryPart
from models.devices import Candidate, Part
from models.places import Camera, Door
from tests.gateway.conftest import seated
from tests.gateway.finding import DEVICE, EYE, FRONT, SECRET, URL, WHY, Desk
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge

JPEG = b"\xff\xd8\xff\xe0" + b"hidden" * 1000


@pytest.fixture
def store(migrated_file: Path, tmp_path: Path) -> Iterator[Store]:
    """Yield a store that seals; both databases do alike (test_store)."""
    file = tmp_path / "gateway.db"
    shutil.copyfile(migrated_file, file)
    made = Store(f"sqlite:///{file}", vault=Vault(b"k" * 32))
    yield made
    made.close()


@pytest.fixture
def runtime(runtime: Runtime, tmp_path: Path) -> Runtime:
    """Return a gateway with a folder beside its database."""
    return dataclasses.replace(runtime, data_dir=tmp_path / "data")


@pytest.fixture
def desk(manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime) -> Desk:
    return Desk(manager, edge, runtime)


# ---- trials -----------------------------------------------------------------------------------------------------------


async def send(edge: SigningEdge, medium_id: str, *, camera: str) -> int:
    query = urlencode({"id": medium_id, "camera": camera, "at": BEGINNING.isoformat(), "blurred": "yes"})
    target = f"/edge/v1/media?{query}"
    digest = {"Content-Type": "image/jpeg", "Gatehouse-Digest": hashlib.sha256(JPEG).hexdigest()}
    answer = await edge.client.post(target, content=JPEG, headers=edge.headers("POST", target, JPEG) | digest)
    return answer.status_code


async def test_a_still_on_trial_is_shown_on_record_and_gone_within_the_hour(
    desk: Desk, clock: Clock, runtime: Runtime
) -> None:
    key = await desk.known()
    asked = await desk.call("POST", f"/{key}/try", 202, json={"part": "eye", "act": "still"})
    order = desk.order()
    assert isinstance(order, TryPart)
    assert order.settings == {"url": EYE.url, "user": "admin", "password": SECRET}
    assert (order.reason, order.id) == ("adoption", asked["id"])
    assert await send(desk.edge, order.id, camera=order.id) == 201
    assert await send(desk.edge, "other", camera="somebody-elses") == 404
    await desk.ends(media_id=order.id)
    picture = await desk.client.get(f"/api/v1/devices/orders/{order.id}/picture", headers=WHY)
    assert (picture.status_code, picture.content, picture.headers["cache-control"]) == (200, JPEG, "no-store")
    assert (await desk.client.get(f"/api/v1/devices/orders/{order.id}/picture")).status_code == 422, "without a reason"
    assert (await desk.call("GET", f"/{key}"))["reach"] == "ready"
    assert await send(desk.edge, "late", camera=order.id) == 404, "the trial is over"
    rows = [row for row in runtime.store.read_now(audit_rows) if row.action in {"device.try", "media.look"}]
    assert sorted((row.action, row.actor, row.result) for row in rows) == [
        ("device.try", EDGE, "ok"), ("device.try", "u-manager", "sent"), ("media.look", "u-manager", "ok"),
    ]  # fmt: skip
    clock.turn(minutes=51)
    assert await drop_old_stills(runtime) == 1


async def test_a_trial_needs_a_reason_and_the_right_act(desk: Desk) -> None:
    key = await desk.known()
    bare = await desk.client.post(f"/api/v1/devices/{key}/try", json={"part": "front", "act": "unlock"})
    assert (bare.status_code, "say why" in bare.text) == (422, True)
    await desk.call("POST", f"/{key}/try", 422, json={"part": "front", "act": "still"})
    await desk.call("POST", f"/{key}/try", 404, json={"part": "none", "act": "unlock"})


async def test_a_door_on_trial_is_unlocked_with_its_credentials_and_its_end_is_told(desk: Desk) -> None:
    key = await desk.known()
    await desk.call("POST", f"/{key}/try", 202, json={"part": "front", "act": "unlock"})
    order = desk.order()
    assert isinstance(order, TryPart)
    assert order.settings == {**FRONT.settings, "user": "admin", "password": SECRET}
    ended = await desk.ends("refused", reason="refused", detail="locked down")
    assert (ended["state"], ended["reason"], ended["detail"]) == ("refused", "refused", "locked down")
    assert (await desk.call("GET", f"/{key}"))["reach"] == "known"


async def test_an_adopted_door_is_not_tried_past_its_rules(desk: Desk) -> None:
    key = await desk.known()
    await desk.call("POST", f"/{key}/adopt", 201, json={"part": "front", "id": "lobby"})
    told = await desk.call("POST", f"/{key}/try", 409, json={"part": "front", "act": "unlock"})
    assert "it is door 'lobby' here" in str(told)


async def test_a_door_that_was_described_by_hand_since_is_not_tried_either(desk: Desk) -> None:
    key = await desk.known()
    driver = {"kind": "onvif", "url": URL.upper().replace("HTTP", "http"), "door": "front"}
    body = {"id": "hand", "name": "H", "site_id": "a", "edge_id": EDGE, "driver": driver}
    assert (await desk.client.post("/api/v1/doors", json=body, headers=WHY)).status_code == 201
    await desk.call("POST", f"/{key}/try", 409, json={"part": "front", "act": "unlock"})


async def test_who_may_not_unlock_doors_tries_none(desk: Desk, *, url: str, runtime: Runtime) -> None:
    key = await desk.known()
    async with seated(url, runtime, "system_administrator") as admin:
        body = {"part": "front", "act": "unlock"}
        refused = await admin.post(f"/api/v1/devices/{key}/try", json=body, headers=WHY)
        still = await admin.post(f"/api/v1/devices/{key}/try", json={"part": "eye", "act": "still"}, headers=WHY)
    assert (refused.status_code, still.status_code) == (403, 202)


async def test_a_part_at_another_host_than_its_device_is_sent_no_credentials(desk: Desk) -> None:
    far = msgspec.structs.replace(EYE, url="rtsp://198.51.100.66/x")
    key = await desk.known(msgspec.structs.replace(DEVICE, parts=(far,)))
    await desk.call("POST", f"/{key}/try", 422, json={"part": "eye", "act": "still"})


# ---- adopted ----------------------------------------------------------------------------------------------------------


async def test_parts_become_a_camera_and_a_door_whose_credentials_only_the_edge_gets(
    desk: Desk, runtime: Runtime
) -> None:
    key = await desk.known()
    door = await desk.call("POST", f"/{key}/adopt", 201, json={"part": "front", "id": "lobby", "name": "Lobby"})
    entry = {"purpose": "the lobby", "place_class": "community_common", "sign_confirmed_on": "2026-01-01",
             "banned_area_checked": True}  # fmt: skip
    body = {"part": "eye", "id": "lobby-eye", "door_id": "lobby", "register": entry}
    device = await desk.call("POST", f"/{key}/adopt", 201, json=body)
    assert device["state"] == "adopted"
    assert {part["id"]: part["adopted_as"] for part in device["parts"]} == {"eye": "lobby-eye", "front": "lobby"}
    policy = desk.policy()
    (lobby,) = (one for one in policy.doors if one.id == "lobby")
    assert lobby.driver == {**FRONT.settings, "user": "admin", "password": SECRET}
    (eye,) = (one for one in policy.cameras if one.id == "lobby-eye")
    assert (eye.url, eye.main_url, eye.password, eye.device) == (EYE.url, EYE.main_url, SECRET, EYE.settings)
    settings = (await desk.client.get("/api/v1/doors/lobby/settings", headers=WHY)).json()
    seen = (await desk.client.get("/api/v1/cameras/lobby-eye/settings", headers=WHY)).json()
    assert settings["driver"] == {**FRONT.settings, "device": key}
    assert SECRET not in f"{door} {device} {settings} {seen}"
    held = runtime.store.read_now(lambda c: c.execute(select(cameras).where(cameras.c.id == "lobby-eye")).one())
    assert is_wrapped(held.password)
    await desk.call("POST", f"/{key}/adopt", 409, json={"part": "front"})


async def test_credentials_that_changed_reach_doors_and_cameras_only_once_somebody_says_so(
    desk: Desk, runtime: Runtime
) -> None:
    key = await desk.known()
    await desk.call("POST", f"/{key}/adopt", 201, json={"part": "front", "id": "lobby"})
    entry = {"purpose": "the lobby", "place_class": "community_common", "sign_confirmed_on": "2026-01-01",
             "banned_area_checked": True}  # fmt: skip
    await desk.call("POST", f"/{key}/adopt", 201, json={"part": "eye", "id": "lobby-eye", "register": entry})
    before, asked = desk.policy(), {"user": "other", "password": "the next one"}
    await desk.call("POST", f"/{key}/probe", 202, json=asked)
    await desk.ends(candidates=(DEVICE,))
    assert (desk.policy().doors, desk.policy().cameras) == (before.doors, before.cameras)
    assert changes(runtime) == []
    await desk.call("POST", f"/{key}/probe", 202, json=asked | {"pass_on": True})
    await desk.ends(candidates=(DEVICE,))
    after = desk.policy()
    lobby = next(one for one in after.doors if one.id == "lobby").driver
    eye = next(one for one in after.cameras if one.id == "lobby-eye")
    assert [(lobby["user"], lobby["password"]), (eye.user, eye.password)] == [("other", "the next one")] * 2
    assert changes(runtime) == [("camera.change", "u-manager", "lobby-eye"), ("door.change", "u-manager", "lobby")]


async def test_a_camera_of_the_site_file_keeps_its_credentials_whatever_opened_its_device(
    desk: Desk, runtime: Runtime
) -> None:
    def described(connection: Connection) -> None:
        file = Camera(id="hall", site_id="a", edge_id=EDGE, name="Hall", url=EYE.url, user="gatehouse", password="own")
        put_camera(connection, file, seeded=True)

    def row(connection: Connection) -> Any:
        return connection.execute(select(cameras).where(cameras.c.id == "hall")).one()

    runtime.store.write_now(described)
    before = runtime.store.read_now(row)
    key = await desk.known()
    assert (await desk.call("GET", f"/{key}"))["parts"][0]["adopted_as"] == "hall"
    assert runtime.store.read_now(row) == before
    await desk.call("POST", f"/{key}/probe", 202, json={"user": "admin", "password": "new", "pass_on": True})
    await desk.ends(candidates=(DEVICE,))
    assert runtime.store.read_now(row) == before
    assert changes(runtime) == []


def changes(runtime: Runtime) -> list[tuple[str, str, str]]:
    """Return which doors and cameras were changed by whom, from the record."""
    rows = runtime.store.read_now(audit_rows)
    return sorted((row.action, row.actor, row.subject) for row in rows if row.action.endswith(".change"))


async def test_a_camera_without_a_register_entry_is_adopted_and_stays_off(desk: Desk) -> None:
    key = await desk.known()
    await desk.call("POST", f"/{key}/adopt", 201, json={"part": "eye", "id": "lobby-eye"})
    assert "lobby-eye" not in {one.id for one in desk.policy().cameras}


async def test_a_door_by_mqtt_is_called_what_the_device_calls_it(desk: Desk) -> None:
    hello = Candidate(
        id="mqtt-shed", wire="mqtt", address="gatehouse/v1/doors/shed", reach="known",
        parts=(Part(id="shed", kind="door", settings={"kind": "mqtt"}),),
    )  # fmt: skip
    key = await desk.found(hello)
    device = await desk.call("POST", f"/{key}/adopt", 201, json={"part": "shed"})
    assert device["parts"][0]["adopted_as"] == "shed"
    assert next(one for one in desk.policy().doors if one.id == "shed").driver == {"kind": "mqtt"}


async def test_a_device_of_one_site_lends_its_credentials_to_no_other(
    desk: Desk, system: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    key = await desk.known()
    body = {"id": "thief", "name": "T", "edge_id": "edge-9", "site_id": "b", "driver": {"kind": "onvif", "device": key}}
    far = await system.post("/api/v1/doors", json=body, headers=WHY)
    assert far.status_code == 404, "site b is not in scope"
    stolen = Door(id="thief", site_id="b", name="T", edge_id="edge-9", driver={"kind": "onvif", "device": key})
    runtime.store.write_now(put_door, stolen)
    policy = runtime.store.write_now(current_policy, "edge-9", site_id="b", at=runtime.clock())
    assert next(one for one in policy.doors if one.id == "thief").driver == {"kind": "onvif"}


# ---- replaced and removed ---------------------------------------------------------------------------------------------


async def test_a_device_that_takes_over_keeps_the_ids_and_the_old_one_is_gone(desk: Desk) -> None:
    old = await desk.known()
    await desk.call("POST", f"/{old}/adopt", 201, json={"part": "front", "id": "lobby"})
    await desk.call("POST", f"/{old}/adopt", 201, json={"part": "eye", "id": "lobby-eye"})
    url = "http://192.0.2.50/onvif/device_service"
    spare = Candidate(
        id="onvif-8", wire="onvif", address=url, reach="known", serial="8",
        parts=(Part(id="v", kind="camera", url="rtsp://192.0.2.50/s"),
               Part(id="d9", kind="door", settings={"kind": "onvif", "url": url, "door": "d9"})),
    )  # fmt: skip
    await desk.call("POST", "/probe", 202, json={"edge_id": EDGE, "wire": "onvif", "address": url, "password": "new"})
    new = (await desk.ends(candidates=(spare,)))["devices"][0]
    taken = await desk.call("POST", f"/{old}/replace", json={"by": new})
    assert {part["id"]: part["adopted_as"] for part in taken["parts"]} == {"v": "lobby-eye", "d9": "lobby"}
    lobby = next(one for one in desk.policy().doors if one.id == "lobby")
    assert lobby.driver == {"kind": "onvif", "url": url, "door": "d9", "password": "new"}
    assert lobby.name == "Front", "what people call it stays"
    assert (await desk.call("GET", f"/{old}"))["state"] == "removed"
    assert [one["id"] for one in (await desk.call("GET", ""))["items"]] == [new]


async def test_a_replacement_that_is_not_plain_is_asked_for(desk: Desk) -> None:
    old = await desk.known()
    await desk.call("POST", f"/{old}/adopt", 201, json={"part": "front", "id": "lobby"})
    two = Candidate(
        id="onvif-9", wire="onvif", address=URL, reach="known",
        parts=tuple(Part(id=f"d{n}", kind="door", settings={"url": URL, "door": f"d{n}"}) for n in (1, 2)),
    )  # fmt: skip
    new = await desk.found(two)
    await desk.call("POST", f"/{old}/replace", 422, json={"by": new})
    await desk.call("POST", f"/{old}/replace", 409, json={"by": old})
    await desk.call("POST", f"/{new}/replace", 409, json={"by": old})
    taken = await desk.call("POST", f"/{old}/replace", json={"by": new, "parts": {"front": "d2"}})
    assert [part["adopted_as"] for part in taken["parts"]] == [None, "lobby"]


async def test_a_removed_device_stays_removed_until_it_is_offered_again(desk: Desk, runtime: Runtime) -> None:
    key = await desk.known()
    await desk.call("DELETE", f"/{key}", 204)
    assert await desk.found(DEVICE) == key
    assert (await desk.call("GET", ""))["items"] == []
    (gone,) = (await desk.call("GET", "?state=removed"))["items"]
    assert (gone["id"], gone["has_credentials"]) == (key, False)
    await desk.call("POST", f"/{key}/adopt", 409, json={"part": "front"})
    await desk.call("POST", f"/{key}/try", 409, json={"part": "front", "act": "unlock"})
    assert await desk.known() == key
    assert (await desk.call("GET", f"/{key}"))["has_credentials"] is False
    assert (await desk.call("POST", f"/{key}/offer"))["state"] == "found"
    assert [one["id"] for one in (await desk.call("GET", ""))["items"]] == [key]


async def test_a_device_that_serves_a_door_is_not_removed_and_is_free_once_the_door_is_gone(desk: Desk) -> None:
    key = await desk.known()
    await desk.call("POST", f"/{key}/adopt", 201, json={"part": "front", "id": "lobby"})
    await desk.call("DELETE", f"/{key}", 409)
    assert (await desk.client.delete("/api/v1/doors/lobby", headers=WHY)).status_code == 204
    assert (await desk.call("GET", f"/{key}"))["state"] == "found"
    await desk.call("DELETE", f"/{key}", 204)


async def test_a_device_whose_credentials_a_door_described_by_hand_uses_is_not_removed(desk: Desk) -> None:
    key = await desk.known()
    body = {"id": "hand", "name": "H", "site_id": "a", "edge_id": EDGE, "driver": {**FRONT.settings, "device": key}}
    assert (await desk.client.post("/api/v1/doors", json=body, headers=WHY)).status_code == 201
    told = await desk.call("DELETE", f"/{key}", 409)
    assert "hand" in str(told)
    assert next(one for one in desk.policy().doors if one.id == "hand").driver["password"] == SECRET
    assert (await desk.client.delete("/api/v1/doors/hand", headers=WHY)).status_code == 204
    await desk.call("DELETE", f"/{key}", 204)
