"""The edges' side of the gateway (models.link): every request is signed; facts are acknowledged after commit and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from gateway.api.deps import Shared
from gateway.api.replies import reply
from gateway.api.signed import Edge
from gateway.api.streams import PING, event, stream
from gateway.auth.signatures import read_public_key
from gateway.bells import heard
from gateway.intake import check_time, split_batch, take_in
from gateway.orders import take_result
from gateway.policies import Version
from gateway.runtime import Runtime
from gateway.status import take_status
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.checkpoints import latest_checkpoint
from gateway.store.edges import NAME_CHARS, EdgeIdentity, enrol_edge, is_enrolled, mark_delivered, waiting_commands
from gateway.store.enrolments import keep_progress, was_called_off
from models.errors import InvalidInput
from models.link import (
    HEADER_CHECKPOINT,
    HEADER_POLICY,
    HEADER_POLICY_SIGNATURE,
    Command,
    EdgeStatus,
    Heard,
    Introduction,
    Progress,
    Result,
    Welcome,
    command_statement,
)
from models.places import check_id

router = APIRouter(prefix="/edge/v1", tags=["edges"], include_in_schema=False)
PING_S = 10.0
LOOK_S = 1.0
"""How often a stream looks for what another process did: commands, a revocation, a change."""
T = TypeVar("T", bound=msgspec.Struct)


def _decoded(body: bytes, type_: type[T]) -> T:
    if b"\\u0000" in body:
        raise InvalidInput("body", "no text here holds the character NUL")
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("body", str(error)) from error


@router.post("/enrol", status_code=201)
async def enrol(request: Request, runtime: Shared) -> Response:
    """Enrol an edge by a one-time token."""
    told = _decoded(await request.body(), Introduction)
    check_id(told.edge_id, "edge_id")
    read_public_key(told.public_key)
    if told.seal_key:
        read_public_key(told.seal_key, where="seal_key", kind="X25519")
    name = "".join(char for char in told.name if char.isprintable())[:NAME_CHARS]
    edge = await runtime.store.write(_enrol, msgspec.structs.replace(told, name=name), runtime=runtime)
    runtime.bells.policies_changed()  # siblings learn its key
    return reply(Welcome(edge_id=edge.id, site_id=edge.site_id, gateway_key=runtime.gateway_key.public_key), 201)


def _enrol(connection: Connection, told: Introduction, *, runtime: Runtime) -> EdgeIdentity:
    at = runtime.clock()
    edge = enrol_edge(connection, told, at=at)
    detail = {"site": edge.site_id, "protection": told.protection}
    append_audit(connection, AuditEntry(actor=edge.id, action="edge.enrol", subject=edge.id, detail=detail), at=at)
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


@router.get("/policy")
async def policy(
    edge: Edge, runtime: Shared, *, if_none_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str | None, Header()] = None,
    since: Annotated[str | None, Query(pattern=r"^[0-9]{1,10}\.[0-9]{1,10}$")] = None,
) -> Response:  # fmt: skip
    """Hand out the edge's policy, what leads to it from the one that the edge has, or 304 if that is the newest."""
    base = _version(since or "")
    held = base or _version((if_none_match or "").strip('"').replace("-", "."))
    answer = await runtime.policies.answer(edge, held=held, base=base, key=runtime.gateway_key, at=runtime.clock())
    checkpoint = await runtime.store.read(latest_checkpoint)
    headers = {} if checkpoint is None else {HEADER_CHECKPOINT: msgspec.json.encode(checkpoint).decode()}
    if answer is None:
        assert held is not None  # noqa: S101 - only what was named can be the newest
        return Response(status_code=304, headers=headers | {"ETag": _etag(held)})
    headers |= {"ETag": _etag(answer.version), HEADER_POLICY: answer.kind, HEADER_POLICY_SIGNATURE: answer.signature}
    body = answer.body
    if answer.packed is not None and "gzip" in (accept_encoding or ""):
        body, headers["Content-Encoding"] = answer.packed, "gzip"
    return Response(body, 200, headers, media_type="application/json")


def _version(text: str) -> Version | None:
    epoch, dot, n = text.partition(".")
    return (int(epoch), int(n)) if dot and epoch.isdecimal() and n.isdecimal() and text.isascii() else None


def _etag(version: Version) -> str:
    return f'"{version[0]}-{version[1]}"'


@router.get("/commands", response_class=StreamingResponse)
async def commands(edge: Edge, runtime: Shared) -> StreamingResponse:
    """Stream commands and the news that the policy changed."""
    return stream(_commands(runtime, edge))


class _Look(msgspec.Struct, frozen=True):
    commands: list[Command]
    foreign_writes: int


def _look(connection: Connection, runtime: Runtime, *, edge: EdgeIdentity, sent: dict[str, datetime]) -> _Look | None:
    """Return what waits for an edge besides what was sent; None if it is no longer the one that it was."""
    if not is_enrolled(connection, edge):
        return None
    waiting = waiting_commands(connection, edge.id, at=runtime.clock(), without=sent)
    return _Look(waiting, runtime.policies.foreign_writes(connection))


def _event(name: str, told: Command | Version, *, edge: EdgeIdentity, runtime: Runtime) -> bytes:
    """Return an event whose id is the gateway's signature: no proxy between, nor another gateway, orders an edge about."""
    data = msgspec.json.encode(told)
    return event(name, data, number=runtime.gateway_key.sign(command_statement(edge.id, data)))


async def _commands(runtime: Runtime, edge: EdgeIdentity) -> AsyncIterator[bytes]:
    bell, told, silent_s, foreign = runtime.bells.edge(edge.id), (0, 0), 0.0, -1
    sent: dict[str, datetime] = {}
    news = True
    yield PING
    while not runtime.bells.closing.is_set():
        ring = bell.next_ring()
        look = await runtime.store.read(_look, runtime, edge=edge, sent=sent)
        if look is None:
            runtime.relay.refuse(edge.id)
            return  # revoked, perhaps by another process
        for command in look.commands:
            yield _event("command", command, edge=edge, runtime=runtime)
        if look.commands:  # their bytes have left: the stream was asked for more
            sent = {key: until for key, until in sent.items() if until > runtime.clock()}
            sent |= {command.id: command.deadline for command in look.commands}
            await runtime.store.write(mark_delivered, tuple(sent), at=runtime.clock())
        if news or silent_s >= PING_S or look.foreign_writes != foreign:
            foreign = look.foreign_writes
            current = await runtime.policies.current(edge, at=runtime.clock())
            if (current.epoch, current.n) != told:
                told = (current.epoch, current.n)
                yield _event("policy", told, edge=edge, runtime=runtime)
        if silent_s >= PING_S:
            silent_s = 0.0
            yield PING
        news = await heard(ring, within_s=LOOK_S)
        silent_s = silent_s + LOOK_S if not news else silent_s


@router.post("/results", status_code=204)
async def results(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take how a command ended; a repeated or unknown one changes nothing."""
    result = _decoded(await request.body(), Result)
    await runtime.store.write(take_result, result, edge=edge, runtime=runtime)
    runtime.bells.results.ring()
    return Response(status_code=204)


@router.post("/progress")
async def progress(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take how far a command is, and answer whether anybody still wants it."""
    told = _decoded(await request.body(), Progress)
    check_time(told.at, where="at")
    if told.since is not None:
        check_time(told.since, where="since")
    wanted = await runtime.store.write(keep_progress, told, edge_id=edge.id, at=runtime.clock())
    if wanted:
        runtime.readings.hear(told, at=runtime.clock())
    elif await runtime.store.read(was_called_off, told.command_id):
        runtime.readings.forget(told.command_id)
    return reply(Heard(wanted=wanted))


@router.post("/status", status_code=204)
async def status(request: Request, edge: Edge, *, runtime: Shared) -> Response:
    """Take how the edge and its devices stand."""
    told = _decoded(await request.body(), EdgeStatus)
    if await runtime.store.write(take_status, told, edge=edge, runtime=runtime):
        runtime.bells.alerts_changed()
    if told.tombstones:
        runtime.bells.policies_changed()
    return Response(status_code=204)
