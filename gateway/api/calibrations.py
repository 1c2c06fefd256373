"""Calibrations of a site: counted evidence of false matches, from its own galleries or from labelled photos. Counts only."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from gateway.api.deps import Key as Once
from gateway.api.deps import Moment, Shared, once
from gateway.api.places import Body, DeviceWriter, DoorReader, Id, Key, Pages, site_of
from gateway.api.replies import Page, reply, shows
from gateway.calibrating import CONTRACT_CHARS, check_calibration
from gateway.counting import order_counts
from gateway.on_record import note
from gateway.store import Connection
from gateway.store.calibrations import (
    CalibrationView,
    Counted,
    calibration_for,
    calibrations_of,
    counts_of,
    drop_calibration,
    keep_calibration,
)
from models.calibration import STEPS, ImpostorEvidence

router = APIRouter(prefix="/api/v1/sites", tags=["calibrations"])
Count = Annotated[int, Field(ge=0, le=10**12)]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class EvidenceBody(Body):
    """Hold what `gatehouse evaluate faces --calibration` writes: counts of labelled photos."""

    id: Id
    contract: Annotated[str, Field(min_length=1, max_length=CONTRACT_CHARS)]
    source: Literal["labelled"] = "labelled"
    persons: Annotated[int, Field(ge=2, le=1_000_000)]
    pairs: Count
    matched: Annotated[list[Count], Field(min_length=STEPS, max_length=STEPS)]
    upper: Annotated[list[Rate], Field(min_length=STEPS, max_length=STEPS)]
    at: Moment
    edge_id: Literal[""] = ""


def _id_at(site_id: str, evidence_id: str) -> str:
    """Return the id of labelled evidence at one site: the same file again is a conflict, at another site it is not."""
    return f"cal-{hashlib.sha256(f'{site_id} {evidence_id}'.encode()).hexdigest()[:32]}"


@router.get("/{site_id}/calibrations", **shows(Page[CalibrationView]))
async def list_calibrations(site_id: Key, caller: DoorReader, *, runtime: Shared, pages: Pages) -> Response:
    """List what was counted for a site, and the radius that each count carries for galleries of several sizes."""
    site = site_of(caller, site_id)
    found = await runtime.store.read(calibrations_of, site, after=pages.after, limit=pages.limit + 1)
    items = found[: pages.limit]
    return reply(Page(items=items, next=items[-1].id if len(found) > pages.limit else None))


@router.post("/{site_id}/calibrations", **shows(CalibrationView, 201))
async def add_calibration(
    site_id: Key, body: EvidenceBody, *, request: Request, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add what labelled photos prove; it holds for every edge of the site whose templates have the same contract."""
    site, at = site_of(caller, site_id), runtime.clock()
    named = {**body.model_dump(), "id": _id_at(site, body.id)}
    evidence = check_calibration(msgspec.convert(named, ImpostorEvidence), at=at)

    def write(connection: Connection) -> CalibrationView:
        keep_calibration(connection, evidence, site_id=site)
        counts = {"persons": str(evidence.persons), "pairs": str(evidence.pairs)}
        note(connection, caller, action="calibration.add", subject=evidence.id, at=at, site=site, **counts)
        return calibration_for(connection, evidence.id, site_id=site)

    async def work() -> Response:
        view = await runtime.store.write(write)
        runtime.bells.policies_changed()
        return reply(view, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.post("/{site_id}/calibrations/count", **shows(Page[Counted], 202))
async def order_count(
    site_id: Key, *, request: Request, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Have every edge of a site count false matches within its own consented gallery; no template leaves an edge."""
    site = site_of(caller, site_id)

    async def work() -> Response:
        return reply(Page(items=await order_counts(runtime, site, caller=caller)), 202)

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/{site_id}/calibrations/count", **shows(Page[Counted]))
async def show_counts(site_id: Key, caller: DoorReader, *, runtime: Shared) -> Response:
    """Show how the newest count of each edge stands; what it found is then among the calibrations."""
    return reply(Page(items=await runtime.store.read(counts_of, site_of(caller, site_id), at=runtime.clock())))


@router.delete("/{site_id}/calibrations/{calibration_id}", status_code=204)
async def remove_calibration(site_id: Key, calibration_id: Key, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Remove a count; the one before it holds again, and doors that no other count carries ask for card or PIN too."""
    site = site_of(caller, site_id)

    def write(connection: Connection) -> None:
        drop_calibration(connection, calibration_id, site_id=site)
        note(connection, caller, action="calibration.remove", subject=calibration_id, at=runtime.clock(), site=site)

    await runtime.store.write(write)
    runtime.bells.policies_changed()
    return Response(status_code=204)
