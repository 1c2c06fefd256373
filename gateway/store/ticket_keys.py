"""The Ed25519 keys with which a site signs tickets (QR): public halves for its edges, private halves wrapped in the database.

A site gets its first key when its first ticket is signed. The newest signs; a renewal drops the ones before.
"""

from __future__ import annotations

import base64
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import Connection, select, update

from gateway.store.sealed import WRAPPED, unwrapped, wrapped
from gateway.store.tables import sites
from gateway.store.types import as_text
from models.errors import NotFound
from models.policy import TicketKey


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    public_key: str
    private_key: str
    """Base64 of the raw key, wrapped by the vault."""
    made_at: datetime


def ticket_keys(connection: Connection, site_id: str) -> tuple[TicketKey, ...]:
    """Return the public keys under which a site's tickets are valid, by id; none for a site that never signed one."""
    kept = _kept(connection, site_id)
    return tuple(TicketKey(id=key.id, public_key=key.public_key) for key in sorted(kept, key=lambda key: key.id))


def signing_key(connection: Connection, site_id: str, *, fresh_id: str, at: datetime) -> tuple[str, Ed25519PrivateKey]:
    """Return the id of the key that signs a site's tickets, and the key; the first ticket makes it.

    Two first tickets at once make one key only if the caller has taken `hold_feed` before.

    Args:
        connection: a writing transaction.
        site_id: the site.
        fresh_id: the id for a key that has to be made.
        at: aware time of the making.

    Raises:
        NotFound: there is no such site.
        StorageUnavailable: the key was wrapped under another master key.
    """
    kept = _kept(connection, site_id)
    if not kept:
        return _make(connection, site_id, key_id=fresh_id, at=at)
    newest = max(kept, key=lambda key: (key.made_at, key.id))
    raw = base64.b64decode(unwrapped(connection, newest.private_key, about=_about(site_id, newest.id)))
    return newest.id, Ed25519PrivateKey.from_private_bytes(raw)


def renew_ticket_key(connection: Connection, site_id: str, *, fresh_id: str, at: datetime) -> str:
    """Make a new key that signs from now on, and drop the older ones: every ticket from before is worth nothing.

    Raises:
        NotFound: there is no such site.
    """
    _kept(connection, site_id)
    return _make(connection, site_id, key_id=fresh_id, at=at)[0]


def has_clear_ticket_keys(connection: Connection) -> bool:
    """Return whether a private key is kept clear, as a store without a vault writes it."""
    found = connection.execute(select(sites.c.ticket_keys)).scalars()
    return any(not _is_sealed(key) for text in found for key in msgspec.json.decode(text, type=list[_Kept]))


def _is_sealed(key: _Kept) -> bool:
    return key.private_key.startswith(WRAPPED)


def wrap_clear_ticket_keys(connection: Connection) -> int:
    """Wrap private keys that a store without a vault kept clear; return how many."""
    count = 0
    for row in connection.execute(select(sites.c.id, sites.c.ticket_keys)).all():
        kept = msgspec.json.decode(row.ticket_keys, type=list[_Kept])
        clear = [key for key in kept if not _is_sealed(key)]
        if clear:
            sealed = [_sealed(connection, key, site_id=row.id) if not _is_sealed(key) else key for key in kept]
            connection.execute(update(sites).where(sites.c.id == row.id).values(ticket_keys=as_text(sealed)))
        count += len(clear)
    return count


def _sealed(connection: Connection, key: _Kept, *, site_id: str) -> _Kept:
    private = wrapped(connection, key.private_key, about=_about(site_id, key.id))
    return msgspec.structs.replace(key, private_key=private)


def _make(connection: Connection, site_id: str, *, key_id: str, at: datetime) -> tuple[str, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.generate()
    private = base64.b64encode(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
    made = _Kept(
        id=key_id,
        public_key=base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
        private_key=wrapped(connection, private, about=_about(site_id, key_id)),
        made_at=at,
    )
    connection.execute(update(sites).where(sites.c.id == site_id).values(ticket_keys=as_text([made])))
    return key_id, key


def _about(site_id: str, key_id: str) -> str:
    return f"sites.ticket_keys {site_id} {key_id}"


def _kept(connection: Connection, site_id: str) -> list[_Kept]:
    text = connection.execute(select(sites.c.ticket_keys).where(sites.c.id == site_id)).scalar()
    if text is None:
        raise NotFound("site", site_id)
    return msgspec.json.decode(text, type=list[_Kept])
