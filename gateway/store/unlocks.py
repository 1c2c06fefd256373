"""Queries about orders to unlock a door: how each stands, what the door itself reported of it, and which are to be closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, Select, select, update

from gateway.store.tables import commands, doors
from gateway.store.tables_access import api_tokens, users
from gateway.store.types import as_text
from models.errors import NotFound
from models.link import RefuseCall, Result, Unlock

KIND: Final = "unlock"
SHOWN: Final = (KIND, "refuse_call")
"""What is shown by its id; a caller who was sent away leaves nothing to confirm."""
WATCHED: Final = timedelta(seconds=60)
"""How long after its deadline a report of the door still confirms an order."""
LOOKED_BACK: Final = timedelta(hours=6)
"""How far back orders that were not closed are looked for: a gateway may have been away."""
NO_ANSWER: Final = timedelta(seconds=5)
"""How long after the deadline an edge's answer may be on its way."""
CLOSED_AFTER: Final = timedelta(seconds=15)
"""How long after its deadline an order goes on record as a whole: lock or contact have reported by then, or never will."""

State = Literal["sent", "accepted", "confirmed", "failed", "refused", "expired"]
ConfirmedBy = Literal["lock", "contact"]


class Trail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what became of an order besides its result: what the door reported, and whether it is on record as a whole."""

    confirmed_at: datetime | None = None
    confirmed_by: ConfirmedBy | None = None
    closed: bool = False


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one order to unlock a door, or to send a caller there away, with its life so far."""

    id: str
    kind: str
    door_id: str
    reason: str
    asked_by: str
    asked_at: datetime
    deadline: datetime
    state: State
    """sent, accepted (the controller took it), confirmed (lock or contact reported it), failed, refused or expired."""
    delivered_at: datetime | None = None
    """When it left for the edge; never after the deadline."""
    accepted_at: datetime | None = None
    confirmed_at: datetime | None = None
    confirmed_by: ConfirmedBy | None = None
    ended_at: datetime | None = None
    why: str = ""
    """Stable word of what went wrong."""
    detail: str = ""


def command_by_id(connection: Connection, command_id: str, *, site_ids: frozenset[str], at: datetime) -> CommandView:
    """Return an order to unlock a door of one of these sites, or to send a caller there away.

    Raises:
        NotFound: there is none, none that the caller may see, or it is too long ago.
    """
    asked = select(commands).where(commands.c.id == command_id, commands.c.kind.in_(SHOWN))
    row = connection.execute(asked).first()
    views = [] if row is None else _views(connection, [row], site_ids=site_ids, at=at)
    if not views:
        raise NotFound("command", command_id)
    return views[0]


def commands_of_door(
    connection: Connection, door_id: str, *, edge_id: str, site_ids: frozenset[str], at: datetime, limit: int
) -> list[CommandView]:
    """Return the newest orders to unlock a door."""
    named = commands.c.body.contains(f'"door_id":"{door_id}"', autoescape=True)
    query = _orders().where(commands.c.edge_id == edge_id, named)
    newest = query.order_by(commands.c.created_at.desc(), commands.c.id).limit(limit)
    return _views(connection, connection.execute(newest).all(), site_ids=site_ids, at=at)


def _orders() -> Select[Any]:
    return select(commands).where(commands.c.kind == KIND)


def _views(
    connection: Connection, rows: Sequence[Row[Any]], *, site_ids: frozenset[str], at: datetime
) -> list[CommandView]:
    orders = [(row, msgspec.json.decode(row.body, type=Unlock | RefuseCall)) for row in rows]
    seen = select(doors.c.id).where(doors.c.id.in_({one.door_id for _, one in orders}), doors.c.site_id.in_(site_ids))
    here = set(connection.execute(seen).scalars())
    names = _names(connection, {one.requested_by for _, one in orders})
    return [
        _view(row, one, asked_by=names.get(one.requested_by, one.requested_by), at=at)
        for row, one in orders
        if one.door_id in here
    ]


def _names(connection: Connection, ids: set[str]) -> dict[str, str]:
    people = connection.execute(select(users.c.id, users.c.username).where(users.c.id.in_(ids))).all()
    machines = connection.execute(select(api_tokens.c.id, api_tokens.c.name).where(api_tokens.c.id.in_(ids))).all()
    return {row[0]: row[1] for row in (*machines, *people)}


def _view(row: Row[Any], order: Unlock | RefuseCall, *, asked_by: str, at: datetime) -> CommandView:
    trail, result = _trail(row), None if row.result is None else msgspec.json.decode(row.result, type=Result)
    state, why = _state(result, trail, over=at > order.deadline + NO_ANSWER, delivered=row.delivered_at is not None)
    accepted = result is not None and result.state == "confirmed"
    return CommandView(
        id=row.id, kind=row.kind, door_id=order.door_id, reason=order.reason, asked_by=asked_by,
        asked_at=row.created_at, deadline=order.deadline, state=state, delivered_at=row.delivered_at,
        accepted_at=result.at if result is not None and accepted else None,
        confirmed_at=trail.confirmed_at if state == "confirmed" else None,
        confirmed_by=trail.confirmed_by if state == "confirmed" else None,
        ended_at=None if result is None else result.at, why=why,
        detail="" if result is None else result.detail,
    )  # fmt: skip


def _state(result: Result | None, trail: Trail, *, over: bool, delivered: bool) -> tuple[State, str]:
    if result is None:
        return ("expired", "no_answer" if delivered else "not_delivered") if over else ("sent", "")
    if result.state == "confirmed":
        return ("accepted" if trail.confirmed_at is None else "confirmed"), ""
    return result.state, result.reason or ""


def _trail(row: Row[Any]) -> Trail:
    return Trail() if row.progress is None else msgspec.json.decode(row.progress, type=Trail)


def confirm_by_contact(connection: Connection, attempt: str, *, edge_id: str, at: datetime) -> None:
    """Note that a door opened for an attempt, if that was an order to unlock it."""
    row = connection.execute(_orders().where(commands.c.id == attempt, commands.c.edge_id == edge_id)).first()
    if row is not None:
        _confirm(connection, row, by="contact", at=at)


def confirm_by_lock(connection: Connection, door_ids: Iterable[str], *, edge_id: str, at: datetime) -> None:
    """Note that doors say that they are unlocked, for the orders that left for them not long ago."""
    unlocked = frozenset(door_ids)
    lately = (
        (commands.c.edge_id == edge_id) & (commands.c.deadline > at - WATCHED) & commands.c.delivered_at.is_not(None)
    )
    for row in connection.execute(_orders().where(lately)).all():
        if msgspec.json.decode(row.body, type=Unlock).door_id in unlocked and row.delivered_at <= at:
            _confirm(connection, row, by="lock", at=at)


def _confirm(connection: Connection, row: Row[Any], *, by: ConfirmedBy, at: datetime) -> None:
    trail = _trail(row)
    if trail.confirmed_at is None:
        _keep(connection, row.id, msgspec.structs.replace(trail, confirmed_at=at, confirmed_by=by))


def _keep(connection: Connection, command_id: str, trail: Trail) -> None:
    connection.execute(update(commands).where(commands.c.id == command_id).values(progress=as_text(trail)))


def orders_over(connection: Connection, *, at: datetime) -> list[tuple[str, CommandView]]:
    """Return the orders whose life is over and that are not on record as a whole, each with the id of who asked."""
    over = (commands.c.created_at > at - LOOKED_BACK) & (commands.c.deadline <= at - CLOSED_AFTER)
    rows = connection.execute(_orders().where(over).order_by(commands.c.created_at, commands.c.id)).all()
    orders = [(row, msgspec.json.decode(row.body, type=Unlock)) for row in rows if not _trail(row).closed]
    return [(one.requested_by, _view(row, one, asked_by=one.requested_by, at=at)) for row, one in orders]


def mark_closed(connection: Connection, command_id: str) -> None:
    """Note that an order is on record as a whole."""
    row = connection.execute(_orders().where(commands.c.id == command_id)).one()
    _keep(connection, command_id, msgspec.structs.replace(_trail(row), closed=True))
