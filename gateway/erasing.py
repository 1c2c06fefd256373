"""Erase a person: rows here, templates on edges, tombstones against old backups, and the proof of it.

Rows go in one transaction with the tombstone and the orders to the edges; the log beside the database has the tombstone
before that transaction commits. Audit rows and facts stay: they know an opaque id that leads nowhere any more.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from gateway.auth.roles import Caller
from gateway.auth.signatures import signed_by
from gateway.on_record import note
from gateway.proofs import EdgeProof, EdgeState, ErasureProof, sign_proof
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import consents_of, withdraw_consent
from gateway.store.edges import EdgeIdentity
from gateway.store.erasures import (
    HeldBy,
    Tombstone,
    delete_person,
    edges_expected,
    edges_named,
    edges_with_face,
    erasures_of,
    expect_erasures,
    keep_erasure,
    order_erasures,
    people_back,
    record_tombstone,
    restore_tombstones,
    tombstone_of,
    tombstones_of,
    wards_of,
)
from gateway.store.people import person_by_id
from gateway.tombstones import NAME, append_tombstones, read_tombstones
from gateway.withdrawal import order_erasure
from models.errors import InvalidInput, NotFound, StorageUnavailable
from models.link import ErasureReceipt, erasure_statement
from models.people import Person

NOTED = (
    "the database did not commit, but the erasure is noted beside it and will be carried out within minutes: "
    "ask for its proof then"
)


async def erase(runtime: Runtime, person_id: str, *, caller: Caller) -> ErasureProof:
    """Erase a person and return the proof as it stands; edges that are away add theirs when they are back.

    Erasing again changes nothing and answers the proof.

    Raises:
        NotFound: there is no such person in the caller's scope, and there was none.
        StorageUnavailable: nothing was erased: try again; or it is noted and will be erased within minutes.
    """
    try:
        proof = await runtime.store.write(_erase, person_id, caller=caller, runtime=runtime)
    except StorageUnavailable as error:
        if runtime.data_dir is not None and await asyncio.to_thread(_noted, runtime.data_dir / NAME, person_id):
            raise StorageUnavailable(str(error), told=NOTED) from error
        raise
    for edge in proof.edges:
        runtime.bells.edge(edge.edge_id).ring()
    runtime.bells.policies_changed()
    return proof


def _noted(file: Path, person_id: str) -> bool:
    return any(tombstone.person_id == person_id for tombstone in read_tombstones(file))


def _erase(connection: Connection, person_id: str, *, caller: Caller, runtime: Runtime) -> ErasureProof:
    try:
        person = person_by_id(connection, person_id, site_ids=caller.sites)
    except NotFound:
        tombstone = tombstone_of(connection, person_id, site_ids=caller.sites)
        return _proof(connection, tombstone.person_id, site_id=tombstone.site_id, runtime=runtime, tombstone=tombstone)
    tombstone = erase_person(
        connection, person, actor=caller.id, reason=caller.reason, at=runtime.clock(), folder=runtime.data_dir
    )
    return _proof(connection, person.id, site_id=person.site_id, runtime=runtime, tombstone=tombstone)


def erase_person(
    connection: Connection, person: Person, *, actor: str, at: datetime, reason: str = "", folder: Path | None = None
) -> Tombstone:
    """Delete every row about a person, order edges to destroy templates, and leave a tombstone here and in the log.

    Raises:
        StorageUnavailable: the log did not take the tombstone; roll back.
    """
    held = edges_with_face(connection, person.id, site_id=person.site_id)
    _end_guardianship(connection, person.id, actor=actor, at=at)
    expect_erasures(connection, person.id, edge_ids=[edge.edge_id for edge in held], at=at)
    reachable = [edge.edge_id for edge in held if not edge.revoked]
    order_erasures(connection, person.id, edge_ids=reachable, at=at)
    gone = delete_person(connection, person.id)
    record_tombstone(connection, person.id, site_id=person.site_id, at=at)
    detail = {"rows": str(sum(gone.values())), "edges": ",".join(edge.edge_id for edge in held)}
    entry = AuditEntry(actor=actor, action="person.erase", subject=person.id, detail=detail, reason=reason)
    append_audit(connection, entry, at=at)
    tombstone = Tombstone(person_id=person.id, site_id=person.site_id, erased_at=at)
    if folder is not None:
        append_tombstones(folder / NAME, [tombstone])
    return tombstone


def _end_guardianship(connection: Connection, person_id: str, *, actor: str, at: datetime) -> None:
    """End the consents that a person gave for children: nobody stands behind them any more."""
    for child_id in wards_of(connection, person_id):
        given = [one for one in consents_of(connection, child_id) if one.guardian == person_id and not one.over(at)]
        for consent in given:
            withdraw_consent(connection, consent.id, person_id=child_id, at=at)
            detail = {"consent": consent.id, "why": "guardian erased"}
            entry = AuditEntry(actor=actor, action="consent.withdraw", subject=child_id, detail=detail)
            append_audit(connection, entry, at=at)
        if given:
            order_erasure(connection, child_id, actor=actor, at=at)


def proof_of(connection: Connection, person_id: str, *, caller: Caller, runtime: Runtime) -> ErasureProof:
    """Return the proof of an erasure as it stands; of somebody who only withdrew, what edges confirmed so far.

    Raises:
        NotFound: nobody of that id is or was at a site of the caller.
    """
    at = runtime.clock()
    try:
        tombstone = tombstone_of(connection, person_id, site_ids=caller.sites)
        proof = _proof(connection, person_id, site_id=tombstone.site_id, runtime=runtime, tombstone=tombstone)
    except NotFound:
        person = person_by_id(connection, person_id, site_ids=caller.sites)
        proof = _proof(connection, person_id, site_id=person.site_id, runtime=runtime)
    note(connection, caller, action="erasure.prove", subject=person_id, at=at)
    return proof


def _proof(
    connection: Connection, person_id: str, *, site_id: str, runtime: Runtime, tombstone: Tombstone | None = None
) -> ErasureProof:
    erased_at = tombstone.erased_at if tombstone else None
    given: dict[str, list[ErasureReceipt]] = {}
    for receipt in erasures_of(connection, person_id, since=erased_at):
        given.setdefault(receipt.edge_id, []).append(receipt)
    edges = edges_named(connection, edges_expected(connection, person_id))
    proof = ErasureProof(
        person_id=person_id, site_id=site_id, erased_at=erased_at, issued_at=runtime.clock(),
        edges=tuple(_edge_proof(edge, tuple(given.get(edge.edge_id, ()))) for edge in edges),
    )  # fmt: skip
    return sign_proof(proof, runtime.gateway_key)


def _edge_proof(edge: HeldBy, receipts: tuple[ErasureReceipt, ...]) -> EdgeProof:
    genuine = tuple(one for one in receipts if signed_by(edge.public_key, one.signature, erasure_statement(one)))
    state: EdgeState = "erased" if genuine else "revoked" if edge.revoked else "waiting"
    return EdgeProof(edge_id=edge.edge_id, public_key=edge.public_key, state=state, receipts=genuine)


def take_erasure(
    connection: Connection, receipt: ErasureReceipt, *, edge: EdgeIdentity, at: datetime, person_id: str | None = None
) -> None:
    """Keep what an edge signed about an erasure, if its signature fits.

    Args:
        connection: the transaction of the result.
        receipt: what the edge sent.
        edge: who sent it.
        at: now.
        person_id: whom the order was about, where there was one.

    Raises:
        InvalidInput: it is about another edge or person, or its signature does not fit.
    """
    if receipt.edge_id != edge.id or (person_id is not None and receipt.person_id != person_id):
        raise InvalidInput("erasure", "it names another person or edge than the command")
    if not signed_by(edge.public_key, receipt.signature, erasure_statement(receipt)):
        raise InvalidInput("erasure", "its signature was not made with this edge's key")
    if keep_erasure(connection, receipt, at=at):
        detail = {"receipt": receipt.id, "templates": str(receipt.templates), "protection": receipt.protection}
        entry = AuditEntry(actor=edge.id, action="face.erasure_receipt", subject=receipt.person_id, detail=detail)
        append_audit(connection, entry, at=at)


def settle_tombstones(connection: Connection, *, folder: Path | None, at: datetime) -> int:
    """Bring log and database in step, and erase again whoever came back with an old backup; return how many those were.

    Run at the start and each hour, so that a log that was lost or belongs to another replica is made whole.
    """
    if folder is not None:
        logged = read_tombstones(folder / NAME)
        restore_tombstones(connection, logged)
        names = {tombstone.person_id for tombstone in logged}
        known = tombstones_of(connection, since=datetime.fromtimestamp(0, tz=at.tzinfo))
        append_tombstones(folder / NAME, [one for one in known if one.person_id not in names])
    back = people_back(connection)
    for person_id, site_id in back:
        person = person_by_id(connection, person_id, site_ids=frozenset({site_id}))
        erase_person(connection, person, actor="system", reason="erased before; an old backup came back", at=at)
    return len(back)
