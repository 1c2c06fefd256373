"""The audit log for those whose duty it is: rows with the actor's name and unit, and the signed checkpoints."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from gateway.api.deps import Moment, Shared, allowed
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.accounts import actors_in_scope
from gateway.store.audit import AuditEntry, AuditFilter, AuditView, append_audit, audit_views
from gateway.store.checkpoints import checkpoints_of
from models.link import Checkpoint

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])
Reader = Annotated[Caller, Depends(allowed("audit:read"))]
Word = Annotated[str | None, Query(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Cursor = Annotated[int | None, Query(ge=1, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=500)]
Time = Annotated[Moment | None, Query()]


@router.get("", **shows(Page[AuditView]))
async def list_audit(
    caller: Reader, runtime: Shared, *, cursor: Cursor = None, limit: Limit = 100, actor: Word = None,
    action: Word = None, subject: Word = None, since: Time = None, until: Time = None,
) -> Response:  # fmt: skip
    """List the audit log, newest first; an action that ends with a dot (`person.`) is a group. The look is on record.

    Who has every site in scope sees every row; others see what users and machines within their scope did.
    """
    wanted = AuditFilter(actor=actor, action=action, subject=subject, since=since, until=until)
    items = await runtime.store.write(_rows, wanted, caller=caller, runtime=runtime, before=cursor, limit=limit)
    return reply(Page(items=items, next=str(items[-1].seq) if len(items) == limit else None))


def _rows(
    connection: Connection, wanted: AuditFilter, *, caller: Caller, runtime: Runtime, before: int | None, limit: int
) -> list[AuditView]:
    if not caller.everywhere:
        wanted = msgspec.structs.replace(wanted, actors=actors_in_scope(connection, caller))
    items = audit_views(connection, wanted, before=before, limit=limit)
    asked = {"actor": wanted.actor, "action": wanted.action, "subject": wanted.subject}
    detail = {name: value for name, value in asked.items() if value is not None} | {"count": str(len(items))}
    entry = AuditEntry(actor=caller.id, action="audit.list", detail=detail, reason=caller.reason)
    append_audit(connection, entry, at=runtime.clock())
    return items


@router.get("/checkpoints", **shows(Page[Checkpoint]))
async def list_checkpoints(caller: Reader, runtime: Shared, *, cursor: Cursor = None, limit: Limit = 100) -> Response:
    """List signed checkpoints of the chain, newest first; the header `Gatehouse-Key` is the key that signs them."""

    def listed(connection: Connection) -> list[Checkpoint]:
        entry = AuditEntry(actor=caller.id, action="audit.checkpoints", reason=caller.reason)
        append_audit(connection, entry, at=runtime.clock())
        return checkpoints_of(connection, before=cursor, limit=limit)

    items = await runtime.store.write(listed)
    more = str(items[-1].seq) if len(items) == limit else None
    return reply(Page(items=items, next=more), headers={"Gatehouse-Key": runtime.gateway_key.public_key})
