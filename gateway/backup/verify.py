"""Verify a backup without restoring it: it opens, it is whole, it counts what it says, and its audit chain holds.

Nothing of it is written to a disk; only the audit log, which holds no personal data, is loaded, into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.backup.contents import Header, Manifest, Rows, parts
from gateway.backup.sealing import Identity, decrypting
from gateway.store import Connection, Store
from gateway.store.audit import verify_audit
from gateway.store.migrate import upgrade
from gateway.store.whole import Whole
from models.errors import InvalidInput

CHAIN = frozenset({"audit", "counters"})


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a backup holds and how far its audit chain goes."""

    manifest: Manifest
    audit_rows: int
    audit_digest: str


def verify_backup(file: Path, *, identities: Sequence[Identity]) -> Verified:
    """Read a backup to its end and return what it holds.

    Raises:
        InvalidInput: it cannot be opened with these identities, is damaged, or does not hold together.
    """
    if not file.is_file():
        raise InvalidInput("FILE", f"there is no file {file}")
    memory = Store("sqlite://")
    try:
        return memory.write_now(_verify, file, identities=identities)
    finally:
        memory.close()


def _verify(connection: Connection, file: Path, *, identities: Sequence[Identity]) -> Verified:
    found: Manifest | None = None
    with file.open("rb") as source, decrypting(source, identities) as clear:
        for part in parts(clear):
            match part:
                case Header():
                    upgrade(connection, part.revision)
                    tables = Whole(connection)
                case Rows() if part.table in CHAIN:
                    tables.load(part.table, part.lines)
                case Manifest():
                    found = part
                case _:
                    pass
    if found is None:
        raise InvalidInput("backup", "ends before its manifest: it was cut off")
    upgrade(connection)
    rows, digest, faults = verify_audit(connection)
    if faults:
        raise InvalidInput("backup", f"its audit chain is broken: {'; '.join(faults[:3])}")
    return Verified(manifest=found, audit_rows=rows, audit_digest=digest)
