"""Sites: compounds below a community, each of one property company, and the register of their cameras."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from pydantic import Field

from gateway.api.areas import Code
from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
    DoorReader,
    Id,
    IfMatch,
    Key,
    Name,
    Pages,
    PlaceReader,
    PlaceWriter,
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
from gateway.api.replies import Page, reply, shows
from gateway.camera_filing import filing_text
from gateway.place_views import RegisterRow, SiteView
from gateway.store.devices import camera_register
from gateway.store.places import site_by_id
from gateway.store.sites import SITES
from models.places import Site

router = APIRouter(prefix="/api/v1/sites", tags=["sites"])


class SiteChange(Body):
    """Change what is known of a compound. `community` has 12 digits, `grid` 15."""

    name: Name = ""
    community: Code = ""
    grid: Code | None = None
    company_id: Id | None = None
    address: Text = ""
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = ""
    lat: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False)] = None
    lon: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False)] = None
    datum: Literal["WGS-84", "GCJ-02", "CGCS2000"] = "WGS-84"


class SiteBody(SiteChange):
    """Name a compound."""

    id: Id | None = None
    name: Name
    community: Code


@router.get("", **shows(Page[SiteView]))
async def list_sites(caller: PlaceReader, runtime: Shared, *, pages: Pages) -> Response:
    """List the sites in scope by id."""
    return await list_kept(runtime, SITES, caller=caller, pages=pages)


@router.post("", **shows(SiteView, 201))
async def create_site(
    body: SiteBody, request: Request, *, caller: PlaceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a site within the areas in scope."""

    def make() -> Site:
        return record_from(body, Site, id=id_of(body.id, "s"))

    return await create_kept(request, runtime, caller=caller, key=key, kind=SITES, make=make)


@router.get("/{site_id}", **shows(SiteView))
async def show_site(site_id: Key, caller: PlaceReader, *, runtime: Shared) -> Response:
    """Show a site."""
    return await show_kept(runtime, SITES, key=site_id, caller=caller)


@router.patch("/{site_id}", **shows(SiteView))
async def change_site(
    site_id: Key, body: SiteChange, *, caller: PlaceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a site."""
    return await change_kept(runtime, SITES, key=site_id, caller=caller, changes=changes_in(body), if_match=if_match)


@router.delete("/{site_id}", status_code=204)
async def delete_site(site_id: Key, caller: PlaceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a site that has nothing: no devices, people, history, or scope that names it."""
    return await remove_kept(runtime, SITES, key=site_id, caller=caller, if_match=if_match)


@router.get("/{site_id}/register", **shows(Page[RegisterRow]))
async def show_register(site_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show the register of a site's cameras: what each is for, whether its entry is complete, and when to file it."""
    rows = await runtime.store.read(camera_register, site_of(caller, site_id))
    return reply(Page(items=rows))


@router.get(
    "/{site_id}/register/print",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The list as text, in Chinese."}},
)
async def print_register(site_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Print the register of a site's cameras for filing with the police (Order 799 article 14)."""
    site = await runtime.store.read(site_by_id, site_of(caller, site_id))
    rows = await runtime.store.read(camera_register, site.id)
    today = runtime.clock().astimezone(ZoneInfo(site.timezone)).date()
    return Response(filing_text(site, rows, on=today), media_type="text/plain; charset=utf-8")
