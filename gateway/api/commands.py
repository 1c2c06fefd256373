"""Orders to unlock a door as objects: who asked and why, until when, and how far each came."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.api.deps import Shared
from gateway.api.doors import door_for
from gateway.api.places import DoorReader, Key
from gateway.api.replies import Page, reply, shows
from gateway.store.unlocks import CommandView, command_by_id, commands_of_door

router = APIRouter(prefix="/api/v1", tags=["commands"])
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/commands/{command_id}", **shows(CommandView))
async def show_command(command_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show an order to unlock a door; it is kept for a month, its record for good."""
    return reply(await runtime.store.read(command_by_id, command_id, site_ids=caller.sites, at=runtime.clock()))


@router.get("/doors/{door_id}/commands", **shows(Page[CommandView]))
async def list_commands(door_id: Key, caller: DoorReader, *, runtime: Shared, limit: Limit = 20) -> Response:
    """List the newest orders to unlock a door."""
    door = await door_for(runtime, caller, door_id=door_id)
    found = await runtime.store.read(
        commands_of_door, door.id, edge_id=door.edge_id, site_ids=caller.sites, at=runtime.clock(), limit=limit
    )
    return reply(Page(items=found))
