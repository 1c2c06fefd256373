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


async def test_many_cameras_are_registered_at_once_and_are_on(
    manager: httpx.AsyncClient, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    assert served(runtime) == {"cam"}
    shown = await register(manager, *cameras)
    assert {one["register"]["purpose"] for one in shown["items"]} == {"the court"}
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
    assert kept["register"]["purpose"] == "the gate" != REGISTER.purpose
    (anew,) = (await register(manager, "cam", replace=True))["items"]
    assert (anew["register"]["purpose"], anew["register"]["privacy_masks"]) == ("the court", [[0.0, 0.0, 0.5, 0.2]])


async def test_one_camera_that_cannot_be_registered_leaves_all_as_they_were(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, runtime: Runtime, cameras: tuple[str, ...]
) -> None:
    await register(manager, *cameras, "no-such", status=404)
    await register(manager, *cameras, status=422, register={**ENTRY, "banned_area_checked": False})
    await register(other, *cameras, status=404)
    assert served(runtime) == {"cam"}
