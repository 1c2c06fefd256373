"""A reader's own key: drawn here, kept wrapped before it is sent, given to the reader by its edge, because somebody says so.

A reader that took its key and could not say so has it all the same: until it was seen to answer by it the key is kept
beside the one before, and sent again.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gateway.auth.roles import Caller
from gateway.device_orders import entry_of, give
from gateway.device_views import DeviceOrderView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.devices_found import Credentials, credentials_of, device_by_id, mark_reached, set_credentials
from gateway.store.edges import EdgeIdentity
from models.device_orders import InstallKey
from models.errors import Conflict, InvalidInput, NotFound
from models.link import Result

KEY_BYTES: Final = 16
INSTALL_TIME: Final = timedelta(seconds=30)


async def install_key(runtime: Runtime, key: str, *, pause: bool, caller: Caller) -> DeviceOrderView:
    """Have a reader in install mode given a key of its own, for the caller's reason, and return the order.

    Raises:
        NotFound: there is no such device in the caller's scope.
        Conflict: it was removed.
        InvalidInput: it is no reader that takes a key.
    """
    view = await runtime.store.write(_install, key, pause=pause, caller=caller, runtime=runtime)
    runtime.bells.edge(view.edge_id).ring()
    return view


def _install(connection: Connection, key: str, *, pause: bool, caller: Caller, runtime: Runtime) -> DeviceOrderView:
    device = device_by_id(connection, key, site_ids=caller.sites)
    told = device.candidate
    if device.state == "removed":
        raise Conflict("this device was removed: offer it again first")
    if told.wire != "osdp" or told.trouble == "unsupported":
        raise InvalidInput("device", "only a card reader with a secure channel takes a key").because("takes_no_key")
    held = credentials_of(connection, key, site_id=device.site_id)
    drawn = held.pending or secrets.token_hex(KEY_BYTES)
    keep = msgspec.structs.replace(held, pending=drawn)
    set_credentials(connection, key, credentials=keep, site_id=device.site_id)
    order = InstallKey(
        id=f"{key}.{uuid.uuid4().hex}", wire=told.wire, address=told.address, key=drawn, reason=caller.reason,
        requested_by=caller.id, pause=pause, deadline=runtime.clock() + INSTALL_TIME,
    )  # fmt: skip
    entry = entry_of(caller, "device.key", subject=key)
    return give(connection, order, edge_id=device.edge_id, caller=caller, runtime=runtime, entry=entry)


def take_key(connection: Connection, order: InstallKey, *, result: Result, edge: EdgeIdentity, at: datetime) -> None:
    """Keep the key that a reader answers by now, and put on record how it ended."""
    key = order.id.partition(".")[0]
    ended = "ok" if result.state == "confirmed" else (result.reason or result.state)[:64]
    try:
        device = device_by_id(connection, key, site_ids=frozenset({edge.site_id}))
    except NotFound:
        return
    held = credentials_of(connection, key, site_id=edge.site_id)
    if result.state == "confirmed" and device.state != "removed":
        taken = Credentials(password=order.key, pending="" if held.pending == order.key else held.pending)
        set_credentials(connection, key, credentials=taken, site_id=edge.site_id)
        mark_reached(connection, key, reach="known")
    detail = {"command": order.id, "site": edge.site_id}
    append_audit(
        connection, AuditEntry(actor=edge.id, action="device.key", subject=key, result=ended, detail=detail), at=at
    )
