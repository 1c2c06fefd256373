"""Restore a backup into an empty database, in one transaction: all of it, checked, or nothing.

Erased people stay erased: the tombstones of the backup, of its log and of the log that this machine kept are applied
before anything is committed. The policies' epoch is raised, so that edges take the restored gateway's word for newer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.auth.vault import Vault
from gateway.backup.contents import Beside, Header, Manifest, Picture, Rows, damage_told, parts
from gateway.backup.dump import ACTOR
from gateway.backup.sealing import Identity, decrypting
from gateway.erasing import settle_tombstones
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit, verify_audit
from gateway.store.engine import VAULT
from gateway.store.migrate import upgrade
from gateway.store.restoring import leave_the_past
from gateway.store.sealed import check_vault
from gateway.store.whole import Digest, Whole
from gateway.tombstones import NAME as TOMBSTONES
from gateway.tombstones import append_tombstones, tombstones_in
from models.errors import Conflict, InvalidInput, StorageUnavailable

EPOCHS_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
Tell = Callable[[str], None]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a restore did."""

    manifest: Manifest
    erased: int
    """How many people that the backup still knew were erased again."""
    epoch: int
    audit_rows: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Say where the files of a backup belong on this machine.

    Attributes:
        folder: The gateway's data folder, with the tombstones' log.
        beside: Where each of the files that a backup may bring is kept; others are left alone.
        media: The folder of pictures.
    """

    folder: Path
    beside: dict[str, Path]
    media: Path


def restore(
    file: Path, store: Store, *, identities: Sequence[Identity], place: Place, vault: Callable[[], Vault | None],
    at: datetime, tell: Tell,
) -> Restored:  # fmt: skip
    """Restore a backup file and return what was done.

    Args:
        file: the backup.
        store: an empty database.
        identities: the owner's secret keys.
        place: where the files that the backup brings belong.
        vault: opens the vault once the keys are in their places, to see that they fit.
        at: now.
        tell: takes one line for people.

    Raises:
        InvalidInput: the file cannot be opened with these identities, is damaged, or does not hold together.
        Conflict: the database is not empty, or other keys are in place already.
        StorageUnavailable: database or disk did not take it; nothing was restored.
    """

    def load(connection: Connection) -> Restored:
        with ExitStack() as undo:
            loading = _Loading(connection, place=place, tell=tell)
            undo.callback(loading.abandon)
            with file.open("rb") as source, decrypting(source, identities) as clear:
                for part in parts(clear):
                    loading.take(part)
            restored = loading.finish(at=at)  # not before age has said that the file is whole
            connection.execution_options(**{VAULT: vault()})
            check_vault(connection, at=at)
            undo.pop_all()
            return restored

    if not file.is_file():
        raise InvalidInput("FILE", f"there is no file {file}")
    return store.write_now(load)


class _Loading:
    """Take the parts of a backup one after the other."""

    def __init__(self, connection: Connection, *, place: Place, tell: Tell) -> None:
        self._connection = connection
        self._place = place
        self._tell = tell
        self._tables = Whole(connection)
        self._table = ""
        self._keys: dict[Path, bytes] = {}
        self._log = b""
        self._pictures: list[tuple[Path, Path]] = []
        self._manifest: Manifest | None = None
        if not self._tables.is_empty():
            hint = "restore into a new one, with the gateway stopped"
            raise Conflict(f"this database is in use (it has rows): {hint}")

    def take(self, part: Header | Beside | Rows | Picture | Manifest) -> None:
        """Put a part where it belongs."""
        match part:
            case Header():
                self._tables.drop()
                upgrade(self._connection, part.revision)
                self._tables = Whole(self._connection)
                self._tell(f"backup of {part.at:%Y-%m-%d %H:%M} UTC by version {part.version}, schema {part.revision}")
            case Beside():
                self._keep(part)
            case Rows():
                if part.table != self._table:
                    self._tell(part.table)
                self._table = part.table
                self._tables.load(part.table, part.lines)
            case Picture():
                target = self._place.media / part.name
                self._pictures.append((_write_picture(target, part), target))
            case Manifest():
                self._manifest = part

    def _keep(self, part: Beside) -> None:
        if part.name == TOMBSTONES:
            self._log = part.content
            return
        target = self._place.beside.get(part.name)
        if target is None:
            self._tell(f"{part.name} is not restored: the settings give this key in another way")
        elif not target.exists():
            self._keys[target] = part.content
        elif target.read_bytes() != part.content:
            hint = "move it away if nothing needs it any more, or leave the keys alone with --without-keys"
            raise Conflict(f"{target} holds another key than the backup: {hint}")

    def abandon(self) -> None:
        """Remove the pictures that were written and are not in their places."""
        for fresh, _ in self._pictures:
            fresh.unlink(missing_ok=True)

    def finish(self, *, at: datetime) -> Restored:
        """Check what was loaded, erase again, raise the epoch, write the keys; only then may it be committed."""
        if self._manifest is None:
            raise InvalidInput("backup", "ends before its manifest: it was cut off")
        _compare(self._manifest, self._tables.digests())
        self._tables.count_on()
        upgrade(self._connection)
        rows, _, faults = verify_audit(self._connection)
        if faults:
            raise InvalidInput("backup", f"its audit chain is broken: {'; '.join(faults[:3])}")
        append_tombstones(self._place.folder / TOMBSTONES, tombstones_in(self._log.splitlines()))
        erased = settle_tombstones(self._connection, folder=self._place.folder, at=at)
        epoch = leave_the_past(self._connection, int((at - EPOCHS_BEGIN).total_seconds()), at=at)
        taken_at = self._manifest.header.at.isoformat()
        detail = {"backup_of": taken_at, "rows": str(self._manifest.rows()), "erased": str(erased), "epoch": str(epoch)}
        append_audit(self._connection, AuditEntry(actor=ACTOR, action="backup.restore", detail=detail), at=at)
        for target, content in self._keys.items():
            _write_key(target, content)
        for fresh, target in self._pictures:
            fresh.replace(target)
        return Restored(manifest=self._manifest, erased=erased, epoch=epoch, audit_rows=rows)


def _compare(manifest: Manifest, loaded: dict[str, Digest]) -> None:
    """Pass if the database returns exactly the rows that the manifest counts."""
    for table in manifest.tables:
        digest = loaded.pop(table.name, None)
        if digest is None or (digest.rows, digest.hex()) != (table.rows, table.digest):
            what = f"{table.name}: the database returns other rows than were written into the backup"
            raise StorageUnavailable(f"{what}; nothing was restored")
    extra = sorted(name for name, digest in loaded.items() if digest.rows)
    if extra:
        raise InvalidInput("backup", f"its manifest lacks {', '.join(extra)}")


def _write_picture(target: Path, picture: Picture) -> Path:
    """Write a picture beside its place and return where."""
    fresh = target.with_name(f".{target.name}.restoring")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with damage_told(), os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            while content := picture.stream.read(1 << 16):
                stream.write(content)
    except OSError as error:
        raise StorageUnavailable(f"{target} could not be written: {error.strerror}") from error
    return fresh


def _write_key(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise StorageUnavailable(f"{target} could not be written: {error.strerror}") from error
