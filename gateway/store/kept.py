"""Read and write places as versioned rows within a caller's scope: one way for all kinds. What a kind is stands in its module.

Every change and its audit entry are one transaction. What is out of scope does not exist; what the site file describes
is changed there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Row, Table, delete, select

from gateway.auth.roles import Caller
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.dialect import hold_feed
from models.errors import Conflict, Forbidden, NotFound

R = TypeVar("R", bound=msgspec.Struct)
V = TypeVar("V", bound="Versioned")
NARROWED_BY_NOTHING: Mapping[str, str | None] = MappingProxyType({})
Scope = Callable[[Connection, Caller], ColumnElement[bool]]


class Versioned(Protocol):
    """Have a version, which is the ETag."""

    @property
    def version(self) -> int:
        """How often it was written."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Name who changes something, when, and which version they saw (None: any)."""

    caller: Caller
    at: datetime
    version: int | None = None


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[R, V]):
    """Say how one kind of place is kept.

    `seen` is the condition that a caller may see a row, `changed_by` that they may change it (within `seen`). `check`
    raises if a record does not fit its neighbours, `uses` names what would be left dangling without it.
    """

    name: str
    table: Table
    seen: Scope
    changed_by: Scope | None = None
    record: Callable[[Row[Any]], R]
    view: Callable[[Row[Any]], V]
    put: Callable[[Connection, R], None]
    check: Callable[[Connection, R, Act], None]
    uses: Callable[[Connection, R, datetime], Iterable[str]]
    forget: Callable[[Connection, R], None] | None = None
    """Removes what belongs to the row alone."""

    @property
    def key(self) -> Column[Any]:
        """The primary key of its table."""
        (column,) = self.table.primary_key.columns
        return column

    def listed(
        self,
        connection: Connection,
        *,
        caller: Caller,
        after: str = "",
        limit: int = 100,
        only: Mapping[str, str | None] = NARROWED_BY_NOTHING,
    ) -> list[V]:
        """Return what a caller may see of a kind, by key, after a key; `only` narrows by columns (None: not at all)."""
        query = select(self.table).where(self.seen(connection, caller), self.key > after)
        for name, value in only.items():
            if value is not None:
                query = query.where(self.table.c[name] == value)
        return [self.view(row) for row in connection.execute(query.order_by(self.key).limit(limit))]

    def shown(self, connection: Connection, key: str, *, caller: Caller) -> V:
        """Return what a key stands for.

        Raises:
            NotFound: nothing, or nothing that the caller may see.
        """
        return self.view(self._row(connection, key, caller=caller))

    def _row(self, connection: Connection, key: str, *, caller: Caller) -> Row[Any]:
        row = connection.execute(select(self.table).where(self.key == key, self.seen(connection, caller))).first()
        if row is None:
            raise NotFound(self.name, key)
        return row

    def _check_reach(self, connection: Connection, key: str, *, caller: Caller) -> None:
        scope = self.changed_by or self.seen
        if connection.execute(select(self.key).where(self.key == key, scope(connection, caller))).first() is None:
            raise Forbidden(f"this {self.name} reaches beyond your scope: somebody with a wider one may change it")

    def added(self, connection: Connection, record: R, *, by: Act) -> V:
        """Write something new and return it.

        Raises:
            Conflict: the key is taken.
            Forbidden: it would lie beyond the caller's scope.
            InvalidInput: it does not fit its neighbours.
        """
        hold_feed(connection)  # checks and writes of one kind must not interleave
        key = str(getattr(record, self.key.name))
        if connection.execute(select(self.key).where(self.key == key)).first() is not None:
            raise Conflict(f"a {self.name} {key!r} exists already: choose another")
        self.check(connection, record, by)
        self.put(connection, record)
        self._check_reach(connection, key, caller=by.caller)
        self._note(connection, "add", record, by=by)
        return self.shown(connection, key, caller=by.caller)

    def changed(self, connection: Connection, key: str, *, changes: dict[str, Any], by: Act) -> V:
        """Write some fields (JSON values) of what a key stands for and return it.

        Raises:
            NotFound: nothing that the caller may see.
            Conflict: it was changed meanwhile, or the site file describes it.
            Forbidden: it lies, or would lie, beyond the caller's scope.
            InvalidInput: it would not fit its neighbours.
        """
        hold_feed(connection)
        before = self._changeable(connection, key, by=by)
        record = msgspec.convert({**msgspec.to_builtins(before), **changes}, type(before))
        self.check(connection, record, by)
        self.put(connection, record)
        self._check_reach(connection, key, caller=by.caller)
        self._note(connection, "change", record, by=by, fields=changes)
        return self.shown(connection, key, caller=by.caller)

    def removed(self, connection: Connection, key: str, *, by: Act) -> R:
        """Delete what a key stands for and return it as it was.

        Raises:
            NotFound: nothing that the caller may see.
            Conflict: it was changed meanwhile, the site file describes it, or something needs it.
            Forbidden: it reaches beyond the caller's scope.
        """
        hold_feed(connection)
        record = self._changeable(connection, key, by=by)
        needed = list(self.uses(connection, record, by.at))
        if needed:
            raise Conflict(f"this {self.name} is in use by {', '.join(needed)}: change that first")
        if self.forget is not None:
            self.forget(connection, record)
        connection.execute(delete(self.table).where(self.key == key))
        self._note(connection, "remove", record, by=by)
        return record

    def _changeable(self, connection: Connection, key: str, *, by: Act) -> R:
        row = self._row(connection, key, caller=by.caller)
        self._check_reach(connection, key, caller=by.caller)
        if row.seeded:
            what = f"this {self.name} comes from the site file: change it there and run `gatehouse apply`"
            raise Conflict(what).because("from_site_file")
        if by.version is not None and by.version != row.version:
            raise Conflict(f"this {self.name} was changed meanwhile (version {row.version}): read it again").because(
                "changed_meanwhile"
            )
        return self.record(row)

    def _note(self, connection: Connection, verb: str, record: R, *, by: Act, fields: Iterable[str] = ()) -> None:
        detail = {"site": site} if (site := getattr(record, "site_id", None)) else {}
        if fields:
            detail["fields"] = ",".join(sorted(fields))
        subject = str(getattr(record, self.key.name))
        entry = AuditEntry(
            actor=by.caller.id, action=f"{self.name}.{verb}", subject=subject, detail=detail, reason=by.caller.reason
        )
        append_audit(connection, entry, at=by.at)


def rows_of(connection: Connection, table: Table, *conditions: ColumnElement[bool], what: str = "") -> list[str]:
    """Return [`what`] if a table has a row under these conditions, else nothing: a word for `uses`."""
    found = connection.execute(select(*table.primary_key.columns).where(*conditions).limit(1)).first()
    return [] if found is None else [what]


def names(column: Column[Any], key: str) -> ColumnElement[bool]:
    """Return the condition that a JSON column of ids names one."""
    return column.contains(f'"{key}"', autoescape=True)
