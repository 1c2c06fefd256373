"""Open the database that the settings name. For the composition roots: the server and the command line."""

from __future__ import annotations

from config.settings import GatewaySettings, secret
from gateway.store import Store


def open_store(settings: GatewaySettings) -> Store:
    """Return the store of the settings with its tables up to date.

    Raises:
        SettingsError: the database's address or password file cannot be used.
        StorageUnavailable: the database cannot be opened.
    """
    password = secret(settings.database_password, settings.database_password_file, key="gateway.database_password_file")
    store = Store(settings.database_url(), password=password)
    store.migrate()
    return store
