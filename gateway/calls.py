"""Answer a call at a door station without opening: the caller is told so at the door. Opening is gateway.orders'."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Final

from gateway.auth.roles import Caller
from gateway.orders import await_result, naming, send_order
from gateway.runtime import Runtime
from gateway.store.audit import AuditEntry
from models.errors import Conflict, DeviceUnreachable
from models.link import RefuseCall, Result
from models.places import Door

VALID: Final = timedelta(seconds=3)
PATIENCE_S: Final = 8.0


async def refuse_call(runtime: Runtime, door: Door, *, reason: str, caller: Caller) -> Result:
    """Send whoever calls at a door away, on record.

    Raises:
        Conflict: nobody calls there (any more).
        DeviceUnreachable: the edge did not answer in time.
    """
    command = RefuseCall(
        id=str(uuid.uuid4()), door_id=door.id, reason=reason, requested_by=caller.id, deadline=runtime.clock() + VALID
    )
    entry = AuditEntry(
        actor=caller.id, action="door.refuse_call", subject=door.id, result="sent",
        detail={"command": command.id, "reason": reason},
    )  # fmt: skip
    await send_order(runtime, command, edge_id=door.edge_id, entry=entry)
    with naming(command):
        result = await await_result(runtime, command, within_s=PATIENCE_S)
        if result is None or result.state == "expired":
            raise DeviceUnreachable(door.id, f"edge {door.edge_id!r} did not answer in time: the call ends by itself")
        if result.state != "confirmed":
            raise Conflict("nobody calls at this door any more")
    return result
