"""Column types and JSON text for the tables. Knows no table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """Keep an aware time in UTC: `timestamptz` on PostgreSQL, naive UTC text on SQLite, aware again when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value in UTC.

        Raises:
            ValueError: the time is naive, so nobody can tell when it was.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def as_text(value: Any) -> str:
    """Return a record, list or dict as JSON text for a column."""
    return msgspec.json.encode(value).decode()


def doors_of(text: str) -> tuple[str, ...]:
    """Return the ids held in a JSON column of ids."""
    return msgspec.json.decode(text, type=tuple[str, ...])
