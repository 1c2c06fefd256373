"""The centres' side of the gateway: receipts pushed to us, and the numbers by which a centre proves that nothing is missing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from gateway.api.deps import Shared, allowed
from gateway.api.replies import reply, shows
from gateway.auth.roles import Caller
from gateway.centre.receipts import read_receipts, take_receipt
from gateway.centre.signing import verify
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.outbox import replay_dead, sequence_of
from models.errors import Forbidden, NotFound

router = APIRouter(prefix="/api/v1/centre", tags=["centre"])


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Say how many receipts were new."""

    taken: int


class SequenceView(msgspec.Struct, frozen=True, kw_only=True):
    """Show the last number that each site told a centre."""

    centre_id: str
    sequences: dict[str, int]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """Say how many dead letters were put back on their way."""

    replayed: int


@router.post("/receipts", **shows(Taken))
async def push_receipts(request: Request, runtime: Shared) -> Response:
    """Take receipts (one, or an array), signed by Standard Webhooks; repeated ones change nothing."""
    body = await request.body()
    centre_id = _sender_of(request, body, runtime)
    taken = 0
    for receipt in read_receipts(body):
        taken += await runtime.store.write(take_receipt, receipt, centre_id=centre_id, at=runtime.clock())
    if taken:
        runtime.bells.feed.ring()
    return reply(Taken(taken=taken))


def _sender_of(request: Request, body: bytes, runtime: Runtime) -> str:
    refusal = "no centre is configured"
    for receiver in runtime.receivers:
        try:
            verify(request.headers, body, keys=receiver.secrets, now_s=runtime.clock().timestamp())
        except Forbidden as error:
            refusal = str(error)
            continue
        return receiver.centre_id
    runtime.count("receipts_refused")
    raise HTTPException(401, refusal)


@router.get("/sequence", **shows(SequenceView))
async def sequence(caller: Annotated[Caller, Depends(allowed("system:read"))], runtime: Shared) -> Response:
    """Show up to which number each site in scope has told the centre."""
    if not runtime.routes:
        raise NotFound("centre", "any")
    centre_id = runtime.routes[0].centre_id
    found = {site: await runtime.store.read(sequence_of, centre_id, site_id=site) for site in sorted(caller.sites)}
    return reply(SequenceView(centre_id=centre_id, sequences=found))


@router.post("/{centre_id}/replay", **shows(Replayed))
async def replay(
    centre_id: str, caller: Annotated[Caller, Depends(allowed("system:write"))], *, runtime: Shared
) -> Response:
    """Put the dead letters of a centre back on their way, under their old ids: those of all sites, so all must be in scope."""
    if not caller.everywhere:
        raise Forbidden("a centre's messages come from every site: only who has every site in scope sends them again")

    def act(connection: Connection) -> int:
        replayed = replay_dead(connection, centre_id, at=runtime.clock())
        detail = {"count": str(replayed)}
        entry = AuditEntry(
            actor=caller.id, action="centre.replay", subject=centre_id, detail=detail, reason=caller.reason
        )
        append_audit(connection, entry, at=runtime.clock())
        return replayed

    replayed = await runtime.store.write(act)
    runtime.bells.outbox.ring()
    return reply(Replayed(replayed=replayed))
