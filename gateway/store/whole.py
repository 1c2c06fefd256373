"""Whole tables out of and into a database, for backups: rows as JSON lines that mean the same on SQLite and PostgreSQL.

Tables are read as the database has them, not as this version's code names them: a backup of an older schema is loaded
into that schema, and migrated after. Knows no file and no encryption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Date, DateTime, MetaData, Table, func, insert, inspect, select, text

from gateway.store import tables_access, tables_events, tables_people  # noqa: F401 - they fill the metadata
from gateway.store.tables import metadata
from gateway.store.types import UtcTime
from models.errors import InvalidInput

PASSING = frozenset({"sessions", "idempotency", "edge_nonces", "edge_tokens", "feed"})
"""Tables that a backup leaves out: log-ins, one-time tokens and announcements are not to come back from the past."""
REVISION = "alembic_version"
BATCH = 1000
_MODULUS = 2**256


class Digest:
    """Sum up rows so that the order in which they come makes no difference: databases do not sort texts alike."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, line: bytes) -> None:
        """Add a row."""
        self.rows += 1
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(line).digest(), "big")) % _MODULUS

    def hex(self) -> str:
        """Return the sum of the SHA-256 of all rows, modulo 2^256."""
        return f"{self._sum:064x}"


class Whole:
    """Read and write the tables of one database in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        present = set(inspect(connection).get_table_names())
        found = MetaData()
        found.reflect(connection, only=sorted(present & set(metadata.tables)))
        self._tables = {str(table.name): table for table in found.sorted_tables}
        self._has_revision = REVISION in present

    def names(self) -> list[str]:
        """Return the tables that a backup holds; no table refers to a later one."""
        return [name for name in self._tables if name not in PASSING]

    def revision(self) -> str:
        """Return the schema's revision; empty if there is none."""
        if not self._has_revision:
            return ""
        return str(self._connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")

    def is_empty(self) -> bool:
        """Return whether no table of ours has a row."""
        return all(self._connection.execute(select(1).select_from(t).limit(1)).first() is None for t in self._all())

    def drop(self) -> None:
        """Drop all our tables; for a database that is empty."""
        for table in reversed(self._all()):
            table.drop(self._connection)
        if self._has_revision:
            self._connection.execute(text("DROP TABLE alembic_version"))

    def _all(self) -> list[Table]:
        return list(self._tables.values())

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the rows of a table as JSON lines, by primary key."""
        table = self._tables[name]
        keys = [column.name for column in table.columns]
        query = select(table).order_by(*table.primary_key.columns)
        found = self._connection.execute(query, execution_options={"yield_per": BATCH})
        for row in found:
            yield msgspec.json.encode(dict(zip(keys, map(_plain, row), strict=True))) + b"\n"

    def load(self, name: str, lines: Sequence[bytes]) -> None:
        """Insert rows.

        Raises:
            InvalidInput: there is no such table, or a row does not fit it.
        """
        table = self._tables.get(name)
        if table is None or name in PASSING:
            raise InvalidInput(name, "this schema has no such table to restore")
        convert = _converters(table, sqlite=self._connection.dialect.name == "sqlite")
        for start in range(0, len(lines), BATCH):
            rows = [_row(line, convert, table=name) for line in lines[start : start + BATCH]]
            self._connection.execute(insert(table), rows)

    def digests(self) -> dict[str, Digest]:
        """Return the digest of every table that a backup holds, as the database has it now."""
        found: dict[str, Digest] = {}
        for name in self.names():
            digest = found[name] = Digest()
            for line in self.lines(name):
                digest.add(line)
        return found

    def count_on(self) -> None:
        """Let self-counting keys go on after the loaded ones; SQLite does so by itself."""
        if self._connection.dialect.name != "postgresql":
            return
        sequence_of = text("SELECT pg_get_serial_sequence(:table, :column)")
        for table in self._all():
            for column in table.primary_key.columns:
                named = {"table": table.name, "column": column.name}
                sequence = self._connection.execute(sequence_of, named).scalar()
                if sequence is not None:
                    last = self._connection.execute(select(func.max(column))).scalar()
                    if last is not None:
                        self._connection.execute(text("SELECT setval(:name, :last)"), {"name": sequence, "last": last})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def _converters(table: Table, *, sqlite: bool) -> dict[str, Callable[[Any], Any]]:
    """Return what turns a column's JSON into what the database takes."""

    def time_of(value: str) -> datetime:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
        return at.astimezone(UTC).replace(tzinfo=None) if sqlite else at

    converters: dict[str, Callable[[Any], Any]] = {}
    for column in table.columns:
        if isinstance(column.type, DateTime | UtcTime):
            converters[column.name] = time_of
        elif isinstance(column.type, Date):
            converters[column.name] = date.fromisoformat
        else:
            converters[column.name] = _as_it_is
    return converters


def _as_it_is(value: Any) -> Any:
    return value


def _row(line: bytes, convert: dict[str, Callable[[Any], Any]], *, table: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line, type=dict[str, str | int | float | bool | None])
        if found.keys() != convert.keys():
            odd = ", ".join(sorted(found.keys() ^ convert.keys())[:5])
            raise InvalidInput(table, f"the columns of the backup and of its schema differ: {odd}")
        return {key: None if value is None else convert[key](value) for key, value in found.items()}
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise InvalidInput(table, f"a row of the backup cannot be read: {error}") from error


def insert_rows(connection: Connection, name: str, *, rows: Sequence[dict[str, Any]]) -> None:
    """Insert made-up rows into a table, many at once; for benchmarks."""
    for start in range(0, len(rows), BATCH):
        connection.execute(insert(metadata.tables[name]), rows[start : start + BATCH])


def settle_statistics(connection: Connection) -> None:
    """Let the database look at how its rows are distributed, as it does by itself after a while."""
    connection.execute(text("ANALYZE"))
