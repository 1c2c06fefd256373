"""Queries for the person that data are about: every row that says something about them, and who looked at it (PIPL 45).

Digests of cards and PINs are left out: they say nothing to the person and would help whoever found the file to guess them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, or_, select

from gateway.store.tables import doors, flats, notices, permission_groups
from gateway.store.tables_access import api_tokens, audit, audit_people, users
from gateway.store.tables_events import facts
from gateway.store.tables_people import (
    consents,
    credentials,
    erasures,
    face_receipts,
    guardianships,
    import_changes,
    occupancies,
    people,
    permits,
    refusals,
    visitor_passes,
)
from models.events import AccessDenied, AccessGranted

SECRET = frozenset({"digest", "pin_digest"})
"""Columns of `credentials` and `visitor_passes` that are keyed digests."""
MAX_RECORDS = 20_000
Cell = Any  # text, a number, a flag, a day or a time, as the column has it
Access = AccessGranted | AccessDenied
_access = msgspec.json.Decoder(Access)


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """Say that somebody looked at or changed a person's data: who (id and role), what, when, why, with which result."""

    at: datetime
    actor: str
    role: str
    action: str
    result: str
    detail: dict[str, str]


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a person was let in or refused at a door, with the reason of a refusal."""

    at: datetime
    door_id: str
    door: str
    method: str
    result: str
    """`granted`, or the reason why not."""


def rows_about(connection: Connection, person_id: str) -> dict[str, list[dict[str, Cell]]]:
    """Return all rows of the people tables that are about a person, by table."""
    either = or_(guardianships.c.child_id == person_id, guardianships.c.guardian_id == person_id)
    own: list[tuple[Table, Any]] = [
        (people, people.c.id == person_id),
        (occupancies, occupancies.c.person_id == person_id),
        (guardianships, either),
        (consents, consents.c.person_id == person_id),
        (refusals, refusals.c.person_id == person_id),
        (credentials, credentials.c.person_id == person_id),
        (permits, permits.c.person_id == person_id),
        (visitor_passes, visitor_passes.c.host_id == person_id),
        (face_receipts, face_receipts.c.person_id == person_id),
        (erasures, erasures.c.person_id == person_id),
    ]
    told = {table.name: _rows(connection, table, which) for table, which in own}
    ids = [person_id, *(str(row["id"]) for name in ("occupancies", "credentials") for row in told[name])]
    told["import_changes"] = _rows(connection, import_changes, import_changes.c.object_id.in_(ids))
    return told


def _rows(connection: Connection, table: Table, which: Any) -> list[dict[str, Cell]]:
    secret = SECRET if table in {credentials, visitor_passes} else frozenset()
    columns: list[Column[Any]] = [column for column in table.columns if column.name not in secret]
    query = select(*columns).where(which).order_by(*table.primary_key.columns)
    return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it


def places_about(connection: Connection, told: dict[str, list[dict[str, Cell]]]) -> dict[str, str]:
    """Return what the ids of flats and groups in those rows stand for, in words."""
    flat_ids = {str(row["flat_id"]) for row in told["occupancies"]}
    words = {
        row.id: " ".join(part for part in (row.building, row.unit, row.room) if part)
        for row in connection.execute(select(flats).where(flats.c.id.in_(flat_ids)))
    }
    group_ids = {str(row["group_id"]) for row in told["permits"] if row["group_id"]}
    named = select(permission_groups).where(permission_groups.c.id.in_(group_ids))
    return words | {row.id: row.name for row in connection.execute(named)}


def notices_agreed(connection: Connection, digests: set[str]) -> dict[str, Any]:
    """Return the published notices that consents name by their digests."""
    query = select(notices.c.sha256, notices.c.record).where(notices.c.sha256.in_(digests))
    return {row.sha256: msgspec.json.decode(row.record) for row in connection.execute(query)}


def look_ups(connection: Connection, person_id: str, *, limit: int = MAX_RECORDS) -> list[LookUp]:
    """Return what the audit log knows about a person, newest first: what was about them, and lists that showed them."""
    roles = {
        row.id: row.role
        for table in (users, api_tokens)
        for row in connection.execute(select(table.c.id, table.c.role))
    }
    about = select(audit.c.seq).where(audit.c.subject == person_id)
    showing = select(audit_people.c.seq).where(audit_people.c.person_id == person_id)
    query = select(audit).where(audit.c.seq.in_(about.union(showing))).order_by(audit.c.seq.desc()).limit(limit)
    return [
        LookUp(
            at=row.at, actor=row.actor, role=roles.get(row.actor, ""), action=row.action, result=row.result,
            detail=msgspec.json.decode(row.detail, type=dict[str, str]),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def passages(connection: Connection, person_id: str, *, limit: int = MAX_RECORDS) -> list[Passage]:
    """Return when a person was let in or refused, newest first, as long as facts are kept."""
    about = (facts.c.person_id == person_id) & facts.c.kind.in_(("access_granted", "access_denied"))
    query = select(facts.c.body).where(about).order_by(facts.c.at.desc(), facts.c.id.desc()).limit(limit)
    found = [_access.decode(body) for body in connection.execute(query).scalars()]
    used = select(doors.c.id, doors.c.name).where(doors.c.id.in_({fact.door_id for fact in found}))
    names = {row.id: row.name for row in connection.execute(used)}
    return [_passage(fact, names.get(fact.door_id, "")) for fact in found]


def _passage(fact: Access, door: str) -> Passage:
    result = fact.reason if isinstance(fact, AccessDenied) else "granted"
    return Passage(at=fact.at, door_id=fact.door_id, door=door, method=fact.method, result=result)
