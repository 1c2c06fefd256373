"""Backups: every row of every table comes back on either database, only the owner opens them, damage restores nothing."""

from __future__ import annotations

import io
import threading
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest
from sqlalchemy import func, insert, select, text

from gateway.auth.vault import Vault
from gateway.backup.contents import Header, Manifest, parts
from gateway.backup.sealing import Identity, encrypting, identities_in, recipients_of
from gateway.backup.verify import verify_backup
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit, verify_audit
from gateway.store.erasures import Tombstone
from gateway.store.migrate import upgrade
from gateway.store.outbox import enqueue
from gateway.store.policy import EPOCH_MARK
from gateway.store.sealed import check_vault
from gateway.store.tables import marks, metadata, policy_versions
from gateway.store.whole import PASSING
from gateway.tombstones import append_tombstones, read_tombstones
from models.errors import Conflict, InvalidInput, StorageUnavailable
from tests.gateway.backups import AT, CHANGED_BY_A_RESTORE, ON_SQLITE, OWNER, bring_back, digests, is_empty, write


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


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(b"no backup at all" * 100)
    for file in (tmp_path / "rubbish", tmp_path / "missing"):
        with pytest.raises(InvalidInput):
            verify_backup(file, identities=[OWNER])
    with (tmp_path / "letter").open("wb") as target, encrypting(target, [OWNER.to_public()]) as clear:
        clear.write(b"Dear owner,")
    with pytest.raises(InvalidInput, match="no backup"):
        verify_backup(tmp_path / "letter", identities=[OWNER])


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
