"""Queries about the way to the centres: what waits, leases, ends and pauses. Order is kept per alert, never across alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, exists, func, or_, select, update

from gateway.store.dialect import insert_into, next_number
from gateway.store.tables_events import centres, counters, outbox
from gateway.views import DeliveryView

LEASE = timedelta(seconds=60)
DELIVERED_LIFE = timedelta(days=30)
ANSWER_LIMIT = 2000


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one message on its way: `id` is the webhook id of every attempt, `attempts` counts the earlier ones."""

    number: int
    id: str
    centre_id: str
    alert_id: str
    body: bytes
    attempts: int


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Say since when and why the delivery to a centre is paused, and when to knock again."""

    since: datetime
    reason: str
    retry_at: datetime


def enqueue(
    connection: Connection, message_id: str, *, centre_id: str, alert_id: str, type_name: str, body: bytes, at: datetime
) -> None:
    """Put a message in the outbox, in the transaction of what it tells."""
    insertion = insert_into(connection, outbox).values(
        id=message_id, centre_id=centre_id, alert_id=alert_id, type=type_name, body=body.decode(), created_at=at,
        attempts=0, next_at=at,
    )  # fmt: skip
    connection.execute(insertion.on_conflict_do_nothing(index_elements=["id"]))


def next_sequence(connection: Connection, centre_id: str, *, site_id: str) -> int:
    """Return the next number of what a site tells a centre: without holes, so that the centre can prove completeness."""
    return next_number(connection, f"centre\x1f{centre_id}\x1f{site_id}")


def sequence_of(connection: Connection, centre_id: str, *, site_id: str) -> int:
    """Return the last number of what a site told a centre."""
    name = f"centre\x1f{centre_id}\x1f{site_id}"
    return int(connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar() or 0)


def _sendable(centre_id: str) -> Any:
    """Return the condition of rows that are the oldest undelivered one of their alert, and not refused for good."""
    earlier = outbox.alias("earlier")
    held_back = exists().where(
        earlier.c.alert_id == outbox.c.alert_id, earlier.c.centre_id == outbox.c.centre_id,
        earlier.c.delivered_at.is_(None), earlier.c.number < outbox.c.number,
    )  # fmt: skip
    waiting = (outbox.c.centre_id == centre_id) & outbox.c.delivered_at.is_(None) & outbox.c.dead_at.is_(None)
    return waiting & ~held_back


def lease_messages(
    connection: Connection, centre_id: str, *, at: datetime, limit: int, probing: bool = False, lease: timedelta = LEASE
) -> list[Waiting]:
    """Lease messages that may be sent now, oldest first: sendable, due, and in nobody's hands.

    The lease must outlast the attempt, or another replica sends the message, and then the next one, meanwhile.

    While `probing` a centre that failed, the least tried come first: a message that it always fails on starves no other.
    """
    free = or_(outbox.c.leased_until.is_(None), outbox.c.leased_until <= at)
    query = select(outbox).where(_sendable(centre_id), outbox.c.next_at <= at, free)
    query = query.order_by(outbox.c.attempts, outbox.c.number) if probing else query.order_by(outbox.c.number)
    rows = connection.execute(query.limit(limit).with_for_update(skip_locked=True)).all()
    numbers = [row.number for row in rows]
    if numbers:
        connection.execute(update(outbox).where(outbox.c.number.in_(numbers)).values(leased_until=at + lease))
    return [_waiting(row) for row in rows]


def next_due(connection: Connection, centre_id: str) -> datetime | None:
    """Return when the next message may be sent; None if none waits."""
    query = select(outbox.c.next_at, outbox.c.leased_until).where(_sendable(centre_id)).order_by(outbox.c.next_at)
    dues = [max(row.next_at, row.leased_until or row.next_at) for row in connection.execute(query.limit(50))]
    return min(dues, default=None)


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(
        number=row.number, id=row.id, centre_id=row.centre_id, alert_id=row.alert_id, body=row.body.encode(),
        attempts=row.attempts,
    )  # fmt: skip


def mark_delivered(connection: Connection, number: int, *, status: int, at: datetime) -> None:
    """Note that the centre has confirmed a message."""
    values = {"delivered_at": at, "leased_until": None, "last_status": status, "attempts": outbox.c.attempts + 1}
    connection.execute(update(outbox).where(outbox.c.number == number).values(**values))


def mark_failed(connection: Connection, number: int, *, status: int | None, answer: str, next_at: datetime) -> None:
    """Note a failed attempt and when to try again."""
    values = {"leased_until": None, "next_at": next_at, "attempts": outbox.c.attempts + 1}
    told = {"last_status": status, "last_answer": answer[:ANSWER_LIMIT]}
    connection.execute(update(outbox).where(outbox.c.number == number).values(**values, **told))


def mark_dead(connection: Connection, number: int, *, status: int, answer: str, at: datetime) -> None:
    """Note that the centre refuses a message for good; it holds back later ones of the same alert until replayed."""
    values = {"dead_at": at, "leased_until": None, "attempts": outbox.c.attempts + 1}
    told = {"last_status": status, "last_answer": answer[:ANSWER_LIMIT]}
    connection.execute(update(outbox).where(outbox.c.number == number).values(**values, **told))


def replay_dead(connection: Connection, centre_id: str, *, at: datetime) -> int:
    """Put the dead messages of a centre back under their old ids; return how many."""
    dead = (outbox.c.centre_id == centre_id) & outbox.c.dead_at.is_not(None)
    values = {"dead_at": None, "next_at": at, "leased_until": None}
    return connection.execute(update(outbox).where(dead).values(**values)).rowcount


def release_leases(connection: Connection, *, centre_id: str) -> None:
    """Give back leases, for the only sender of a centre at its start: what a killed one held is due at once."""
    held = (outbox.c.centre_id == centre_id) & outbox.c.delivered_at.is_(None)
    connection.execute(update(outbox).where(held).values(leased_until=None))


def add_centre(connection: Connection, centre_id: str) -> None:
    """Make sure that a centre has a row."""
    insertion = insert_into(connection, centres).values(id=centre_id)
    connection.execute(insertion.on_conflict_do_nothing(index_elements=["id"]))


def pause_of(connection: Connection, centre_id: str) -> Pause | None:
    """Return why the delivery to a centre is paused, or None."""
    row = connection.execute(select(centres).where(centres.c.id == centre_id)).first()
    if row is None or row.paused_at is None:
        return None
    return Pause(since=row.paused_at, reason=row.pause_reason or "", retry_at=row.retry_at or row.paused_at)


def pause_centre(connection: Connection, centre_id: str, *, pause: Pause) -> None:
    """Pause the whole delivery to a centre; a pause in force keeps its beginning."""
    values = {"pause_reason": pause.reason, "retry_at": pause.retry_at}
    since = func.coalesce(centres.c.paused_at, pause.since)
    connection.execute(update(centres).where(centres.c.id == centre_id).values(paused_at=since, **values))


def resume_centre(connection: Connection, centre_id: str, *, at: datetime) -> bool:
    """End a pause and make everything due; return whether there was one."""
    paused = (centres.c.id == centre_id) & centres.c.paused_at.is_not(None)
    values = {"paused_at": None, "pause_reason": None, "retry_at": None}
    if connection.execute(update(centres).where(paused).values(**values)).rowcount == 0:
        return False
    waiting = (outbox.c.centre_id == centre_id) & outbox.c.delivered_at.is_(None)
    connection.execute(update(outbox).where(waiting).values(next_at=at))
    return True


def receipts_cursor(connection: Connection, centre_id: str) -> str | None:
    """Return how far the receipts of a centre were pulled."""
    cursor: str | None = connection.execute(select(centres.c.receipts_cursor).where(centres.c.id == centre_id)).scalar()
    return cursor


def keep_receipts_cursor(connection: Connection, centre_id: str, *, cursor: str) -> None:
    """Keep how far the receipts of a centre were pulled, in the transaction that wrote them."""
    connection.execute(update(centres).where(centres.c.id == centre_id).values(receipts_cursor=cursor))


def deliveries(connection: Connection) -> list[DeliveryView]:
    """Return how the way to each centre stands."""
    alive = and_(outbox.c.delivered_at.is_(None), outbox.c.dead_at.is_(None))
    query = select(
        centres.c.id, centres.c.paused_at, centres.c.pause_reason,
        func.count(outbox.c.number).filter(alive).label("waiting"),
        func.count(outbox.c.delivered_at).label("delivered"),
        func.count(outbox.c.dead_at).label("dead"),
        func.min(outbox.c.created_at).filter(alive).label("oldest"),
    ).outerjoin(outbox, outbox.c.centre_id == centres.c.id)  # fmt: skip
    rows = connection.execute(
        query.group_by(centres.c.id, centres.c.paused_at, centres.c.pause_reason).order_by(centres.c.id)
    )
    return [
        DeliveryView(
            centre_id=row.id, waiting=row.waiting, delivered=row.delivered, dead=row.dead, paused_at=row.paused_at,
            pause_reason=row.pause_reason, oldest_waiting_at=row.oldest,
        )
        for row in rows
    ]  # fmt: skip


def drop_delivered(connection: Connection, *, at: datetime) -> int:
    """Delete what was delivered a month ago."""
    return connection.execute(outbox.delete().where(outbox.c.delivered_at < at - DELIVERED_LIFE)).rowcount
