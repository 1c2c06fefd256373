"""Export: a person gets everything that is kept about them and who looked at it, and nothing about anybody else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import select

from gateway.consent_texts import TEXTS
from gateway.runtime import Runtime
from gateway.store.audit import people_digest, verify_audit
from gateway.store.subjects import SECRET
from gateway.store.tables_access import audit
from gateway.store.tables_people import consents, credentials, occupancies, people, permits
from models.events import AccessDenied, AccessGranted, AnyFact, fact_id
from tests.gateway.support import EDGE, Clock, SigningEdge
from tests.gateway.test_erasure import NAME_OF_PERSON, resident, with_everything


def found(runtime: Runtime, query: Any) -> list[Any]:
    return list(runtime.store.read_now(lambda connection: connection.execute(query).all()))


def plain(row: Any) -> dict[str, Any]:
    """Return a row as JSON gives it back."""
    kept = {name: value for name, value in row._mapping.items() if name not in SECRET}
    told: dict[str, Any] = json.loads(json.dumps(kept, default=lambda value: value.isoformat().replace("+00:00", "Z")))
    return told


async def test_an_export_holds_every_row_of_the_database_about_a_person(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge
) -> None:
    person_id = await with_everything(manager, runtime)
    await resident(manager, "p2", name="Somebody Else", phone="13800000001")
    answer = await manager.get(f"/api/v1/people/{person_id}/export")
    assert answer.status_code == 200, answer.text
    made = answer.json()
    for table, owner in (
        (people, people.c.id), (consents, consents.c.person_id), (credentials, credentials.c.person_id),
        (permits, permits.c.person_id), (occupancies, occupancies.c.person_id),
    ):  # fmt: skip
        query = select(table).where(owner == person_id).order_by(*table.primary_key.columns)
        rows = found(runtime, query)
        assert made["kept"][table.name] == [plain(row) for row in rows], table.name
    assert made["kept"]["people"][0]["name"] == NAME_OF_PERSON
    assert made["kept"]["face_receipts"][0]["edge_id"] == EDGE
    assert list(made["agreed"].values()) == [TEXTS["face-door-1"]]
    assert "Somebody Else" not in answer.text


async def test_an_export_gives_no_digest_of_a_card_away(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge
) -> None:
    person_id = await with_everything(manager, runtime)
    digests = runtime.store.read_now(
        lambda connection: connection.execute(select(credentials.c.digest)).scalars().all()
    )
    answer = await manager.get(f"/api/v1/people/{person_id}/export")
    assert digests
    assert not any(digest in answer.text for digest in digests)


async def test_an_export_names_everybody_who_looked_itself_included(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    person_id = await resident(manager)
    await manager.get(f"/api/v1/people/{person_id}")
    reason = {"Gatehouse-Reason": "asked at the desk"}
    made = (await manager.get(f"/api/v1/people/{person_id}/export", headers=reason)).json()
    told = [(one["actor"], one["role"], one["action"]) for one in made["look_ups"]]
    assert told[0] == ("u-manager", "manager", "person.export")
    assert ("u-manager", "manager", "person.look_up") in told
    assert made["look_ups"][0]["detail"]["reason"] == "asked at the desk"
    query = select(audit.c.seq).where(audit.c.subject == person_id)
    assert len(found(runtime, query)) == len(made["look_ups"])


async def test_an_export_names_who_saw_the_person_in_a_list(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    person_id = await resident(manager)
    await resident(manager, "p2", name="Somebody Else", phone="13800000001")
    reason = {"Gatehouse-Reason": "parcel at the desk"}
    listed = await manager.get("/api/v1/people", params={"name": "Zhuge"}, headers=reason)
    assert [one["id"] for one in listed.json()["items"]] == [person_id]
    made = (await manager.get(f"/api/v1/people/{person_id}/export")).json()
    (look,) = [one for one in made["look_ups"] if one["action"] == "person.list"]
    assert (look["actor"], look["detail"]["reason"], look["detail"]["by"]) == (
        "u-manager",
        "parcel at the desk",
        "name",
    )
    assert look["detail"]["people"] == people_digest([person_id])
    spared = (await manager.get("/api/v1/people/p2/export")).json()
    assert "person.list" not in {one["action"] for one in spared["look_ups"]}
    assert runtime.store.read_now(verify_audit)[2] == []


async def test_an_export_names_who_saw_the_person_pass_in_the_log(
    manager: httpx.AsyncClient, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await resident(manager)
    await resident(manager, "p2", phone="13800000001")
    passed = AccessGranted(
        id=fact_id(EDGE, "gate", "1", "g"), at=clock(), attempt="1", person_id=person_id, unlocked=True,
        door_id="gate", method="card",
    )  # fmt: skip
    assert (await edge.report(passed)).status_code == 200
    assert (await manager.get("/api/v1/facts")).json()["items"][0]["person_id"] == person_id
    for one, seen in ((person_id, True), ("p2", False)):
        made = (await manager.get(f"/api/v1/people/{one}/export")).json()
        assert ("facts.list" in {look["action"] for look in made["look_ups"]}) is seen


async def test_an_export_says_where_a_person_passed_and_why_not(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await resident(manager)
    await resident(manager, "p2", phone="13800000001")
    seen: dict[str, Any] = {"door_id": "gate", "method": "card"}
    facts: list[AnyFact] = [
        AccessGranted(
            id=fact_id(EDGE, "gate", "1", "g"), at=clock(), attempt="1", person_id=person_id, unlocked=True, **seen
        ),
        AccessDenied(
            id=fact_id(EDGE, "gate", "2", "d"), at=clock() + timedelta(seconds=1), attempt="2", person_id=person_id,
            reason="not_permitted_now", **seen,
        ),
        AccessGranted(
            id=fact_id(EDGE, "gate", "3", "g"), at=clock(), attempt="3", person_id="p2", unlocked=True, **seen
        ),
    ]  # fmt: skip
    assert (await edge.report(*facts)).status_code == 200
    made = (await manager.get(f"/api/v1/people/{person_id}/export")).json()
    assert [(one["door"], one["method"], one["result"]) for one in made["passages"]] == [
        ("East gate", "card", "not_permitted_now"), ("East gate", "card", "granted"),
    ]  # fmt: skip


async def test_nobody_exports_people_of_another_site_or_without_the_right(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    person_id = await resident(manager)
    assert (await other.get(f"/api/v1/people/{person_id}/export")).status_code == 404
    assert (await operator.get(f"/api/v1/people/{person_id}/export")).status_code == 403
    assert (await manager.get("/api/v1/people/nobody/export")).status_code == 404
