"""Put what a caller does on record, in the transaction of the act: opaque ids and the caller's reason, never names or values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.auth.roles import Caller
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit


def note(
    connection: Connection, caller: Caller, *, action: str, subject: str, at: datetime, people: Iterable[str] = (),
    **detail: str,
) -> None:  # fmt: skip
    """Append an audit entry about what a caller did to an object; `detail` holds ids, kinds and counts.

    `people` are the ids of those whom a list showed, so that each of them can learn of it.
    """
    entry = AuditEntry(
        actor=caller.id, action=action, subject=subject, detail=detail, reason=caller.reason, people=tuple(people)
    )
    append_audit(connection, entry, at=at)
