"""Permission groups: some doors and a schedule under one name, for permits and for flats whose people all may pass them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from gateway.api.deps import Key, Shared, allowed, new_id, once
from gateway.api.people import Cursor, Doors, Id, IfMatch, Limit, Line, check_doors
from gateway.api.places import site_of
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.person_views import GroupView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.places import doors_of_site
from gateway.store.schedules import (
    check_free,
    check_unchanged,
    group_by_id,
    groups_of,
    put_group,
    remove_group,
    schedule_by_id,
)
from models.people import Group

router = APIRouter(prefix="/api/v1/groups", tags=["groups"])
Reader = Annotated[Caller, Depends(allowed("access:read"))]
Writer = Annotated[Caller, Depends(allowed("access:write"))]


class GroupBody(BaseModel):
    """Name doors (or `all` that the site has now) and, where it is not always, when they may be passed."""

    model_config = ConfigDict(extra="forbid")
    name: Line
    doors: Literal["all"] | Doors
    schedule_id: Id | None = None


class NewGroup(GroupBody):
    """Make a group; `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None


@router.get("", **shows(Page[GroupView]))
async def list_groups(caller: Reader, runtime: Shared, *, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List the groups in scope by id."""
    found = await runtime.store.read(groups_of, site_ids=caller.sites, after=cursor, limit=limit + 1)
    return reply(Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None))


@router.get("/{group_id}", **shows(GroupView))
async def show_group(group_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a group."""
    view = await runtime.store.read(group_by_id, group_id, site_ids=caller.sites)
    return reply(view, headers=etag_of(view.version))


@router.post("", **shows(GroupView, 201))
async def create_group(
    body: NewGroup, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Make a group."""
    site_id, group_id = site_of(caller, body.site_id), body.id or new_id("g")

    def act(connection: Connection) -> GroupView:
        check_free(connection, group_id, kind="group")
        return _write(connection, group_id, body=body, site_id=site_id, caller=caller, runtime=runtime)

    async def work() -> Response:
        view = await runtime.store.write(act)
        return reply(view, 201, headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.put("/{group_id}", **shows(GroupView))
async def update_group(
    group_id: str, body: GroupBody, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Write a group anew: whoever is permitted by it passes its doors from now on."""
    version = version_in(if_match)

    def act(connection: Connection) -> GroupView:
        held = group_by_id(connection, group_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        return _write(connection, group_id, body=body, site_id=held.site_id, caller=caller, runtime=runtime)

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


def _write(
    connection: Connection, group_id: str, *, body: GroupBody, site_id: str, caller: Caller, runtime: Runtime
) -> GroupView:
    here = frozenset({site_id})
    doors = doors_of_site(connection, site_id) if body.doors == "all" else check_doors(
        connection, list(body.doors), site_id=site_id
    )  # fmt: skip
    if body.schedule_id is not None:
        schedule_by_id(connection, body.schedule_id, site_ids=here)
    group = Group(
        id=group_id, site_id=site_id, name=body.name, doors=tuple(sorted(doors)), schedule_id=body.schedule_id
    )
    put_group(connection, group)
    note(connection, caller, action="group.write", subject=group_id, at=runtime.clock(), doors=",".join(group.doors)[:500],
         schedule=body.schedule_id or "")  # fmt: skip
    return group_by_id(connection, group_id, site_ids=here)


@router.delete("/{group_id}", status_code=204)
async def delete_group(group_id: str, *, caller: Writer, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a group that no permit and no flat names."""
    version = version_in(if_match)

    def act(connection: Connection) -> None:
        held = group_by_id(connection, group_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        remove_group(connection, group_id, site_id=held.site_id)
        note(connection, caller, action="group.delete", subject=group_id, at=runtime.clock())

    await runtime.store.write(act)
    runtime.bells.policies_changed()
    return Response(status_code=204)
