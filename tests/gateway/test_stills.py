"""Stills: ordered from a camera's edge, shown to who may draw its near zone, on record, and gone within the hour."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from gateway.media import drop_old_media, drop_old_stills
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.edges import waiting_commands
from gateway.store.places import put_camera
from models.link import Result, TakeStill
from models.places import Camera
from tests.gateway.support import BEGINNING, EDGE, REGISTER, Clock, SigningEdge

JPEG = b"\xff\xd8\xff\xe0" + b"hidden" * 1000
STILLS = "/api/v1/cameras/cam/stills"
WHY = {"Gatehouse-Reason": "near zone"}


@pytest.fixture
def runtime(runtime: Runtime, tmp_path: Path) -> Runtime:
    """Return a gateway with a folder beside its database."""
    return dataclasses.replace(runtime, data_dir=tmp_path / "data")


async def asked(client: httpx.AsyncClient) -> str:
    answer = await client.post(STILLS, headers=WHY)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "waiting"
    return str(answer.json()["id"])


async def send(edge: SigningEdge, medium_id: str, *, blurred: str = "yes", content: bytes = JPEG) -> None:
    query = urlencode({"id": medium_id, "camera": "cam", "at": BEGINNING.isoformat(), "blurred": blurred})
    target = f"/edge/v1/media?{query}"
    digest = {"Content-Type": "image/jpeg", "Gatehouse-Digest": hashlib.sha256(content).hexdigest()}
    answer = await edge.client.post(target, content=content, headers=edge.headers("POST", target, content) | digest)
    assert answer.status_code == 201, answer.text


async def tell(edge: SigningEdge, still_id: str, state: str = "confirmed", **more: Any) -> None:
    result = Result(command_id=still_id, state=state, at=edge.clock(), **more)  # type: ignore[arg-type]
    assert (await edge.send("POST", "/edge/v1/results", result)).status_code == 204


async def test_a_still_is_ordered_shown_on_record_and_gone_within_the_hour(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    still = await asked(manager)
    (order,) = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert isinstance(order, TakeStill)
    assert (order.id, order.camera_id) == (still, "cam")
    assert (await manager.get(f"{STILLS}/{still}/picture", headers=WHY)).status_code == 404, "it is not there yet"
    await send(edge, still)
    await tell(edge, still, media_id=still)
    shown = (await manager.get(f"{STILLS}/{still}")).json()
    assert (shown["state"], shown["camera_id"]) == ("ready", "cam")
    picture = await manager.get(f"{STILLS}/{still}/picture", headers=WHY)
    assert (picture.status_code, picture.content, picture.headers["content-type"]) == (200, JPEG, "image/jpeg")
    assert picture.headers["cache-control"] == "no-store"
    rows = [row for row in runtime.store.read_now(audit_rows) if row.action in {"camera.still", "media.look"}]
    assert sorted((row.action, row.actor, row.subject, row.detail["reason"]) for row in rows) == [
        ("camera.still", "u-manager", "cam", "near zone"), ("media.look", "u-manager", still, "near zone"),
    ]  # fmt: skip

    for _ in range(5):
        clock.turn(minutes=10)
        assert await drop_old_stills(runtime) == 0
        assert (await manager.get(f"{STILLS}/{still}")).json()["state"] == "ready"
    clock.turn(minutes=1)
    assert await drop_old_stills(runtime) == 1
    assert runtime.data_dir is not None
    assert [path for path in runtime.data_dir.rglob("*") if path.is_file()] == []
    over = (await manager.get(f"{STILLS}/{still}")).json()
    assert (over["state"], over["reason"]) == ("failed", "gone")
    assert (await manager.get(f"{STILLS}/{still}/picture", headers=WHY)).status_code == 404


async def test_without_a_reason_nobody_asks_for_a_still_or_looks_at_one(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    answer = await manager.post(STILLS)
    assert (answer.status_code, "say why" in answer.text) == (422, True)
    assert runtime.store.read_now(waiting_commands, EDGE, at=clock()) == []
    still = await asked(manager)
    await send(edge, still)
    await tell(edge, still, media_id=still)
    answer = await manager.get(f"{STILLS}/{still}/picture")
    assert (answer.status_code, "say why" in answer.text) == (422, True)
    assert "media.look" not in {row.action for row in runtime.store.read_now(audit_rows)}


async def test_of_one_camera_one_still_is_on_order_at_a_time(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    second = Camera(id="second", site_id="a", name="Second", edge_id=EDGE, url="rtsp://192.0.2.1/s", register=REGISTER)
    runtime.store.write_now(put_camera, second)
    first = await asked(manager)
    assert [await asked(manager) for _ in range(3)] == [first] * 3
    other = (await manager.post("/api/v1/cameras/second/stills", headers=WHY)).json()["id"]
    waiting = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert {order.id for order in waiting} == {first, other}
    await tell(edge, first, "failed", reason="not_ready")
    again = await asked(manager)
    assert again not in {first, other}
    clock.turn(seconds=16)
    assert await asked(manager) != again, "an order that nobody took up is not open any more"


async def test_other_pictures_stay_when_stills_go(edge: SigningEdge, runtime: Runtime, clock: Clock) -> None:
    await send(edge, "m-alarm")
    clock.turn(hours=2)
    assert await drop_old_stills(runtime) == 0
    clock.turn(days=31)
    assert await drop_old_media(runtime) == 1


async def test_a_picture_whose_faces_are_not_hidden_is_never_shown(
    edge: SigningEdge, manager: httpx.AsyncClient
) -> None:
    still = await asked(manager)
    await send(edge, still, blurred="no")
    await tell(edge, still, media_id=still)
    assert (await manager.get(f"{STILLS}/{still}")).json()["state"] == "failed"
    assert (await manager.get(f"{STILLS}/{still}/picture", headers=WHY)).status_code == 404


async def test_what_the_edge_says_is_told_and_silence_too(
    edge: SigningEdge, manager: httpx.AsyncClient, clock: Clock
) -> None:
    refused = await asked(manager)
    await tell(edge, refused, "failed", reason="unblurrable", detail="a face stayed")
    told = (await manager.get(f"{STILLS}/{refused}")).json()
    assert (told["state"], told["reason"], told["detail"]) == ("failed", "unblurrable", "a face stayed")
    silent = await asked(manager)
    clock.turn(seconds=16)
    told = (await manager.get(f"{STILLS}/{silent}")).json()
    assert (told["state"], told["reason"]) == ("failed", "no_answer")


async def test_only_who_may_change_the_camera_asks_for_one_or_looks_at_it(
    edge: SigningEdge, manager: httpx.AsyncClient, *, operator: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    still = await asked(manager)
    await send(edge, still)
    await tell(edge, still, media_id=still)
    assert (await operator.post(STILLS, headers=WHY)).status_code == 403
    assert (await other.post(STILLS, headers=WHY)).status_code == 404
    for path in (f"{STILLS}/{still}", f"{STILLS}/{still}/picture"):
        assert (await operator.get(path, headers=WHY)).status_code == 403
        assert (await other.get(path, headers=WHY)).status_code == 404
    assert (await manager.get(f"{STILLS}/no-such")).status_code == 404


async def test_a_still_belongs_to_its_camera_and_a_camera_that_is_off_gives_none(
    edge: SigningEdge, manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    off = Camera(id="off", site_id="a", name="Off", edge_id=EDGE, url="rtsp://192.0.2.1/o")
    runtime.store.write_now(put_camera, off)
    still = await asked(manager)
    assert (await manager.get(f"/api/v1/cameras/off/stills/{still}")).status_code == 404
    answer = await manager.post("/api/v1/cameras/off/stills", headers=WHY)
    assert answer.status_code == 409
    assert "register" in answer.text
