"""Bypass alarms of a door for a while: no alert is raised meanwhile, facts go on, and it ends by itself.

What still stands when it ends, as far as the door tells, is raised then: no bypass hides a door that was left open, nor a
fault or a weak battery that it reported meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from gateway.auth.roles import Caller
from gateway.centre.events import Route
from gateway.intake import raise_and_tell
from gateway.runtime import Runtime
from gateway.status import announce_devices
from gateway.store import Connection
from gateway.store.alerts import is_active
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.bypasses import add_bypass, bypasses_over, end_bypasses, going_bypasses
from gateway.store.dialect import hold_feed
from gateway.store.edges import edge_views
from gateway.store.facts import newest_kind
from gateway.store.places import door_views
from gateway.views import BypassView, DoorView
from models.alerts import SEVERITIES, AlertKind, Raise, alert_id
from models.errors import NotFound
from models.places import Door

SYSTEM: Final = "system"
_TAKEN_BACK_BY: Final[dict[AlertKind, str]] = {
    "door_faulted": "door_fault_cleared",
    "battery_low": "battery_good",
    "device_lost": "device_back",
}
"""Facts that raise an alert of their own name, by the fact that takes each back."""


def begin_bypass(
    connection: Connection, door: Door, *, kinds: tuple[AlertKind, ...], reason: str, lasts: timedelta, caller: Caller,
    at: datetime,
) -> BypassView:  # fmt: skip
    """Let alarms of a door raise no alert for a while; it takes the place of a bypass that is there."""
    hold_feed(connection)
    end_bypasses(connection, (one.id for one in going_bypasses(connection, [door.id])), at=at)
    begun = BypassView(
        id=f"bp-{uuid.uuid4().hex}", door_id=door.id, kinds=tuple(sorted(set(kinds))), reason=reason,
        by=caller.username, since=at, until=at + lasts,
    )  # fmt: skip
    add_bypass(connection, begun, by=caller.id)
    told = {"bypass": begun.id, "kinds": " ".join(begun.kinds), "until": begun.until.isoformat()}
    entry = AuditEntry(actor=caller.id, action="door.bypass", subject=door.id, detail=told, reason=reason)
    append_audit(connection, entry, at=at)
    announce_devices(connection, doors=[door.id], cameras=(), at=at)
    return begun


def end_bypass(connection: Connection, door: Door, *, caller: Caller, at: datetime, routes: tuple[Route, ...]) -> None:
    """End the bypass of a door before its time.

    Raises:
        NotFound: there is none.
    """
    hold_feed(connection)
    going = going_bypasses(connection, [door.id])
    if not going:
        raise NotFound("bypass", door.id)
    for one in going:
        _end(connection, one, actor=caller.id, why="ended", reason=caller.reason, at=at, routes=routes)


async def end_what_is_over(runtime: Runtime) -> None:
    """End the bypasses whose time is over."""
    if not await runtime.store.read(bypasses_over, at=runtime.clock()):
        return

    def act(connection: Connection) -> None:
        hold_feed(connection)
        at = runtime.clock()
        for one in bypasses_over(connection, at=at):
            _end(connection, one, actor=SYSTEM, why="over", reason="", at=at, routes=runtime.routes)

    await runtime.store.write(act)
    runtime.bells.alerts_changed()


def _end(
    connection: Connection,
    one: BypassView,
    *,
    actor: str,
    why: str,
    reason: str,
    at: datetime,
    routes: tuple[Route, ...],
) -> None:
    end_bypasses(connection, [one.id], at=at)
    told = {"bypass": one.id, "kinds": " ".join(one.kinds)}
    entry = AuditEntry(actor=actor, action="door.bypass", subject=one.door_id, result=why, detail=told, reason=reason)
    append_audit(connection, entry, at=at)
    (door,) = door_views(connection, [one.door_id], site_ids=None)
    for kind in (*_standing(connection, door, at=at), *_told(connection, one)):
        if kind in one.kinds and not is_active(connection, kind, source_id=door.id):
            wanted = Raise(
                alert_id=alert_id(one.id, kind), kind=kind, severity=SEVERITIES[kind], source_id=door.id, at=at,
                late=False, exercise=False,
            )  # fmt: skip
            raise_and_tell(connection, wanted, edge_site=door.site_id, fact_id=None, at=at, routes=routes)
    announce_devices(connection, doors=[door.id], cameras=(), at=at)


def _standing(connection: Connection, door: DoorView, *, at: datetime) -> Iterator[AlertKind]:
    """Yield what a door tells now that would be an alert; nothing of a door whose edge is silent."""
    heard = any(
        edge.id == door.edge_id and edge.online
        for edge in edge_views(connection, site_ids=frozenset({door.site_id}), at=at)
    )
    if not heard or door.seen_at is None or not door.online:
        return
    if door.alarm == "forced":
        yield "door_forced"
    if door.alarm == "held":
        yield "door_held_open"
    if door.tamper:
        yield "door_tampered"


def _told(connection: Connection, one: BypassView) -> Iterator[AlertKind]:
    """Yield what a door told while a bypass was in force and did not take back; its state does not say it."""
    for kind, over in _TAKEN_BACK_BY.items():
        if newest_kind(connection, one.door_id, kinds=(kind, over), since=one.since) == kind:
            yield kind
