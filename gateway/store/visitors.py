"""Queries about visitor passes: whom a resident or the desk lets in for a while, and how often that was used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.person_views import VisitorView
from gateway.store.kept import names
from gateway.store.tables_people import visitor_passes
from gateway.store.types import as_text, doors_of
from models.errors import Conflict, NotFound
from models.people import VisitorPass


def add_pass(connection: Connection, made: VisitorPass, *, site_id: str, at: datetime, visitor: str = "") -> None:
    """Write a new pass.

    Raises:
        Conflict: the id is taken.
    """
    if connection.execute(select(visitor_passes.c.id).where(visitor_passes.c.id == made.id)).first() is not None:
        raise Conflict(f"a pass with id {made.id!r} exists already")
    connection.execute(
        insert(visitor_passes).values(
            id=made.id, site_id=site_id, host_id=made.host_id, visitor=visitor, doors=as_text(made.doors),
            valid_from=made.valid_from, valid_until=made.valid_until, uses=made.uses, used=0,
            pin_digest=made.pin_digest, created_at=at,
        )
    )  # fmt: skip


def pass_by_id(connection: Connection, pass_id: str, *, site_ids: frozenset[str]) -> VisitorView:
    """Return a pass of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    here = (visitor_passes.c.id == pass_id) & visitor_passes.c.site_id.in_(site_ids)
    row = connection.execute(select(visitor_passes).where(here)).first()
    if row is None:
        raise NotFound("pass", pass_id)
    return _view(row)


def passes_of(
    connection: Connection, *, site_ids: frozenset[str], after: str = "", limit: int = 100, host_id: str | None = None
) -> list[VisitorView]:
    """Return the passes of some sites by id, after an id; with `host_id`, only those of one host."""
    query = select(visitor_passes).where(visitor_passes.c.site_id.in_(site_ids), visitor_passes.c.id > after)
    if host_id is not None:
        query = query.where(visitor_passes.c.host_id == host_id)
    return [_view(row) for row in connection.execute(query.order_by(visitor_passes.c.id).limit(limit))]


def _view(row: Row[Any]) -> VisitorView:
    plain = ("id", "site_id", "host_id", "visitor", "valid_from", "valid_until", "uses", "used", "created_at")
    values = {name: getattr(row, name) for name in (*plain, "revoked_at", "version")}
    return VisitorView(**values, doors=doors_of(row.doors), has_pin=bool(row.pin_digest))


def revoke_pass(connection: Connection, pass_id: str, *, at: datetime) -> None:
    """End a pass now; ending it again keeps the first time."""
    still = (visitor_passes.c.id == pass_id) & visitor_passes.c.revoked_at.is_(None)
    connection.execute(update(visitor_passes).where(still).values(revoked_at=at, version=visitor_passes.c.version + 1))


def revoke_passes_of(connection: Connection, host_id: str, *, at: datetime) -> int:
    """End all passes of a host that are not over; return how many."""
    still = visitor_passes.c.revoked_at.is_(None) & (visitor_passes.c.valid_until > at)
    own = update(visitor_passes).where(visitor_passes.c.host_id == host_id, still)
    return connection.execute(own.values(revoked_at=at, version=visitor_passes.c.version + 1)).rowcount


def note_pass_use(connection: Connection, pass_id: str, *, door_id: str, site_id: str) -> None:
    """Count a use at a door that an edge of its site has reported, if the pass is for that door; call it once per fact."""
    here = (visitor_passes.c.id == pass_id) & (visitor_passes.c.site_id == site_id)
    here &= names(visitor_passes.c.doors, door_id)
    connection.execute(update(visitor_passes).where(here).values(used=visitor_passes.c.used + 1))


def forget_passes(connection: Connection, *, before: datetime) -> int:
    """Delete passes that were over before a time, with the names on them; return how many."""
    return connection.execute(delete(visitor_passes).where(visitor_passes.c.valid_until < before)).rowcount
