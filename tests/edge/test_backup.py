"""Backup and restore of an edge: only the owner opens it, and an old backup brings no erased person back (R7)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyrage
import pytest

from edge.backup import MAX_TOMBSTONES_BYTES, back_up, main, read_backup, restore, tombstones_in
from edge.clock import SteadyClock
from edge.erasing import Erasing
from edge.identity import new_key
from edge.keystore import KeyStore, Opened
from edge.membership import MARKER
from edge.policies import Policies
from edge.protection import ExternalGuard
from edge.spool import Spool
from models.errors import InvalidInput
from tests.edge.doubles import EDGE, consent, door, now, person, policy

ROOT = Path(__file__).resolve().parents[2]
OWNER = pyrage.x25519.Identity.generate()
FACE = np.linspace(-1, 1, 128, dtype=np.float32)


def living(folder: Path, *people: str) -> KeyStore:
    """Make an edge that holds templates of some people."""
    keys = KeyStore(folder)
    for name in ("edge.key", "seal.key"):
        keys.secret(folder / name, make=new_key)
    (folder / MARKER).write_bytes(b'{"gateway":"g","edge_id":"edge-1","gateway_key":"k"}')
    for person_id in people:
        template = Opened(person_id=person_id, doors=("d1",), contract="m", embedding=FACE)
        keys.put(template, consent_id=f"consent-{person_id}", quality=1.0, at=now())
    return keys


def backup_of(folder: Path, keys: KeyStore) -> bytes:
    return back_up(folder, edge_id=EDGE, keys=keys, recipient=str(OWNER.to_public()), at=now())


def restored(folder: Path, content: bytes, *, tombstones: Iterable[str] = ()) -> KeyStore:
    folder.mkdir(exist_ok=True)
    keys = KeyStore(folder)
    backup = read_backup(content, identity=str(OWNER))
    restore(backup, folder, edge_id=EDGE, keys=keys, tombstones=tombstones, at=now())
    return keys


def test_a_new_box_is_the_old_edge_again(tmp_path: Path) -> None:
    old = tmp_path / "old"
    content = backup_of(old, living(old, "p1", "p2"))
    keys = restored(tmp_path / "new", content)
    for name in ("edge.key", "seal.key", MARKER):
        assert (tmp_path / "new" / name).read_bytes() == (old / name).read_bytes()
        assert (tmp_path / "new" / name).stat().st_mode & 0o077 == 0
    assert [np.array_equal(one.embedding, FACE) for one in keys.open_all()] == [True, True]
    assert (old / "master.key").read_bytes() != (tmp_path / "new" / "master.key").read_bytes()
    assert keys.restored_at is not None


def test_a_backup_goes_from_one_guard_to_another(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    plain = living(old, "p1")
    guarded = KeyStore(old, guard=ExternalGuard(old, outer=lambda: b"o" * 32))
    secret = guarded.secret(old / "edge.key", make=new_key)
    assert len(plain.open_all()) == 1
    keys = restored(new, backup_of(old, guarded))
    assert (new / "edge.key").read_bytes() == secret
    assert len(keys.open_all()) == 1


def test_only_the_owner_reads_a_backup(tmp_path: Path) -> None:
    content = backup_of(tmp_path, living(tmp_path, "p1"))
    for form in (
        FACE.tobytes(),
        (tmp_path / "edge.key").read_bytes(),
        (tmp_path / "master.key").read_bytes(),
        b"p1\xa5",
    ):
        assert form[:16] not in content
    with pytest.raises(InvalidInput, match="identity"):
        read_backup(content, identity=str(pyrage.x25519.Identity.generate()))
    with pytest.raises(InvalidInput, match="damaged"):
        read_backup(content[:-1] + bytes([content[-1] ^ 1]), identity=str(OWNER))
    for none in ("", "AGE-SECRET-KEY-1", "# a comment only"):
        with pytest.raises(InvalidInput, match="identity"):
            read_backup(content, identity=none)
    assert read_backup(content, identity=f"# made today\n{OWNER}\n").edge_id == EDGE
    other = pyrage.encrypt(b"no backup", [OWNER.to_public()])
    with pytest.raises(InvalidInput, match="no backup"):
        read_backup(other, identity=str(OWNER))


def test_a_recipient_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="age1"):
        back_up(tmp_path, edge_id=EDGE, keys=living(tmp_path), recipient="age1nonsense", at=now())


def test_a_folder_in_use_and_another_edges_backup_are_refused(tmp_path: Path) -> None:
    old = tmp_path / "old"
    content = backup_of(old, living(old, "p1"))
    with pytest.raises(InvalidInput, match="empty"):
        restored(old, content)
    backup = msgspec.structs.replace(read_backup(content, identity=str(OWNER)), edge_id="edge-7")
    with pytest.raises(InvalidInput, match="edge-7"):
        restore(backup, tmp_path / "x", edge_id=EDGE, keys=KeyStore(tmp_path / "x"), tombstones=(), at=now())
    held = tmp_path / "held"
    keys = living(held, "p9")
    for name in ("edge.key", "seal.key", MARKER):
        (held / name).unlink()
    with pytest.raises(InvalidInput, match="empty"):
        restore(read_backup(content, identity=str(OWNER)), held, edge_id=EDGE, keys=keys, tombstones=(), at=now())


def test_who_was_erased_before_or_since_the_backup_does_not_come_back(tmp_path: Path) -> None:
    old = tmp_path / "old"
    keys = living(old, "p1", "p2", "p3")
    keys.erase_all([], at=now(), tombstones=("p1",))
    content = backup_of(old, keys)
    log = tmp_path / "tombstones.log"
    lines = [{"person_id": "p2", "site_id": "s1", "erased_at": now().isoformat()}, {"other": 1}]
    log.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"person_id": "p')
    new = restored(tmp_path / "new", content, tombstones=tombstones_in(log))
    assert [one.person_id for one in new.sealed()] == ["p3"]
    assert new.tombstones == {"p1", "p2"}
    assert tombstones_in(None) == ()
    with pytest.raises(InvalidInput):
        tombstones_in(tmp_path / "missing.log")


async def test_an_old_backup_matches_nobody_until_a_later_policy_and_then_only_whom_it_allows(tmp_path: Path) -> None:
    old = tmp_path / "old"
    content = backup_of(old, living(old, "stays", "withdrew", "erased"))
    keys = restored(tmp_path / "new", content)
    people = tuple(person(who) for who in ("stays", "withdrew", "erased"))
    everybody = tuple(consent(who) for who in ("stays", "withdrew", "erased"))
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=keys)
        erasing = Erasing(
            edge_id=EDGE, clock=SteadyClock(), keys=keys, policies=policies, sign=lambda _: "", on_change=lambda: None
        )
        before = msgspec.structs.replace(
            policy(door(), people=people, consents=everybody), issued_at=now() - timedelta(hours=1)
        )
        await policies.take(before)
        await erasing.apply(before)
        assert not policies.carries_faces(now()), "a policy of before the restore allows no face"
        assert len(keys.sealed()) == 3
        after = policy(door(), n=2, people=people[:1], consents=everybody[:1], tombstones=("erased",))
        await policies.take(after)
        assert policies.carries_faces(now())
        await erasing.apply(after)
        assert [one.person_id for one in keys.sealed()] == ["stays"]
        assert KeyStore(tmp_path / "new").restored_at is None


def run(command: str, *argv: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit status and what it said."""
    code = main([str(word) for word in argv], command=command)
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_commands_back_up_and_restore_and_say_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    living(tmp_path / "edge", "p1")
    config = tmp_path / "gatehouse.yaml"
    config.write_text(json.dumps({"edge": {"id": EDGE, "data_dir": str(tmp_path / "edge")}}))
    identity, file, to = tmp_path / "owner", tmp_path / "edge.age", str(OWNER.to_public())
    identity.write_text(str(OWNER))
    assert run("backup", "--config", config, file, "--to", to, capsys=capsys)[0] == 0
    assert file.stat().st_mode & 0o077 == 0
    code, said = run("backup", "--config", config, file, "--to", to, capsys=capsys)
    assert (code, "exists" in said) == (1, True)
    code, said = run("backup", "--config", config, config / "b.age", "--to", to, capsys=capsys)
    assert (code, "cannot be written" in said) == (1, True)
    code, said = run("restore", "--config", config, file, "--identity", identity, capsys=capsys)
    assert (code, "empty" in said) == (1, True)
    (tmp_path / "edge").rename(tmp_path / "lost")
    code, said = run("backup", "--config", config, tmp_path / "b.age", "--to", to, capsys=capsys)
    assert (code, "no edge in it" in said) == (1, True)
    code, said = run("restore", "--config", config, tmp_path / "none.age", "--identity", identity, capsys=capsys)
    assert (code, "cannot be read" in said) == (1, True)
    code, said = run("restore", "--config", config, file, "--identity", identity, capsys=capsys)
    assert (code, "1 of 1 templates" in said) == (0, True)
    assert len(KeyStore(tmp_path / "edge").open_all()) == 1
    assert run("restore", "--config", tmp_path / "none.yaml", file, "--identity", identity, capsys=capsys)[0] == 2


def test_a_file_that_is_far_too_long_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "tombstones.log"
    with log.open("wb") as stream:
        stream.truncate(MAX_TOMBSTONES_BYTES + 1)
    with pytest.raises(InvalidInput, match="more than"):
        tombstones_in(log)


def test_gatehouse_hands_the_commands_to_the_edge(tmp_path: Path) -> None:
    living(tmp_path / "edge", "p1")
    config = tmp_path / "gatehouse.yaml"
    config.write_text(json.dumps({"edge": {"id": EDGE, "data_dir": str(tmp_path / "edge")}}))
    identity, file = tmp_path / "owner", tmp_path / "edge.age"
    identity.write_text(str(OWNER))
    assert "1 templates" in gatehouse("edge", "backup", file, "--to", OWNER.to_public(), "--config", config)
    (tmp_path / "edge").rename(tmp_path / "lost")
    (tmp_path / "tombstones.log").write_text('{"person_id":"p1"}\n')
    told = ("--identity", identity, "--tombstones", tmp_path / "tombstones.log", "--config", config)
    assert "0 of 1 templates" in gatehouse("edge", "restore", file, *told)


def gatehouse(*argv: object) -> str:
    """Run a command of Gatehouse and return what it printed."""
    words = [sys.executable, "-m", "gateway", *map(str, argv)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
