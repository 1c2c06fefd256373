"""What tests of backups share: rows for every table, an owner, and how to write and bring back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Date, Float, Integer, Table, insert

from gateway.backup.contents import Manifest
from gateway.backup.dump import write_backup
from gateway.backup.restore import Place, Restored, restore
from gateway.backup.sealing import Identity, recipients_of
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.types import UtcTime
from gateway.store.whole import Whole

OWNER = Identity.generate()
AT = datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)
CHANGED_BY_A_RESTORE = {"audit", "counters", "marks"}
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
TEXTS = ("", "plain", "林小明 “quoted” \\ \n\t\x7f 🚪", "0" * 64)


def value_for(column: Column[Any], n: int) -> Any:
    """Return a value that fits a column; ids name their table, so that references hold."""
    if column.foreign_keys:
        (other,) = column.foreign_keys
        return f"{other.column.table.name}-{n}"
    if column.name == "id":
        return f"{column.table.name}-{n}"
    match column.type:
        case UtcTime():
            return AT + timedelta(microseconds=n, days=n)
        case Date():
            return date(1950, 2, 28) + timedelta(days=n)
        case Boolean():
            return n % 2 == 0
        case Integer():
            return n + 1
        case Float():
            return 0.1 * n + 1e-17
        case _:
            length = getattr(column.type, "length", None)
            filled = f"{TEXTS[n % len(TEXTS)]}{n}" if column.primary_key or column.unique else TEXTS[n % len(TEXTS)]
            return None if column.nullable and n == 1 else filled[:length]


def fill(connection: Connection, tables: list[Table], *, rows: int = 4) -> None:
    """Write rows into every table, with everything that texts, times and numbers may hold."""
    for table in tables:
        if table.name == "areas" or table.name not in {"audit", "counters", "audit_checkpoints"}:
            found = [{c.name: value_for(c, n) for c in table.columns} for n in range(rows)]
            connection.execute(insert(table), found)
    for n in range(rows):
        append_audit(connection, AuditEntry(actor="a", action=f"act.{n}", detail={"why": "因为"}), at=AT)


def quiet(_line: str) -> None:
    pass


def write(store: Store, file: Path, **change: Any) -> Manifest:
    given: dict[str, Any] = {
        "recipients": recipients_of([str(OWNER.to_public())]), "beside": {}, "media": None, "version": "1.2.3",
        "at": AT, "tell": quiet, **change,
    }  # fmt: skip
    return write_backup(file, store, **given)


def bring_back(file: Path, store: Store, folder: Path, **change: Any) -> Restored:
    place = Place(folder=folder, beside=change.pop("beside", {}), media=folder / "media")
    given: dict[str, Any] = {
        "identities": [OWNER], "place": place, "vault": lambda: None, "at": AT + timedelta(days=1), "tell": quiet,
        **change,
    }  # fmt: skip
    return restore(file, store, **given)


def digests(store: Store) -> dict[str, tuple[int, str]]:
    def read(connection: Connection) -> dict[str, tuple[int, str]]:
        found = Whole(connection).digests()
        return {name: (digest.rows, digest.hex()) for name, digest in found.items()}

    return store.read_now(read)


def is_empty(store: Store) -> bool:
    return store.read_now(lambda connection: Whole(connection).is_empty())
