"""Put orders to unlock a door on record as a whole: who, why, until when, and what became of it, in one entry."""

from __future__ import annotations

from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.dialect import hold_feed
from gateway.store.unlocks import CommandView, mark_closed, orders_over


async def close_orders(runtime: Runtime) -> None:
    """Put every order whose life is over on record, once."""
    if not await runtime.store.read(orders_over, at=runtime.clock()):
        return

    def act(connection: Connection) -> None:
        hold_feed(connection)
        at = runtime.clock()
        for actor, one in orders_over(connection, at=at):
            append_audit(connection, _entry(actor, one), at=at)
            mark_closed(connection, one.id)

    await runtime.store.write(act)


def _entry(actor: str, one: CommandView) -> AuditEntry:
    times = {
        "asked": one.asked_at, "deadline": one.deadline, "delivered": one.delivered_at, "accepted": one.accepted_at,
        "confirmed": one.confirmed_at, "ended": one.ended_at,
    }  # fmt: skip
    detail = {name: at.isoformat() for name, at in times.items() if at is not None}
    words = {"command": one.id, "confirmed_by": one.confirmed_by or "", "why": one.why, "detail": one.detail}
    detail |= {name: word for name, word in words.items() if word}
    return AuditEntry(
        actor=actor, action="door.unlock", subject=one.door_id, result=one.state, detail=detail, reason=one.reason
    )
