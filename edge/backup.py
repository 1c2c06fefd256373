"""Backup and restore of an edge: its keys and templates, encrypted to the site owner, whose key no box of the site holds.

The file is age (age-encryption.org/v1, X25519): only the owner's identity opens it. Facts and policy are not in it: the
one belongs to the gateway, the other comes from it. A restored edge matches no face until a policy from after the
restore has arrived, and then destroys what no live consent covers: an old backup brings nobody back (R7).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pyrage

from config.settings import Settings, read_settings
from edge.identity import write_private
from edge.keystore import KeyStore
from edge.membership import MARKER
from edge.protection import open_guard
from edge.templates import Plain
from models.errors import GatehouseError, InvalidInput, SettingsError

MAX_BACKUP_BYTES: Final = 256 * 1024 * 1024
MAX_TOMBSTONES_BYTES: Final = 64 * 1024 * 1024
SECRETS: Final = ("edge.key", "seal.key")
FILES: Final = (*SECRETS, MARKER)
"""What is in a backup besides the templates: who this edge is, and which gateway it believes."""


class EdgeBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole edge, in the clear: it exists in memory and inside the encrypted file only."""

    version: int = 1
    edge_id: str
    made_at: datetime
    files: dict[str, bytes]
    templates: tuple[Plain, ...]
    tombstones: tuple[str, ...]


def back_up(folder: Path, *, edge_id: str, keys: KeyStore, recipient: str, at: datetime) -> bytes:
    """Return the encrypted backup of an edge.

    Args:
        folder: its data folder.
        edge_id: its id.
        keys: its key store.
        recipient: the owner's public age key, `age1…`.
        at: aware time of the backup.

    Raises:
        InvalidInput: the recipient is none, or a template does not open.
    """
    try:
        to = pyrage.x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError as error:
        raise InvalidInput("--to", f"is no age recipient (age1…): {error}") from error
    files = {name: keys.secret(folder / name, make=bytes) for name in SECRETS if (folder / name).exists()}
    if (folder / MARKER).exists():
        files[MARKER] = (folder / MARKER).read_bytes()
    whole = EdgeBackup(
        edge_id=edge_id, made_at=at, files=files, templates=tuple(keys.plain(one) for one in keys.sealed()),
        tombstones=tuple(sorted(keys.tombstones)),
    )  # fmt: skip
    encrypted: bytes = pyrage.encrypt(msgspec.msgpack.encode(whole), [to])
    return encrypted


def read_backup(content: bytes, *, identity: str) -> EdgeBackup:
    """Return what a backup holds.

    Raises:
        InvalidInput: the identity is none or another one, or the file is damaged or no backup of an edge.
    """
    lines = [line.strip() for line in identity.splitlines() if line.strip() and not line.startswith("#")]
    try:
        owner = pyrage.x25519.Identity.from_str(lines[0] if lines else "")
    except pyrage.IdentityError as error:
        raise InvalidInput("--identity", "holds no age identity (AGE-SECRET-KEY-1…)") from error
    try:
        return msgspec.msgpack.decode(pyrage.decrypt(content, [owner]), type=EdgeBackup)
    except pyrage.DecryptError as error:
        raise InvalidInput("backup", f"does not open with this identity, or is damaged: {error}") from error
    except msgspec.MsgspecError as error:
        raise InvalidInput("backup", f"is no backup of an edge: {error}") from error


def restore(
    backup: EdgeBackup, folder: Path, *, edge_id: str, keys: KeyStore, tombstones: Iterable[str], at: datetime
) -> int:
    """Fill an empty data folder from a backup; return how many templates it has now.

    Who was erased (in the backup, by this folder, or by `tombstones`) does not come back; the rest is not matched until
    a policy from after `at` has judged it.

    Raises:
        InvalidInput: the backup is another edge's, or the folder is in use.
    """
    if backup.edge_id != edge_id:
        raise InvalidInput("backup", f"it is of edge {backup.edge_id!r}, the settings say {edge_id!r}")
    for name in FILES:
        if (folder / name).exists():
            raise InvalidInput(name, "this data folder has an edge in it: restore into an empty one")
    buried = {*backup.tombstones, *tombstones}
    count = keys.restore(backup.templates, tombstones=buried, at=at)
    for name, content in backup.files.items():
        if name in SECRETS:
            keys.keep_secret(folder / name, content)
        elif name == MARKER:
            write_private(folder / name, content)
    return count


class _Erased(msgspec.Struct, frozen=True):
    person_id: str


def tombstones_in(file: Path | None) -> tuple[str, ...]:
    """Return the persons whom the gateway's `tombstones.log` names; a line that a crash tore is passed over.

    Raises:
        InvalidInput: the file cannot be read, or is too long.
    """
    if file is None:
        return ()
    found: dict[str, None] = {}
    for line in _read(file, where="--tombstones", limit_bytes=MAX_TOMBSTONES_BYTES).splitlines():
        try:
            found[msgspec.json.decode(line, type=_Erased).person_id] = None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return tuple(found)


def _read(file: Path, *, where: str, limit_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise InvalidInput(where, f"{file} cannot be read: {error.strerror}") from error
    if len(content) > limit_bytes:
        raise InvalidInput(where, f"{file} has more than {limit_bytes} bytes")
    return content


def _keys(settings: Settings) -> KeyStore:
    edge, guarded = settings.edge, settings.edge.protection
    guard = open_guard(
        guarded.kind, edge.data_dir, tcti=guarded.tcti, key_file=guarded.key_file, key_command=guarded.key_command
    )
    return KeyStore(edge.data_dir, guard=guard)


def _back_up(settings: Settings, given: argparse.Namespace) -> str:
    edge = settings.edge
    if not (edge.data_dir / "edge.key").exists():
        raise InvalidInput("edge.data_dir", f"{edge.data_dir} has no edge in it")
    if given.file.exists():
        raise InvalidInput("FILE", f"{given.file} exists: name a new file")
    keys = _keys(settings)
    made = back_up(edge.data_dir, edge_id=edge.id, keys=keys, recipient=given.to, at=datetime.now(UTC))
    try:
        write_private(given.file, made)
    except OSError as error:
        raise InvalidInput("FILE", f"{given.file} cannot be written: {error.strerror}") from error
    return f"{len(keys.sealed())} templates of edge {edge.id} are in {given.file}; only the owner's identity opens it"


def _restore(settings: Settings, given: argparse.Namespace) -> str:
    edge = settings.edge
    identity = _read(given.identity, where="--identity", limit_bytes=65_536).decode("utf-8", "replace")
    backup = read_backup(_read(given.file, where="FILE", limit_bytes=MAX_BACKUP_BYTES), identity=identity)
    tombstones = tombstones_in(given.tombstones)
    edge.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    count = restore(
        backup, edge.data_dir, edge_id=edge.id, keys=_keys(settings), tombstones=tombstones, at=datetime.now(UTC)
    )
    return (
        f"{count} of {len(backup.templates)} templates of edge {edge.id}, as of {backup.made_at:%Y-%m-%d %H:%M} UTC, are back;"
        " no face is matched until a policy from after now has arrived"
    )


def main(argv: list[str] | None = None, *, command: str) -> int:
    """Back an edge up to its owner's key, or restore it: `python -m edge backup|restore`."""
    parser = argparse.ArgumentParser(prog=f"python -m edge {command}", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="gatehouse.yaml")
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
    if command == "backup":
        parser.add_argument("--to", required=True, help="the owner's public age key, age1…")
    else:
        parser.add_argument("--identity", type=Path, required=True, help="file with the owner's AGE-SECRET-KEY-1…")
        parser.add_argument("--tombstones", type=Path, help="the gateway's tombstones.log: who must not come back")
    given = parser.parse_args(argv)
    try:
        settings = read_settings(given.config, environment=os.environ)
        said = (_back_up if command == "backup" else _restore)(settings, given)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except GatehouseError as error:
        sys.stderr.write(f"{command}: {error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0
