"""One form for many cameras: the same register entry for all of them or none, and nobody's own entry lost by accident."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.places import put_camera
from gateway.store.policy import current_policy
from models.places import Camera
from tests.gateway.support import EDGE, REGISTER

WHY = {"Gatehouse-Reason": "walk of May"}
ENTRY = {
    "purpose": "the court",
    "place_class": "community_common",
    "sign_confirmed_on": "2026-02-01",
    "banned_area_checked": True,
}
NEW = tuple(f"court-{n}" for n in range(20))


@pytest.fixture
def cameras(runtime: Runtime) -> tuple[str, ...]:
    """Add twenty cameras without an entry at site a."""
    for key in NEW:
        runtime.store.write_now(
            put_camera, Camera(id=key, site_id="a", name=key, edge_id=EDGE, url="rtsp://192.0.2.9/s")
        )
    return NEW


async def register(client: httpx.AsyncClient, *cameras: str, status: int = 200, **more: Any) -> Any:
    body = {"cameras": list(cameras), "register": ENTRY} | more
    answer = await client.post("/api/v1/cameras/register", json=body, headers=WHY)
    assert answer.status_code == status, answer.text
    return answer.json()


def served(runtime: Runtime) -> set[str]:
    policy = runtime.store.write_now(current_policy, EDGE, site_id="a", at=runtime.clock())
    return {camera.id for camera in policy.cameras}


async def known_as_registered(client: httpx.AsyncClient) -> set[str]:
    listed = await client.get("/api/v1/cameras")
    assert listed.status_code == 200, listed.text
    return {camera["id"] for camera in listed.json()["items"] if camera["registered"]}


async def test_many_cameras_are_registered_at_once_and_are_on(
    manager: httpx.AsyncClient, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    assert served(runtime) == {"cam"}
    assert await known_as_registered(manager) == {"cam"}
    shown = await register(manager, *cameras)
    assert await known_as_registered(manager) == {"cam", *cameras}
    assert {one["camera"]["register"]["purpose"] for one in shown["items"]} == {"the court"}
    assert served(runtime) == {"cam", *cameras}
    rows = [row for row in runtime.store.read_now(audit_rows) if row.action == "camera.change"]
    assert {row.subject for row in rows} == set(cameras), "each is on record"
    assert {row.detail["reason"] for row in rows} == {"walk of May"}


async def test_an_entry_that_a_camera_has_stays_unless_it_is_replaced_and_its_masks_always(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    entry = {**ENTRY, "purpose": "the gate", "privacy_masks": [[0.0, 0.0, 0.5, 0.2]]}
    changed = await manager.patch("/api/v1/cameras/cam/settings", json={"register": entry}, headers=WHY)
    assert changed.status_code == 200, changed.text
    (kept,) = (await register(manager, "cam"))["items"]
    assert (kept["state"], kept["camera"]["register"]["purpose"]) == ("kept", "the gate")
    assert REGISTER.purpose != "the gate"
    (anew,) = (await register(manager, "cam", replace=True))["items"]
    entry = anew["camera"]["register"]
    assert (anew["state"], entry["purpose"], entry["privacy_masks"]) == ("changed", "the court", [[0.0, 0.0, 0.5, 0.2]])


async def test_one_camera_that_cannot_be_registered_leaves_all_as_they_were(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    await register(manager, *cameras, "no-such", status=404)
    await register(manager, *cameras, status=422, register={**ENTRY, "banned_area_checked": False})
    await register(other, *cameras, status=404)
    assert served(runtime) == {"cam"}


async def test_one_by_one_the_good_cameras_are_registered_and_the_others_say_why(
    manager: httpx.AsyncClient, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    mask = [0.0, 0.0, 1.0, 0.1]
    asked = (cameras[0], "no-such", "cam", cameras[1])
    rows = (
        await register(manager, *asked, each=True, name="Court {n} ({id})", first=7, rate="key", privacy_masks=[mask])
    )["items"]
    assert [(row["camera_id"], row["state"], row["reason"], row["name"]) for row in rows] == [
        (cameras[0], "changed", "", f"Court 7 ({cameras[0]})"),
        ("no-such", "refused", "not_found", ""),
        ("cam", "kept", "", "Camera"),
        (cameras[1], "changed", "", f"Court 8 ({cameras[1]})"),
    ]
    assert (rows[0]["camera"]["rate"], rows[0]["camera"]["register"]["privacy_masks"]) == ("key", [mask])
    assert served(runtime) == {"cam", *cameras[:2]}


async def test_a_preview_shows_what_would_be_and_changes_nothing(
    manager: httpx.AsyncClient, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    before = len(list(runtime.store.read_now(audit_rows)))
    body: dict[str, Any] = {"name": "{name} {n}", "each": True}
    rows = (await register(manager, *cameras, preview=True, **body))["items"]
    assert [row["name"] for row in rows[:2]] == ["court-0 1", "court-1 2"]
    assert (served(runtime), len(list(runtime.store.read_now(audit_rows)))) == ({"cam"}, before)
    assert (await register(manager, *cameras, **body))["items"] == rows, "what was shown is what came"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Court"}, "one_name"),
        ({"register": {**ENTRY, "banned_area_checked": False}}, "unchecked_area"),
        ({"name": "{n}" + "x" * 200}, "name_length"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_word(
    manager: httpx.AsyncClient, cameras: tuple[str, ...], *, change: dict[str, Any], reason: str
) -> None:
    assert (await register(manager, *cameras, status=422, **change))["reason"] == reason
