"""The key with which a site signs QR tickets: renewing it makes every ticket from before worthless."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from gateway.api.deps import Shared, new_id
from gateway.api.groups import Reader, Writer
from gateway.api.places import site_of
from gateway.api.replies import Page, reply, shows
from gateway.on_record import note
from gateway.store import Connection
from gateway.store.ticket_keys import renew_ticket_key, ticket_keys
from models.policy import TicketKey

router = APIRouter(prefix="/api/v1/sites", tags=["tickets"])


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """Show which key signs a site's tickets from now on."""

    key_id: str


@router.get("/{site_id}/ticket-keys", **shows(Page[TicketKey]))
async def list_ticket_keys(site_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """List the public keys under which a site's tickets are valid; none before the first ticket."""
    found = await runtime.store.read(ticket_keys, site_of(caller, site_id))
    return reply(Page(items=list(found)))


@router.post("/{site_id}/ticket-keys", **shows(Renewed, 201))
async def renew(site_id: str, caller: Writer, *, runtime: Shared) -> Response:
    """Sign with a new key from now on: every QR that was shown or printed before opens no door any more."""
    here = site_of(caller, site_id)

    def act(connection: Connection) -> Renewed:
        at = runtime.clock()
        key_id = renew_ticket_key(connection, here, fresh_id=new_id("tk"), at=at)
        note(connection, caller, action="ticket_key.renew", subject=here, at=at, key=key_id)
        return Renewed(key_id=key_id)

    made = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(made, 201)
