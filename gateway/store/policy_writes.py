"""What was written since, so that policies read again only what changed: by this process table by table, by others at all.

Writes of this process are seen on their way to the database. Those of others (replicas, the command line) are seen by
their audit rows, since every change of configuration or people comes with one in its transaction.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, TextClause, UpdateBase, event, select

from gateway.store.tables_access import audit
from gateway.store.tables_events import counters

ANYTHING: Final = "*"
"""Stands for a statement in plain text, which may have written to any table."""
QUIET: Final = ("session.", "alert.", "audit.", "user.", "token.", "role.", "facts.", "media.", "filing.", "refused")
QUIET_ENDS: Final = (
    ".look_up", ".list", ".export", ".prove", ".print", ".check", ".unlock", ".learn", ".bypass", ".refuse_call",
)  # fmt: skip
"""Acts that change no policy; one that is not named here counts as a change."""
KEPT: Final = 10_000
UNKNOWN: Final = -1
IN_NO_POLICY: Final = {"gatehouse_in_no_policy": True}
"""Execution options of a statement that writes only columns that no policy is made of, however often it runs."""
_NOTES: Final = "gatehouse_writes"


def changes_nothing(action: str) -> bool:
    """Return whether an audited act leaves every policy as it is."""
    return action.startswith(QUIET) or action.endswith(QUIET_ENDS)


class PolicyWrites:
    """Know the committed writes of one process's engine by table, and the audit rows of others."""

    def __init__(self, engine: Engine) -> None:
        self._counts: Counter[str] = Counter()
        self._own: set[int] = set()
        self._seen: int | None = None
        self._foreign: list[int] = []
        self._dropped, self._floor = 0, 0
        self._lock = threading.Lock()
        event.listen(engine, "before_execute", self._note)
        event.listen(engine, "rollback", self._forget)
        event.listen(engine, "checkin", self._count)

    def stamp(self, tables: Iterable[str]) -> tuple[int, ...]:
        """Return a value that is another one after any write of this process to one of the tables."""
        with self._lock:
            return tuple(self._counts[name] for name in (*sorted(tables), ANYTHING))

    def foreign(self, connection: Connection) -> int:
        """Return a value that is another one after others changed something that this transaction can see."""
        newest = connection.execute(select(counters.c.value).where(counters.c.name == "audit")).scalar() or 0
        with self._lock:
            if self._seen is None:
                self._seen = self._floor = newest
            if newest > self._seen:
                self._look(connection, newest)
            if newest < self._floor:
                return UNKNOWN
            return self._dropped + bisect_right(self._foreign, newest)

    def _look(self, connection: Connection, newest: int) -> None:
        fresh = (audit.c.seq > self._seen) & (audit.c.seq <= newest)
        for row in connection.execute(select(audit.c.seq, audit.c.action).where(fresh).order_by(audit.c.seq)):
            if row.seq not in self._own and not changes_nothing(row.action):
                self._foreign.append(row.seq)
        self._seen = newest
        self._own = {seq for seq in self._own if seq > newest}
        if len(self._foreign) > KEPT:
            self._floor, self._dropped = self._foreign[-1], self._dropped + len(self._foreign)
            self._foreign.clear()

    @staticmethod
    def _note(connection: Connection, statement: Any, *more: Any) -> None:
        """Note what a statement is about to write, with the numbers of audit rows."""
        if isinstance(statement, UpdateBase) and not IN_NO_POLICY.items() <= statement.get_execution_options().items():
            table = getattr(statement.table, "name", ANYTHING)
            notes: list[str | int] = connection.info.setdefault(_NOTES, [])
            notes.append(table)
            if table == audit.name:
                notes.extend(_numbers(statement, more[0]))
        elif isinstance(statement, TextClause) and not statement.text.lstrip().upper().startswith("SELECT"):
            connection.info.setdefault(_NOTES, []).append(ANYTHING)

    @staticmethod
    def _forget(connection: Connection) -> None:
        connection.info.pop(_NOTES, None)

    def _count(self, _dbapi: Any, record: Any) -> None:
        """Count when the connection comes back, which is after its commit: a reader never takes old rows for new."""
        notes = record.info.pop(_NOTES, None)
        if notes:
            with self._lock:
                self._counts.update(note for note in notes if isinstance(note, str))
                if len(self._own) > KEPT:  # nobody asks: what is forgotten counts as another's, which costs a reading
                    self._own.clear()
                self._own.update(note for note in notes if isinstance(note, int))


def _numbers(statement: UpdateBase, multiparams: Sequence[Any]) -> list[int]:
    """Return the numbers of the audit rows that an insert writes."""
    rows = [row for row in multiparams if "seq" in row] or [statement.compile().params]
    return [int(row["seq"]) for row in rows if row.get("seq") is not None]
