"""The edges' side of the gateway (models.link): every request is signed; facts are acknowledged after commit and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from gateway.api.deps import Shared
from gateway.api.replies import reply
from gateway.api.streams import PING, event, stream
from gateway.auth.signatures import is_nonce, is_time, read_public_key, signed_by
from gateway.bells import heard
from gateway.intake import split_batch, take_in
from gateway.orders import take_result
from gateway.runtime import Runtime
from gateway.status import take_status
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.edges import EdgeIdentity, commands_wait, edge_identity, enrol_edge, spend_nonce, take_commands
from gateway.store.policy import current_policy
from models.errors import InvalidInput, NotFound
from models.link import HEADER_EDGE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, EdgeStatus, Result, signing_input
from models.places import check_id
from models.policy import Policy

router = APIRouter(prefix="/edge/v1", tags=["edges"], include_in_schema=False)
PING_S = 10.0
LOOK_S = 1.0


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Introduce an edge with the one-time token of its site."""

    token: str
    edge_id: str
    name: str
    public_key: str


def _unsigned(runtime: Runtime, what: str) -> HTTPException:
    runtime.count("edge_requests_refused")
    return HTTPException(401, what, headers={HEADER_TIME: str(int(runtime.clock().timestamp()))})


def _decoded(body: bytes, type_: type[msgspec.Struct]) -> object:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("body", str(error)) from error


async def signed_edge(request: Request, runtime: Shared) -> EdgeIdentity:
    """Return the edge that signed a request.

    Raises:
        HTTPException: 401: unknown or revoked, wrong signature, another time (the answer says ours), or seen before.
    """
    given = request.headers
    edge_id, time_s, nonce = given.get(HEADER_EDGE, ""), given.get(HEADER_TIME, ""), given.get(HEADER_NONCE, "")
    if not is_time(time_s) or not is_nonce(nonce):
        raise _unsigned(runtime, f"sign the request: {HEADER_TIME} and {HEADER_NONCE} are missing or malformed")
    edge = await runtime.store.read(edge_identity, edge_id)
    if edge is None:
        raise _unsigned(runtime, "this edge is not enrolled, or was revoked")
    raw = request.scope.get("raw_path") or request.url.path.encode()
    target = raw.decode("latin-1").split("?")[0] + (f"?{request.url.query}" if request.url.query else "")
    content = signing_input(request.method, target, body=await request.body(), time_s=time_s, nonce=nonce)
    if not signed_by(edge.public_key, given.get(HEADER_SIGNATURE, ""), content):
        raise _unsigned(runtime, "the signature does not fit the request")
    at = runtime.clock()
    if abs(int(time_s) - at.timestamp()) > runtime.clock_window_s:
        raise _unsigned(runtime, "the edge's clock is too far from ours")
    if not await runtime.store.write(spend_nonce, nonce.lower(), edge_id=edge.id, at=at):
        raise _unsigned(runtime, "this nonce was seen before")
    return edge


Edge = Annotated[EdgeIdentity, Depends(signed_edge)]


@router.post("/enrol", status_code=201)
async def enrol(request: Request, runtime: Shared) -> Response:
    """Enrol an edge by a one-time token."""
    told = _decoded(await request.body(), Enrolment)
    assert isinstance(told, Enrolment)  # noqa: S101 - the decoder's promise
    check_id(told.edge_id, "edge_id")
    read_public_key(told.public_key)
    edge = await runtime.store.write(_enrol, told, runtime=runtime)
    return reply({"edge_id": edge.id, "site_id": edge.site_id}, 201)


def _enrol(connection: Connection, told: Enrolment, *, runtime: Runtime) -> EdgeIdentity:
    at, name = runtime.clock(), told.name[:128]
    edge = enrol_edge(connection, told.token, edge_id=told.edge_id, name=name, public_key=told.public_key, at=at)
    append_audit(connection, AuditEntry(actor=edge.id, action="edge.enrol", subject=edge.id), at=at)
    return edge


@router.post("/facts")
async def facts(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take a batch of facts; every id in the answer is durable."""
    items = split_batch(await request.body())
    taken = await runtime.store.write(take_in, items, edge=edge, at=runtime.clock(), routes=runtime.routes)
    runtime.bells.alerts_changed()
    runtime.count("facts_taken", len(taken.committed))
    runtime.count("facts_set_aside", len(taken.rejected))
    return reply(taken)


async def _policy(runtime: Runtime, edge: EdgeIdentity) -> Policy:
    return await runtime.store.write(current_policy, edge.id, site_id=edge.site_id, at=runtime.clock())


@router.get("/policy")
async def policy(edge: Edge, runtime: Shared, *, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Hand out the edge's policy, or 304 if it has this one."""
    current = await _policy(runtime, edge)
    headers = {"ETag": f'"{current.epoch}-{current.n}"'}
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return reply(current, headers=headers)


@router.get("/commands", response_class=StreamingResponse)
async def commands(edge: Edge, runtime: Shared) -> StreamingResponse:
    """Stream commands and the news that the policy changed."""
    return stream(_commands(runtime, edge))


async def _commands(runtime: Runtime, edge: EdgeIdentity) -> AsyncIterator[bytes]:
    bell, told, silent_s = runtime.bells.edge(edge.id), (0, 0), 0.0
    look_s = PING_S if runtime.store.sqlite else LOOK_S
    news = True
    yield PING
    while not runtime.bells.closing.is_set():
        ring = bell.next_ring()
        if await runtime.store.read(commands_wait, edge.id, at=runtime.clock()):
            for command in await runtime.store.write(take_commands, edge.id, at=runtime.clock()):
                yield event("command", msgspec.json.encode(command))
        if news or silent_s >= PING_S:
            if await runtime.store.read(edge_identity, edge.id) is None:
                return  # revoked
            current = await _policy(runtime, edge)
            if (current.epoch, current.n) != told:
                told = (current.epoch, current.n)
                yield event("policy", msgspec.json.encode(told))
        if silent_s >= PING_S:
            silent_s = 0.0
            yield PING
        news = await heard(ring, within_s=look_s)
        silent_s = silent_s + look_s if not news else silent_s


@router.get("/relay/{ticket}")
async def relay(ticket: str, edge: Edge, *, runtime: Shared) -> Response:
    """Hand out the photo behind a ticket, once."""
    content = runtime.relay.fetch(ticket, edge_id=edge.id)
    if content is None:
        raise NotFound("ticket", ticket[:8])
    return Response(content, media_type="application/octet-stream")


@router.post("/results", status_code=204)
async def results(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take how a command ended; a repeated or unknown one changes nothing."""
    result = _decoded(await request.body(), Result)
    assert isinstance(result, Result)  # noqa: S101 - the decoder's promise
    await runtime.store.write(take_result, result, edge=edge, runtime=runtime)
    runtime.bells.results.ring()
    return Response(status_code=204)


@router.post("/status", status_code=204)
async def status(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take how the edge and its devices stand."""
    told = _decoded(await request.body(), EdgeStatus)
    assert isinstance(told, EdgeStatus)  # noqa: S101 - the decoder's promise
    if await runtime.store.write(take_status, told, edge=edge, runtime=runtime):
        runtime.bells.alerts_changed()
    return Response(status_code=204)
