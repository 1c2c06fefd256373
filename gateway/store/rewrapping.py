"""Wrap secrets that were written before there was a vault, when a gateway opens its database. Later writes wrap by themselves."""

from __future__ import annotations

from sqlalchemy import Column, Connection, select, update

from gateway.store.door_secrets import has_secrets_in_records, move_secrets_out_of_records
from gateway.store.sealed import WRAPPED, wrapped
from gateway.store.tables import cameras, doors, sites
from gateway.store.ticket_keys import has_clear_ticket_keys, wrap_clear_ticket_keys

COLUMNS: tuple[tuple[Column[str], Column[str]], ...] = (
    (sites.c.id, sites.c.credential_key),
    (cameras.c.id, cameras.c.password),
    (doors.c.id, doors.c.secrets),
)
"""The key and the secret of each table that keeps one in a column; `about` is their table, column and key."""


def has_clear_secrets(connection: Connection) -> bool:
    """Return whether a key of a site, a camera's password or a secret of a door's driver is kept clear, as it was once."""
    if any(_clear(connection, key, secret=secret) for key, secret in COLUMNS):
        return True
    return has_secrets_in_records(connection) or has_clear_ticket_keys(connection)


def wrap_clear_secrets(connection: Connection) -> int:
    """Wrap every secret that is kept clear and return how many those were; no version changes, since no value does."""
    count = move_secrets_out_of_records(connection)
    for key, secret in COLUMNS:
        for row_id, text in _clear(connection, key, secret=secret):
            sealed = wrapped(connection, text, about=f"{secret.table.name}.{secret.name} {row_id}")
            same = (key == row_id) & (secret == text)
            count += connection.execute(update(secret.table).where(same).values({secret.name: sealed})).rowcount
    return count + wrap_clear_ticket_keys(connection)


def _clear(connection: Connection, key: Column[str], *, secret: Column[str]) -> list[tuple[str, str]]:
    rows = connection.execute(select(key, secret).where(secret != "", secret.not_like(f"{WRAPPED}%")))
    return [(row[0], row[1]) for row in rows]
