"""Imports: many residents from one spreadsheet. The file is the raw body, is checked in memory and never kept."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from gateway.api.deps import Key, Shared, allowed, once
from gateway.api.replies import Page, cursor_after, place_in, reply, shows
from gateway.auth.roles import Caller
from gateway.bulk.importing import begin, check
from gateway.bulk.reports import ImportView
from gateway.bulk.undo import undo
from gateway.store.imports import import_by_id, imports_of
from models.errors import InvalidInput, NotFound

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])
Writer = Annotated[Caller, Depends(allowed("people:import"))]
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FILE = {"requestBody": {"required": True, "content": {"text/csv": {}, SHEET: {}, "application/octet-stream": {}}}}


SHOWN = shows(ImportView, 202, about="Checked and queued; ask again for its progress.")
SHOWN["responses"] |= shows(ImportView, about="Only checked, or the same file was imported before.")["responses"]


@router.post("", openapi_extra=FILE, **SHOWN)
async def create_import(
    request: Request, caller: Writer, *, runtime: Shared, key: Key = None,
    site_id: Annotated[str | None, Query(max_length=64)] = None, dry_run: bool = False,
) -> Response:  # fmt: skip
    """Check a CSV or XLSX file and import its residents; with `dry_run`, only say what would happen.

    The same file again changes nothing: the earlier import is answered, with `repeated`.
    """
    site = _site(site_id, caller)
    content = await request.body()

    async def work() -> Response:
        if dry_run:
            return reply(await check(runtime, content, site_id=site, caller=caller))
        view = await begin(runtime, content, site_id=site, caller=caller)
        return reply(view, 200 if view.repeated else 202)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _site(site_id: str | None, caller: Caller) -> str:
    if site_id is None and len(caller.sites) != 1:
        raise InvalidInput("site_id", "say which site: you have none or several in scope")
    chosen = next(iter(caller.sites)) if site_id is None else site_id
    if chosen not in caller.sites:
        raise NotFound("site", chosen)
    return chosen


@router.get("", **shows(Page[ImportView]))
async def list_imports(
    caller: Writer, runtime: Shared, *, cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:  # fmt: skip
    """List imports of the sites in scope, newest first."""
    found = await runtime.store.read(imports_of, site_ids=caller.sites, before=place_in(cursor), limit=limit + 1)
    items = found[:limit]
    last = items[-1] if len(found) > limit else None
    return reply(Page(items=items, next=cursor_after(last.created_at, last.id) if last else None))


@router.get("/{import_id}", **shows(ImportView))
async def show_import(import_id: str, caller: Writer, *, runtime: Shared) -> Response:
    """Show how far an import is, what it did, and every row that it rejected; it holds nobody's name."""
    return reply(await runtime.store.read(import_by_id, import_id, site_ids=caller.sites))


@router.post("/{import_id}/undo", **shows(ImportView))
async def undo_import(
    import_id: str, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Take an import back; what somebody changed since stays, and is named under `conflicts`."""

    async def work() -> Response:
        return reply(await undo(runtime, import_id, caller=caller))

    return await once(request, runtime, caller=caller, key=key, work=work)
