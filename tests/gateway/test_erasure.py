"""Erasure: every row about a person goes, edges sign for their templates, and no old backup brings anybody back."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Text, event, select

from gateway.erasing import settle_tombstones
from gateway.housekeeping import clean_up
from gateway.proofs import ErasureProof, faults_of_proof, read_proof
from gateway.runtime import Runtime
from gateway.store.audit import verify_audit
from gateway.store.edges import revoke_edge
from gateway.store.erasures import (
    edges_expected,
    erasures_of,
    expect_erasures,
    keep_erasure,
    record_tombstone,
    tombstones_of,
)
from gateway.store.people import add_person, put_person
from gateway.store.tables import commands, metadata
from gateway.store.tables_access import audit, idempotency
from gateway.store.tables_people import face_receipts, people, tombstones
from gateway.tombstones import NAME, append_tombstones, read_tombstones
from models.errors import Conflict, InvalidInput, StorageUnavailable
from models.link import Command, EraseFace, ErasureReceipt, FaceReceipt, Result, erasure_statement
from models.people import Person
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge

NAME_OF_PERSON = "Zhuge Liangxin"
PHONE = "13912345678"
CONSENT = {"text_version": "face-door-1", "channel": "office", "evidence": "folder seventeen", "doors": ["gate"]}


async def resident(client: httpx.AsyncClient, person_id: str = "p-0017-of-this-test", **more: Any) -> str:
    body = {"id": person_id, "name": NAME_OF_PERSON, "phone": PHONE} | more
    answer = await client.post("/api/v1/people", json=body, headers={"Idempotency-Key": f"k-{person_id}"})
    assert answer.status_code == 201, answer.text
    return person_id


async def with_everything(client: httpx.AsyncClient, runtime: Runtime) -> str:
    """Make a person who has a consent, a card, a permit and a face on edge-1."""
    person_id = await resident(client)
    consent = await client.post(f"/api/v1/people/{person_id}/consents", json=CONSENT)
    assert consent.status_code == 201, consent.text
    card = await client.post(f"/api/v1/people/{person_id}/credentials", json={"kind": "card", "value": "04AB12"})
    assert card.status_code == 201, card.text
    permit = await client.post(f"/api/v1/people/{person_id}/permits", json={"doors": ["gate"]})
    assert permit.status_code == 201, permit.text
    proof = FaceReceipt(
        id="r1", person_id=person_id, edge_id=EDGE, contract="c", quality=1.0, digest="d", at=runtime.clock()
    )
    row = msgspec.structs.asdict(proof) | {"consent_id": consent.json()["id"]}
    runtime.store.write_now(lambda connection: connection.execute(face_receipts.insert().values(**row)))
    return person_id


def orders(runtime: Runtime) -> list[EraseFace]:
    def read(connection: Any) -> list[EraseFace]:
        bodies = connection.execute(select(commands.c.body).where(commands.c.kind == "erase_face")).scalars()
        found = [msgspec.json.decode(body, type=Command) for body in bodies]
        return [order for order in found if isinstance(order, EraseFace)]

    return runtime.store.read_now(read)


def signed(edge: SigningEdge, person_id: str, *, at: Any, key: Any = None, **more: Any) -> ErasureReceipt:
    bare = ErasureReceipt(
        id=str(uuid.uuid4()), person_id=person_id, edge_id=edge.id, templates=1, protection="file", erased_at=at
    )
    bare = msgspec.structs.replace(bare, **more)
    signature = (key or edge.key).sign(erasure_statement(bare))
    return msgspec.structs.replace(bare, signature=base64.b64encode(signature).decode())


async def confirm(edge: SigningEdge, order: EraseFace, receipt: ErasureReceipt) -> httpx.Response:
    result = Result(command_id=order.id, state="confirmed", at=receipt.erased_at, erasure=receipt)
    return await edge.send("POST", "/edge/v1/results", result)


def everything(runtime: Runtime) -> dict[str, list[dict[str, Any]]]:
    def read(connection: Any) -> dict[str, list[dict[str, Any]]]:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
        }

    return runtime.store.read_now(read)


async def test_no_row_says_anything_about_an_erased_person(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge
) -> None:
    person_id = await with_everything(manager, runtime)
    before = json.dumps(everything(runtime), default=str)
    assert NAME_OF_PERSON in before
    answer = await manager.delete(f"/api/v1/people/{person_id}")
    assert answer.status_code == 200, answer.text
    after = everything(runtime)
    text = json.dumps(after, default=str)
    for word in (NAME_OF_PERSON, PHONE, "folder seventeen"):
        assert word not in text
    naming = {name for name, rows in after.items() if person_id in json.dumps(rows, default=str)}
    assert naming <= {"audit", "audit_people", "tombstones", "erasures", "commands", "feed", "facts", "policy_versions"}
    assert (await manager.get(f"/api/v1/people/{person_id}")).status_code == 404
    assert runtime.store.read_now(verify_audit)[2] == []


def test_every_table_with_personal_data_is_known_to_the_erasure() -> None:
    from gateway.store.erasures import OWNED

    handled = {table.name for table in OWNED} | {"people", "guardianships", "visitor_passes", "import_changes"}
    owned = {
        table.name for table in metadata.sorted_tables for key in table.foreign_keys if key.column.table is people
    } | {"people"}
    assert owned - handled == set(), "a new table of people must be deleted from as well"
    assert any(isinstance(column.type, Text) for column in people.columns)


async def test_the_edges_sign_and_the_proof_holds_offline(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await with_everything(manager, runtime)
    first = msgspec.json.decode((await manager.delete(f"/api/v1/people/{person_id}")).content, type=ErasureProof)
    assert [(one.edge_id, one.state) for one in first.edges] == [(EDGE, "waiting")]
    assert not first.complete
    assert faults_of_proof(first) == []
    clock.turn(seconds=3)
    (order,) = orders(runtime)
    receipt = signed(edge, person_id, at=clock())
    assert (await confirm(edge, order, receipt)).status_code == 204
    content = (await manager.get(f"/api/v1/erasures/{person_id}")).content
    proof = read_proof(content)
    assert proof.complete
    assert proof.edges[0].receipts == (receipt,)
    assert faults_of_proof(proof, gateway_key=runtime.gateway_key.public_key) == []


async def test_no_edge_takes_the_place_of_anothers_receipt(runtime: Runtime, clock: Clock) -> None:
    mine = ErasureReceipt(
        id="r1", person_id="p1", edge_id="edge-1", templates=1, protection="file", erased_at=clock(), signature="s"
    )
    awaited = hashlib.sha256(b"p1\x1fedge-1").hexdigest()
    for key in ("r1", awaited):  # what another edge may guess
        other = msgspec.structs.replace(mine, id=key, edge_id="edge-2", person_id="p2")
        assert runtime.store.write_now(keep_erasure, other, at=clock())
    runtime.store.write_now(expect_erasures, "p1", edge_ids=["edge-1"], at=clock())
    assert runtime.store.read_now(edges_expected, "p1") == ["edge-1"], "it is still awaited"
    assert runtime.store.write_now(keep_erasure, mine, at=clock())
    assert not runtime.store.write_now(keep_erasure, mine, at=clock()), "kept before"
    assert runtime.store.read_now(erasures_of, "p1") == [mine]


async def test_a_proof_that_was_changed_does_not_hold(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await with_everything(manager, runtime)
    await manager.delete(f"/api/v1/people/{person_id}")
    await confirm(edge, orders(runtime)[0], signed(edge, person_id, at=clock()))
    proof = read_proof((await manager.get(f"/api/v1/erasures/{person_id}")).content)
    assert faults_of_proof(proof) == []
    change = msgspec.structs.replace
    assert faults_of_proof(change(proof, person_id="p2"))
    assert faults_of_proof(change(proof, edges=(change(proof.edges[0], receipts=()),)))
    (receipt,) = proof.edges[0].receipts
    assert faults_of_proof(change(proof, edges=(change(proof.edges[0], receipts=(change(receipt, templates=9),)),)))
    assert faults_of_proof(proof, gateway_key="AAAA") == ["another gateway signed it"]
    with pytest.raises(InvalidInput):
        read_proof(b'{"format": "something else"}')


@pytest.mark.parametrize("lie", ["signature", "edge", "person"])
async def test_a_receipt_that_does_not_fit_is_refused_and_the_order_stays_open(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock, lie: str
) -> None:
    person_id = await with_everything(manager, runtime)
    await manager.delete(f"/api/v1/people/{person_id}")
    (order,) = orders(runtime)
    lies: dict[str, dict[str, Any]] = {
        "signature": {"key": Ed25519PrivateKey.generate()}, "edge": {"edge_id": "edge-9"}, "person": {},
    }  # fmt: skip
    about = "p9" if lie == "person" else person_id
    answer = await confirm(edge, order, signed(edge, about, at=clock(), **lies[lie]))
    assert answer.status_code == 422
    proof = read_proof((await manager.get(f"/api/v1/erasures/{person_id}")).content)
    assert [one.state for one in proof.edges] == ["waiting"]
    assert (await confirm(edge, order, signed(edge, person_id, at=clock()))).status_code == 204


async def test_a_receipt_of_an_earlier_withdrawal_counts_when_the_edge_sends_it_again(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await with_everything(manager, runtime)
    (consent,) = (await manager.get(f"/api/v1/people/{person_id}")).json()["consents"]
    await manager.delete(f"/api/v1/people/{person_id}/consents/{consent['id']}")
    receipt = signed(edge, person_id, at=clock())
    assert (await confirm(edge, orders(runtime)[0], receipt)).status_code == 204
    clock.turn(minutes=10)
    first = read_proof((await manager.delete(f"/api/v1/people/{person_id}")).content)
    assert [one.state for one in first.edges] == ["waiting"]
    again = max(orders(runtime), key=lambda order: order.deadline)
    clock.turn(seconds=1)
    assert (await confirm(edge, again, receipt)).status_code == 204
    assert read_proof((await manager.get(f"/api/v1/erasures/{person_id}")).content).complete


async def test_a_revoked_edge_is_named_and_never_counts_as_erased(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await with_everything(manager, runtime)
    runtime.store.write_now(revoke_edge, EDGE, at=clock())
    proof = read_proof((await manager.delete(f"/api/v1/people/{person_id}")).content)
    assert [(one.edge_id, one.state) for one in proof.edges] == [(EDGE, "revoked")]
    assert not proof.complete
    assert orders(runtime) == []


async def test_erasing_twice_answers_the_same_proof_and_orders_nothing_new(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, clock: Clock
) -> None:
    person_id = await with_everything(manager, runtime)
    first = read_proof((await manager.delete(f"/api/v1/people/{person_id}")).content)
    clock.turn(seconds=60)
    second = read_proof((await manager.delete(f"/api/v1/people/{person_id}")).content)
    assert second.erased_at == first.erased_at
    assert len(orders(runtime)) == 1
    assert [row.action for row in rows_of(runtime, person_id)].count("person.erase") == 1


def rows_of(runtime: Runtime, person_id: str) -> list[Any]:
    query = select(audit).where(audit.c.subject == person_id)
    return list(runtime.store.read_now(lambda connection: connection.execute(query).all()))


async def test_who_never_gave_a_face_is_erased_without_any_edge(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge
) -> None:
    person_id = await resident(manager)
    proof = read_proof((await manager.delete(f"/api/v1/people/{person_id}")).content)
    assert proof.complete
    assert proof.edges == ()


async def test_people_of_another_site_cannot_be_erased_nor_proved(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    person_id = await resident(manager)
    assert (await other.delete(f"/api/v1/people/{person_id}")).status_code == 404
    assert (await operator.delete(f"/api/v1/people/{person_id}")).status_code == 403
    assert (await manager.delete(f"/api/v1/people/{person_id}")).status_code == 200
    assert (await other.get(f"/api/v1/erasures/{person_id}")).status_code == 404
    assert (await manager.get("/api/v1/erasures/nobody")).status_code == 404


async def test_a_child_loses_the_face_that_an_erased_guardian_agreed_to(
    manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge
) -> None:
    guardian = await resident(manager, "g1", born_on="1990-01-01")
    child = await resident(manager, "c1", born_on="2019-01-01")
    linked = await manager.put(f"/api/v1/people/{child}/guardians/{guardian}")
    assert linked.status_code == 204, linked.text
    given = await manager.post(f"/api/v1/people/{child}/consents", json=CONSENT | {"guardian": guardian})
    assert given.status_code == 201, given.text
    assert (await manager.delete(f"/api/v1/people/{guardian}")).status_code == 200
    (consent,) = (await manager.get(f"/api/v1/people/{child}")).json()["consents"]
    assert consent["withdrawn_at"] is not None
    assert consent["live"] is False


async def test_a_disk_that_takes_no_tombstone_lets_nobody_be_half_erased(
    manager: httpx.AsyncClient, runtime: Runtime, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / NAME).mkdir()  # a folder where the log should be: it cannot be opened
    object.__setattr__(runtime, "data_dir", folder)
    person_id = await resident(manager)
    assert (await manager.delete(f"/api/v1/people/{person_id}")).status_code == 503
    assert (await manager.get(f"/api/v1/people/{person_id}")).json()["name"] == NAME_OF_PERSON
    assert runtime.store.read_now(tombstones_of, since=BEGINNING) == []


async def test_an_erasure_that_the_database_did_not_commit_is_noted_said_and_carried_out(
    manager: httpx.AsyncClient, runtime: Runtime, tmp_path: Path, clock: Clock
) -> None:
    object.__setattr__(runtime, "data_dir", tmp_path)
    person_id = await resident(manager)

    def away(_connection: Any) -> None:
        if (tmp_path / NAME).exists():
            raise OSError("disk full")

    event.listen(runtime.store.engine, "commit", away)
    answer = await manager.delete(f"/api/v1/people/{person_id}")
    assert answer.status_code == 503
    assert "within minutes" in answer.json()["detail"]
    event.remove(runtime.store.engine, "commit", away)
    assert (await manager.get(f"/api/v1/people/{person_id}")).status_code == 200
    assert runtime.store.write_now(settle_tombstones, folder=tmp_path, at=clock()) == 1
    assert (await manager.get(f"/api/v1/people/{person_id}")).status_code == 404


async def test_no_answer_kept_for_a_repetition_names_what_was_an_erased_persons(
    manager: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    person_id = await resident(manager)
    card = {"kind": "card", "value": "04AB12", "label": "blue tag of Zhuge"}
    path = f"/api/v1/people/{person_id}/credentials"
    made = await manager.post(path, json=card, headers={"Idempotency-Key": "card"})
    assert made.status_code == 201, made.text
    await resident(manager, "p2", phone="13800000001")
    kept = select(idempotency.c.body)
    assert "blue tag" in str(runtime.store.read_now(lambda connection: connection.execute(kept).all()))
    assert (await manager.delete(f"/api/v1/people/{person_id}")).status_code == 200
    (left,) = runtime.store.read_now(lambda connection: connection.execute(kept).scalars().all())
    assert "p2" in left
    runtime.store.write_now(clean_up, keep_facts=timedelta(days=1), at=clock() + timedelta(days=2))
    assert runtime.store.read_now(lambda connection: connection.execute(kept).all()) == []


async def test_the_log_has_the_tombstone_before_the_answer_and_holds_ids_only(
    manager: httpx.AsyncClient, runtime: Runtime, tmp_path: Path
) -> None:
    object.__setattr__(runtime, "data_dir", tmp_path / "data")
    person_id = await resident(manager)
    await manager.delete(f"/api/v1/people/{person_id}")
    file = tmp_path / "data" / NAME
    assert [one.person_id for one in read_tombstones(file)] == [person_id]
    assert file.stat().st_mode & 0o077 == 0
    assert NAME_OF_PERSON not in file.read_text()


async def test_who_came_back_with_an_old_backup_is_erased_again(
    manager: httpx.AsyncClient, runtime: Runtime, clock: Clock, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    object.__setattr__(runtime, "data_dir", folder)
    person_id = await resident(manager)
    await manager.delete(f"/api/v1/people/{person_id}")
    back = Person(id=person_id, site_id="a", name=NAME_OF_PERSON)

    def restore(connection: Any) -> None:  # an old backup: the person is there, the tombstone is not
        connection.execute(tombstones.delete())
        add_person(connection, back, at=clock())

    runtime.store.write_now(restore)
    assert runtime.store.write_now(settle_tombstones, folder=folder, at=clock()) == 1
    assert (await manager.get(f"/api/v1/people/{person_id}")).status_code == 404
    assert [one.person_id for one in runtime.store.read_now(tombstones_of, since=BEGINNING)] == [person_id]
    assert runtime.store.write_now(settle_tombstones, folder=folder, at=clock()) == 0


async def test_a_log_that_was_lost_is_made_whole_from_the_database(
    runtime: Runtime, clock: Clock, tmp_path: Path
) -> None:
    runtime.store.write_now(record_tombstone, "p7", site_id="a", at=clock())
    runtime.store.write_now(settle_tombstones, folder=tmp_path, at=clock())
    runtime.store.write_now(settle_tombstones, folder=tmp_path, at=clock())
    assert [one.person_id for one in read_tombstones(tmp_path / NAME)] == ["p7"]
    assert len((tmp_path / NAME).read_text().splitlines()) == 1


def test_a_line_that_a_crash_tore_costs_no_other_line(tmp_path: Path, clock: Clock) -> None:
    from gateway.store.erasures import Tombstone

    file = tmp_path / NAME
    append_tombstones(file, [Tombstone(person_id="p1", site_id="a", erased_at=clock())])
    file.write_bytes(file.read_bytes() + b'{"person_id":"p')
    append_tombstones(file, [Tombstone(person_id="p2", site_id="a", erased_at=clock())])
    assert [one.person_id for one in read_tombstones(file)] == ["p1", "p2"]
    assert read_tombstones(tmp_path / "none") == []
    with pytest.raises(StorageUnavailable):
        read_tombstones(tmp_path)


async def test_the_id_of_an_erased_person_is_never_given_again(
    manager: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    person_id = await resident(manager)
    await manager.delete(f"/api/v1/people/{person_id}")
    again = await manager.post("/api/v1/people", json={"id": person_id, "name": "Somebody"})
    assert again.status_code == 409
    assert "was erased" in again.json()["detail"]
    with pytest.raises(Conflict, match="site file"):
        runtime.store.write_now(put_person, Person(id=person_id, site_id="a", name="Somebody"), at=clock())
