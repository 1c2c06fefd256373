"""The key store: a stolen file tells nothing, what is moved or changed does not open, what is erased is gone (R25)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.keystore import KEEP_RECORDS, Content, KeyStore, Opened
from edge.templates import Plain, Sealed
from models.errors import InvalidInput, StorageUnavailable
from models.sealing import about_template, seal, unseal
from tests.edge.doubles import now

FACE = np.linspace(-1, 1, 128, dtype=np.float32)


def put(
    store: KeyStore, person: str = "p1", *, doors: tuple[str, ...] = ("d1",), face: NDArray[np.float32] = FACE
) -> Sealed:
    template = Opened(person_id=person, doors=doors, contract="m", embedding=face)
    return store.put(template, consent_id="c1", quality=0.9, at=now())


def test_a_template_opens_again_after_a_restart(tmp_path: Path) -> None:
    put(KeyStore(tmp_path))
    (opened,) = KeyStore(tmp_path).open_all()
    assert np.array_equal(opened.embedding, FACE)
    assert (opened.person_id, opened.doors) == ("p1", ("d1",))


def test_the_file_alone_shows_no_template_in_any_form(tmp_path: Path) -> None:
    put(KeyStore(tmp_path))
    content = (tmp_path / "keystore.bin").read_bytes()
    for form in (FACE.tobytes(), FACE.astype(np.float16).tobytes(), FACE.astype(np.float64).tobytes()):
        assert form[:16] not in content
    for name in ("keystore.bin", "master.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_without_the_master_key_nothing_opens(tmp_path: Path) -> None:
    put(KeyStore(tmp_path))
    (tmp_path / "master.key").unlink()
    assert KeyStore(tmp_path).open_all() == []


@pytest.mark.parametrize("change", ["person", "doors", "contract", "sealed", "swapped"])
def test_a_row_that_was_moved_or_changed_does_not_open(tmp_path: Path, change: str) -> None:
    store = KeyStore(tmp_path)
    first, second = put(store, "p1"), put(store, "p2", face=-FACE)
    changed = {
        "person": msgspec.structs.replace(first, person_id="p2"),
        "doors": msgspec.structs.replace(first, doors=("d1", "d2")),
        "contract": msgspec.structs.replace(first, contract="other"),
        "sealed": msgspec.structs.replace(first, sealed=first.sealed[:-1] + bytes([first.sealed[-1] ^ 1])),
        "swapped": msgspec.structs.replace(first, sealed=second.sealed),
    }[change]
    with pytest.raises(InvalidInput):
        store.open(changed)


def test_a_swapped_row_in_the_file_is_not_matched_and_the_other_still_is(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    first, second = put(store, "p1"), put(store, "p2", face=-FACE)
    path = tmp_path / "keystore.bin"
    content = msgspec.msgpack.decode(path.read_bytes(), type=Content)
    forged = msgspec.structs.replace(first, sealed=second.sealed)
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(content, templates=(forged, second))))
    assert [opened.person_id for opened in KeyStore(tmp_path).open_all()] == ["p2"]


def test_erasure_destroys_the_key_and_rewrites_the_file(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    erased = put(store, "p1")
    put(store, "p2", face=-FACE)
    stolen = KeyStore(tmp_path)._content
    with (tmp_path / "keystore.bin").open("rb") as old:
        assert store.erase("p1", at=now())
        assert set(old.read()) == {0}, "the bytes of the old file are overwritten"
    content = (tmp_path / "keystore.bin").read_bytes()
    assert erased.sealed not in content
    with pytest.raises(InvalidInput):
        store.open(erased)
    assert stolen.keys["p1"] not in content
    assert not store.erase("p1", at=now())


def test_enrolling_again_replaces_template_and_key(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    before = put(store)
    put(store, face=-FACE)
    assert len(store.sealed()) == 1
    with pytest.raises(InvalidInput):
        store.open(before)


def test_a_damaged_store_and_an_open_key_are_refused(tmp_path: Path) -> None:
    put(KeyStore(tmp_path))
    (tmp_path / "keystore.bin").write_bytes(b"\xc1nonsense")
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path)
    (tmp_path / "keystore.bin").unlink()
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path)
    (tmp_path / "master.key").chmod(0o600)
    (tmp_path / "master.key").write_bytes(b"short")
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path)


def test_on_a_disk_that_takes_nothing_the_store_says_so_and_stays_as_it_was(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    put(store, "p1")
    (tmp_path / "keystore.bin.new").mkdir()  # where the new file would be written
    for change in (lambda: put(store, "p2"), lambda: store.erase("p1", at=now())):
        with pytest.raises(StorageUnavailable):
            change()
    assert [opened.person_id for opened in store.open_all()] == ["p1"]


def test_changes_made_at_once_lose_no_template_and_bring_none_back(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    for n in range(8):
        put(store, f"leaves{n}")
    with ThreadPoolExecutor(16) as threads:
        comes = [threads.submit(put, store, f"stays{n}") for n in range(8)]
        leaves = [threads.submit(store.erase, f"leaves{n}", at=now()) for n in range(8)]
        assert all(come.result() for come in comes)
        assert all(leave.result() for leave in leaves)
    for kept in (store, KeyStore(tmp_path)):
        assert {opened.person_id for opened in kept.open_all()} == {f"stays{n}" for n in range(8)}


def plain(person: str, *, doors: tuple[str, ...] = ("d1",)) -> Plain:
    return Plain(
        person_id=person, doors=doors, contract="m", consent_id="c1", quality=0.5, at=now(), embedding=FACE.tobytes()
    )


def test_several_templates_come_in_one_change_and_travel_whole(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    put(store, "p1", face=-FACE)
    first, second = store.put_all([plain("p1"), plain("p2", doors=("d2", "d3"))])
    assert [opened.person_id for opened in KeyStore(tmp_path).open_all()] == ["p1", "p2"]
    again = store.plain(second)
    assert msgspec.structs.asdict(again) == msgspec.structs.asdict(plain("p2", doors=("d2", "d3"))) | {"at": second.at}
    assert first.sealed != second.sealed


def test_whom_it_erased_is_remembered_for_receipts_but_not_for_ever(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    put(store, "p1")
    at = now()
    erased = store.erase("p1", at=at)
    assert erased is not None
    assert KeyStore(tmp_path).erasure_of("p1") == erased
    put(store, "p1")
    assert store.erasure_of("p1") is None, "a template came since"
    store.erase_all(["p1"], at=at + KEEP_RECORDS + timedelta(days=1), tombstones=("p2",))
    assert [one.id for one in (store.erasure_of("p1"),) if one] != [erased.id]
    assert len(store._content.erased) == 1
    store.erase_all([], at=at + 3 * KEEP_RECORDS, tombstones=("p3",))
    assert store.tombstones == {"p3"}


def test_a_store_of_the_first_version_is_read(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    sealed = put(store)
    path = tmp_path / "keystore.bin"
    old = {"version": 1, "keys": store._content.keys, "templates": msgspec.to_builtins(store._content.templates)}
    old["templates"] = [{**row, "sealed": sealed.sealed} for row in old["templates"]]
    path.write_bytes(msgspec.msgpack.encode(old))
    assert [opened.person_id for opened in KeyStore(tmp_path).open_all()] == ["p1"]
    assert KeyStore(tmp_path).restored_at is None


@given(content=st.binary(max_size=300), about=st.binary(max_size=50), bit=st.integers(min_value=0))
@settings(max_examples=100, deadline=None)
def test_any_flipped_bit_is_noticed(content: bytes, about: bytes, bit: int) -> None:
    sealed = seal(content, key=b"k" * 32, about=about, nonce=b"n" * 12)
    assert unseal(sealed, key=b"k" * 32, about=about) == content
    at = bit % (len(sealed) * 8)
    broken = bytearray(sealed)
    broken[at // 8] ^= 1 << (at % 8)
    with pytest.raises(InvalidInput):
        unseal(bytes(broken), key=b"k" * 32, about=about)


@pytest.mark.parametrize("short", [b"", b"n" * 12, b"n" * 20])
def test_what_is_too_short_to_be_sealed_is_refused(short: bytes) -> None:
    with pytest.raises(InvalidInput):
        unseal(short, key=b"k" * 32, about=b"")


def test_the_doors_of_a_template_have_no_order_and_cannot_run_together() -> None:
    assert about_template("p", ("a", "b"), "m") == about_template("p", ("b", "a"), "m")
    assert about_template("p", ("a", "b"), "m") != about_template("p", ("ab",), "m")


def another(n: int, **more: Any) -> Plain:
    return msgspec.structs.replace(plain("p1"), embedding=(FACE + n).astype("<f4").tobytes(), **more)


def test_several_templates_of_a_person_stand_under_one_key_and_go_with_it(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    first = store.put_all([another(0), another(1)])
    third = store.add(another(2))
    assert len(store._content.keys) == 1
    opened = KeyStore(tmp_path).open_all()
    assert [float(one.embedding[0]) for one in opened] == [-1.0, 0.0, 1.0]
    with (tmp_path / "keystore.bin").open("rb") as old:
        erased = store.erase("p1", at=now())
        assert erased is not None
        assert erased.templates == 3
        assert set(old.read()) == {0}
    content = (tmp_path / "keystore.bin").read_bytes()
    assert not any(one.sealed in content for one in (*first, third))
    for one in (*first, third):
        with pytest.raises(InvalidInput):
            store.open(one)


def test_a_person_has_at_most_five_templates(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    for n in range(5):
        store.add(another(n))
    with pytest.raises(InvalidInput, match="enrol anew"):
        store.add(another(5))
    with pytest.raises(InvalidInput, match="at most 5"):
        store.put_all([another(n) for n in range(6)])
    assert len(store.sealed()) == 5
    store.put_all([another(9)])
    assert len(store.sealed()) == 1, "what is put replaces all"


@pytest.mark.parametrize("change", [{"consent_id": "c2"}, {"contract": "other"}, {"doors": ("d2",)}])
def test_what_another_consent_or_model_made_does_not_stand_beside_it(tmp_path: Path, change: Any) -> None:
    store = KeyStore(tmp_path)
    store.put_all([another(0), another(1)])
    added = store.add(another(2, **change))
    assert store.sealed() == (added,)
    with pytest.raises(InvalidInput, match="consent and model"):
        store.put_all([another(0), another(1, **change)])


def test_who_was_erased_here_gets_no_further_template(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.add(another(0))
    store.erase_all([], at=now(), tombstones=("p1",))
    for come_back in (lambda: store.add(another(1)), lambda: store.put_all([another(1)])):
        with pytest.raises(InvalidInput, match="erased"):
            come_back()


def test_a_restore_brings_all_templates_of_a_person_back(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "old")
    store.put_all([another(0), another(1), plain("p2")])
    back = KeyStore(tmp_path / "new")
    assert back.restore([store.plain(one) for one in store.sealed()], tombstones=["p2"], at=now()) == 2
    assert [float(one.embedding[0]) for one in back.open_all()] == [-1.0, 0.0]


def test_on_a_full_disk_no_template_joins(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.add(another(0))
    (tmp_path / "keystore.bin.new").mkdir()
    with pytest.raises(StorageUnavailable):
        store.add(another(1))
    assert len(store.open_all()) == 1
