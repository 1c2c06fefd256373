"""The area tree: districts, subdistricts, communities and grids by their official codes, with validity and successors."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
    IfMatch,
    Name,
    Pages,
    PlaceReader,
    PlaceWriter,
    change_kept,
    changes_in,
    create_kept,
    list_kept,
    record_from,
    remove_kept,
    show_kept,
)
from gateway.api.replies import Page, shows
from gateway.place_views import AreaView
from gateway.store.areas import AREAS
from models.places import Area

router = APIRouter(prefix="/api/v1/areas", tags=["areas"])
DIGITS = r"^([0-9]{6}|[0-9]{9}|[0-9]{12}|[0-9]{15})$"
Code = Annotated[str, Field(pattern=DIGITS)]
CodePath = Annotated[str, Path(pattern=DIGITS)]
Level = Literal["district", "subdistrict", "community", "grid"]


class AreaChange(Body):
    """Change a name, the days of validity, or the code that replaces this one."""

    name: Name = ""
    valid_from: date | None = None
    valid_until: date | None = None
    successor: Code | None = None


class AreaBody(AreaChange):
    """Name one node of the tree."""

    code: Code
    level: Level
    name: Name
    parent: Code | None = None


@router.get("", **shows(Page[AreaView]))
async def list_areas(
    caller: PlaceReader, runtime: Shared, *, pages: Pages, level: Level | None = None,
    parent: Annotated[str | None, Query(pattern=DIGITS)] = None,
) -> Response:  # fmt: skip
    """List the areas in scope, and those above sites in scope, by code."""
    return await list_kept(runtime, AREAS, caller=caller, pages=pages, level=level, parent=parent)


@router.post("", **shows(AreaView, 201))
async def create_area(
    body: AreaBody, request: Request, *, caller: PlaceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add an area."""
    return await create_kept(request, runtime, caller=caller, key=key, kind=AREAS, make=lambda: record_from(body, Area))


@router.get("/{code}", **shows(AreaView))
async def show_area(code: CodePath, caller: PlaceReader, *, runtime: Shared) -> Response:
    """Show an area."""
    return await show_kept(runtime, AREAS, key=code, caller=caller)


@router.patch("/{code}", **shows(AreaView))
async def change_area(
    code: CodePath, body: AreaChange, *, caller: PlaceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change an area. A successor takes its sites over: who has the old code in scope has the new one."""
    return await change_kept(runtime, AREAS, key=code, caller=caller, changes=changes_in(body), if_match=if_match)


@router.delete("/{code}", status_code=204)
async def delete_area(code: CodePath, caller: PlaceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete an area that nothing lies in and no scope names."""
    return await remove_kept(runtime, AREAS, key=code, caller=caller, if_match=if_match)
