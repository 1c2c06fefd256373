"""The audit log: append-only rows, each sealed over the one before, so that a changed, missing or moved row shows.

Rows hold opaque ids and reasons, never names, values or images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, insert, select

from gateway.store.dialect import hold_feed, next_number
from gateway.store.tables_access import api_tokens, audit, audit_people, users
from gateway.store.tables_events import counters
from gateway.store.types import as_text

GENESIS = "0" * 64
BATCH = 1000


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Say who did what to what, with which result, and why. The actor's name and unit are the user's, looked up later."""

    actor: str
    action: str
    subject: str = ""
    result: str = "ok"
    detail: dict[str, str] = {}
    reason: str = ""
    people: tuple[str, ...] = ()
    """Persons whom a list showed, by id: kept beside the row, which holds their digest (`people_digest`)."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """Show one row of the log."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    result: str
    detail: dict[str, str]
    digest: str


def append_audit(connection: Connection, entry: AuditEntry, *, at: datetime) -> int:
    """Append an entry in the caller's transaction: the act and its record are durable together."""
    hold_feed(connection)
    seq = next_number(connection, "audit")
    previous = connection.execute(select(audit.c.digest).where(audit.c.seq == seq - 1)).scalar() or GENESIS
    detail = _detail(entry)
    digest = _seal(previous, (seq, at, entry.actor, entry.action, entry.subject, entry.result, detail))
    connection.execute(
        insert(audit).values(
            seq=seq, at=at, actor=entry.actor, action=entry.action, subject=entry.subject, result=entry.result,
            detail=detail, previous=previous, digest=digest,
        )
    )  # fmt: skip
    _note_people(connection, {seq: entry.people})
    return seq


def append_entries(connection: Connection, entries: Sequence[AuditEntry], *, at: datetime) -> int:
    """Append many entries at once, in their order, as one by one would; return the number of the last."""
    hold_feed(connection)
    first = next_number(connection, "audit", by=len(entries)) - len(entries) + 1 if entries else 1
    previous = connection.execute(select(audit.c.digest).where(audit.c.seq == first - 1)).scalar() or GENESIS
    rows = []
    for seq, entry in enumerate(entries, first):
        detail = _detail(entry)
        digest = _seal(previous, (seq, at, entry.actor, entry.action, entry.subject, entry.result, detail))
        told = {"actor": entry.actor, "action": entry.action, "subject": entry.subject, "result": entry.result}
        rows.append({**told, "seq": seq, "at": at, "detail": detail, "previous": previous, "digest": digest})
        previous = digest
    if rows:
        connection.execute(insert(audit), rows)
    _note_people(connection, {seq: entry.people for seq, entry in enumerate(entries, first)})
    return first + len(rows) - 1


def _detail(entry: AuditEntry) -> str:
    more = {"reason": entry.reason} if entry.reason else {}
    if entry.people:
        more["people"] = people_digest(entry.people)
    return as_text(entry.detail | more)


def people_digest(person_ids: Sequence[str]) -> str:
    """Return the SHA-256 that an audit row holds of the persons whom a list showed, in no order."""
    return hashlib.sha256("\n".join(sorted(set(person_ids))).encode()).hexdigest()


def _note_people(connection: Connection, shown: dict[int, tuple[str, ...]]) -> None:
    rows = [{"seq": seq, "person_id": person_id} for seq, some in shown.items() for person_id in sorted(set(some))]
    if rows:
        connection.execute(insert(audit_people), rows)


def _seal(previous: str, content: tuple[int, datetime, str, str, str, str, str]) -> str:
    seq, at, *rest = content
    line = msgspec.json.encode([previous, seq, at.astimezone(UTC).isoformat(), *rest])
    return hashlib.sha256(line).hexdigest()


def verify_audit(connection: Connection) -> tuple[int, str, list[str]]:
    """Walk the whole chain; return (rows, digest of the last row, faults). No fault means that nothing was changed.

    A cut end shows only against the counter, which whoever can write the table can write too: compare the returned
    digest with one noted elsewhere to be sure.
    """
    faults: list[str] = []
    previous, expected = GENESIS, 1
    counted = _counted(connection)  # first: what is added meanwhile is not missing
    query = select(audit).where(audit.c.seq <= counted).order_by(audit.c.seq)
    for row in connection.execute(query, execution_options={"yield_per": BATCH}):
        if row.seq != expected:
            faults.append(f"rows {expected} to {row.seq - 1} are missing")
        faults += _faults_of(row, previous)
        previous, expected = row.digest, row.seq + 1
    if counted != expected - 1:
        faults.append(f"rows {expected} to {counted} are missing at the end")
    newest = connection.execute(select(func.max(audit.c.seq))).scalar() or 0
    if newest > _counted(connection):
        faults.append(f"rows up to {newest} were never counted")
    return expected - 1, previous, faults


def _counted(connection: Connection) -> int:
    return connection.execute(select(counters.c.value).where(counters.c.name == "audit")).scalar() or 0


def _faults_of(row: Row[Any], previous: str) -> list[str]:
    content = (row.seq, row.at, row.actor, row.action, row.subject, row.result, row.detail)
    faults = []
    if row.previous != previous:
        faults.append(f"row {row.seq} does not follow the row before it")
    if row.digest != _seal(row.previous, content):
        faults.append(f"row {row.seq} was changed")
    return faults


def audit_rows(connection: Connection, *, before: int | None = None, limit: int = 100) -> list[AuditRow]:
    """Return rows of the log, newest first, before a number."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [_audit_row(row) for row in connection.execute(query)]


def audit_rows_after(connection: Connection, seq: int, *, limit: int) -> list[AuditRow]:
    """Return rows of the log after a number, in their order."""
    query = select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(limit)
    return [_audit_row(row) for row in connection.execute(query)]


def _audit_row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        seq=row.seq, at=row.at, actor=row.actor, action=row.action, subject=row.subject, result=row.result,
        detail=msgspec.json.decode(row.detail), digest=row.digest,
    )  # fmt: skip


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one row of the log to an auditor: `name` and `unit` are the actor's of today, `reason` in the actor's words."""

    seq: int
    at: datetime
    actor: str
    name: str
    unit: str
    action: str
    subject: str
    result: str
    reason: str
    detail: dict[str, str]
    digest: str


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Say which rows are wanted; `actors` is None for everybody's. An action ends with a dot to name a group of them."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    actors: frozenset[str] | None = None


def audit_views(connection: Connection, wanted: AuditFilter, *, before: int | None, limit: int) -> list[AuditView]:
    """Return the wanted rows of the log, newest first, before a number."""
    query = select(audit, users.c.username, users.c.unit, api_tokens.c.name.label("machine"))
    query = query.outerjoin(users, users.c.id == audit.c.actor).outerjoin(api_tokens, api_tokens.c.id == audit.c.actor)
    query = query.where(*_conditions(wanted)).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [_audit_view(row) for row in connection.execute(query)]


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions = [
        audit.c[name] == value for name in ("actor", "subject") if (value := getattr(wanted, name)) is not None
    ]
    if wanted.action is not None:
        group = wanted.action.endswith(".")
        starts = audit.c.action.startswith(wanted.action, autoescape=True)
        conditions.append(starts if group else audit.c.action == wanted.action)
    if wanted.since is not None:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit.c.at < wanted.until)
    if wanted.actors is not None:
        conditions.append(audit.c.actor.in_(wanted.actors))
    return conditions


def _audit_view(row: Row[Any]) -> AuditView:
    detail = msgspec.json.decode(row.detail, type=dict[str, str])
    return AuditView(
        seq=row.seq, at=row.at, actor=row.actor, name=row.username or row.machine or "", unit=row.unit or "",
        action=row.action, subject=row.subject, result=row.result, reason=detail.pop("reason", ""), detail=detail,
        digest=row.digest,
    )  # fmt: skip
