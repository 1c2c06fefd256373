"""What a person may ask for about themselves: everything that is kept, erasure, and the proof of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse

from gateway.api.deps import Shared, allowed
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.counts import Filing, filings_for, pack
from gateway.erasing import erase, proof_of
from gateway.proofs import ErasureProof
from gateway.subject_access import SubjectExport, export_person

router = APIRouter(prefix="/api/v1", tags=["exports"])
Exporter = Annotated[Caller, Depends(allowed("people:export"))]
Filer = Annotated[Caller, Depends(allowed("assessments:read"))]
Eraser = Annotated[Caller, Depends(allowed("people:erase"))]


@router.get("/people/{person_id}/export", **shows(SubjectExport))
async def export_one(person_id: str, caller: Exporter, *, runtime: Shared) -> Response:
    """Give everything that is kept about a person, where they passed, and who looked at it; the export is on record."""
    made = await runtime.store.write(export_person, person_id, caller=caller, at=runtime.clock())
    name = "".join(char for char in person_id if char.isalnum() or char in "-_")[:64]
    return reply(made, headers={"Content-Disposition": f'attachment; filename="{name}.json"'})


@router.delete("/people/{person_id}", **shows(ErasureProof))
async def erase_one(person_id: str, caller: Eraser, *, runtime: Shared) -> Response:
    """Erase a person: rows here at once, templates on the edges by signed order; the answer is the proof as it stands."""
    return reply(await erase(runtime, person_id, caller=caller))


@router.get("/erasures/{person_id}", **shows(ErasureProof))
async def show_erasure(person_id: str, caller: Eraser, *, runtime: Shared) -> Response:
    """Show the proof of an erasure: which edges confirmed it, signed by each and by the gateway."""
    return reply(await runtime.store.write(proof_of, person_id, caller=caller, runtime=runtime))


@router.get("/filings", **shows(Page[Filing]))
async def list_filings(caller: Filer, runtime: Shared) -> Response:
    """List the handlers whose sites are all in scope, with how many people they enrolled and when they must file."""
    return reply(Page(items=await runtime.store.read(filings_for, caller=caller)))


@router.get("/filings/{handler_id}/pack", response_class=HTMLResponse)
async def print_filing(handler_id: str, caller: Filer, *, runtime: Shared) -> Response:
    """Give the printable pack of a handler's filing: count, sites, notices, measures, impact assessments."""
    page = await runtime.store.write(pack, handler_id, caller=caller, at=runtime.clock())
    return HTMLResponse(page)
