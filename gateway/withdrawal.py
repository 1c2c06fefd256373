"""Have a person's templates destroyed wherever one is, or is being made just now, when no live consent is left."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import consents_of, face_receipts_of, keep_face_receipts
from gateway.store.edges import add_command, unended_commands
from gateway.store.people import person_exists
from models.link import EnrolAtDoor, EnrolFace, EraseFace, FaceReceipt

ERASE_WITHIN = timedelta(days=30)
"""How long an erasure waits for an edge that is away; the policy tells it of the withdrawal besides."""


def order_erasure(connection: Connection, person_id: str, *, actor: str, at: datetime) -> list[str]:
    """Order the erasure of a person's templates if no consent to faces at doors allows one any more; return the edges.

    A consent that a new notice superseded keeps the template: matching has stopped, and the person may consent anew.
    """
    given = [consent for consent in consents_of(connection, person_id) if consent.purpose == "door_face"]
    if any(not consent.over(at) for consent in given):
        return []
    return erase_everywhere(connection, person_id, actor=actor, at=at)


def erase_everywhere(connection: Connection, person_id: str, *, actor: str, at: datetime) -> list[str]:
    """Order every edge that holds a template of a person, or was asked to make one, to destroy it; return the edges."""
    open_orders = unended_commands(connection, at=at)
    making = {
        edge_id
        for edge_id, order in open_orders
        if isinstance(order, EnrolFace | EnrolAtDoor) and order.person_id == person_id
    }
    asked = {edge_id for edge_id, order in open_orders if isinstance(order, EraseFace) and order.person_id == person_id}
    held = {proof.edge_id for proof in face_receipts_of(connection, person_id) if proof.erased_at is None}
    for edge_id in sorted((held | making) - asked):
        erase_at(connection, person_id, edge_id=edge_id, actor=actor, at=at)
    return sorted(held | making)


def erase_at(connection: Connection, person_id: str, *, edge_id: str, actor: str, at: datetime) -> None:
    """Order one edge to destroy what it holds of a person."""
    command = EraseFace(id=str(uuid.uuid4()), person_id=person_id, deadline=at + ERASE_WITHIN)
    add_command(connection, command, edge_id=edge_id, at=at)
    detail = {"edge": edge_id, "command": command.id}
    append_audit(connection, AuditEntry(actor=actor, action="face.erase", subject=person_id, detail=detail), at=at)


def settle_receipts(
    connection: Connection, receipts: Sequence[FaceReceipt], *, consent_id: str, at: datetime, joining: bool = False
) -> None:
    """Keep the proofs of one person's templates; what nobody allows any more (withdrawn or erased meanwhile) is ordered away."""
    person_id, edge_id = receipts[0].person_id, receipts[0].edge_id
    if not person_exists(connection, person_id):
        erase_at(connection, person_id, edge_id=edge_id, actor="system", at=at)
        return
    keep_face_receipts(connection, receipts, consent_id=consent_id, joining=joining)
    order_erasure(connection, person_id, actor="system", at=at)


def forget_elsewhere(connection: Connection, person_id: str, *, edge_id: str, at: datetime) -> None:
    """Order older templates of a person away from all edges but the one that has new ones, which it then gives them."""
    held = {proof.edge_id for proof in face_receipts_of(connection, person_id) if proof.erased_at is None}
    for other in sorted(held - {edge_id}):
        erase_at(connection, person_id, edge_id=other, actor="system", at=at)
