"""Readers of doors: on which side, and what each can take."""

from __future__ import annotations

from typing import Annotated, Literal

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
    Text,
    change_kept,
    changes_in,
    create_kept,
    id_of,
    list_kept,
    record_from,
    remove_kept,
    show_kept,
)
from gateway.api.places import DoorReader as Looker
from gateway.api.replies import Page, shows
from gateway.place_views import DoorReader, ReaderView
from gateway.store.devices import READERS

router = APIRouter(prefix="/api/v1/readers", tags=["readers"])
Kinds = Annotated[
    tuple[Literal["card", "pin", "flat_pin", "qr", "button", "call"], ...], Field(min_length=1, max_length=6)
]


class ReaderChange(Body):
    """Change a reader."""

    side: Literal["in", "out"] = "in"
    kinds: Kinds = ("card", "pin", "button")
    name: Text = ""
    format: Annotated[str, Field(max_length=64)] = ""


class ReaderBody(ReaderChange):
    """Name a reader of a door."""

    id: Id | None = None
    door_id: Id


@router.get("", **shows(Page[ReaderView]))
async def list_readers(caller: Looker, runtime: Shared, *, pages: Pages, door_id: Filter = None) -> Response:
    """List the readers of doors in scope by id."""
    return await list_kept(runtime, READERS, caller=caller, pages=pages, door_id=door_id)


@router.post("", **shows(ReaderView, 201))
async def create_reader(
    body: ReaderBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a reader to a door."""

    def make() -> DoorReader:
        return record_from(body, DoorReader, id=id_of(body.id, "r"))

    return await create_kept(request, runtime, caller=caller, key=key, kind=READERS, make=make)


@router.get("/{reader_id}", **shows(ReaderView))
async def show_reader(reader_id: Key, caller: Looker, *, runtime: Shared) -> Response:
    """Show a reader."""
    return await show_kept(runtime, READERS, key=reader_id, caller=caller)


@router.patch("/{reader_id}", **shows(ReaderView))
async def change_reader(
    reader_id: Key, body: ReaderChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a reader."""
    return await change_kept(
        runtime, READERS, key=reader_id, caller=caller, changes=changes_in(body), if_match=if_match
    )


@router.delete("/{reader_id}", status_code=204)
async def delete_reader(reader_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Take a reader off its door."""
    return await remove_kept(runtime, READERS, key=reader_id, caller=caller, if_match=if_match)
