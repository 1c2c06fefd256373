"""Backups: every row of every table comes back on either database, only the owner opens them, damage restores nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyrage
import pytest
from sqlalchemy import Boolean, Column, Date, Float, Integer, Table, func, insert, select, text

from gateway.auth.vault import Vault
from gateway.backup.contents import HEADER, Header, Manifest, parts
from gateway.backup.dump import write_backup
from gateway.backup.restore import Place, Restored, restore
from gateway.backup.sealing import Identity, decrypting, encrypting, identities_in, recipients_of
from gateway.backup.verify import verify_backup
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit, verify_audit
from gateway.store.erasures import Tombstone
from gateway.store.migrate import upgrade
from gateway.store.outbox import enqueue
from gateway.store.policy import EPOCH_MARK
from gateway.store.sealed import check_vault
from gateway.store.tables import marks, metadata, policy_versions
from gateway.store.types import UtcTime
from gateway.store.whole import PASSING, Whole
from gateway.tombstones import append_tombstones, read_tombstones
from models.errors import Conflict, InvalidInput, StorageUnavailable

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


@pytest.fixture
def full(store: Store) -> Store:
    """Return a store with rows in every table."""
    store.write_now(fill, list(metadata.sorted_tables))
    return store


@pytest.fixture(params=["to-sqlite", "to-postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield a store on an empty database."""
    if request.param == "to-sqlite":
        made = Store(f"sqlite:///{tmp_path / 'restored.db'}")
    else:
        made = Store(request.getfixturevalue("empty_database"))
    yield made
    made.close()


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


def test_every_row_comes_back_on_either_database(full: Store, target: Store, tmp_path: Path) -> None:
    manifest = write(full, tmp_path / "backup")
    before = digests(full)
    done = bring_back(tmp_path / "backup", target, tmp_path / "new")
    after = digests(target)
    assert set(before) == set(metadata.tables) - PASSING
    assert min(rows for name, (rows, _) in before.items() if name != "audit_checkpoints") >= 1
    wanted = {name: digest for name, digest in before.items() if name not in CHANGED_BY_A_RESTORE}
    assert {name: after[name] for name in wanted} == wanted
    assert done.manifest == manifest
    assert done.audit_rows == 5, "four acts and the beginning of the backup"
    assert target.read_now(verify_audit)[2] == []


def test_what_passes_is_left_out(full: Store, target: Store, tmp_path: Path) -> None:
    manifest = write(full, tmp_path / "backup")
    bring_back(tmp_path / "backup", target, tmp_path / "new")
    for name in PASSING:
        counted = select(func.count()).select_from(metadata.tables[name])
        assert target.read_now(Connection.scalar, counted) == 0, name
    assert set(manifest.left_out) == PASSING


def test_a_restored_database_goes_on_counting(full: Store, target: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    bring_back(tmp_path / "backup", target, tmp_path / "new")
    target.write_now(
        enqueue, "later", centre_id="centres-1", alert_id="alerts-1", type_name="t", body=b"{}", at=AT
    )  # a number that a restored row has would be refused
    numbers = target.read_now(lambda c: list(c.execute(text("SELECT number FROM outbox ORDER BY number")).scalars()))
    assert numbers == [1, 2, 3, 4, 5]


def test_a_backup_shows_one_moment_although_the_gateway_goes_on(store: Store, tmp_path: Path) -> None:
    store.write_now(append_audit, AuditEntry(actor="a", action="before"), at=AT)

    def meanwhile(line: str) -> None:
        if line.startswith("counters:"):  # some tables are read, others are not
            writing = threading.Thread(
                target=store.write_now, args=(append_audit, AuditEntry(actor="a", action="x")), kwargs={"at": AT}
            )
            writing.start()
            writing.join(10)
            assert not writing.is_alive(), "nobody has to wait for a backup"

    manifest = write(store, tmp_path / "backup", tell=meanwhile)
    counted = {table.name: table.rows for table in manifest.tables}
    assert counted["audit"] == 2, "before, and the beginning of the backup"
    assert verify_backup(tmp_path / "backup", identities=[OWNER]).audit_rows == 2
    assert store.read_now(verify_audit)[0] == 4


@ON_SQLITE
def test_only_the_owner_opens_a_backup(full: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    with pytest.raises(InvalidInput, match="No matching keys"):
        verify_backup(tmp_path / "backup", identities=[Identity.generate()])
    content = (tmp_path / "backup").read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert "林小明".encode() not in content


@ON_SQLITE
def test_each_of_several_owners_opens_it(full: Store, tmp_path: Path) -> None:
    second = Identity.generate()
    recipients = recipients_of([str(OWNER.to_public()), str(second.to_public())])
    manifest = write(full, tmp_path / "backup", recipients=recipients)
    assert verify_backup(tmp_path / "backup", identities=[second]).manifest == manifest
    assert verify_backup(tmp_path / "backup", identities=[OWNER]).manifest == manifest


@ON_SQLITE
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999999])
def test_a_backup_that_was_cut_off_restores_nothing(share: float, full: Store, target: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InvalidInput, match="backup"):
        bring_back(tmp_path / "cut", target, tmp_path / "new")
    with pytest.raises(InvalidInput, match="backup"):
        verify_backup(tmp_path / "cut", identities=[OWNER])
    assert is_empty(target)


@ON_SQLITE
def test_a_flipped_bit_anywhere_is_noticed(full: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    content = bytearray((tmp_path / "backup").read_bytes())
    for place in range(0, len(content), max(1, len(content) // 60)):
        content[place] ^= 0x04
        (tmp_path / "flipped").write_bytes(content)
        with pytest.raises(InvalidInput):
            verify_backup(tmp_path / "flipped", identities=[OWNER])
        content[place] ^= 0x04
    (tmp_path / "flipped").write_bytes(content)
    verify_backup(tmp_path / "flipped", identities=[OWNER])


def test_a_database_in_use_is_not_restored_into(full: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    before = digests(full)
    with pytest.raises(Conflict, match="in use"):
        bring_back(tmp_path / "backup", full, tmp_path / "new")
    assert digests(full) == before


@ON_SQLITE
def test_tables_without_rows_are_no_obstacle(full: Store, target: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    target.migrate()
    bring_back(tmp_path / "backup", target, tmp_path / "new")
    assert not is_empty(target)


def test_a_backup_of_an_older_schema_is_migrated(target: Store, tmp_path: Path) -> None:
    old = Store(f"sqlite:///{tmp_path / 'old.db'}")
    old.write_now(upgrade, "0005")
    old.write_now(lambda c: c.execute(text("INSERT INTO counters (name, value) VALUES ('centre', 7)")))
    write(old, tmp_path / "backup")
    old.close()
    done = bring_back(tmp_path / "backup", target, tmp_path / "new")
    assert done.manifest.header.revision == "0005"
    assert target.read_now(lambda c: c.execute(text("SELECT value FROM counters WHERE name = 'centre'")).scalar()) == 7
    target.migrate()
    assert set(digests(target)) == set(metadata.tables) - PASSING


@ON_SQLITE
def test_an_existing_file_is_never_overwritten(full: Store, tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("the last good one")
    with pytest.raises(Conflict, match="exists"):
        write(full, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "the last good one"


def test_a_backup_that_cannot_be_written_leaves_nothing(full: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        write(full, tmp_path / "nowhere" / "backup")

    def fail(line: str) -> None:
        if line.startswith("people:"):
            raise StorageUnavailable("the database went away")

    with pytest.raises(StorageUnavailable, match="went away"):
        write(full, tmp_path / "backup", tell=fail)
    assert sorted(path.name for path in tmp_path.iterdir() if "backup" in path.name) == []


@ON_SQLITE
def test_keys_come_back_in_their_places_and_foreign_ones_are_not_replaced(
    full: Store, target: Store, tmp_path: Path
) -> None:
    (tmp_path / "master.key").write_bytes(b"MASTER\n")
    beside = {"master.key": tmp_path / "master.key", "identity.key": tmp_path / "missing"}
    manifest = write(full, tmp_path / "backup", beside=beside)
    assert [one.name for one in manifest.beside] == ["master.key"]
    wanted = tmp_path / "new" / "keys" / "master.key"
    other = tmp_path / "other.key"
    other.write_bytes(b"OTHER\n")
    with pytest.raises(Conflict, match="another key"):
        bring_back(tmp_path / "backup", target, tmp_path / "new", beside={"master.key": other})
    assert (other.read_bytes(), is_empty(target)) == (b"OTHER\n", True)
    bring_back(tmp_path / "backup", target, tmp_path / "new", beside={"master.key": wanted})
    assert wanted.read_bytes() == b"MASTER\n"
    assert wanted.stat().st_mode & 0o777 == 0o600


@ON_SQLITE
def test_keys_that_do_not_fit_the_database_restore_nothing(full: Store, target: Store, tmp_path: Path) -> None:
    sealed = Store(str(full.engine.url.render_as_string(hide_password=False)), vault=Vault(b"k" * 32))
    sealed.write_now(check_vault, at=AT)
    sealed.close()
    write(full, tmp_path / "backup")
    with pytest.raises(StorageUnavailable, match="another master key"):
        bring_back(tmp_path / "backup", target, tmp_path / "new", vault=lambda: Vault(b"x" * 32))
    assert is_empty(target)
    bring_back(tmp_path / "backup", target, tmp_path / "new", vault=lambda: Vault(b"k" * 32))


@ON_SQLITE
def test_pictures_come_along_if_wanted(full: Store, target: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    (media / "ab").mkdir(parents=True)
    (media / "ab" / "one.jpg").write_bytes(b"\xff\xd8" + bytes(range(256)) * 2000)
    (media / "empty.jpg").write_bytes(b"")
    (media / "link.jpg").symlink_to(media / "ab" / "one.jpg")
    (media / ".one.jpg.new").write_bytes(b"half")
    assert write(full, tmp_path / "without").media == ()
    manifest = write(full, tmp_path / "backup", media=media)
    assert [one.name for one in manifest.media] == ["ab/one.jpg", "empty.jpg"]
    bring_back(tmp_path / "backup", target, tmp_path / "new")
    back = tmp_path / "new" / "media"
    assert (back / "ab" / "one.jpg").read_bytes() == (media / "ab" / "one.jpg").read_bytes()
    assert sorted(path.name for path in back.rglob("*") if path.is_file()) == ["empty.jpg", "one.jpg"]


@ON_SQLITE
def test_a_restore_raises_the_epoch_above_every_policy(full: Store, target: Store, tmp_path: Path) -> None:
    full.write_now(lambda c: c.execute(insert(marks).values(name=EPOCH_MARK, value="700000000", at=AT)))
    write(full, tmp_path / "backup")
    done = bring_back(tmp_path / "backup", target, tmp_path / "new")
    assert done.epoch == 700_000_001
    highest = target.read_now(lambda c: max(row.epoch for row in c.execute(policy_versions.select())))
    assert done.epoch > highest
    mark = target.read_now(lambda c: c.execute(text("SELECT value FROM marks WHERE name = 'epoch'")).scalar())
    assert mark == str(done.epoch)


@ON_SQLITE
def test_two_restores_of_one_backup_have_different_epochs(store: Store, tmp_path: Path) -> None:
    write(store, tmp_path / "backup")
    found = []
    for n in range(2):
        again = Store(f"sqlite:///{tmp_path / f'{n}.db'}")
        found.append(bring_back(tmp_path / "backup", again, tmp_path / str(n), at=AT + timedelta(seconds=n)).epoch)
        again.close()
    assert found[1] > found[0] > 1


@ON_SQLITE
def test_tombstones_of_backup_and_machine_are_joined(store: Store, target: Store, tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "tombstones.log", tmp_path / "new" / "tombstones.log"
    append_tombstones(here, [Tombstone(person_id="p1", site_id="a", erased_at=AT)])
    append_tombstones(there, [Tombstone(person_id="p2", site_id="a", erased_at=AT)])
    write(store, tmp_path / "backup", beside={"tombstones.log": here})
    bring_back(tmp_path / "backup", target, tmp_path / "new")
    assert {one.person_id for one in read_tombstones(there)} == {"p1", "p2"}
    known = target.read_now(lambda c: set(c.execute(text("SELECT person_id FROM tombstones")).scalars()))
    assert known == {"p1", "p2"}


# Files that somebody made by hand: anybody who knows the owner's public key can.

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


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(b"no backup at all" * 100)
    for file in (tmp_path / "rubbish", tmp_path / "missing"):
        with pytest.raises(InvalidInput):
            verify_backup(file, identities=[OWNER])
    with (tmp_path / "letter").open("wb") as target, encrypting(target, [OWNER.to_public()]) as clear:
        clear.write(b"Dear owner,")
    with pytest.raises(InvalidInput, match="no backup"):
        verify_backup(tmp_path / "letter", identities=[OWNER])


@ON_SQLITE
def test_a_large_table_travels_in_pieces(store: Store, tmp_path: Path) -> None:
    body = "x" * 40_000
    rows = [{"id": f"q{n}", "edge_id": "e", "error": "", "body": body, "received_at": AT} for n in range(300)]
    store.write_now(lambda c: c.execute(insert(metadata.tables["quarantine"]), rows))
    write(store, tmp_path / "backup")
    names = [name for name, _ in entries_of(tmp_path / "backup") if name.startswith("tables/quarantine/")]
    assert names == [f"tables/quarantine/{n:06}.jsonl" for n in range(3)]
    assert verify_backup(tmp_path / "backup", identities=[OWNER]).manifest.rows() >= 300


def test_recipients_and_identities_are_checked_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="age1"):
        recipients_of([])
    with pytest.raises(InvalidInput, match="age-keygen"):
        recipients_of(["age1nothing"])
    with pytest.raises(InvalidInput, match="age-keygen"):
        recipients_of([str(OWNER)])  # the secret key is no recipient, and is not shown
    with pytest.raises(InvalidInput) as told:
        recipients_of([str(OWNER)])
    assert str(OWNER)[14:] not in str(told.value)
    with pytest.raises(InvalidInput, match="cannot be read"):
        identities_in(tmp_path / "missing")
    (tmp_path / "key").write_text("# only a comment\n")
    with pytest.raises(InvalidInput, match="holds no"):
        identities_in(tmp_path / "key")
    (tmp_path / "key").write_text(f"# created\n{OWNER}\n")
    assert [str(one) for one in identities_in(tmp_path / "key")] == [str(OWNER)]
    (tmp_path / "key").write_text("AGE-SECRET-KEY-1NONSENSE\n")
    with pytest.raises(InvalidInput, match="no AGE-SECRET-KEY"):
        identities_in(tmp_path / "key")


@ON_SQLITE
def test_the_age_program_opens_what_we_write(full: Store, tmp_path: Path) -> None:
    write(full, tmp_path / "backup")
    clear = pyrage.decrypt((tmp_path / "backup").read_bytes(), [pyrage.x25519.Identity.from_str(str(OWNER))])
    found = list(parts(io.BytesIO(clear)))
    assert isinstance(found[0], Header)
    assert isinstance(found[-1], Manifest)
