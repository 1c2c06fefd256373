"""Write a backup of a running gateway: one snapshot of every table, what is kept beside it, and pictures if wanted."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from gateway.backup.contents import FORMAT, PATH, Header, Manifest, Writer
from gateway.backup.sealing import Recipient, encrypting
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.whole import PASSING, Whole
from models.errors import Conflict, StorageUnavailable

Tell = Callable[[str], None]
ACTOR = "command line"


def write_backup(
    file: Path, store: Store, *, recipients: Sequence[Recipient], beside: dict[str, Path], media: Path | None,
    version: str, at: datetime, tell: Tell,
) -> Manifest:  # fmt: skip
    """Write a backup file, whole or not at all, and return what it holds.

    Args:
        file: where to; it must not exist.
        store: the database, which may be in use.
        recipients: who can open it.
        beside: files to take along, by the name under which a restore finds them; those that are missing are not.
        media: the folder of pictures, or None to leave them out.
        version: of this program.
        at: now.
        tell: takes one line for people.

    Raises:
        Conflict: the file exists.
        StorageUnavailable: the database did not answer, or the file could not be written.
    """
    store.write_now(append_audit, _entry("backup.begin", recipients), at=at)

    def read(connection: Connection) -> Manifest:
        tables = Whole(connection)
        header = Header(format=FORMAT, version=version, revision=tables.revision(), at=at)
        names = tables.names()  # the snapshot begins with the first row that is read
        with (
            _new_file(file) as target,
            encrypting(target, recipients) as clear,
            Writer(clear, header) as writer,
        ):
            for name, path in beside.items():
                if path.is_file():
                    writer.beside(name, path.read_bytes())
            for name in names:
                rows = writer.table(name, tables.lines(name))
                tell(f"{name}: {rows} rows")
            for name, path in _pictures(media):
                _add_picture(writer, name, path)
            return writer.close(left_out=PASSING)

    manifest = store.snapshot_now(read)
    entry = _entry("backup.write", recipients, rows=str(manifest.rows()), pictures=str(len(manifest.media)))
    store.write_now(append_audit, entry, at=at)
    return manifest


def _entry(action: str, recipients: Sequence[Recipient], **detail: str) -> AuditEntry:
    return AuditEntry(actor=ACTOR, action=action, detail={"to": ",".join(map(str, recipients)), **detail})


@contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """Yield a stream into a new private file that gets its name when all of it is on the disk."""
    if file.exists():
        raise Conflict(f"{file} exists: name a new file, backups are never overwritten")
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.link(fresh, file)
    except FileExistsError as error:
        raise Conflict(f"{file} exists: name a new file, backups are never overwritten") from error
    except OSError as error:
        raise StorageUnavailable(f"{file} could not be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _pictures(folder: Path | None) -> Iterator[tuple[str, Path]]:
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and PATH.fullmatch(f"media/{name}"):
            yield name, path


def _add_picture(writer: Writer, name: str, path: Path) -> None:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return  # retention was faster
    with stream:
        writer.picture(name, stream, size_bytes=os.fstat(stream.fileno()).st_size)
