"""How the system stands: for people (system, facts), for load balancers (healthz, readyz) and for Prometheus (metrics)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from gateway.api.deps import Shared, allowed, identify
from gateway.api.replies import Page, cursor_after, place_in, reply, shows
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.edges import edge_views
from gateway.store.facts import facts_of
from gateway.store.feed import feed_range
from gateway.store.outbox import deliveries
from gateway.views import DeliveryView, EdgeView
from models.errors import StorageUnavailable

router = APIRouter(tags=["system"])


class _Named(msgspec.Struct, frozen=True):
    """Read of a fact only whom it is about."""

    person_id: str | None = None


_named = msgspec.json.Decoder(_Named)
LOOPBACK = frozenset({"127.0.0.1", "::1"})


class SystemView(msgspec.Struct, frozen=True, kw_only=True):
    """Show how the system stands."""

    version: str
    at: datetime
    database: str
    edges: list[EdgeView]
    centres: list[DeliveryView]
    counters: dict[str, int]


@router.get("/api/v1/system", **shows(SystemView))
async def system(caller: Annotated[Caller, Depends(allowed("system:read"))], runtime: Shared) -> Response:
    """Show versions, edges and what waits for the centre."""
    at = runtime.clock()
    return reply(
        SystemView(
            version=runtime.version,
            at=at,
            database="sqlite" if runtime.store.sqlite else "postgresql",
            edges=await runtime.store.read(edge_views, site_ids=caller.sites, at=at),
            centres=await runtime.store.read(deliveries),
            counters=dict(runtime.counters),
        )
    )


@router.get("/api/v1/facts", **shows(Page[dict[str, Any]]))
async def list_facts(
    caller: Annotated[Caller, Depends(allowed("facts:read"))], runtime: Shared, *,
    source_id: Annotated[str | None, Query(max_length=64)] = None,
    kind: Annotated[str | None, Query(alias="type", max_length=32)] = None,
    cursor: Annotated[str | None, Query(max_length=300)] = None, limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List facts in scope, newest first. They say who passed where, so the look is on record."""
    found = await runtime.store.read(
        facts_of, site_ids=caller.sites, source_id=source_id, kind=kind, before=place_in(cursor), limit=limit + 1
    )
    items = found[:limit]
    entry = AuditEntry(
        actor=caller.id,
        reason=caller.reason,
        action="facts.list",
        subject=source_id or "",
        detail={"count": str(len(items))},
        people=tuple(who for _, _, body in items if (who := _named.decode(body).person_id)),
    )
    await runtime.store.write(append_audit, entry, at=runtime.clock())
    more = cursor_after(items[-1][0], items[-1][1]) if len(found) > limit else None
    return reply(Page(items=[body for _, _, body in items], next=more))


@router.get("/healthz", include_in_schema=False)
async def healthz() -> Response:
    """Say that the process answers."""
    return reply({"ok": True})


@router.get("/readyz", include_in_schema=False)
async def readyz(runtime: Shared) -> Response:
    """Say whether the database answers."""
    try:
        _, newest = await runtime.store.read(feed_range)
    except StorageUnavailable as error:
        raise HTTPException(503, "the database does not answer") from error
    return reply({"ok": True, "feed": newest})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, runtime: Shared) -> Response:
    """Show counters in Prometheus' text format, to this machine or to who may read the system's state."""
    local = request.client is not None and request.client.host in LOOPBACK
    if not local:
        caller = await identify(request, runtime)
        if caller is None:
            raise HTTPException(401, "log in or send a token")
        caller.require("system:read")
    return Response(await _lines(runtime), media_type="text/plain; version=0.0.4")


async def _lines(runtime: Runtime) -> str:
    at = runtime.clock()
    lines = [f'gatehouse_info{{version="{runtime.version}"}} 1']
    lines += [f"gatehouse_{name} {value}" for name, value in sorted(runtime.counters.items())]
    edges = await runtime.store.read(edge_views, site_ids=None, at=at)
    lines += [f'gatehouse_edge_online{{edge="{edge.id}"}} {int(edge.online)}' for edge in edges]
    lines += [f'gatehouse_edge_backlog{{edge="{edge.id}"}} {edge.backlog}' for edge in edges]
    for centre in await runtime.store.read(deliveries):
        for state in ("waiting", "delivered", "dead"):
            lines.append(f'gatehouse_outbox{{centre="{centre.centre_id}",state="{state}"}} {getattr(centre, state)}')
        lines.append(f'gatehouse_centre_paused{{centre="{centre.centre_id}"}} {int(centre.paused_at is not None)}')
    return "\n".join(lines) + "\n"
