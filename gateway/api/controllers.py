"""Controllers: boards that drive one to four doors. A board is replaced by changing its serial; its doors keep their history."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
    DeviceWriter,
    DoorReader,
    Filter,
    Id,
    IfMatch,
    Key,
    Name,
    Pages,
    Text,
    change_kept,
    changes_in,
    create_kept,
    id_of,
    list_kept,
    record_from,
    remove_kept,
    show_kept,
    site_of,
)
from gateway.api.replies import Page, shows
from gateway.place_views import ControllerView
from gateway.store.devices import CONTROLLERS
from models.places import Controller

router = APIRouter(prefix="/api/v1/controllers", tags=["controllers"])


class ControllerChange(Body):
    """Change a board: where it is, or which one it is now."""

    name: Name = ""
    edge_id: Id = ""
    model: Text = ""
    serial: Text = ""
    address: Text = ""


class ControllerBody(ControllerChange):
    """Name a board. `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None
    name: Name
    edge_id: Id


@router.get("", **shows(Page[ControllerView]))
async def list_controllers(
    caller: DoorReader, runtime: Shared, *, pages: Pages, site_id: Filter = None, edge_id: Filter = None
) -> Response:
    """List the controllers of sites in scope by id."""
    return await list_kept(runtime, CONTROLLERS, caller=caller, pages=pages, site_id=site_id, edge_id=edge_id)


@router.post("", **shows(ControllerView, 201))
async def create_controller(
    body: ControllerBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a controller."""

    def make() -> Controller:
        return record_from(body, Controller, id=id_of(body.id, "ct"), site_id=site_of(caller, body.site_id))

    return await create_kept(request, runtime, caller=caller, key=key, kind=CONTROLLERS, make=make)


@router.get("/{controller_id}", **shows(ControllerView))
async def show_controller(controller_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show a controller."""
    return await show_kept(runtime, CONTROLLERS, key=controller_id, caller=caller)


@router.patch("/{controller_id}", **shows(ControllerView))
async def change_controller(
    controller_id: Key, body: ControllerChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a controller."""
    return await change_kept(
        runtime, CONTROLLERS, key=controller_id, caller=caller, changes=changes_in(body), if_match=if_match
    )


@router.delete("/{controller_id}", status_code=204)
async def delete_controller(
    controller_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Delete a controller that drives no door."""
    return await remove_kept(runtime, CONTROLLERS, key=controller_id, caller=caller, if_match=if_match)
