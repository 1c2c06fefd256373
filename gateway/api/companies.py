"""Property companies. They do not see one another: a company is shown to who has one of its sites in scope."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
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
)
from gateway.api.replies import Page, shows
from gateway.place_views import CompanyView
from gateway.store.areas import COMPANIES
from models.places import Company

router = APIRouter(prefix="/api/v1/companies", tags=["companies"])


class CompanyChange(Body):
    """Change a company's name, or the office (not a person) that answers for it."""

    name: Name = ""
    contact: Text = ""


class CompanyBody(CompanyChange):
    """Name a company."""

    id: Id | None = None
    name: Name


@router.get("", **shows(Page[CompanyView]))
async def list_companies(caller: PlaceReader, runtime: Shared, *, pages: Pages) -> Response:
    """List the companies of sites in scope by id."""
    return await list_kept(runtime, COMPANIES, caller=caller, pages=pages)


@router.post("", **shows(CompanyView, 201))
async def create_company(
    body: CompanyBody, request: Request, *, caller: PlaceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a company; for administrators whose scope is every site."""

    def make() -> Company:
        return record_from(body, Company, id=id_of(body.id, "co"))

    return await create_kept(request, runtime, caller=caller, key=key, kind=COMPANIES, make=make)


@router.get("/{company_id}", **shows(CompanyView))
async def show_company(company_id: Key, caller: PlaceReader, *, runtime: Shared) -> Response:
    """Show a company."""
    return await show_kept(runtime, COMPANIES, key=company_id, caller=caller)


@router.patch("/{company_id}", **shows(CompanyView))
async def change_company(
    company_id: Key, body: CompanyChange, *, caller: PlaceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a company; for administrators whose scope is every site."""
    return await change_kept(
        runtime, COMPANIES, key=company_id, caller=caller, changes=changes_in(body), if_match=if_match
    )


@router.delete("/{company_id}", status_code=204)
async def delete_company(
    company_id: Key, caller: PlaceWriter, *, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Delete a company that has no sites."""
    return await remove_kept(runtime, COMPANIES, key=company_id, caller=caller, if_match=if_match)
