"""Bypasses: alarms of one door raise no alert for a while, because somebody works there. Facts go on; it ends by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared, allowed, once
from gateway.api.doors import door_for
from gateway.api.places import Key
from gateway.api.replies import reply, shows
from gateway.auth.roles import Caller
from gateway.bypassing import begin_bypass, end_bypass
from gateway.views import BypassView

router = APIRouter(prefix="/api/v1", tags=["bypasses"])
Opener = Annotated[Caller, Depends(allowed("doors:unlock"))]
Bypassable = Literal[
    "door_forced", "door_held_open", "door_tampered", "door_faulted", "device_lost", "device_gap", "battery_low"
]
LONGEST_MIN = 24 * 60


class BypassBody(BaseModel):
    """Say which alarms of a door raise no alert, for how long and why; the reason goes on record."""

    model_config = ConfigDict(extra="forbid")
    kinds: Annotated[tuple[Bypassable, ...], Field(min_length=1, max_length=7)]
    minutes: Annotated[int, Field(ge=1, le=LONGEST_MIN)]
    reason: Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


@router.post("/doors/{door_id}/bypass", **shows(BypassView, 201))
async def bypass(
    door_id: Key, body: BypassBody, *, request: Request, caller: Opener, runtime: Shared, key: Once = None
) -> Response:
    """Bypass alarms of a door from now on; another bypass of it ends. Alerts that stand already stay."""
    door = await door_for(runtime, caller, door_id=door_id)

    async def work() -> Response:
        begun = await runtime.store.write(
            begin_bypass, door, kinds=body.kinds, reason=body.reason, lasts=timedelta(minutes=body.minutes),
            caller=caller, at=runtime.clock(),
        )  # fmt: skip
        runtime.bells.alerts_changed()
        return reply(begun, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.delete("/doors/{door_id}/bypass", status_code=204)
async def end(door_id: Key, caller: Opener, *, runtime: Shared) -> Response:
    """End the bypass of a door now; what stands there still raises its alert."""
    door = await door_for(runtime, caller, door_id=door_id)
    await runtime.store.write(end_bypass, door, caller=caller, at=runtime.clock(), routes=runtime.routes)
    runtime.bells.alerts_changed()
    return Response(status_code=204)
