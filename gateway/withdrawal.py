"""Have a person's templates destroyed wherever one is, or is being made just now, when no live consent is left."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import consents_of, face_receipts_of, keep_face_receipt
from gateway.store.edges import add_command, unended_commands
from gateway.store.people import person_exists
from models.link import EnrolFace, EraseFace, FaceReceipt

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
        edge_id for edge_id, order in open_orders if isinstance(order, EnrolFace) and order.person_id == person_id
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


def settle_receipt(connection: Connection, receipt: FaceReceipt, *, consent_id: str, at: datetime) -> None:
    """Keep the proof of a template; one that nobody allows any more (withdrawn or erased meanwhile) is ordered away."""
    if not person_exists(connection, receipt.person_id):
        erase_at(connection, receipt.person_id, edge_id=receipt.edge_id, actor="system", at=at)
        return
    keep_face_receipt(connection, receipt, consent_id=consent_id)
    order_erasure(connection, receipt.person_id, actor="system", at=at)
