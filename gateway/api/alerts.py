"""Alerts: list, look, acknowledge, resolve."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Shared, allowed
from gateway.api.replies import Page, cursor_after, etag_of, place_in, reply, shows, version_in
from gateway.auth.roles import Caller
from gateway.changes import tell_change
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.alerts import acknowledge_alert, alert_by_id, alerts_of, check_version, resolve_alert
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.dialect import hold_feed
from gateway.views import AlertView

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])
Reader = Annotated[Caller, Depends(allowed("alerts:read"))]
Actor = Annotated[Caller, Depends(allowed("alerts:act"))]
IfMatch = Annotated[str | None, Header(max_length=64)]
Note = Annotated[str | None, Field(max_length=2000)]


class Acknowledgement(BaseModel):
    """Say that somebody takes care of it."""

    model_config = ConfigDict(extra="forbid")
    note: Note = None


class Resolution(BaseModel):
    """Say what came of it."""

    model_config = ConfigDict(extra="forbid")
    disposition: Literal["handled", "false_alarm", "drill", "no_action"]
    note: Note = None


@router.get("", **shows(Page[AlertView]))
async def list_alerts(
    caller: Reader, runtime: Shared, *, status: Literal["open", "all"] = "open",
    cursor: Annotated[str | None, Query(max_length=300)] = None, limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List alerts in scope, newest first; open ones are those that nobody has resolved."""
    found = await runtime.store.read(
        alerts_of, site_ids=caller.sites, open_only=status == "open", before=place_in(cursor), limit=limit + 1
    )
    items = found[:limit]
    more = cursor_after(items[-1].raised_at, items[-1].id) if len(found) > limit else None
    return reply(Page(items=items, next=more))


@router.get("/{alert_id}", **shows(AlertView))
async def show_alert(alert_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show one alert."""
    alert = await runtime.store.read(alert_by_id, alert_id, site_ids=caller.sites)
    return reply(alert, headers=etag_of(alert.version))


@router.post("/{alert_id}/acknowledge", **shows(AlertView))
async def acknowledge(
    alert_id: str, body: Acknowledgement, *, caller: Actor, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Take care of an alert: it stops ringing everywhere."""
    version = version_in(if_match)
    alert = await runtime.store.write(
        _acknowledge, alert_id, body=body, caller=caller, runtime=runtime, version=version
    )
    runtime.bells.alerts_changed()
    return reply(alert, headers=etag_of(alert.version))


def _acknowledge(
    connection: Connection,
    alert_id: str,
    *,
    body: Acknowledgement,
    caller: Caller,
    runtime: Runtime,
    version: int | None,
) -> AlertView:
    hold_feed(connection)
    at = runtime.clock()
    alert_by_id(connection, alert_id, site_ids=caller.sites)
    check_version(connection, alert_id, version=version)
    acknowledge_alert(connection, alert_id, user_id=caller.id, note=body.note, site_ids=caller.sites, at=at)
    append_audit(
        connection,
        AuditEntry(actor=caller.id, reason=caller.reason, action="alert.acknowledge", subject=alert_id),
        at=at,
    )
    return tell_change(connection, alert_id, change="acknowledged", at=at, routes=runtime.routes)


@router.post("/{alert_id}/resolve", **shows(AlertView))
async def resolve(
    alert_id: str, body: Resolution, *, caller: Actor, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Say what came of an alert; it leaves the list of open ones."""
    version = version_in(if_match)
    alert = await runtime.store.write(_resolve, alert_id, body=body, caller=caller, runtime=runtime, version=version)
    runtime.bells.alerts_changed()
    return reply(alert, headers=etag_of(alert.version))


def _resolve(
    connection: Connection, alert_id: str, *, body: Resolution, caller: Caller, runtime: Runtime, version: int | None
) -> AlertView:
    hold_feed(connection)
    at = runtime.clock()
    alert_by_id(connection, alert_id, site_ids=caller.sites)
    check_version(connection, alert_id, version=version)
    resolve_alert(
        connection,
        alert_id,
        user_id=caller.id,
        disposition=body.disposition,
        note=body.note,
        site_ids=caller.sites,
        at=at,
    )
    entry = AuditEntry(
        actor=caller.id,
        reason=caller.reason,
        action="alert.resolve",
        subject=alert_id,
        detail={"disposition": body.disposition},
    )
    append_audit(connection, entry, at=at)
    return tell_change(connection, alert_id, change="resolved", at=at, routes=runtime.routes)
