"""Check and keep what edges and labelled photos prove about false matches. Only counts arrive here.

Which radius follows for a door is models.calibration's, and decided at its edge.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.intake import check_time
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.calibrations import keep_calibration
from gateway.store.edges import EdgeIdentity
from models.calibration import ImpostorEvidence, check_evidence
from models.errors import InvalidInput
from models.places import check_id

CONTRACT_CHARS = 160
ALLOWED_FAST = timedelta(minutes=5)
"""By how much a clock elsewhere may be ahead."""


def check_calibration(evidence: ImpostorEvidence, *, at: datetime) -> ImpostorEvidence:
    """Return evidence from outside if it can be true and fits.

    Raises:
        InvalidInput: counts that contradict each other, texts that are too long, or a time to come.
    """
    check_id(evidence.id, "id")
    if not 1 <= len(evidence.contract) <= CONTRACT_CHARS or not evidence.contract.isprintable():
        raise InvalidInput("contract", f"use 1 to {CONTRACT_CHARS} printable characters")
    if check_time(evidence.at, where="at") > at + ALLOWED_FAST:
        raise InvalidInput("at", "it was counted in the future: set the clock of the machine that counted")
    return check_evidence(evidence)


def take_count(
    connection: Connection, evidence: ImpostorEvidence, *, edge: EdgeIdentity, command_id: str, at: datetime
) -> None:
    """Keep what an edge counted in its own gallery, with its audit entry.

    Raises:
        InvalidInput: it is of another edge or source, or cannot be true.
        Conflict: its id is taken.
    """
    if evidence.edge_id != edge.id or evidence.source != "site":
        raise InvalidInput("evidence", "an edge reports what it counted in its own gallery")
    keep_calibration(connection, check_calibration(evidence, at=at), site_id=edge.site_id)
    detail = {"edge": edge.id, "command": command_id, "persons": str(evidence.persons), "pairs": str(evidence.pairs)}
    entry = AuditEntry(actor=edge.id, action="calibration.counted", subject=evidence.id, detail=detail)
    append_audit(connection, entry, at=at)
