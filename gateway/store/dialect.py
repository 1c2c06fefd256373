"""What differs between SQLite and PostgreSQL: upserts, counters and locks. Nothing else in the store asks which one it is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Table, text
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.tables_events import counters

FEED_LOCK = 727101


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def inserted(connection: Connection, insertion: sqlite.Insert | postgresql.Insert, *, key: Column[Any]) -> bool:
    """Insert one row and return whether it was new; drivers do not agree on counting rows that were left out."""
    return connection.execute(insertion.returning(key)).first() is not None


def hold_feed(connection: Connection) -> None:
    """Make this transaction the only one that numbers the feed until it commits, so that no follower skips a late commit.

    SQLite has one writer at a time already. On PostgreSQL every transaction that announces takes this lock first, which
    also puts all other counters in one order and so rules out deadlocks.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FEED_LOCK})


def next_number(connection: Connection, name: str, *, by: int = 1) -> int:
    """Return the next number of a counter, from 1, or the last of the next `by`; it is locked until the transaction ends."""
    insert = insert_into(connection, counters).values(name=name, value=by)
    upsert = insert.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": counters.c.value + by})
    return int(connection.execute(upsert.returning(counters.c.value)).scalar_one())
