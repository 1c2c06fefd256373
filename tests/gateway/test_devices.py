"""Controllers, doors, readers and cameras through the API, on both databases: what fits what, and the register of cameras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.places import put_camera
from gateway.store.registers import seed_assessment
from gateway.store.tables import cameras
from models.assessments import Assessment, Topics
from models.places import Camera, CameraRegister
from tests.gateway.placing import API, ids, machine, made, told
from tests.gateway.support import BEGINNING, Clock

REGISTER = {
    "purpose": "See who rings", "place_class": "community_common", "sign_confirmed_on": "2026-02-20",
    "banned_area_checked": True, "responsible": "Head of security",
}  # fmt: skip


def assess(runtime: Runtime, *, subject: Any = "face", site_id: str = "a") -> str:
    words = "x" * 30
    topics = Topics(lawful_and_necessary=words, impact_and_risk=words, measures_fit=words, leak_and_misuse=words)
    record = Assessment(
        id=f"pia-{subject}-{site_id}", site_id=site_id, subject=subject, topics=topics, state="approved", drafted_by="m",
        drafted_at=BEGINNING, approved_by="n", approved_at=BEGINNING,
    )  # fmt: skip
    runtime.store.write_now(seed_assessment, record)
    return record.id


async def test_a_door_is_told_what_lets_in_after_the_policys_end(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    door = await made(manager, "/doors", {"id": "new", "name": "New door", "edge_id": "edge-1"})
    assert door["when_policy_ends"] == "credentials"
    changed = await manager.patch(f"{API}/doors/new/settings", json={"when_policy_ends": "nothing"})
    assert (changed.status_code, changed.json()["when_policy_ends"]) == (200, "nothing")
    refused = await manager.patch(f"{API}/doors/new/settings", json={"when_policy_ends": "cards"})
    assert refused.status_code == 422


async def test_a_door_is_made_configured_and_deleted(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {"id": "new", "name": "New door", "edge_id": "edge-1", "driver": {"kind": "mqtt", "map": "shelly"}}
    door = await made(manager, "/doors", body)
    told = door["site_id"], door["factors"], door["unlock_s"], door["driver"]["map"]
    assert told == ("a", ["card", "pin"], 5, "shelly")
    assert [reader["side"] for reader in door["readers"]] == ["in"]
    assert (await manager.get(f"{API}/doors/new")).json()["online"] is False
    changed = await manager.patch(
        f"{API}/doors/new/settings", json={"unlock_s": 9, "factors": ["card"]}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.json()["unlock_s"], changed.json()["version"]) == (200, 9, 2)
    shown = await manager.get(f"{API}/doors/new/settings")
    assert (shown.json(), shown.headers["etag"]) == (changed.json(), '"2"')
    assert (await manager.delete(f"{API}/doors/new")).status_code == 204
    assert (await manager.get(f"{API}/doors/new")).status_code == 404
    assert ids(await manager.get(f"{API}/readers", params={"door_id": "new"})) == []


UNFIT_DOORS: list[tuple[dict[str, Any], str]] = [
    ({"factors": ["face"], "camera_id": "cam"}, "doors.side.factors"),
    ({"factors": ["face", "card"]}, "doors.side.factors"),
    ({"hands_free": True}, "doors.side.hands_free"),
    ({"hands_free": True, "impact_assessment": "pia-face-b"}, "impact_assessment"),
    ({"hands_free": True, "impact_assessment": "pia-recording-a"}, "impact_assessment"),
    ({"camera_id": "nothing"}, "camera_id"),
    ({"controller_id": "nothing"}, "controller_id"),
    ({"edge_id": "edge-9"}, "edge_id"),
    ({"factors": []}, "body.factors"),
    ({"unlock_s": 0}, "body.unlock_s"),
    ({"driver": {"x": "y" * 9000}}, "body.driver"),
    ({"driver": {"x": "a\u0000"}}, "body.driver"),
    ({"site_id": "b"}, "body.site_id"),
]


async def test_a_door_that_does_not_fit_is_refused(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    assess(runtime, subject="recording")
    assess(runtime, site_id="b")
    for change, where in UNFIT_DOORS:
        answer = await manager.patch(f"{API}/doors/side/settings", json=change)
        assert (answer.status_code, answer.json().get("where")) == (422, where), (change, answer.text)
    assert (await manager.get(f"{API}/doors/side/settings")).json()["version"] == 1


async def test_a_door_is_hands_free_only_with_an_assessment_of_faces_in_force(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    change = {"hands_free": True, "impact_assessment": assess(runtime)}
    answer = await manager.patch(f"{API}/doors/gate/settings", json=change)
    assert (answer.status_code, answer.json()["hands_free"]) == (200, True)


async def test_a_door_stays_while_something_names_it(manager: httpx.AsyncClient) -> None:
    person = await made(manager, "/people", {"name": "Lin"})
    await made(manager, f"/people/{person['id']}/permits", {"doors": ["side"]})
    answer = await manager.delete(f"{API}/doors/side")
    assert (answer.status_code, "a permit" in told(answer)) == (409, True)
    looked = await manager.patch(f"{API}/cameras/cam/settings", json={"door_id": "gate"})
    assert looked.status_code == 200
    answer = await manager.delete(f"{API}/doors/gate")
    assert (answer.status_code, "a camera" in told(answer)) == (409, True)
    answer = await manager.delete(f"{API}/cameras/cam")
    assert (answer.status_code, "a door" in told(answer)) == (409, True)


async def test_what_works_together_stays_on_one_edge(manager: httpx.AsyncClient) -> None:
    for change in ({"camera_id": "cam", "edge_id": "edge-2"}, {"edge_id": "edge-2"}):
        answer = await manager.patch(f"{API}/doors/gate/settings", json=change)
        assert (answer.status_code, answer.json()["where"]) == (422, "camera_id")
    answer = await manager.patch(f"{API}/cameras/cam/settings", json={"edge_id": "edge-2"})
    assert (answer.status_code, answer.json()["where"]) == (422, "edge_id")
    assert (await manager.patch(f"{API}/doors/side/settings", json={"edge_id": "edge-2"})).status_code == 200


async def test_the_doors_of_a_sluice_sit_on_one_edge(manager: httpx.AsyncClient) -> None:
    sluice = {"name": "S", "site_id": "a", "interlock": 'the "inner" 100%'}
    await made(manager, "/doors", sluice | {"id": "s1", "edge_id": "edge-1"})
    refused = await manager.post(f"{API}/doors", json=sluice | {"id": "s2", "edge_id": "edge-2"})
    assert (refused.status_code, "interlock" in refused.text, "edge-1" in refused.text) == (422, True, True)
    await made(manager, "/doors", sluice | {"id": "s2", "edge_id": "edge-2", "interlock": "the inner"})
    await made(manager, "/doors", sluice | {"id": "s3", "edge_id": "edge-1"})
    moved = await manager.patch(f"{API}/doors/s2/settings", json={"interlock": sluice["interlock"]})
    assert moved.status_code == 422, moved.text


async def test_a_controller_drives_at_most_four_doors_of_its_edge(manager: httpx.AsyncClient) -> None:
    board = await made(manager, "/controllers", {"name": "Board", "edge_id": "edge-1", "serial": "1"})
    for number in range(4):
        body = {"id": f"d{number}", "name": "D", "edge_id": "edge-1", "controller_id": board["id"]}
        await made(manager, "/doors", body)
    fifth = await manager.patch(f"{API}/doors/side/settings", json={"controller_id": board["id"]})
    assert (fifth.status_code, fifth.json()["where"]) == (422, "controller_id")
    assert (await manager.patch(f"{API}/doors/d0/settings", json={"unlock_s": 6})).status_code == 200
    apart = await manager.patch(f"{API}/doors/d1/settings", json={"edge_id": "edge-2"})
    assert (apart.status_code, apart.json()["where"]) == (422, "controller_id")
    moved = await manager.patch(f"{API}/controllers/{board['id']}", json={"edge_id": "edge-2"})
    assert (moved.status_code, moved.json()["where"]) == (422, "edge_id")
    used = await manager.delete(f"{API}/controllers/{board['id']}")
    assert (used.status_code, "a door" in told(used)) == (409, True)
    replaced = await manager.patch(f"{API}/controllers/{board['id']}", json={"serial": "2"})
    assert (replaced.status_code, replaced.json()["serial"]) == (200, "2")
    assert (await manager.get(f"{API}/doors/d0/settings")).json()["controller_id"] == board["id"]


async def test_readers_travel_with_their_door(manager: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    reader = await made(manager, "/readers", {"id": "r-out", "door_id": "side", "side": "out", "kinds": ["qr", "card"]})
    door = (await manager.get(f"{API}/doors/side/settings")).json()
    assert [(one["id"], one["side"], one["kinds"]) for one in door["readers"]] == [("r-out", "out", ["qr", "card"])]
    assert (await other.get(f"{API}/readers/r-out")).status_code == 404
    assert (await other.post(f"{API}/readers", json={"door_id": "side"})).status_code == 404
    changed = await manager.patch(f"{API}/readers/r-out", json={"name": "Inside"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()) == (200, {**reader, "name": "Inside", "version": 2})
    for number in range(7):
        await made(manager, "/readers", {"id": f"r{number}", "door_id": "side"})
    ninth = await manager.post(f"{API}/readers", json={"door_id": "side"})
    assert (ninth.status_code, ninth.json()["where"]) == (422, "door_id")
    assert (await manager.delete(f"{API}/readers/r-out")).status_code == 204
    door = (await manager.get(f"{API}/doors/side/settings")).json()
    assert [one["id"] for one in door["readers"]] == [f"r{number}" for number in range(7)]
    assert ids(await manager.get(f"{API}/readers", params={"door_id": "side"})) == [f"r{number}" for number in range(7)]


async def test_a_cameras_password_is_taken_and_never_shown(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {
        "id": "new",
        "name": "New",
        "edge_id": "edge-1",
        "url": "rtsp://192.0.2.7/s",
        "user": "u",
        "password": "t0p",
    }
    answers = [await manager.post(f"{API}/cameras", json=body)]
    answers.append(await manager.patch(f"{API}/cameras/new/settings", json={"name": "Newer"}))
    answers.append(await manager.get(f"{API}/cameras/new/settings"))
    answers.append(await manager.get(f"{API}/cameras/new"))
    answers.append(await manager.get(f"{API}/cameras"))
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200]
    assert [answer.text for answer in answers if "t0p" in answer.text or '"password"' in answer.text] == []
    assert answers[2].json()["has_password"] is True
    assert await runtime.store.read(kept_password, "new") == "t0p", "a change of something else keeps it"
    assert (await manager.patch(f"{API}/cameras/new/settings", json={"password": "n3w"})).status_code == 200
    assert await runtime.store.read(kept_password, "new") == "n3w"
    told_all = msgspec.json.encode(await runtime.store.read(audit_rows)).decode()
    assert "camera.change" in told_all
    assert [word for word in ("t0p", "n3w", "192.0.2.7") if word in told_all] == []
    assert (await manager.delete(f"{API}/cameras/new")).status_code == 204


def kept_password(connection: Any, camera_id: str) -> str:
    return str(connection.execute(select(cameras.c.password).where(cameras.c.id == camera_id)).scalar_one())


async def test_a_cameras_password_goes_to_no_other_host(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    elsewhere = {"url": "rtsp://198.51.100.9/s"}
    answer = await manager.patch(f"{API}/cameras/cam/settings", json=elsewhere)
    assert (answer.status_code, answer.json()["where"]) == (422, "password")
    assert (
        await manager.patch(f"{API}/cameras/cam/settings", json={"url": "rtsp://192.0.2.1/other"})
    ).status_code == 200
    answer = await manager.patch(f"{API}/cameras/cam/settings", json=elsewhere | {"password": "theirs"})
    assert (answer.status_code, answer.json()["url"]) == (200, elsewhere["url"])
    assert await runtime.store.read(kept_password, "cam") == "theirs"


UNFIT_CAMERAS: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://192.0.2.1/"}, "url"),
    ({"url": "rtsp://user:secret@192.0.2.1/"}, "url"),
    ({"url": "rtsp://[::1"}, "url"),
    ({"url": "rtsp://192.0.2.1/\n"}, "url"),
    ({"near_zone": [0.5, 0, 0.5, 1]}, "near_zone"),
    ({"near_zone": [0, 0, 2, 1]}, "body.near_zone.2"),
    ({"door_id": "far"}, "door_id"),
    ({"edge_id": "edge-9"}, "edge_id"),
    ({"register": REGISTER | {"banned_area_checked": False}}, "register.banned_area_checked"),
    ({"register": REGISTER | {"privacy_masks": [[0.2, 0, 0.1, 1]]}}, "register.privacy_masks"),
    ({"register": REGISTER | {"sign_confirmed_on": "9999-12-31"}}, "register.sign_confirmed_on"),
    ({"register": REGISTER | {"purpose": " "}}, "body.register.purpose"),
    ({"register": {"purpose": "x"}}, "body.register.place_class"),
]


async def test_a_camera_that_does_not_fit_is_refused(manager: httpx.AsyncClient) -> None:
    for change, where in UNFIT_CAMERAS:
        answer = await manager.patch(f"{API}/cameras/cam/settings", json=change)
        assert (answer.status_code, answer.json().get("where")) == (422, where), (change, answer.text)
        assert "secret" not in answer.text
    assert (await manager.get(f"{API}/cameras/cam/settings")).json()["version"] == 1


async def test_the_register_says_which_camera_stays_off_and_what_is_to_be_filed(
    manager: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    await made(manager, "/cameras", {"id": "off", "name": "Off", "edge_id": "edge-1", "url": "rtsp://192.0.2.8/s"})
    answer = await manager.patch(f"{API}/cameras/cam/settings", json={"register": REGISTER})
    assert answer.json()["register"] == REGISTER | {"privacy_masks": [], "filed_on": None}
    rows = (await manager.get(f"{API}/sites/a/register")).json()["items"]
    assert [(row["camera_id"], row["complete"], row["filing_due_on"]) for row in rows] == [
        ("cam", True, "2026-03-22"), ("off", False, None),
    ]  # fmt: skip
    filed = REGISTER | {"filed_on": "2026-02-25"}
    assert (await manager.patch(f"{API}/cameras/cam/settings", json={"register": filed})).status_code == 200
    rows = (await manager.get(f"{API}/sites/a/register")).json()["items"]
    assert [row["filing_due_on"] for row in rows] == [None, None]
    assert (await manager.patch(f"{API}/cameras/cam/settings", json={"register": None})).json()["register"] is None
    assert (await other.get(f"{API}/sites/a/register")).status_code == 404


@pytest.fixture
async def patient(url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a machine at site a, which no session ends for."""
    async with machine(url, runtime, role="manager", sites=("a",)) as client:
        yield client


async def test_the_register_is_printed_for_filing(patient: httpx.AsyncClient, clock: Clock) -> None:
    manager = patient
    await made(manager, "/cameras", {"id": "off", "name": "Off", "edge_id": "edge-1", "url": "rtsp://192.0.2.8/s"})
    await manager.patch(f"{API}/cameras/cam/settings", json={"register": REGISTER})
    page = await manager.get(f"{API}/sites/a/register/print")
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    for line in (
        "1. Camera（cam）",
        "用途：See who rings",
        "场所类别：小区公共区域",
        "备案期限：2026-03-22",
        "Off（off）",
    ):
        assert line in page.text
    assert "逾期" not in page.text
    clock.turn(days=22)
    assert "备案期限：2026-03-22，已逾期" in (await manager.get(f"{API}/sites/a/register/print")).text
    await manager.patch(f"{API}/cameras/cam/settings", json={"register": REGISTER | {"filed_on": "2026-03-21"}})
    assert "备案日期：2026-03-21" in (await manager.get(f"{API}/sites/a/register/print")).text


async def test_an_entry_that_is_incomplete_leaves_the_camera_off_the_policy(
    manager: httpx.AsyncClient, runtime: Runtime, edge: Any
) -> None:
    async def watched() -> list[str]:
        return [camera["id"] for camera in (await edge.send("GET", "/edge/v1/policy")).json()["cameras"]]

    await manager.patch(f"{API}/cameras/cam/settings", json={"register": REGISTER})
    assert await watched() == ["cam"]
    await manager.patch(f"{API}/cameras/cam/settings", json={"register": None})
    assert await watched() == []
    unchecked = CameraRegister(
        purpose="P", place_class="private_common", sign_confirmed_on=BEGINNING.date(), banned_area_checked=False
    )
    camera = Camera(
        id="cam", site_id="a", name="Camera", edge_id="edge-1", url="rtsp://192.0.2.1/s", register=unchecked
    )
    await runtime.store.write(put_camera, camera)
    assert await watched() == []
    rows = (await manager.get(f"{API}/sites/a/register")).json()["items"]
    assert [(row["complete"], row["filing_due_on"]) for row in rows] == [(False, None)]


async def test_of_two_who_saw_the_same_version_one_changes_it(manager: httpx.AsyncClient) -> None:
    changes = [
        manager.patch(f"{API}/doors/side/settings", json={"unlock_s": 10 + number}, headers={"If-Match": '"1"'})
        for number in range(6)
    ]
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    (won,) = [answer for answer in answers if answer.status_code == 200]
    assert (await manager.get(f"{API}/doors/side/settings")).json() == won.json()


async def test_a_change_of_a_door_reaches_its_edge(manager: httpx.AsyncClient, edge: Any) -> None:
    before = (await edge.send("GET", "/edge/v1/policy")).json()
    assert (await manager.patch(f"{API}/doors/side/settings", json={"unlock_s": 12})).status_code == 200
    after = (await edge.send("GET", "/edge/v1/policy")).json()
    assert {door["id"]: door["unlock_s"] for door in after["doors"]}["side"] == 12
    assert (after["epoch"], after["n"]) > (before["epoch"], before["n"])
