"""Requests for roles, and the second person who decides about them (R36)."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from gateway.api.deps import Shared, allowed
from gateway.api.replies import Page, cursor_after, place_in, reply, shows
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.role_changes import Decision, RoleChange, decide_role, role_change_for, role_changes_of

router = APIRouter(prefix="/api/v1/role-changes", tags=["roles"])
Reader = Annotated[Caller, Depends(allowed("users:read"))]
Writer = Annotated[Caller, Depends(allowed("users:write", stated=True))]


@router.get("", **shows(Page[RoleChange]))
async def list_role_changes(
    caller: Reader, runtime: Shared, *, status: Literal["waiting", "all"] = "waiting",
    cursor: Annotated[str | None, Query(max_length=300)] = None, limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List requests for roles in scope, newest first."""
    before = place_in(cursor)

    def listed(connection: Connection) -> list[RoleChange]:
        entry = AuditEntry(actor=caller.id, action="role.list", reason=caller.reason)
        append_audit(connection, entry, at=runtime.clock())
        return role_changes_of(connection, caller, waiting=status == "waiting", before=before, limit=limit + 1)

    found = await runtime.store.write(listed)
    items = found[:limit]
    more = cursor_after(items[-1].asked_at, items[-1].id) if len(found) > limit else None
    return reply(Page(items=items, next=more))


@router.post("/{change_id}/approve", **shows(RoleChange))
async def approve_role(change_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Grant what somebody else asked for; it takes effect at once."""
    return reply(await runtime.store.write(_decide, change_id, decision="approved", caller=caller, runtime=runtime))


@router.post("/{change_id}/reject", **shows(RoleChange))
async def reject_role(change_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Refuse what was asked for; who asked may take it back this way."""
    return reply(await runtime.store.write(_decide, change_id, decision="rejected", caller=caller, runtime=runtime))


def _decide(
    connection: Connection, change_id: str, *, decision: Decision, caller: Caller, runtime: Runtime
) -> RoleChange:
    at = runtime.clock()
    change = role_change_for(connection, caller, change_id=change_id)
    done = decide_role(connection, change, decision=decision, caller=caller, at=at)
    action = "role.approve" if decision == "approved" else "role.reject"
    detail = {"change": change.id, "role": change.role}
    entry = AuditEntry(actor=caller.id, action=action, subject=change.user_id, detail=detail, reason=caller.reason)
    append_audit(connection, entry, at=at)
    return done
