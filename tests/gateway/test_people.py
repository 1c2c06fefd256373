"""People: consent before any face, photos that pass through memory only, cards and PINs nobody can read back."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from gateway.consent_texts import TEXTS
from gateway.runtime import Runtime
from gateway.store.assessments import assessment_for, reopen_assessment
from gateway.store.audit import audit_rows, verify_audit
from gateway.store.edges import waiting_commands
from models.assessments import Assessment
from models.link import Command, EnrolFace, EraseFace, FaceReceipt, Result
from models.policy import Policy
from tests.gateway.support import EDGE, Clock, SigningEdge, assess_faces, machine_token

JPEG = b"\xff\xd8\xff\xe0" + b"portrait-bytes" * 1000
CONSENT = {"text_version": "face-door-1", "channel": "office", "evidence": "folder 7", "doors": ["gate"]}
KIND = {"Content-Type": "image/jpeg"}


@pytest.fixture(autouse=True)
def assessment(runtime: Runtime, clock: Clock) -> Assessment:
    """Have an impact assessment of faces in force at site a."""
    return assess_faces(runtime.store, at=clock())


async def move_in(manager: httpx.AsyncClient, *, consent: bool = True, **more: Any) -> str:
    answer = await manager.post("/api/v1/people", json={"id": "p1", "name": "Lin Yue"} | more)
    assert answer.status_code == 201, answer.text
    if not consent:
        return ""
    given = await manager.post("/api/v1/people/p1/consents", json=CONSENT)
    assert given.status_code == 201, given.text
    return str(given.json()["id"])


async def next_command(edge: SigningEdge, runtime: Runtime) -> Any:
    """Return the next command that the gateway holds for the edge, as its stream would hand it out."""
    for _ in range(500):
        for command in runtime.store.read_now(waiting_commands, EDGE, at=runtime.clock()):
            return command
        await asyncio.sleep(0.01)
    raise AssertionError("no command came")


async def answer(edge: SigningEdge, command: Command, **result: Any) -> None:
    told = Result(command_id=command.id, at=edge.clock(), **{"state": "confirmed"} | result)
    assert (await edge.send("POST", "/edge/v1/results", told)).status_code == 204


def receipt_for(command: EnrolFace, clock: Clock) -> FaceReceipt:
    return FaceReceipt(
        id="r1", person_id=command.person_id, edge_id=EDGE, contract="dlib", quality=0.9, digest="ab", at=clock()
    )


async def enrolled(edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock) -> str:
    consent_id = await move_in(manager)
    asking = asyncio.create_task(manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND))
    command = await next_command(edge, runtime)
    assert await edge.fetch(command.relay_ticket) == JPEG
    await answer(edge, command, receipt=receipt_for(command, clock))
    assert (await asking).status_code == 200
    return consent_id


async def test_a_photo_reaches_the_edge_once_in_memory_and_its_receipt_is_kept(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock, tmp_path: Path
) -> None:
    consent_id = await move_in(manager)
    asking = asyncio.create_task(manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND))
    command = await next_command(edge, runtime)
    assert isinstance(command, EnrolFace)
    assert command.consent_id == consent_id
    thief = SigningEdge(str(edge.client.base_url), clock, edge_id="edge-2")
    await thief.enrol(runtime.store)
    with pytest.raises(InvalidStatus, match="404"):  # a ticket is for one edge
        await thief.fetch(command.relay_ticket)
    assert await edge.fetch(command.relay_ticket) == JPEG
    with pytest.raises(InvalidStatus, match="404"):  # and good once
        await edge.fetch(command.relay_ticket)
    await answer(edge, command, receipt=receipt_for(command, clock))
    done = await asking
    assert done.status_code == 200, done.text
    assert done.json()["receipt"]["id"] == "r1"
    person = (await manager.get("/api/v1/people/p1")).json()
    assert [face["edge_id"] for face in person["faces"]] == [EDGE]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"portrait-bytes" not in file.read_bytes()
    await thief.client.aclose()


async def test_without_a_live_consent_a_photo_goes_nowhere(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager, consent=False)
    refused = await manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND)
    assert (refused.status_code, refused.json()["reason"]) == (422, "no_consent")
    ends = (clock() + timedelta(hours=1)).isoformat()
    await manager.post("/api/v1/people/p1/consents", json=CONSENT | {"expires_at": ends})
    clock.turn(minutes=20)
    await manager.get("/api/v1/session")
    clock.turn(minutes=25)
    await manager.get("/api/v1/session")
    clock.turn(minutes=20)
    refused = await manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND)
    assert refused.json()["reason"] == "no_consent", "an expired consent is none"
    rows = runtime.store.read_now(audit_rows)
    assert [row.result for row in rows if row.action == "face.enrol"] == ["no_consent", "no_consent"]


async def test_without_an_assessment_in_force_no_face_is_enrolled(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock, assessment: Assessment
) -> None:
    await move_in(manager)
    held = runtime.store.read_now(assessment_for, assessment.id, site_ids=frozenset({"a"}), at=clock())
    runtime.store.write_now(reopen_assessment, held)
    assess_faces(runtime.store, at=clock(), site_id="b")
    refused = await manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND)
    assert refused.status_code == 409
    assert "impact assessment" in refused.json()["detail"]
    assert runtime.store.read_now(waiting_commands, EDGE, at=clock()) == []
    rows = runtime.store.read_now(audit_rows)
    assert [row.result for row in rows if row.action == "face.enrol"] == ["not_assessed"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/jpeg", 422), (b"GIF89a", "image/jpeg", 422), (JPEG, "image/png", 422), (JPEG, "text/plain", 422),
        (JPEG, "multipart/form-data; boundary=x", 422), (b"\xff\xd8\xff" + b"x" * 4 * 1024 * 1024, "image/jpeg", 413),
    ],
)  # fmt: skip
async def test_what_is_no_photo_is_refused(
    edge: SigningEdge, manager: httpx.AsyncClient, *, content: bytes, kind: str, status: int
) -> None:
    await move_in(manager)
    refused = await manager.put("/api/v1/people/p1/face", content=content, headers={"Content-Type": kind})
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("reason", ["no_face", "two_faces", "too_small", "blurred", "too_large"])
async def test_the_edges_reason_is_told(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, reason: str
) -> None:
    await move_in(manager)
    asking = asyncio.create_task(manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND))
    command = await next_command(edge, runtime)
    await answer(edge, command, state="refused", reason=reason)
    refused = await asking
    assert (refused.status_code, refused.json()["reason"]) == (422, reason)


async def test_a_receipt_for_somebody_else_is_refused(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager)
    asking = asyncio.create_task(manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND))
    command = await next_command(edge, runtime)
    wrong = msgspec.structs.replace(receipt_for(command, clock), person_id="p2")
    told = Result(command_id=command.id, at=clock(), state="confirmed", receipt=wrong)
    assert (await edge.send("POST", "/edge/v1/results", told)).status_code == 422
    await answer(edge, command, receipt=receipt_for(command, clock))
    assert (await asking).status_code == 200


async def test_withdrawing_reaches_the_policy_and_ends_in_an_erasure_receipt(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    consent_id = await enrolled(edge, manager, runtime=runtime, clock=clock)
    clock.turn(seconds=1)
    assert (await manager.delete(f"/api/v1/people/p1/consents/{consent_id}")).status_code == 204
    policy = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    assert [consent.live(clock()) for consent in policy.consents] == [False]
    command = await next_command(edge, runtime)
    assert isinstance(command, EraseFace)
    await answer(edge, command)
    person = (await manager.get("/api/v1/people/p1")).json()
    assert person["faces"] == []
    assert [face["id"] for face in person["erased_faces"]] == ["r1"]
    rows, _, faults = runtime.store.read_now(verify_audit)
    assert rows > 5
    assert faults == []


async def test_a_card_or_pin_is_kept_as_a_digest_and_belongs_to_one_person(manager: httpx.AsyncClient) -> None:
    await move_in(manager, consent=False)
    await manager.post("/api/v1/people", json={"id": "p2", "name": "Wang"})
    card = {"kind": "card", "value": "71-86-a6-1e"}
    made = await manager.post("/api/v1/people/p1/credentials", json=card)
    assert made.status_code == 201
    assert "7186" not in (await manager.get("/api/v1/people/p1")).text.upper()
    assert (await manager.post("/api/v1/people/p2/credentials", json=card)).status_code == 409
    wrong = await manager.post("/api/v1/people/p1/credentials", json={"kind": "pin", "value": "12ab"})
    assert wrong.status_code == 422
    assert "12ab" not in wrong.text
    assert (await manager.delete(f"/api/v1/people/p1/credentials/{made.json()['id']}")).status_code == 204
    assert (await manager.post("/api/v1/people/p2/credentials", json=card)).status_code == 201


async def test_a_permit_names_doors_of_its_site_only(manager: httpx.AsyncClient) -> None:
    await move_in(manager, consent=False)
    made = await manager.post("/api/v1/people/p1/permits", json={"doors": "all"})
    assert made.json()["doors"] == ["gate", "side"]
    assert (await manager.post("/api/v1/people/p1/permits", json={"doors": ["far"]})).status_code == 422
    backwards = {"doors": ["gate"], "valid_from": "2026-03-02T00:00:00Z", "valid_until": "2026-03-01T00:00:00Z"}
    assert (await manager.post("/api/v1/people/p1/permits", json=backwards)).status_code == 422
    assert (await manager.delete(f"/api/v1/people/p1/permits/{made.json()['id']}")).status_code == 204
    assert (await manager.get("/api/v1/people/p1")).json()["permits"] == []


async def test_a_person_lives_in_a_flat_of_the_site_or_in_none(manager: httpx.AsyncClient) -> None:
    refused = await manager.post("/api/v1/people", json={"name": "Lin Yue", "flat": "nowhere"})
    assert refused.status_code == 422
    assert "no flat 'nowhere'" in refused.json()["detail"]
    assert (await manager.get("/api/v1/people")).json()["items"] == []
    assert (await manager.post("/api/v1/people", json={"name": "Lin Yue"})).status_code == 201


async def test_a_consent_proves_its_text(manager: httpx.AsyncClient) -> None:
    await move_in(manager, consent=False)
    made = await manager.post("/api/v1/people/p1/consents", json=CONSENT)
    assert made.json()["text_sha256"] == hashlib.sha256(TEXTS["face-door-1"].encode()).hexdigest()
    changes: list[dict[str, Any]] = [
        {"text_version": "ours"},
        {"text_sha256": "0" * 64},
        {"doors": []},
        {"doors": ["far"]},
    ]
    for change in changes:
        assert (await manager.post("/api/v1/people/p1/consents", json=CONSENT | change)).status_code == 422
    own = {"text_version": "ours", "text_sha256": "1" * 64}
    assert (await manager.post("/api/v1/people/p1/consents", json=CONSENT | own)).status_code == 201


async def test_under_14_a_guardian_consents(manager: httpx.AsyncClient) -> None:
    await move_in(manager, consent=False, under_14=True)
    await manager.post("/api/v1/people", json={"id": "mother", "name": "Lin"})
    told = CONSENT | {"guardian": "mother"}
    assert (await manager.post("/api/v1/people/p1/consents", json=CONSENT)).status_code == 422
    assert (await manager.post("/api/v1/people/p1/consents", json=told)).status_code == 422, "not linked yet"
    assert (await manager.put("/api/v1/people/p1/guardians/mother")).status_code == 204
    assert (await manager.post("/api/v1/people/p1/consents", json=told)).status_code == 201
    assert (await manager.get("/api/v1/people/p1")).json()["guardians"] == ["mother"]
    assert (await manager.post("/api/v1/people/mother/consents", json=told)).status_code == 422, "an adult needs none"


async def test_people_of_another_site_do_not_exist_and_operators_see_none(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, operator: httpx.AsyncClient
) -> None:
    await move_in(manager)
    for method, path in [
        ("GET", "people/p1"), ("POST", "people/p1/consents"), ("PUT", "people/p1/face"), ("POST", "people/p1/permits"),
        ("POST", "people/p1/credentials"), ("DELETE", "people/p1/consents/c"),
    ]:  # fmt: skip
        bodies: dict[str, Any] = {
            "people/p1/consents": {"json": CONSENT}, "people/p1/face": {"content": JPEG, "headers": KIND},
            "people/p1/permits": {"json": {"doors": "all"}},
            "people/p1/credentials": {"json": {"kind": "card", "value": "1"}},
        }  # fmt: skip
        assert (await other.request(method, f"/api/v1/{path}", **bodies.get(path, {}))).status_code == 404, path
    assert (await other.get("/api/v1/people")).json()["items"] == []
    assert (await operator.get("/api/v1/people")).status_code == 403
    assert (await operator.get("/api/v1/people/p1")).status_code == 403
    assert (await operator.get("/api/v1/facts")).status_code == 403


async def test_every_look_at_a_person_is_on_record_without_a_name(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await move_in(manager)
    await manager.get("/api/v1/people/p1")
    rows = runtime.store.read_now(audit_rows)
    assert {"person.add", "consent.give", "person.look_up"} <= {row.action for row in rows}
    assert "Lin" not in msgspec.json.encode(rows).decode()


async def test_a_machine_acts_with_a_token_of_its_role(url: str, runtime: Runtime, clock: Clock) -> None:
    token = machine_token(runtime.store, clock)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.post("/api/v1/people", json={"name": "X"}, headers=headers)).status_code == 201
        wrong = {"Authorization": "Bearer gh_wrong"}
        assert (await client.get("/api/v1/people", headers=wrong)).status_code == 401
