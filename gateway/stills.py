"""Stills: one picture of a camera, no face in it recognisable, asked of its edge to draw a near zone on; gone within the hour."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.auth.roles import Caller
from gateway.media import file_of, folder_of
from gateway.on_record import note
from gateway.place_views import CameraSettings, StillView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.devices import CAMERAS
from gateway.store.edges import add_command
from gateway.store.media import Medium
from gateway.store.stills import open_still, still_asked
from models.errors import Conflict, NotFound
from models.link import TakeStill

PATIENCE: Final = timedelta(seconds=15)
"""How long an edge may take; a face process that has just begun needs eight seconds."""


async def ask_for_still(runtime: Runtime, camera_id: str, *, caller: Caller) -> StillView:
    """Order a still of a camera from its edge, unless one is on its way, and return how the order stands: waiting.

    Raises:
        NotFound: there is no such camera in the caller's scope.
        Conflict: its stream is off for want of a register entry.
    """
    camera: CameraSettings = await runtime.store.read(CAMERAS.shown, camera_id, caller=caller)
    if camera.register is None:
        raise Conflict("this camera has no register entry, so its stream is off: register it first")
    view = await runtime.store.write(_order, camera, caller=caller, at=runtime.clock())
    runtime.bells.edge(camera.edge_id).ring()
    return view


def _order(connection: Connection, camera: CameraSettings, *, caller: Caller, at: datetime) -> StillView:
    """Keep an order for a still; where one is open, that one is the answer. Either way the asking is on record."""
    asked = open_still(connection, camera.id, at=at)
    if asked is not None:
        order, asked_at = asked.order, asked.asked_at
    else:
        order, asked_at = TakeStill(id=str(uuid.uuid4()), camera_id=camera.id, deadline=at + PATIENCE), at
        add_command(connection, order, edge_id=camera.edge_id, at=at)
    entry = AuditEntry(
        actor=caller.id, reason=caller.reason, action="camera.still", subject=camera.id,
        result="sent" if asked is None else "waiting", detail={"site": camera.site_id, "command": order.id},
    )  # fmt: skip
    append_audit(connection, entry, at=at)
    return StillView(id=order.id, camera_id=camera.id, state="waiting", asked_at=asked_at)


def still_view(connection: Connection, still_id: str, *, camera_id: str, caller: Caller, runtime: Runtime) -> StillView:
    """Return how an order for a still stands.

    Raises:
        NotFound: there was none, or none that the caller may see.
    """
    CAMERAS.shown(connection, camera_id, caller=caller)
    asked = still_asked(connection, still_id, camera_id=camera_id)
    view = StillView(id=still_id, camera_id=camera_id, state="waiting", asked_at=asked.asked_at)
    result = asked.result
    if result is None:
        return view if runtime.clock() <= asked.order.deadline else _failed(view, "no_answer")
    if result.state != "confirmed":
        return _failed(view, result.reason or result.state, result.detail)
    if asked.medium is None or not asked.medium.blurred:
        return _failed(view, "gone", "it was kept for an hour: take another")
    return StillView(id=still_id, camera_id=camera_id, state="ready", asked_at=asked.asked_at, at=asked.medium.at)


def _failed(view: StillView, reason: str, detail: str = "") -> StillView:
    return StillView(
        id=view.id, camera_id=view.camera_id, state="failed", asked_at=view.asked_at, reason=reason, detail=detail
    )


async def still_file(runtime: Runtime, still_id: str, *, camera_id: str, caller: Caller) -> Path:
    """Return the file of a still; the look is on record.

    Raises:
        NotFound: there is none (any more), or none that the caller may see.
    """
    medium = await runtime.store.write(_look, still_id, camera_id=camera_id, caller=caller, runtime=runtime)
    file = file_of(folder_of(runtime), medium)
    if not file.is_file():
        raise NotFound("still", still_id)
    return file


def _look(connection: Connection, still_id: str, *, camera_id: str, caller: Caller, runtime: Runtime) -> Medium:
    CAMERAS.shown(connection, camera_id, caller=caller)
    medium = still_asked(connection, still_id, camera_id=camera_id).medium
    if medium is None or not medium.blurred:
        raise NotFound("still", still_id)
    note(connection, caller, action="media.look", subject=still_id, at=runtime.clock(), camera=camera_id)
    return medium
