"""Doors and cameras: how they stand, and unlocking one from afar."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, allowed, once
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.orders import unlock_door
from gateway.runtime import Runtime
from gateway.store.places import camera_views, door_by_id, door_views
from gateway.views import CameraView, DoorView
from models.errors import NotFound
from models.places import Door

router = APIRouter(prefix="/api/v1", tags=["doors"])
DoorReader = Annotated[Caller, Depends(allowed("doors:read"))]
CameraReader = Annotated[Caller, Depends(allowed("cameras:read"))]
Opener = Annotated[Caller, Depends(allowed("doors:unlock"))]


class UnlockRequest(BaseModel):
    """Say why the door is opened; the reason goes on record."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(min_length=3, max_length=500)]


class UnlockView(msgspec.Struct, frozen=True, kw_only=True):
    """Show that the lock has confirmed."""

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


@router.get("/doors/{door_id}", **shows(DoorView))
async def show_door(door_id: str, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show how a door stands."""
    found = await runtime.store.read(door_views, [door_id], site_ids=caller.sites)
    if not found:
        raise NotFound("door", door_id)
    return reply(found[0])


@router.post("/doors/{door_id}/unlock", **shows(UnlockView, about="The lock has confirmed."))
async def unlock(
    door_id: str, body: UnlockRequest, *, request: Request, caller: Opener, runtime: Shared, key: Key = None
) -> Response:
    """Unlock a door once, now. Answers when the lock has confirmed, or with a problem if it did not in time."""
    door = await door_for(runtime, caller, door_id=door_id)

    async def work() -> Response:
        result = await unlock_door(runtime, door, reason=body.reason, caller=caller)
        return reply(UnlockView(command_id=result.command_id, door_id=door.id, state=result.state, at=result.at))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/cameras", **shows(Page[CameraView]))
async def list_cameras(caller: CameraReader, runtime: Shared) -> Response:
    """List the cameras in scope and how they stand; never with their passwords."""
    return reply(Page(items=await runtime.store.read(camera_views, site_ids=caller.sites)))


@router.get("/cameras/{camera_id}", **shows(CameraView))
async def show_camera(camera_id: str, caller: CameraReader, *, runtime: Shared) -> Response:
    """Show how a camera stands."""
    found = await runtime.store.read(camera_views, [camera_id], site_ids=caller.sites)
    if not found:
        raise NotFound("camera", camera_id)
    return reply(found[0])
