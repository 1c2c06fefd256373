"""Give an edge that joins (or gets new doors) the templates that its doors were consented to, from a sibling that holds them.

The gateway arranges the exchange and sees none of it: the sibling seals to the key that its signed policy names.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import datetime, timedelta

from gateway.intake import check_time
from gateway.relay import LIFE_S
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import keep_face_receipts
from gateway.store.edges import EdgeIdentity, add_command
from gateway.store.joining import Wanted, allowed_faces, exchanges_wanted
from gateway.withdrawal import erase_at
from models.errors import InvalidInput
from models.link import AdoptTemplates, FaceReceipt, ShareTemplates
from models.places import check_id

RECEIPTS_AT_ONCE = 4000
TEXT_CHARS = 200


class Joining:
    """Look for edges that lack templates, and arrange exchanges. Several replicas may do so: an edge gets one at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def look(self) -> int:
        """Arrange what is wanted now; return how many exchanges were begun."""
        runtime, begun = self._runtime, 0
        for wanted in await runtime.store.read(exchanges_wanted, at=runtime.clock()):
            ticket = runtime.relay.join(sender=wanted.from_edge, receiver=wanted.to_edge)
            if ticket is None:
                break  # too many exchanges now: the next look is soon
            await runtime.store.write(_order, wanted, ticket=ticket, at=runtime.clock())
            for edge_id in (wanted.from_edge, wanted.to_edge):
                runtime.bells.edge(edge_id).ring()
            begun += 1
        return begun


def _order(connection: Connection, wanted: Wanted, *, ticket: str, at: datetime) -> None:
    deadline = at + timedelta(seconds=LIFE_S)
    share = ShareTemplates(id=str(uuid.uuid4()), to_edge=wanted.to_edge, relay_ticket=ticket, deadline=deadline)
    adopt = AdoptTemplates(id=str(uuid.uuid4()), from_edge=wanted.from_edge, relay_ticket=ticket, deadline=deadline)
    detail = {"from": wanted.from_edge, "people": str(wanted.people), "share": share.id, "adopt": adopt.id}
    entry = AuditEntry(actor="system", action="templates.share", subject=wanted.to_edge, detail=detail)
    append_audit(connection, entry, at=at)
    add_command(connection, share, edge_id=wanted.from_edge, at=at)
    add_command(connection, adopt, edge_id=wanted.to_edge, at=at)


def check_receipt(receipt: FaceReceipt, *, edge: EdgeIdentity) -> None:
    """Pass if a receipt is the edge's own and within bounds.

    Raises:
        InvalidInput: it is not.
    """
    if receipt.edge_id != edge.id:
        raise InvalidInput("receipt", "it names another edge")
    check_id(receipt.id, "receipt.id")
    check_id(receipt.person_id, "receipt.person_id")
    check_time(receipt.at, where="receipt.at")
    if len(receipt.contract) > TEXT_CHARS or len(receipt.digest) > TEXT_CHARS or not 0.0 <= receipt.quality <= 1.0:
        raise InvalidInput("receipt", f"contract and digest have at most {TEXT_CHARS} characters, quality is 0 to 1")


def take_adopted(
    connection: Connection, receipts: tuple[FaceReceipt, ...], *, edge: EdgeIdentity, command_id: str, at: datetime
) -> None:
    """Keep the proofs of adopted templates; one that no live consent allows at this edge's doors is ordered away.

    Raises:
        InvalidInput: there are too many, or one is of another edge.
    """
    if len(receipts) > RECEIPTS_AT_ONCE:
        raise InvalidInput("receipts", f"report at most {RECEIPTS_AT_ONCE} templates at once")
    consents = {
        consent.person_id: consent.id
        for edge_id, consent in allowed_faces(connection, edge.site_id, at=at)
        if edge_id == edge.id
    }
    of_person: dict[str, list[FaceReceipt]] = defaultdict(list)
    for receipt in receipts:
        check_receipt(receipt, edge=edge)
        of_person[receipt.person_id].append(receipt)
    refused = 0
    for person_id, own in of_person.items():
        consent_id = consents.get(person_id)
        if consent_id is None:
            refused += len(own)
            erase_at(connection, person_id, edge_id=edge.id, actor="system", at=at)
        else:
            keep_face_receipts(connection, own, consent_id=consent_id)
    detail = {"command": command_id, "templates": str(len(receipts)), "without_consent": str(refused)}
    append_audit(connection, AuditEntry(actor=edge.id, action="templates.adopt", subject=edge.id, detail=detail), at=at)
