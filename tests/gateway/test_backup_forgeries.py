"""Backup files that somebody made by hand: anybody who knows the owner's public key can. None restores anything."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, text

from gateway.backup.contents import HEADER, Header
from gateway.backup.sealing import decrypting, encrypting
from gateway.backup.verify import verify_backup
from gateway.store import Store
from gateway.store.tables import metadata
from models.errors import InvalidInput
from tests.gateway.backups import AT, ON_SQLITE, OWNER, bring_back, is_empty, write

Entries = list[tuple[str, bytes]]


def entries_of(file: Path) -> Entries:
    with file.open("rb") as source, decrypting(source, [OWNER]) as clear:
        content = gzip.decompress(clear.read())
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(entry.name, found.read()) for entry in tar if (found := tar.extractfile(entry)) is not None]


def forge(file: Path, entries: Entries) -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with file.open("wb") as target, encrypting(target, [OWNER.to_public()]) as clear:
        clear.write(packed.getvalue())
    return file


def without_manifest(entries: Entries) -> Entries:
    return entries[:-1]


def without_header(entries: Entries) -> Entries:
    return entries[1:]


def with_another_format(entries: Entries) -> Entries:
    header = msgspec.json.decode(entries[0][1], type=Header)
    return [(HEADER, msgspec.json.encode(msgspec.structs.replace(header, format=2))), *entries[1:]]


def with_an_unknown_schema(entries: Entries) -> Entries:
    header = msgspec.json.decode(entries[0][1], type=Header)
    return [(HEADER, msgspec.json.encode(msgspec.structs.replace(header, revision="9999"))), *entries[1:]]


def with_a_row_less(entries: Entries) -> Entries:
    return [(n, c.partition(b"\n")[2] if n.startswith("tables/quarantine/") else c) for n, c in entries]


def with_a_changed_row(entries: Entries) -> Entries:
    return [(n, c.replace(b'"plain"', b'"plaim"', 1) if n.startswith("tables/people/") else c) for n, c in entries]


def with_a_table_less(entries: Entries) -> Entries:
    return [(n, c) for n, c in entries if not n.startswith("tables/import_changes/")]


def with_an_unknown_table(entries: Entries) -> Entries:
    return [*entries[:-1], ("tables/pg_authid/000000.jsonl", b'{"rolname":"x"}\n'), entries[-1]]


def with_a_session(entries: Entries) -> Entries:
    return [*entries[:-1], ("tables/sessions/000000.jsonl", b'{"id_hash":"x"}\n'), entries[-1]]


def with_a_path_that_leads_out(entries: Entries) -> Entries:
    return [*entries[:-1], ("media/../../escaped.jpg", b"x"), entries[-1]]


def with_another_picture(entries: Entries) -> Entries:
    return [*entries[:-1], ("media/more.jpg", b"x"), entries[-1]]


def with_rubbish_for_a_row(entries: Entries) -> Entries:
    return [(n, b"[1,2]\n" if n.startswith("tables/people/") else c) for n, c in entries]


def with_a_row_of_other_columns(entries: Entries) -> Entries:
    return [(n, b'{"id":"p"}\n' if n.startswith("tables/people/") else c) for n, c in entries]


FORGERIES: list[Callable[[Entries], Entries]] = [
    without_manifest, without_header, with_another_format, with_an_unknown_schema, with_a_row_less, with_a_changed_row,
    with_a_table_less, with_an_unknown_table, with_a_session, with_a_path_that_leads_out, with_another_picture,
    with_rubbish_for_a_row, with_a_row_of_other_columns,
]  # fmt: skip


@ON_SQLITE
@pytest.mark.parametrize("change", FORGERIES)
def test_a_file_that_does_not_hold_together_restores_nothing(
    change: Callable[[Entries], Entries], full: Store, target: Store, tmp_path: Path
) -> None:
    write(full, tmp_path / "backup")
    entries = entries_of(tmp_path / "backup")
    forged = forge(tmp_path / "forged", change(entries))
    with pytest.raises(InvalidInput):
        bring_back(forged, target, tmp_path / "new")
    assert is_empty(target)
    assert [path for path in tmp_path.rglob("*.jpg*") if path.is_file()] == [], "no picture of a file that was refused"
    bring_back(forge(tmp_path / "unchanged", entries), target, tmp_path / "new")


@ON_SQLITE
def test_a_backup_whose_audit_chain_is_broken_is_refused(full: Store, target: Store, tmp_path: Path) -> None:
    full.write_now(lambda c: c.execute(text("UPDATE audit SET actor = 'nobody' WHERE seq = 2")))
    write(full, tmp_path / "backup")
    with pytest.raises(InvalidInput, match="row 2 was changed"):
        verify_backup(tmp_path / "backup", identities=[OWNER])
    with pytest.raises(InvalidInput, match="row 2 was changed"):
        bring_back(tmp_path / "backup", target, tmp_path / "new")
    assert is_empty(target)


@ON_SQLITE
def test_a_large_table_travels_in_pieces(store: Store, tmp_path: Path) -> None:
    body = "x" * 40_000
    rows = [{"id": f"q{n}", "edge_id": "e", "error": "", "body": body, "received_at": AT} for n in range(300)]
    store.write_now(lambda c: c.execute(insert(metadata.tables["quarantine"]), rows))
    write(store, tmp_path / "backup")
    names = [name for name, _ in entries_of(tmp_path / "backup") if name.startswith("tables/quarantine/")]
    assert names == [f"tables/quarantine/{n:06}.jsonl" for n in range(3)]
    assert verify_backup(tmp_path / "backup", identities=[OWNER]).manifest.rows() >= 300
