"""Modes of doors: lock down, evacuate, hold open until; and back. They are wishes that each edge keeps in force by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, allowed, once
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.modes import ModeView, forget_after, mode_views, set_modes
from models.errors import Conflict, InvalidInput, NotFound

router = APIRouter(prefix="/api/v1", tags=["modes"])
Reader = Annotated[Caller, Depends(allowed("doors:read"))]
Opener = Annotated[Caller, Depends(allowed("doors:unlock"))]
Act = Literal["lock_down", "end_lock_down", "evacuate", "end_evacuation"]
LONGEST = timedelta(days=7)


class HoldOpen(BaseModel):
    """Hold a door open until a time (at most a week ahead), or end that with `normal`. The reason goes on record."""

    model_config = ConfigDict(extra="forbid")
    mode: Literal["held_open", "normal"]
    until: AwareDatetime | None = None
    reason: Annotated[str, Field(min_length=3, max_length=200)]


class SiteAct(BaseModel):
    """Lock down or evacuate a site, or some of its doors, or end that. The reason goes on record."""

    model_config = ConfigDict(extra="forbid")
    act: Act
    doors: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]] | None, Field(max_length=500)] = None
    reason: Annotated[str, Field(min_length=3, max_length=200)]


@router.get("/sites/{site_id}/modes", **shows(Page[ModeView]))
async def list_modes(
    site_id: str, caller: Reader, *, runtime: Shared, follows: Annotated[bool | None, Query()] = None
) -> Response:
    """List the modes of a site's doors; `follows=false` only of those that do not follow (yet), after an evacuation too."""
    if site_id not in caller.sites:
        raise NotFound("site", site_id)
    found = await runtime.store.read(mode_views, at=runtime.clock(), site_ids=[site_id])
    return reply(Page(items=[one for one in found if follows in (None, one.follows)]))


@router.put("/doors/{door_id}/mode", **shows(ModeView, about="The wish is kept; `follows` says whether the door does."))
async def hold_open(
    door_id: str, body: HoldOpen, *, request: Request, caller: Opener, runtime: Shared, key: Key = None
) -> Response:
    """Hold one door open until a time, or let it close again."""

    async def work() -> Response:
        view = await runtime.store.write(_hold, door_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(view)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _hold(connection: Connection, door_id: str, *, body: HoldOpen, caller: Caller, runtime: Runtime) -> ModeView:
    at = runtime.clock()
    found = mode_views(connection, at=at, site_ids=caller.sites, door_ids=[door_id])
    if not found:
        raise NotFound("door", door_id)
    if found[0].mode in ("locked_down", "evacuating"):
        raise Conflict(f"this door is {found[0].mode}: end that for the site first")
    if body.mode == "held_open" and (body.until is None or not at < body.until <= at + LONGEST):
        raise InvalidInput("until", "say until when it is held open: after now, at most seven days ahead")
    set_modes(connection, [door_id], mode=body.mode, until=body.until if body.mode == "held_open" else None)
    detail = {"mode": body.mode, "reason": body.reason}
    append_audit(connection, AuditEntry(actor=caller.id, action="door.mode", subject=door_id, detail=detail), at=at)
    return mode_views(connection, at=at, site_ids=caller.sites, door_ids=[door_id])[0]


@router.post("/sites/{site_id}/modes", **shows(Page[ModeView], about="The wishes are kept; each door says `follows`."))
async def act_on_site(
    site_id: str, body: SiteAct, *, request: Request, caller: Opener, runtime: Shared, key: Key = None
) -> Response:
    """Lock down or evacuate, or end that, at once for a site or some of its doors; nobody waits for a dead door."""

    async def work() -> Response:
        views = await runtime.store.write(_act, site_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(Page(items=views))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _act(connection: Connection, site_id: str, *, body: SiteAct, caller: Caller, runtime: Runtime) -> list[ModeView]:
    at = runtime.clock()
    if site_id not in caller.sites:
        raise NotFound("site", site_id)
    found = mode_views(connection, at=at, site_ids=[site_id], door_ids=body.doors)
    missing = set(body.doors or ()) - {view.door_id for view in found}
    if missing:
        raise NotFound("door", min(missing))
    if body.act == "lock_down" and any(view.mode == "evacuating" for view in found):
        raise Conflict("a door is evacuating: end the evacuation before locking down")
    meant = _carry_out(connection, body.act, found=found)
    detail = {"act": body.act, "doors": str(len(meant)), "reason": body.reason, "which": " ".join(meant)[:1000]}
    append_audit(connection, AuditEntry(actor=caller.id, action="site.mode", subject=site_id, detail=detail), at=at)
    return mode_views(connection, at=at, site_ids=[site_id], door_ids=[view.door_id for view in found])


def _carry_out(connection: Connection, act: Act, *, found: list[ModeView]) -> list[str]:
    """Set the modes that an act asks for, and return the doors that it was about; a lock-down outlasts an evacuation."""
    locked = [view.door_id for view in found if view.mode == "locked_down"]
    evacuating = [view for view in found if view.mode == "evacuating"]
    if act == "lock_down":
        set_modes(connection, (meant := [view.door_id for view in found]), mode="locked_down")
    elif act == "end_lock_down":
        set_modes(connection, locked, mode="normal")
        later = [view.door_id for view in evacuating if view.after == "locked_down"]
        forget_after(connection, later)
        meant = [*locked, *later]
    elif act == "evacuate":
        others = [view.door_id for view in found if view.mode not in ("locked_down", "evacuating")]
        set_modes(connection, locked, mode="evacuating", after="locked_down")
        set_modes(connection, others, mode="evacuating")
        meant = [*locked, *others]
    else:
        set_modes(connection, [view.door_id for view in evacuating if view.after is None], mode="normal")
        set_modes(connection, [view.door_id for view in evacuating if view.after is not None], mode="locked_down")
        meant = [view.door_id for view in evacuating]
    return meant
