"""Put what a caller does on record, in the transaction of the act: opaque ids and the caller's reason, never names or values."""

from __future__ import annotations

from datetime import datetime

from gateway.auth.roles import Caller
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit


def note(
    connection: Connection, caller: Caller, *, action: str, subject: str, at: datetime, **detail: str
) -> None:  # fmt: skip
    """Append an audit entry about what a caller did to an object; `detail` holds ids, kinds and counts."""
    entry = AuditEntry(actor=caller.id, action=action, subject=subject, detail=detail, reason=caller.reason)
    append_audit(connection, entry, at=at)
