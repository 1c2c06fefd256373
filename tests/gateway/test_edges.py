"""Edges at the gateway: tokens, names, revocation at once, replaced devices, and what they say about themselves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import timedelta

import httpx
import msgspec
import pytest
from sqlalchemy import select

from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import audit_rows
from gateway.store.checkpoints import make_checkpoint, witnesses
from gateway.store.consents import face_receipts_of, keep_face_receipts
from gateway.store.edges import add_command, commands_wait, edge_views, revoke_edge
from gateway.store.people import add_person, person_exists
from gateway.store.places import door_views, put_camera, put_controller, put_door
from gateway.store.restoring import leave_the_past
from gateway.store.tables_access import idempotency
from models.link import DoorStatus, EdgeStatus, EraseFace, FaceReceipt, Unlock
from models.people import Person
from models.places import Camera, Controller, Door
from models.policy import Policy
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, listening

SITE = frozenset({"a"})


def _status(edge: SigningEdge, *doors: DoorStatus) -> EdgeStatus:
    return EdgeStatus(
        edge_id=edge.id, at=BEGINNING, backlog=3, doors=doors, cameras=(), counters={"x": 1}, policy=(1, 1)
    )


def closing(edge: SigningEdge, target: str) -> dict[str, str]:
    """Return headers of a request after whose answer the connection ends, so that the end shows."""
    return edge.headers("GET", target) | {"Connection": "close"}


async def test_an_open_stream_ends_at_once_when_its_edge_is_revoked(
    edge: SigningEdge, runtime: Runtime, system: httpx.AsyncClient
) -> None:
    target = "/edge/v1/commands"
    async with listening(str(edge.client.base_url), target, headers=closing(edge, target)) as ear:
        assert (await ear.next()).name == "policy"
        answer = await system.post(f"/api/v1/edges/{edge.id}/revoke", headers={"Gatehouse-Reason": "stolen"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["revoked_at"]
        with pytest.raises(asyncio.IncompleteReadError):
            while True:
                await ear.next(within_s=5)
    assert (await edge.send("GET", "/edge/v1/policy")).status_code == 401
    (entry,) = [row for row in runtime.store.read_now(audit_rows) if row.action == "edge.revoke"]
    assert (entry.actor, entry.subject, entry.detail["reason"]) == ("u-system_administrator", edge.id, "stolen")


async def test_an_open_stream_ends_when_another_process_revokes_its_edge(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    target = "/edge/v1/commands"
    async with listening(str(edge.client.base_url), target, headers=closing(edge, target)) as ear:
        await ear.next()
        runtime.store.write_now(revoke_edge, edge.id, at=clock())
        with pytest.raises(asyncio.IncompleteReadError):
            await ear.next(within_s=5)


async def test_a_token_of_the_console_pins_the_gateways_key_and_enrols(
    url: str, system: httpx.AsyncClient, *, manager: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    made = await system.post("/api/v1/edges/tokens", json={"site_id": "a"})
    assert made.status_code == 201, made.text
    token = made.json()["token"]
    pin = base64.urlsafe_b64encode(hashlib.sha256(base64.b64decode(runtime.gateway_key.public_key)).digest())
    assert token.partition(".")[2] == pin.decode().rstrip("=")
    assert (await system.post("/api/v1/edges/tokens", json={"site_id": "b"})).status_code == 404
    assert (await manager.post("/api/v1/edges/tokens", json={"site_id": "a"})).status_code == 403
    edge = SigningEdge(url, clock)
    body = {
        "token": token, "edge_id": edge.id, "name": "E\x07dge", "public_key": edge.public_key, "seal_key": edge.public_key,
        "protection": "tpm",
    }  # fmt: skip
    assert (await edge.client.post("/edge/v1/enrol", json=body | {"seal_key": "AAAA"})).status_code == 422
    answer = await edge.client.post("/edge/v1/enrol", json=body)
    assert answer.json()["gateway_key"] == runtime.gateway_key.public_key
    view = (await system.get(f"/api/v1/edges/{edge.id}")).json()
    assert (view["name"], view["protection"]) == ("Edge", "tpm")
    await edge.client.aclose()


async def test_the_answer_that_is_kept_for_a_repetition_holds_no_token(
    system: httpx.AsyncClient, runtime: Runtime
) -> None:
    target, headers = "/api/v1/edges/tokens", {"Idempotency-Key": "k1"}
    first, again = [await system.post(target, json={"site_id": "a"}, headers=headers) for _ in range(2)]
    (kept,) = runtime.store.read_now(lambda connection: connection.execute(select(idempotency.c.body)).scalars().all())
    token = first.json()["token"]
    assert len(token) > 40
    assert token.partition(".")[0] not in kept
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.json() == first.json() | {"token": ""}


@pytest.mark.parametrize("known", ["nowhere", "enrolled", "revoked"])
async def test_a_token_of_one_site_enrols_no_edge_that_another_site_names(
    url: str, runtime: Runtime, *, clock: Clock, known: str
) -> None:
    theirs, thief = (SigningEdge(url, clock, edge_id="edge-9") for _ in range(2))
    door = DoorStatus(door_id="far", online=True, contact="open", lock="unlocked", mode="normal", tamper=False,
                      alarm="none", at=clock())  # fmt: skip
    if known != "nowhere":
        assert (await theirs.enrol(runtime.store, site_id="b")).status_code == 201
    if known == "revoked":
        runtime.store.write_now(revoke_edge, theirs.id, at=clock())
    unlock = Unlock(id="u1", door_id="far", reason="r", requested_by="u", deadline=clock() + timedelta(seconds=3))
    runtime.store.write_now(add_command, unlock, edge_id="edge-9", at=clock())
    refused = await thief.enrol(runtime.store, site_id="a")
    assert refused.status_code == 409
    assert "not for this token's site" in refused.json()["detail"]
    assert (await thief.send("GET", "/edge/v1/commands")).status_code == 401
    assert (await thief.send("POST", "/edge/v1/status", _status(thief, door))).status_code == 401
    assert runtime.store.read_now(commands_wait, "edge-9", at=clock())
    back = SigningEdge(url, clock, edge_id="edge-9")
    if known != "enrolled":
        assert (await back.enrol(runtime.store, site_id="b")).status_code == 201, "its own site's token enrols it"
    for one in (theirs, thief, back):
        await one.client.aclose()


@pytest.mark.parametrize("spoken_for", ["camera", "controller"])
async def test_an_edge_id_that_another_sites_device_names_is_that_sites(
    url: str, runtime: Runtime, *, clock: Clock, spoken_for: str
) -> None:
    def furnish_b(connection: Connection) -> None:
        if spoken_for == "camera":
            put_camera(connection, Camera(id="c9", site_id="b", name="C", edge_id="edge-8", url="rtsp://192.0.2.9/s"))
        else:
            put_controller(connection, Controller(id="k9", site_id="b", name="K", edge_id="edge-8"))

    runtime.store.write_now(furnish_b)
    thief = SigningEdge(url, clock, edge_id="edge-8")
    assert (await thief.enrol(runtime.store, site_id="a")).status_code == 409
    assert (await thief.enrol(runtime.store, site_id="b")).status_code == 201
    await thief.client.aclose()


async def test_an_edge_reports_for_no_door_of_another_site(edge: SigningEdge, runtime: Runtime, clock: Clock) -> None:
    far = Door(id="far-2", site_id="b", name="Far", edge_id=edge.id)  # as an older gateway may have taken it
    runtime.store.write_now(put_door, far)
    told = [
        DoorStatus(door_id=door_id, online=True, contact="open", lock="unlocked", mode="normal", tamper=False,
                   alarm="none", at=clock())
        for door_id in ("far-2", "gate")
    ]  # fmt: skip
    assert (await edge.send("POST", "/edge/v1/status", _status(edge, *told))).status_code == 204
    views = runtime.store.read_now(door_views, ["far-2", "gate"], site_ids=None)
    assert {view.id: view.contact for view in views} == {"far-2": "unknown", "gate": "open"}


async def test_an_edge_is_listed_and_renamed_in_scope_only(
    edge: SigningEdge, system: httpx.AsyncClient, other: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:  # fmt: skip
    assert [view["id"] for view in (await system.get("/api/v1/edges")).json()["items"]] == [EDGE]
    assert (await other.get("/api/v1/edges")).json()["items"] == []
    assert (await other.get(f"/api/v1/edges/{EDGE}")).status_code == 404
    etag = (await system.get(f"/api/v1/edges/{EDGE}")).headers["etag"]
    target, headers = f"/api/v1/edges/{EDGE}", {"If-Match": etag}
    assert (await manager.patch(target, json={"name": "Gate house"})).status_code == 403
    assert (await system.patch(target, json={"name": "  "}, headers=headers)).status_code == 422
    assert (await system.patch(target, json={"name": "Gate house"}, headers=headers)).json()["name"] == "Gate house"
    assert (await system.patch(target, json={"name": "Other"}, headers=headers)).status_code == 409
    assert (await system.post(f"{target}/revoke")).status_code == 422, "say why"


async def test_an_edge_that_was_replaced_starts_without_what_the_old_device_held(
    edge: SigningEdge, runtime: Runtime, url: str, clock: Clock
) -> None:  # fmt: skip
    runtime.store.write_now(add_person, Person(id="p1", site_id="a", name="Lin"), at=clock())
    proof = FaceReceipt(id="r1", person_id="p1", edge_id=EDGE, contract="dlib", quality=0.9, digest="ab", at=clock())
    runtime.store.write_now(keep_face_receipts, [proof], consent_id="c1")
    order = EraseFace(id="order-1", person_id="p1", deadline=clock() + timedelta(days=1))
    runtime.store.write_now(add_command, order, edge_id=edge.id, at=clock())
    runtime.store.write_now(revoke_edge, edge.id, at=clock())
    fresh = SigningEdge(url, clock)
    assert (await fresh.enrol(runtime.store)).status_code == 201
    assert runtime.store.read_now(face_receipts_of, "p1")[0].erased_at == clock()
    assert not runtime.store.read_now(commands_wait, EDGE, at=clock())
    assert (await edge.send("GET", "/edge/v1/policy")).status_code == 401, "the old device's key is refused"
    assert (await fresh.send("GET", "/edge/v1/policy")).status_code == 200
    await fresh.client.aclose()


async def test_a_checkpoint_that_an_edge_keeps_is_kept_about_the_edge(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    point = runtime.store.write_now(make_checkpoint, runtime.gateway_key, at=clock())
    told = msgspec.structs.replace(_status(edge), checkpoint=point, protection="external", templates=7)
    assert (await edge.send("POST", "/edge/v1/status", told)).status_code == 204
    (view,) = runtime.store.read_now(edge_views, site_ids=SITE, at=clock())
    assert (view.protection, view.templates) == ("external", 7)
    kept = [one for one in runtime.store.read_now(witnesses) if one.name == f"edge {edge.id}"]
    assert [one.checkpoint for one in kept] == [point]


async def test_what_an_edge_knows_as_erased_is_erased_again_after_a_restore_and_only_then(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    for person_id in ("p1", "p2"):
        runtime.store.write_now(add_person, Person(id=person_id, site_id="a", name="Lin"), at=clock())
    runtime.store.write_now(add_person, Person(id="p3", site_id="b", name="Lin"), at=clock())
    told = msgspec.structs.replace(_status(edge), tombstones=("p1", "p3", "p9"))

    async def here() -> list[str]:
        assert (await edge.send("POST", "/edge/v1/status", told)).status_code == 204
        return [one for one in ("p1", "p2", "p3", "p4") if runtime.store.read_now(person_exists, one)]

    assert await here() == ["p1", "p2", "p3"], "an edge's word alone erases nobody"
    runtime.store.write_now(leave_the_past, 2, at=clock())
    assert await here() == ["p2", "p3"], "not somebody of another site"
    answer = await edge.send("GET", "/edge/v1/policy")
    policy = msgspec.json.decode(answer.content, type=Policy)
    assert (policy.epoch, policy.tombstones) == (2, ("p1", "p9"))
    acts = {(row.action, row.subject) for row in runtime.store.read_now(audit_rows) if row.actor == edge.id}
    assert acts >= {("person.erase", "p1"), ("person.tombstone", "p9")}
    clock.turn(minutes=1)
    runtime.store.write_now(add_person, Person(id="p4", site_id="a", name="Lin"), at=clock())
    told = msgspec.structs.replace(told, tombstones=("p4", "p9"))
    assert await here() == ["p2", "p3", "p4"], "no backup brought back who was added after the restore"
    clock.turn(days=91)
    assert (await edge.send("GET", "/edge/v1/policy")).status_code == 200
    told = msgspec.structs.replace(told, tombstones=("p2",))
    assert await here() == ["p2", "p3", "p4"], "the time for that is over"
