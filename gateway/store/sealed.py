"""Secrets in columns: wrapped by the store's vault on the way in, unwrapped on the way out. Holds no key and no query.

The vault travels with the connection, so that queries need not be handed it. A store without one (tests) keeps them clear.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from gateway.store.dialect import insert_into
from gateway.store.engine import VAULT
from gateway.store.tables import marks
from models.errors import StorageUnavailable

if TYPE_CHECKING:
    from gateway.auth.vault import Vault

MARK = "vault"
KNOWN = "this database was made with this master key"
WRAPPED = "v1:"


def _vault(connection: Connection) -> Vault | None:
    found: Vault | None = connection.get_execution_options().get(VAULT)
    return found


def wrapped(connection: Connection, text: str, *, about: str) -> str:
    """Return a secret as it is kept in a column; `about` names row and column (`sites.credential_key a`)."""
    vault = _vault(connection)
    return text if vault is None or not text else vault.wrap(text, about=about)


def unwrapped(connection: Connection, text: str, *, about: str) -> str:
    """Return a secret that a column keeps, wrapped or (written before there was a vault) clear.

    Raises:
        StorageUnavailable: it is wrapped under another master key or for another row.
    """
    vault = _vault(connection)
    if vault is not None:
        return vault.unwrap(text, about=about)
    if text.startswith(WRAPPED):
        raise StorageUnavailable(f"the secret of {about} is wrapped and this process has no master key")
    return text


def check_vault(connection: Connection, *, at: datetime) -> bool:
    """Return whether the database knows our master key; a writer leaves the mark by which it is known the next time.

    Raises:
        StorageUnavailable: the database was made with another master key.
    """
    vault = _vault(connection)
    if vault is None:
        return True
    mark = connection.execute(select(marks.c.value).where(marks.c.name == MARK)).scalar()
    if mark is None and not connection.get_execution_options().get("gatehouse_write"):
        return False
    if mark is None:
        values = {"name": MARK, "value": vault.wrap(KNOWN, about=MARK), "at": at}
        connection.execute(insert_into(connection, marks).values(**values).on_conflict_do_nothing())
        mark = connection.execute(select(marks.c.value).where(marks.c.name == MARK)).scalar_one()
    return vault.unwrap(mark, about=MARK) == KNOWN
