"""Secrets at rest: wrapped in the database, of no use elsewhere, and the key files that they depend on."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from config.sections import KeySettings
from config.settings import GatewaySettings
from gateway.auth.keys import GatewayKey, read_or_make
from gateway.auth.signatures import signed_by
from gateway.auth.vault import Vault, is_wrapped
from gateway.opening import open_gateway_key, open_store
from gateway.store import Store
from gateway.store.places import credential_key, put_camera
from gateway.store.rewrapping import has_clear_secrets
from gateway.store.sealed import unwrapped, wrapped
from gateway.store.tables import cameras, sites
from gateway.store.ticket_keys import signing_key
from models.errors import SettingsError, StorageUnavailable
from models.places import Camera
from tests.gateway.support import BEGINNING, furnish

KEY = bytes(range(32))


@given(text=st.text(max_size=200), about=st.text(max_size=50))
def test_what_is_wrapped_is_unwrapped_for_the_same_place_only(text: str, about: str) -> None:
    vault = Vault(KEY)
    kept = vault.wrap(text, about=about)
    assert is_wrapped(kept)
    assert vault.unwrap(kept, about=about) == text
    with pytest.raises(StorageUnavailable):
        vault.unwrap(kept, about=about + "x")
    with pytest.raises(StorageUnavailable):
        Vault(KEY[::-1]).unwrap(kept, about=about)


@given(place=st.integers(min_value=0, max_value=47), bit=st.integers(min_value=0, max_value=5))
def test_a_changed_character_is_noticed(place: int, bit: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    kept = Vault(KEY).wrap("secret!!", about="a")  # 36 bytes, 48 characters of base64
    head, body = kept[:3], kept[3:]
    other = alphabet[alphabet.index(body[place]) ^ (1 << bit)]
    with pytest.raises(StorageUnavailable):
        Vault(KEY).unwrap(head + body[:place] + other + body[place + 1 :], about="a")


def test_texts_from_before_the_vault_are_still_read() -> None:
    assert Vault(KEY).unwrap("clear", about="a") == "clear"


@pytest.fixture
def sealing(store: Store) -> Store:
    """Return the store with a vault, furnished."""
    made = Store(store.engine.url.render_as_string(hide_password=False), vault=Vault(KEY))
    furnish(made)
    return made


def raw(connection: Connection) -> tuple[str, str]:
    key = connection.execute(select(sites.c.credential_key).where(sites.c.id == "a")).scalar_one()
    return key, connection.execute(select(cameras.c.password).where(cameras.c.id == "cam")).scalar_one()


def test_a_stolen_database_holds_no_site_key_and_no_camera_password(sealing: Store) -> None:
    key, password = sealing.read_now(raw)
    assert is_wrapped(key)
    assert is_wrapped(password)
    assert "s3cret" not in password
    assert len(bytes.fromhex(sealing.read_now(credential_key, "a"))) == 32
    thief = Store(sealing.engine.url.render_as_string(hide_password=False))
    with pytest.raises(StorageUnavailable, match="no master key"):
        thief.read_now(credential_key, "a")
    thief.close()
    sealing.close()


def test_swapped_rows_do_not_pass_for_one_another(sealing: Store) -> None:
    def swap(connection: Connection) -> None:
        other = connection.execute(select(sites.c.credential_key).where(sites.c.id == "b")).scalar_one()
        connection.execute(update(sites).where(sites.c.id == "a").values(credential_key=other))

    sealing.write_now(swap)
    with pytest.raises(StorageUnavailable, match=r"sites\.credential_key a"):
        sealing.read_now(credential_key, "a")
    sealing.close()


def test_a_clear_value_is_wrapped_at_the_next_write(sealing: Store) -> None:
    def clear(connection: Connection) -> str:
        connection.execute(update(cameras).where(cameras.c.id == "cam").values(password="old"))
        return unwrapped(connection, raw(connection)[1], about="cameras.password cam")

    assert sealing.write_now(clear) == "old"
    camera = Camera(id="cam", site_id="a", name="Camera", edge_id="edge-1", url="rtsp://192.0.2.1/s", password="new")
    sealing.write_now(put_camera, camera)
    assert is_wrapped(sealing.read_now(raw)[1])
    sealing.close()


def test_secrets_from_before_the_vault_are_wrapped_when_the_gateway_opens_its_database(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path)
    old = Store(settings.database_url())
    old.migrate()
    furnish(old)
    key_id, _ = old.write_now(signing_key, "a", fresh_id="k1", at=BEGINNING)
    key, password = old.read_now(raw)
    assert (is_wrapped(key), password) == (False, "s3cret")
    old.close()
    for _ in range(2):
        store = open_store(settings)
        assert [is_wrapped(kept) for kept in store.read_now(raw)] == [True, True]
        tickets = select(sites.c.ticket_keys).where(sites.c.id == "a")
        told = store.read_now(lambda connection: connection.execute(tickets).scalar_one())  # noqa: B023 - called at once
        assert '"private_key":"v1:' in told
        assert store.read_now(credential_key, "a") == key
        assert store.write_now(signing_key, "a", fresh_id="k2", at=BEGINNING)[0] == key_id
        assert not store.read_now(has_clear_secrets)
        store.close()


def test_nothing_is_wrapped_as_nothing(sealing: Store) -> None:
    assert sealing.read_now(lambda connection: wrapped(connection, "", about="x")) == ""
    sealing.close()


def test_a_database_is_not_opened_with_another_master_key(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path)
    open_store(settings).close()
    open_store(settings).close()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "master.key").rename(tmp_path / "elsewhere.key")
    with pytest.raises(SettingsError, match="another master key"):
        open_store(settings)
    found = settings.model_copy(update={"keys": KeySettings(master_file=tmp_path / "elsewhere.key")})
    open_store(found).close()
    given = KeySettings(master=(tmp_path / "elsewhere.key").read_text())
    open_store(settings.model_copy(update={"keys": given})).close()
    with pytest.raises(SettingsError, match="openssl"):
        open_store(settings.model_copy(update={"keys": KeySettings(master="too short")}))


def test_the_gateway_keeps_its_identity(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path)
    first, again = open_gateway_key(settings), open_gateway_key(settings)
    assert first.public_key == again.public_key
    assert signed_by(again.public_key, first.sign(b"policy"), b"policy")
    assert not signed_by(again.public_key, first.sign(b"policy"), b"another")


def test_who_comes_second_uses_the_key_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.key"

    def meanwhile(count: int) -> bytes:
        if not file.exists():
            read_or_make(file, key="k", random=lambda _: b"1" * 32)
        return secrets.token_bytes(count)

    assert read_or_make(file, key="k", random=meanwhile) == b"1" * 32
    assert [each.name for each in file.parent.iterdir()] == ["a.key"], "nothing is left lying about"


@pytest.mark.parametrize(("text", "mode"), [("rubbish", 0o600), ("QUJD", 0o600), ("A" * 43 + "=", 0o640)])
def test_a_key_file_that_is_none_or_open_to_others_is_refused(tmp_path: Path, text: str, *, mode: int) -> None:
    file = tmp_path / "a.key"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SettingsError, match=r"a\.key"):
        read_or_make(file, key="gateway.keys.master_file")
    with pytest.raises(SettingsError):
        read_or_make(tmp_path / "a.key" / "below", key="k")


def test_a_gateway_key_is_the_seed_of_ed25519() -> None:
    assert GatewayKey(bytes(32)).public_key == "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
