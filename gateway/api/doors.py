"""Doors: how they stand, unlocking one from afar, and how they are configured. Modes are beside it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared, allowed, new_id, once
from gateway.api.places import (
    Body,
    DeviceWriter,
    Driver,
    Id,
    IfMatch,
    Key,
    Name,
    Text,
    changes_in,
    id_of,
    record_from,
    remove_kept,
    show_kept,
    site_of,
)
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.auth.roles import Caller
from gateway.calls import refuse_call
from gateway.driver_checks import write_judged
from gateway.orders import unlock_door
from gateway.place_views import DoorSettings
from gateway.runtime import Runtime
from gateway.store.devices import DOORS
from gateway.store.kept import Act
from gateway.store.places import door_by_id, door_views
from gateway.views import DoorView
from models.errors import NotFound
from models.liveness import Provider, Species
from models.places import Door, ExitKind, Factor, Fail, Passback, Reader, WhenPolicyEnds

router = APIRouter(prefix="/api/v1", tags=["doors"])
DoorReader = Annotated[Caller, Depends(allowed("doors:read"))]
Opener = Annotated[Caller, Depends(allowed("doors:unlock"))]


def _mqtt() -> dict[str, JsonValue]:
    return {"kind": "mqtt"}


Factors = Annotated[tuple[Factor, ...], Field(min_length=1, max_length=8)]


class DoorChange(Body):
    """Change how a door is configured. `driver` is read by its edge only; passwords and keys in it that are left out stay."""

    name: Name = ""
    edge_id: Id = ""
    address: Text = ""
    controller_id: Id | None = None
    exit_kind: ExitKind = "button"
    held_open_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 30.0
    unlock_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 5.0
    factors: Factors = ("card", "pin")
    hands_free: bool = False
    impact_assessment: Id | None = None
    high_security: bool = False
    when_policy_ends: WhenPolicyEnds = "credentials"
    passback: Passback = "off"
    passback_reset_min: Annotated[int, Field(ge=0, le=10_080)] = 0
    interlock: Annotated[str, Field(max_length=64)] = ""
    two_person: bool = False
    second_within_s: Annotated[float, Field(ge=3, le=120, allow_inf_nan=False)] = 15.0
    free_schedule_id: Id | None = None
    first_person: bool = False
    fail: Fail = "secure"
    camera_id: Id | None = None
    liveness: Provider = "none"
    liveness_covers: Annotated[tuple[Species, ...], Field(max_length=2)] = ()
    liveness_basis: Text = ""
    driver: Driver = Field(default_factory=_mqtt)


class DoorBody(DoorChange):
    """Name a door. `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None
    name: Name
    edge_id: Id


class UnlockRequest(BaseModel):
    """Say why the door is opened, or a caller refused; the reason goes on record."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(min_length=3, max_length=500)]


class UnlockView(msgspec.Struct, frozen=True, kw_only=True):
    """Show that the door took an order to unlock (`accepted`), or that the caller was told (`confirmed`)."""

    command_id: str
    door_id: str
    state: str
    at: datetime


async def door_for(runtime: Runtime, caller: Caller, *, door_id: str) -> Door:
    """Return a door that the caller may see.

    Raises:
        NotFound: there is none, or none in the caller's scope.
    """
    door = await runtime.store.read(door_by_id, door_id)
    if door.site_id not in caller.sites:
        raise NotFound("door", door_id)
    return door


@router.get("/doors", **shows(Page[DoorView]))
async def list_doors(caller: DoorReader, runtime: Shared) -> Response:
    """List the doors in scope and how they stand."""
    return reply(Page(items=await runtime.store.read(door_views, site_ids=caller.sites)))


@router.post("/doors", **shows(DoorSettings, 201))
async def create_door(
    body: DoorBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a door with one reader; its edge learns of it at once."""
    readers = msgspec.to_builtins((Reader(id=new_id("r")),))
    door = record_from(body, Door, id=id_of(body.id, "d"), site_id=site_of(caller, body.site_id), readers=readers)

    async def work() -> Response:
        add = partial(DOORS.added, record=door, by=Act(caller=caller, at=runtime.clock()))
        view = await write_judged(runtime, add, wrote=lambda made: [made.id])
        runtime.bells.policies_changed()
        return reply(view, 201, headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/doors/{door_id}", **shows(DoorView))
async def show_door(door_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show how a door stands."""
    found = await runtime.store.read(door_views, [door_id], site_ids=caller.sites)
    if not found:
        raise NotFound("door", door_id)
    return reply(found[0])


@router.post("/doors/{door_id}/unlock", **shows(UnlockView, about="The door took the order."))
async def unlock(
    door_id: Key, body: UnlockRequest, *, request: Request, caller: Opener, runtime: Shared, key: Once = None
) -> Response:
    """Unlock a door once, now. Answers when the door took the order, or with a problem if it did not in time.

    Whether its lock or contact reported it, says the command.
    """
    door = await door_for(runtime, caller, door_id=door_id)

    async def work() -> Response:
        result = await unlock_door(runtime, door, reason=body.reason, caller=caller)
        return reply(UnlockView(command_id=result.command_id, door_id=door.id, state="accepted", at=result.at))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.post("/doors/{door_id}/refuse-call", **shows(UnlockView, about="The caller was told."))
async def refuse_caller(
    door_id: Key, body: UnlockRequest, *, request: Request, caller: Opener, runtime: Shared, key: Once = None
) -> Response:
    """Send whoever calls at a door station away; opening answers a call, too."""
    door = await door_for(runtime, caller, door_id=door_id)

    async def work() -> Response:
        result = await refuse_call(runtime, door, reason=body.reason, caller=caller)
        return reply(UnlockView(command_id=result.command_id, door_id=door.id, state=result.state, at=result.at))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/doors/{door_id}/settings", **shows(DoorSettings))
async def show_settings(door_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Show how a door is configured."""
    return await show_kept(runtime, DOORS, key=door_id, caller=caller)


@router.patch("/doors/{door_id}/settings", **shows(DoorSettings))
async def change_settings(
    door_id: Key, body: DoorChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a door; its edge follows at once."""
    changes = changes_in(body)
    by = Act(caller=caller, at=runtime.clock(), version=version_in(if_match))
    change = partial(DOORS.changed, key=door_id, changes=changes, by=by)
    moves = not {"driver", "edge_id"}.isdisjoint(changes)
    view = await write_judged(runtime, change, wrote=lambda made: [made.id] if moves else [])
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


@router.delete("/doors/{door_id}", status_code=204)
async def delete_door(door_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a door that no camera, group, permit, consent or pass names; its history stays."""
    return await remove_kept(runtime, DOORS, key=door_id, caller=caller, if_match=if_match)
