"""The log of erased people beside the database: an old backup of the database lacks the erasures since, this file has them.

One line of JSON for each, appended and synchronised to the disk before an erasure is answered. It holds opaque ids only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.store.erasures import Tombstone
from models.errors import StorageUnavailable

NAME = "tombstones.log"
LINE_LIMIT = 4096


def append_tombstones(file: Path, tombstones: Iterable[Tombstone]) -> None:
    """Append lines and return when they are on the disk. A line that a crash tore is ended first.

    Raises:
        StorageUnavailable: the disk did not take them.
    """
    lines = b"".join(msgspec.json.encode(tombstone) + b"\n" for tombstone in tombstones)
    if not lines:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = not file.exists()
        with os.fdopen(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb+") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - 1))
            stream.write(lines if stream.read(1) in {b"", b"\n"} else b"\n" + lines)
            stream.flush()
            os.fsync(stream.fileno())
        if fresh:
            _synchronise_folder(file.parent)
    except OSError as error:
        raise StorageUnavailable(f"{file} did not take a tombstone: {error.strerror}") from error


def _synchronise_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_tombstones(file: Path) -> list[Tombstone]:
    """Return the tombstones of a log, each person once, in the order of the log; lines that a crash tore are passed over.

    Raises:
        StorageUnavailable: the file is there and cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return tombstones_in(iter(lambda: stream.readline(LINE_LIMIT), b""))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageUnavailable(f"{file} cannot be read: {error.strerror}") from error


def tombstones_in(lines: Iterable[bytes]) -> list[Tombstone]:
    """Return the tombstones of some lines, each person once; what is none is passed over."""
    found: dict[str, Tombstone] = {}
    for line in lines:
        try:
            tombstone = msgspec.json.decode(line, type=Tombstone)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        found.setdefault(tombstone.person_id, tombstone)
    return list(found.values())
