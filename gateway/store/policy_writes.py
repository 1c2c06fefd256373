"""What this process wrote since, table by table: so that policies read again only what changed. Holds no query.

Two things together tell a reader whether what it read still holds: the counts here for this process, and for others
(replicas, the command line) the number of audit rows, since every change of configuration or people comes with one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, TextClause, UpdateBase, event

AUDIT: Final = "audit"
ANYTHING: Final = "*"
"""Stands for a statement in plain text, which may have written to any table."""
_NOTES: Final = "gatehouse_writes"


class PolicyWrites:
    """Count committed writes of one process's engine by table."""

    def __init__(self, engine: Engine) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        event.listen(engine, "before_execute", self._note)
        event.listen(engine, "rollback", self._forget)
        event.listen(engine, "checkin", self._count)

    def stamp(self, tables: Iterable[str]) -> tuple[int, ...]:
        """Return a value that is another one after any write to one of the tables."""
        with self._lock:
            return tuple(self._counts[name] for name in (*sorted(tables), ANYTHING))

    def foreign(self, audit_rows: int) -> int:
        """Return how many of so many audit rows others wrote: if that is as it was, so is what others may have changed."""
        with self._lock:
            return audit_rows - self._counts[AUDIT]

    @staticmethod
    def _note(connection: Connection, statement: Any, *more: Any) -> None:
        if isinstance(statement, UpdateBase):
            table = getattr(statement.table, "name", ANYTHING)
            multiparams: Sequence[Any] = more[0]
            rows = max(1, len(multiparams)) if table == AUDIT else 1
            connection.info.setdefault(_NOTES, Counter())[table] += rows
        elif isinstance(statement, TextClause) and not statement.text.lstrip().upper().startswith("SELECT"):
            connection.info.setdefault(_NOTES, Counter())[ANYTHING] += 1

    @staticmethod
    def _forget(connection: Connection) -> None:
        connection.info.pop(_NOTES, None)

    def _count(self, _dbapi: Any, record: Any) -> None:
        """Count when the connection comes back, which is after its commit: a reader never takes old rows for new."""
        notes = record.info.pop(_NOTES, None)
        if notes:
            with self._lock:
                self._counts.update(notes)
