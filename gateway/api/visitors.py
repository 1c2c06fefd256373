"""Visitor passes: a visitor gets in for a while and a number of uses, with a QR or a PIN, as a resident's guest or the desk's."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Moment, Shared, new_id, once
from gateway.api.people import Cursor, Doors, Id, Limit, Line, Reader, Writer, check_doors
from gateway.api.places import site_of
from gateway.api.replies import Page, etag_of, reply, reply_once, shows
from gateway.auth.roles import Caller
from gateway.issuing import doors_open_to, issue_pass, mint_for_pass
from gateway.on_record import note
from gateway.person_views import TicketView, VisitorView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.people import person_by_id
from gateway.store.visitors import pass_by_id, passes_of, revoke_pass
from models.errors import InvalidInput
from models.people import VisitorPass

router = APIRouter(prefix="/api/v1/visitors", tags=["visitors"])


class PassBody(BaseModel):
    """Let a visitor in. Without doors: all that the host may pass. `uses` 0 is any number of times."""

    model_config = ConfigDict(extra="forbid")
    host: Id | None = None
    site_id: Id | None = None
    visitor: Line | None = None
    doors: Doors | None = None
    valid_from: Moment | None = None
    valid_until: Moment
    uses: Annotated[int, Field(ge=0, le=1000)] = 1
    with_pin: bool = False


@router.post("", **shows(VisitorView, 201))
async def create_pass(
    body: PassBody, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Make a pass. A PIN is made up and shown in this answer only; a QR is minted apart, for a day at a time."""

    async def work() -> Response:
        view = await runtime.store.write(_make, body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        kept = msgspec.structs.replace(view, pin=None, visitor="")
        return reply_once(view, 201, kept=kept, headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _make(connection: Connection, body: PassBody, *, caller: Caller, runtime: Runtime) -> VisitorView:
    at = runtime.clock()
    host = None if body.host is None else person_by_id(connection, body.host, site_ids=caller.sites)
    site_id = site_of(caller, body.site_id) if host is None else host.site_id
    if body.doors is not None:
        doors = check_doors(connection, list(body.doors), site_id=site_id)
    elif host is not None:
        doors = tuple(sorted(doors_open_to(connection, host, at=at)))
    else:
        raise InvalidInput("doors", "name doors, or a host whose doors they are")
    wanted = VisitorPass(
        id=new_id("vp"), host_id=body.host, doors=doors, valid_from=body.valid_from or at,
        valid_until=body.valid_until, uses=body.uses,
    )  # fmt: skip
    return issue_pass(
        connection, wanted, host=host, site_id=site_id, visitor=body.visitor or "", with_pin=body.with_pin,
        caller=caller, at=at,
    )  # fmt: skip


@router.get("", **shows(Page[VisitorView]))
async def list_passes(
    caller: Reader, runtime: Shared, *, cursor: Cursor = "", limit: Limit = 100, host: Id | None = None
) -> Response:
    """List the passes in scope by id: all, or those of one host."""

    def act(connection: Connection) -> list[VisitorView]:
        found = passes_of(connection, site_ids=caller.sites, after=cursor, limit=limit + 1, host_id=host)
        hosts = {one.host_id for one in found[:limit] if one.host_id}
        note(connection, caller, action="pass.list", subject=host or "", at=runtime.clock(), people=hosts,
             count=str(min(limit, len(found))))  # fmt: skip
        return found

    found = await runtime.store.write(act)
    return reply(Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None))


@router.get("/{pass_id}", **shows(VisitorView))
async def show_pass(pass_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a pass and how often its edge has reported its use."""

    def act(connection: Connection) -> VisitorView:
        view = pass_by_id(connection, pass_id, site_ids=caller.sites)
        note(connection, caller, action="pass.look_up", subject=pass_id, at=runtime.clock())
        return view

    view = await runtime.store.write(act)
    return reply(view, headers=etag_of(view.version))


@router.post("/{pass_id}/qr", **shows(TicketView, 201))
async def mint_qr(pass_id: str, caller: Writer, *, runtime: Shared) -> Response:
    """Return what the visitor's QR says: for the validity of the pass, or for a day of it where that is longer."""

    def act(connection: Connection) -> TicketView:
        held = pass_by_id(connection, pass_id, site_ids=caller.sites)
        return mint_for_pass(connection, held, caller=caller, at=runtime.clock())

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, 201, headers={"Cache-Control": "no-store"})


@router.delete("/{pass_id}", status_code=204)
async def delete_pass(pass_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Revoke a pass: edges take neither its QR nor its PIN from now on."""

    def act(connection: Connection) -> None:
        at = runtime.clock()
        pass_by_id(connection, pass_id, site_ids=caller.sites)
        revoke_pass(connection, pass_id, at=at)
        note(connection, caller, action="pass.revoke", subject=pass_id, at=at)

    await runtime.store.write(act)
    runtime.bells.policies_changed()
    return Response(status_code=204)
