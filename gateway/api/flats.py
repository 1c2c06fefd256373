"""Flats: building, unit and room, the code that stands for them at keypads, and the groups of who belongs to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
    DeviceWriter,
    Filter,
    Id,
    IfMatch,
    Key,
    Pages,
    PlaceReader,
    Short,
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
from gateway.place_views import FlatView
from gateway.store.sites import FLATS
from models.places import KEYPAD_LIMIT, Flat

router = APIRouter(prefix="/api/v1/flats", tags=["flats"])
Plate = Annotated[Short, Field(min_length=1)]


class FlatChange(Body):
    """Change a flat. `keypad` is typed before `#` where flat and PIN are asked for; `groups` go to all who belong to it."""

    building: Plate = ""
    unit: Short = ""
    room: Plate = ""
    keypad: Annotated[str, Field(max_length=KEYPAD_LIMIT)] = ""
    groups: Annotated[tuple[Id, ...], Field(max_length=16)] = ()


class FlatBody(FlatChange):
    """Name a flat. `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None
    building: Plate
    room: Plate


@router.get("", **shows(Page[FlatView]))
async def list_flats(caller: PlaceReader, runtime: Shared, *, pages: Pages, site_id: Filter = None) -> Response:
    """List the flats of sites in scope by id; not who lives there."""
    return await list_kept(runtime, FLATS, caller=caller, pages=pages, site_id=site_id)


@router.post("", **shows(FlatView, 201))
async def create_flat(
    body: FlatBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a flat."""

    def make() -> Flat:
        return record_from(body, Flat, id=id_of(body.id, "f"), site_id=site_of(caller, body.site_id),
                           unit=body.unit)  # fmt: skip

    return await create_kept(request, runtime, caller=caller, key=key, kind=FLATS, make=make)


@router.get("/{flat_id}", **shows(FlatView))
async def show_flat(flat_id: Key, caller: PlaceReader, *, runtime: Shared) -> Response:
    """Show a flat."""
    return await show_kept(runtime, FLATS, key=flat_id, caller=caller)


@router.patch("/{flat_id}", **shows(FlatView))
async def change_flat(
    flat_id: Key, body: FlatChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a flat; rights that follow from it change at once for all who belong to it."""
    return await change_kept(runtime, FLATS, key=flat_id, caller=caller, changes=changes_in(body), if_match=if_match)


@router.delete("/{flat_id}", status_code=204)
async def delete_flat(flat_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a flat that nobody belongs or belonged to."""
    return await remove_kept(runtime, FLATS, key=flat_id, caller=caller, if_match=if_match)
