"""Queries about pictures and clips that edges sent: what they are and where they belong. The bytes are files (gateway.media)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select

from gateway.store.edges import EdgeIdentity
from gateway.store.tables import cameras, commands, media
from models.errors import Conflict, NotFound

SOME = 500
TRIAL = "try_part"
"""The kind of order whose still shows a camera that is not adopted: its medium has the order's id for a camera's."""


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one picture or clip."""

    id: str
    site_id: str
    edge_id: str
    camera_id: str
    fact_id: str | None
    media_type: str
    size_bytes: int
    sha256: str
    at: datetime
    received_at: datetime
    blurred: bool


def check_camera(connection: Connection, camera_id: str, *, edge: EdgeIdentity) -> None:
    """Pass if a camera is an edge's own, or one that it was ordered to try.

    Raises:
        NotFound: it is not.
    """
    own = (cameras.c.id == camera_id) & (cameras.c.edge_id == edge.id) & (cameras.c.site_id == edge.site_id)
    tried = (commands.c.id == camera_id) & (commands.c.edge_id == edge.id) & (commands.c.kind == TRIAL)
    open_trial = tried & commands.c.ended_at.is_(None)
    known = select(cameras.c.id).where(own).union(select(commands.c.id).where(open_trial))
    if connection.execute(known).first() is None:
        raise NotFound("camera", camera_id)


def is_kept(connection: Connection, medium: Medium) -> bool:
    """Return whether a picture or clip is kept already.

    Raises:
        Conflict: other bytes are kept under its id, or another edge sent them.
    """
    known = connection.execute(select(media).where(media.c.id == medium.id)).first()
    if known is not None and (known.sha256, known.edge_id) != (medium.sha256, medium.edge_id):
        raise Conflict("something else is kept under this id")
    return known is not None


def keep_medium(connection: Connection, medium: Medium) -> bool:
    """Write what a picture or clip is; return False if it is kept already.

    Raises:
        Conflict: other bytes are kept under its id.
    """
    if is_kept(connection, medium):
        return False
    connection.execute(insert(media).values(**msgspec.structs.asdict(medium)))
    return True


def medium_by_id(connection: Connection, medium_id: str, *, site_ids: frozenset[str]) -> Medium:
    """Return a picture or clip of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(media).where(media.c.id == medium_id, media.c.site_id.in_(site_ids))).first()
    if row is None:
        raise NotFound("medium", medium_id)
    return _medium(row)


def media_of(
    connection: Connection,
    *,
    site_ids: frozenset[str],
    camera_id: str | None = None,
    fact_id: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> list[Medium]:
    """Return pictures and clips of some sites, newest first, before a place in that order."""
    query = select(media).where(media.c.site_id.in_(site_ids))
    if camera_id is not None:
        query = query.where(media.c.camera_id == camera_id)
    if fact_id is not None:
        query = query.where(media.c.fact_id == fact_id)
    if before is not None:
        at, key = before
        query = query.where(or_(media.c.received_at < at, and_(media.c.received_at == at, media.c.id < key)))
    rows = connection.execute(query.order_by(media.c.received_at.desc(), media.c.id.desc()).limit(limit))
    return [_medium(row) for row in rows]


def _medium(row: Row[Any]) -> Medium:
    return Medium(**{name: getattr(row, name) for name in Medium.__struct_fields__})


def media_before(connection: Connection, before: datetime) -> list[Medium]:
    """Return what was received before a time, oldest first, some at once."""
    return media_among(connection, media.c.received_at < before)


def media_among(connection: Connection, *conditions: ColumnElement[bool], limit: int = SOME) -> list[Medium]:
    """Return what meets some conditions, oldest first, some at once."""
    query = select(media).where(*conditions).order_by(media.c.received_at).limit(limit)
    return [_medium(row) for row in connection.execute(query)]


def drop_media(connection: Connection, ids: Iterable[str]) -> int:
    """Forget pictures and clips whose files are gone."""
    return connection.execute(delete(media).where(media.c.id.in_(tuple(ids)))).rowcount
