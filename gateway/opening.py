"""Open the database and the keys that the settings name. For the composition roots: the server and the command line."""

from __future__ import annotations

import binascii

from config.settings import GatewaySettings, secret
from gateway.auth.keys import GatewayKey, read_key, read_or_make
from gateway.auth.vault import Vault
from gateway.runtime import now
from gateway.store import Store
from gateway.store.rewrapping import has_clear_secrets, wrap_clear_secrets
from gateway.store.sealed import check_vault
from models.errors import SettingsError, SettingsFault, StorageUnavailable

MASTER = "gateway.keys.master_file"


def open_store(settings: GatewaySettings) -> Store:
    """Return the store of the settings with its tables up to date and its secrets readable.

    Raises:
        SettingsError: the database's address, its password file or the master key cannot be used.
        StorageUnavailable: the database cannot be opened.
    """
    password = secret(settings.database_password, settings.database_password_file, key="gateway.database_password_file")
    store = Store(settings.database_url(), password=password, vault=open_vault(settings))
    try:
        store.migrate()
        if not store.read_now(check_vault, at=now()):
            store.write_now(check_vault, at=now())
        if store.read_now(has_clear_secrets):
            store.write_now(wrap_clear_secrets)
    except StorageUnavailable as error:
        store.close()
        if "master key" not in str(error):
            raise
        raise _fault(str(error), "use the key file that this database was made with") from error
    return store


def open_vault(settings: GatewaySettings) -> Vault:
    """Return the vault under the master key of the settings; a key file that is missing is made.

    Raises:
        SettingsError: the key cannot be used.
    """
    keys = settings.keys
    if keys.master is None:
        return Vault(read_or_make(keys.master_file or settings.data_dir / "master.key", key=MASTER))
    try:
        return Vault(read_key(keys.master.get_secret_value()))
    except (ValueError, binascii.Error) as error:
        raise _fault("the master key is not 32 bytes in base64", "make one: openssl rand -base64 32") from error


def open_gateway_key(settings: GatewaySettings) -> GatewayKey:
    """Return the key that signs in the gateway's name; a key file that is missing is made.

    Raises:
        SettingsError: the file cannot be used.
    """
    file = settings.keys.identity_file or settings.data_dir / "identity.key"
    return GatewayKey(read_or_make(file, key="gateway.keys.identity_file"))


def _fault(what: str, hint: str) -> SettingsError:
    return SettingsError([SettingsFault(file="settings", line=0, path=MASTER, message=what, suggestion=hint)])
