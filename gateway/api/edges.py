"""Edges at the gateway: which there are, a token for a new one, another name, and refusing one from now on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, StatedReason, allowed, once
from gateway.api.replies import Page, etag_of, reply, reply_once, shows, version_in
from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.edges import (
    TOKEN_LIFE,
    add_edge_token,
    check_edge_name,
    edge_view,
    edge_views,
    new_edge_token,
    rename_edge,
    revoke_edge,
)
from gateway.store.places import site_by_id
from gateway.views import EdgeView
from models.errors import NotFound

router = APIRouter(prefix="/api/v1/edges", tags=["edges"])
Reader = Annotated[Caller, Depends(allowed("edges:read"))]
Writer = Annotated[Caller, Depends(allowed("edges:write"))]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=64)]


class TokenBody(BaseModel):
    """Say for which site a new edge is."""

    model_config = ConfigDict(extra="forbid")
    site_id: Annotated[str, Field(min_length=1, max_length=64)]


class NameBody(BaseModel):
    """Give an edge another name."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=128)]


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a one-time enrolment token; it is kept as a hash and never shown again: a repeated request shows it empty."""

    site_id: str
    token: str
    valid_until: datetime


@router.get("", **shows(Page[EdgeView]))
async def list_edges(
    caller: Reader, runtime: Shared, *,
    cursor: Annotated[str | None, Query(max_length=64)] = None, limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List the edges in scope and how they stand."""
    views = await runtime.store.read(edge_views, site_ids=caller.sites, at=runtime.clock())
    rest = [view for view in views if cursor is None or view.id > cursor]
    return reply(Page(items=rest[:limit], next=rest[limit - 1].id if len(rest) > limit else None))


@router.get("/{edge_id}", **shows(EdgeView))
async def show_edge(edge_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show how an edge stands."""
    view = await runtime.store.read(edge_view, edge_id, site_ids=caller.sites, at=runtime.clock())
    return reply(view, headers=etag_of(view.version))


@router.post("/tokens", **shows(TokenView, 201))
async def create_token(
    body: TokenBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Make a token that enrols one edge at a site, once, within an hour."""

    async def work() -> Response:
        view = await runtime.store.write(_token, body.site_id, caller=caller, runtime=runtime)
        return reply_once(view, 201, kept=msgspec.structs.replace(view, token=""))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _token(connection: Connection, site_id: str, *, caller: Caller, runtime: Runtime) -> TokenView:
    if site_id not in caller.sites:
        raise NotFound("site", site_id)
    at, token = runtime.clock(), new_edge_token(runtime.gateway_key.public_key)
    site_by_id(connection, site_id)
    add_edge_token(connection, token, site_id=site_id, at=at)
    note(connection, caller, action="edge.token", subject=site_id, at=at)
    return TokenView(site_id=site_id, token=token, valid_until=at + TOKEN_LIFE)


@router.patch("/{edge_id}", **shows(EdgeView))
async def rename(
    edge_id: str, body: NameBody, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Give an edge another name."""
    name, version = check_edge_name(body.name), version_in(if_match)
    view = await runtime.store.write(_rename, edge_id, name=name, version=version, caller=caller, runtime=runtime)
    return reply(view, headers=etag_of(view.version))


def _rename(
    connection: Connection, edge_id: str, *, name: str, version: int | None, caller: Caller, runtime: Runtime
) -> EdgeView:
    at = runtime.clock()
    edge_view(connection, edge_id, site_ids=caller.sites, at=at)
    rename_edge(connection, edge_id, name=name, version=version)
    note(connection, caller, action="edge.rename", subject=edge_id, at=at)
    return edge_view(connection, edge_id, site_ids=caller.sites, at=at)


@router.post("/{edge_id}/revoke", **shows(EdgeView))
async def revoke(edge_id: str, *, caller: Writer, runtime: Shared, _reason: StatedReason) -> Response:
    """Refuse an edge from now on: its streams end, its requests are refused, siblings seal nothing to it any more."""
    view = await runtime.store.write(_revoke, edge_id, caller=caller, runtime=runtime)
    runtime.relay.refuse(edge_id)
    runtime.bells.policies_changed()
    return reply(view)


def _revoke(connection: Connection, edge_id: str, *, caller: Caller, runtime: Runtime) -> EdgeView:
    at = runtime.clock()
    view = edge_view(connection, edge_id, site_ids=caller.sites, at=at)
    if view.revoked_at is None:
        revoke_edge(connection, edge_id, at=at)
        note(connection, caller, action="edge.revoke", subject=edge_id, at=at)
    return edge_view(connection, edge_id, site_ids=caller.sites, at=at)
