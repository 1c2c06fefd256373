"""The live feed: numbered announcements for browsers, kept for a while so that a broken connection can catch up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from gateway.store.dialect import hold_feed, next_number
from gateway.store.tables_events import feed
from gateway.store.types import as_text

KEEP_ROWS = 20_000


class FeedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one announcement: `body` is JSON text with its number as `seq`."""

    seq: int
    event: str
    site_id: str
    body: str


def announce(connection: Connection, event: str, *, site_id: str, body: object, at: datetime) -> int:
    """Number an announcement and write it; followers see it once the transaction has committed."""
    hold_feed(connection)
    seq = next_number(connection, "feed")
    content: dict[str, Any] = {"seq": seq, **msgspec.to_builtins(body)}
    connection.execute(insert(feed).values(seq=seq, at=at, event=event, site_id=site_id, body=as_text(content)))
    return seq


def announcements_after(connection: Connection, seq: int, *, limit: int = 500) -> list[FeedRow]:
    """Return what was announced after a number, in order, for any site: the caller filters by what its user may see."""
    query = select(feed.c.seq, feed.c.event, feed.c.site_id, feed.c.body).where(feed.c.seq > seq)
    rows = connection.execute(query.order_by(feed.c.seq).limit(limit)).all()
    return [FeedRow(seq=row.seq, event=row.event, site_id=row.site_id, body=row.body) for row in rows]


def feed_range(connection: Connection) -> tuple[int, int]:
    """Return the numbers of the oldest announcement kept and of the newest; (1, 0) if there is none."""
    first, last = (
        select(func.min(feed.c.seq)),
        select(func.max(feed.c.seq)),
    )  # apart: SQLite reads all rows for both at once
    row = connection.execute(select(first.scalar_subquery(), last.scalar_subquery())).one()
    return (1, 0) if row[0] is None else (int(row[0]), int(row[1]))


def drop_old_announcements(connection: Connection, *, keep: int = KEEP_ROWS) -> int:
    """Delete announcements beyond the newest `keep` and return how many went."""
    newest = connection.execute(select(func.max(feed.c.seq))).scalar() or 0
    return connection.execute(delete(feed).where(feed.c.seq <= newest - keep)).rowcount
