"""Queries about bypasses: alarms of a door that raise no alert for a while, because somebody works there. Facts go on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.store.tables import bypasses, doors
from gateway.store.tables_access import users
from gateway.store.types import as_text
from gateway.views import BypassView
from models.alerts import AlertKind


def add_bypass(connection: Connection, one: BypassView, *, by: str) -> None:
    """Keep a bypass that begins now; `by` is the id of who asked."""
    connection.execute(
        insert(bypasses).values(
            id=one.id, door_id=one.door_id, kinds=as_text(one.kinds), reason=one.reason, by=by, since=one.since,
            until=one.until,
        )
    )  # fmt: skip


def end_bypasses(connection: Connection, ids: Iterable[str], *, at: datetime) -> None:
    """Note that bypasses are over."""
    going = bypasses.c.id.in_(tuple(ids)) & bypasses.c.ended_at.is_(None)
    connection.execute(update(bypasses).where(going).values(ended_at=at))


def is_bypassed(connection: Connection, door_id: str, *, kind: AlertKind, at: datetime) -> bool:
    """Return whether an alarm of a kind raised no alert at a door at a time; a report that comes late counts by its time."""
    then = (bypasses.c.door_id == door_id) & (bypasses.c.since <= at) & (bypasses.c.until > at)
    query = select(bypasses.c.kinds, bypasses.c.ended_at).where(then)
    return any(
        (row.ended_at is None or row.ended_at > at) and kind in msgspec.json.decode(row.kinds)
        for row in connection.execute(query)
    )


def going_bypasses(connection: Connection, door_ids: Iterable[str] | None = None) -> list[BypassView]:
    """Return the bypasses that nobody ended yet and that did not end by themselves, by door; of all doors, or of some."""
    query = _going()
    if door_ids is not None:
        query = query.where(bypasses.c.door_id.in_(tuple(door_ids)))
    return [_view(row) for row in connection.execute(query)]


def bypasses_over(connection: Connection, *, at: datetime) -> list[BypassView]:
    """Return the bypasses whose time is over and that were not ended yet."""
    return [_view(row) for row in connection.execute(_going().where(bypasses.c.until <= at))]


def _going() -> Any:
    query = select(bypasses, users.c.username).outerjoin(users, users.c.id == bypasses.c.by)
    query = query.join(doors, doors.c.id == bypasses.c.door_id)
    return query.where(bypasses.c.ended_at.is_(None)).order_by(bypasses.c.door_id, bypasses.c.since)


def _view(row: Row[Any]) -> BypassView:
    kinds = msgspec.json.decode(row.kinds, type=tuple[AlertKind, ...])
    return BypassView(
        id=row.id, door_id=row.door_id, kinds=kinds, reason=row.reason, by=row.username or row.by, since=row.since,
        until=row.until,
    )  # fmt: skip


def forget_bypasses(connection: Connection, door_id: str) -> None:
    """Delete the bypasses of a door that goes; who bypassed what is in the audit log."""
    connection.execute(delete(bypasses).where(bypasses.c.door_id == door_id))
