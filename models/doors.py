"""The door state machine: reports in, states and facts out, alike for every wire. Pure: no clock, no I/O.

`at` in a report is the edge's own time of arrival; the device's clock is used only to place events that arrive late.
Advancing twice on the same report changes nothing. See devices.md of the design for the rules that are applied here:
forced, held, gaps in sequence numbers, exit kinds, and "a resident's own opening is never reported as forced".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from models.events import (
    AnyFact, DeviceBack, DeviceGap, DeviceLost, DoorClosed, DoorFaulted, DoorForced, DoorHeldOpen, DoorOpened, DoorTamperCleared,
    DoorTampered, DuressReported, EmergencyReleased, ExitRequested, OpeningCause, fact_id,
)  # fmt: skip
from models.places import Door

EventType = Literal[
    "opened", "closed", "forced", "held", "tamper", "tamper_cleared", "exit_button", "emergency", "duress", "fault"
]
Contact = Literal["open", "closed", "unknown"]
Lock = Literal["locked", "unlocked", "unknown"]
Alarm = Literal["none", "forced", "held"]

EXIT_ORDER_S = 1.5
"""An exit request and the opening that it explains may arrive in either order within this time."""
LATE_AFTER_S = 10.0
SETTLE_S = 10.0
"""After a restart or reconnection: how long an unexplained opening is of unknown cause rather than forced."""
GAP_CLOSES_WITHIN_S = 30.0
RELEASE_S = 60.0
LEEWAY_S = 1.5
MAX_EXPECTATIONS = 16
MAX_MISSING = 16
RECENT_IDS = 64


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="event"):
    """Report one thing that happened at a door; `seq` counts from 1 and survives the controller's restarts."""

    id: str
    seq: int | None
    type: EventType
    at: datetime
    device_at: datetime | None = None
    backlog: bool = False
    """True if the wire knows that it waited: redelivered, or kept while one side was away."""
    detail: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="snapshot"):
    """Report how a door stands now. It rebuilds the state and never raises an alarm by itself."""

    at: datetime
    event_seq: int | None = None
    contact: Contact = "unknown"
    lock: Lock = "unknown"
    mode: str | None = None
    tamper: bool = False
    retained: bool = False


class Presence(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="presence"):
    """Report that a door's controller is reachable, or no longer."""

    at: datetime
    online: bool


Report = Event | Snapshot | Presence


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """Expect openings for a grant between two times; kept until it expires, since a contact may bounce."""

    attempt: str
    since: datetime
    until: datetime


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Remember sequence numbers that have not arrived yet, and until when they may."""

    first: int
    last: int
    deadline: datetime


class DoorState(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that is remembered about a door; persisted in one transaction with the facts that it led to."""

    door_id: str
    edge_id: str
    contact: Contact = "unknown"
    lock: Lock = "unknown"
    mode: str = "normal"
    tamper: bool = False
    online: bool | None = None
    alarm: Alarm = "none"
    last_seq: int | None = None
    last_device_at: datetime | None = None
    missing: tuple[Missing, ...] = ()
    recent_ids: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    exit_until: datetime | None = None
    release_until: datetime | None = None
    pending: Event | None = None
    """An unexplained opening that an exit request may still explain."""
    pending_until: datetime | None = None
    opening_id: str | None = None
    opened_at: datetime | None = None
    held_reported: bool = False
    settling_until: datetime | None = None
    offset_s: float | None = None
    """What to add to the device's clock to get the edge's: the smallest seen."""
    lost_count: int = 0


Step = tuple[DoorState, tuple[AnyFact, ...]]


def advance(state: DoorState, report: Report, *, door: Door) -> Step:
    """Return the state after a report and the facts that follow from it.

    Args:
        state: the state before.
        report: what the wire said.
        door: the door's rules: exit kind and held-open limit.
    """
    if isinstance(report, Event):
        return _on_event(state, report, door=door)
    if isinstance(report, Snapshot):
        return _on_snapshot(state, report), ()
    return _on_presence(state, report)


def expect_opening(state: DoorState, *, attempt: str, at: datetime, until: datetime) -> DoorState:
    """Return the state that expects openings for a grant; call it, and journal it, before the unlock is sent."""
    live = tuple(e for e in state.expectations if e.until + timedelta(hours=1) > at and e.attempt != attempt)
    expectation = Expectation(attempt=attempt, since=at, until=until)
    return msgspec.structs.replace(state, expectations=(*live, expectation)[-MAX_EXPECTATIONS:])


def withdraw_expectation(state: DoorState, attempt: str) -> DoorState:
    """Return the state without a grant's expectation: its unlock was refused for certain (a time-out is not that)."""
    kept = tuple(e for e in state.expectations if e.attempt != attempt)
    return msgspec.structs.replace(state, expectations=kept)


def resume(state: DoorState, *, at: datetime) -> DoorState:
    """Return a persisted state made safe after a restart: what cannot be told for a while is unknown, not forced."""
    settled = at + timedelta(seconds=SETTLE_S)
    return msgspec.structs.replace(
        state,
        settling_until=settled,
        pending_until=settled if state.pending is not None else None,
        missing=tuple(msgspec.structs.replace(m, deadline=at + _gap_time()) for m in state.missing),
        online=None,
    )


def tick(state: DoorState, *, door: Door, at: datetime) -> Step:
    """Return the state and facts that follow from time alone: an opening nobody explained, a door held open, a gap."""
    facts: list[AnyFact] = []
    if state.pending is not None and state.pending_until is not None and at >= state.pending_until:
        event, state = state.pending, msgspec.structs.replace(state, pending=None, pending_until=None)
        state = msgspec.structs.replace(state, alarm="forced" if state.contact == "open" else state.alarm)
        facts.append(_forced(state, event))
    if _held_too_long(state, door=door, at=at) and state.opened_at is not None:
        open_s = (at - state.opened_at).total_seconds()
        fact, state = _held(state, occurrence=state.opening_id or "snapshot", at=at, open_s=open_s)
        facts.append(fact)
    overdue = tuple(m for m in state.missing if at >= m.deadline)
    if overdue:
        state = msgspec.structs.replace(state, missing=tuple(m for m in state.missing if at < m.deadline))
        facts.extend(_gap(state, m, at=at) for m in overdue)
    return state, tuple(facts)


def committed_through(state: DoorState) -> int | None:
    """Return the sequence number up to which every event has been taken: what may be acknowledged end to end."""
    if state.last_seq is None:
        return None
    return min((m.first for m in state.missing), default=state.last_seq + 1) - 1


def _gap_time() -> timedelta:
    return timedelta(seconds=GAP_CLOSES_WITHIN_S)


def _on_presence(state: DoorState, report: Presence) -> Step:
    if state.online == report.online:
        return state, ()
    was, count = state.online, state.lost_count + (0 if report.online else 1)
    settling = report.at + timedelta(seconds=SETTLE_S) if report.online else state.settling_until
    state = msgspec.structs.replace(state, online=report.online, lost_count=count, settling_until=settling)
    occurrence = f"{count}:{report.at.isoformat()}"
    if not report.online:
        key = fact_id(state.edge_id, state.door_id, occurrence, "device_lost")
        return state, (DeviceLost(id=key, at=report.at, door_id=state.door_id),)
    if was is None and count == 0:
        return state, ()
    key = fact_id(state.edge_id, state.door_id, occurrence, "device_back")
    return state, (DeviceBack(id=key, at=report.at, door_id=state.door_id),)


def _on_snapshot(state: DoorState, report: Snapshot) -> DoorState:
    behind = report.retained and None not in (report.event_seq, state.last_seq)
    if behind and (report.event_seq or 0) < (state.last_seq or 0):
        return state  # the broker kept an older picture than the events that we have taken
    opened_at = state.opened_at
    if report.contact == "open" and state.contact != "open":
        opened_at = report.at
    state = msgspec.structs.replace(
        state,
        contact=report.contact,
        lock=report.lock,
        mode=report.mode or state.mode,
        tamper=report.tamper,
        opened_at=opened_at if report.contact == "open" else None,
        opening_id=state.opening_id if report.contact == "open" else None,
        held_reported=state.held_reported and report.contact == "open",
    )
    if report.event_seq is not None and state.last_seq is not None and report.event_seq > state.last_seq:
        return _note_missing(state, state.last_seq + 1, report.event_seq, at=report.at)
    return state


def _note_missing(state: DoorState, first: int, last: int, *, at: datetime) -> DoorState:
    missing = (*state.missing, Missing(first=first, last=last, deadline=at + _gap_time()))
    if len(missing) > MAX_MISSING:  # give the oldest up: the next tick reports it
        missing = (msgspec.structs.replace(missing[0], deadline=at), *missing[1:])[: MAX_MISSING + 1]
    return msgspec.structs.replace(state, missing=missing, last_seq=last)


def _on_event(state: DoorState, event: Event, *, door: Door) -> Step:
    if event.id in state.recent_ids:
        return state, ()
    filled = _fill(state.missing, event.seq)
    restarted = _counter_restarted(state, event)
    if not restarted and filled is None and event.seq is not None and event.seq <= (state.last_seq or 0):
        return state, ()
    behind = filled is not None and event.seq is not None and event.seq < (state.last_seq or 0)
    if filled is not None:
        state = msgspec.structs.replace(state, missing=filled)
    elif event.seq is not None:
        state = _take_seq(state, event.seq, restarted=restarted, at=event.at)
    state = _measure_clock(state, event)
    newest = event.device_at if not behind and event.device_at is not None else state.last_device_at
    ids = (*state.recent_ids, event.id)[-RECENT_IDS:]
    state = msgspec.structs.replace(state, recent_ids=ids, last_device_at=newest)
    return _apply(state, event, door=door, behind=behind)


def _fill(missing: tuple[Missing, ...], seq: int | None) -> tuple[Missing, ...] | None:
    """Return the ranges without `seq`, or None if it was not missing."""
    for index, gap in enumerate(missing):
        if seq is not None and gap.first <= seq <= gap.last:
            ends = ((gap.first, seq - 1), (seq + 1, gap.last))
            kept = tuple(Missing(first=a, last=b, deadline=gap.deadline) for a, b in ends if a <= b)
            return (*missing[:index], *kept, *missing[index + 1 :])
    return None


def _counter_restarted(state: DoorState, event: Event) -> bool:
    """Tell a device whose counter began again (replaced, wiped) from a redelivery: an unseen id with a newer clock."""
    if event.seq is None or state.last_seq is None or event.seq > state.last_seq:
        return False
    newer = event.device_at is not None and state.last_device_at is not None
    return newer and (event.device_at or event.at) > (state.last_device_at or event.at) and not event.backlog


def _take_seq(state: DoorState, seq: int, *, restarted: bool, at: datetime) -> DoorState:
    if state.last_seq is None or restarted:
        return msgspec.structs.replace(state, last_seq=seq, missing=())
    if seq > state.last_seq + 1:
        state = _note_missing(state, state.last_seq + 1, seq - 1, at=at)
    return msgspec.structs.replace(state, last_seq=seq)


def _measure_clock(state: DoorState, event: Event) -> DoorState:
    if event.device_at is None or event.backlog:
        return state
    offset_s = (event.at - event.device_at).total_seconds()
    if state.offset_s is not None and offset_s - state.offset_s > LATE_AFTER_S:
        return state  # a delayed event, not a slower clock
    return msgspec.structs.replace(state, offset_s=offset_s)


def _occurred(state: DoorState, event: Event) -> tuple[datetime | None, bool]:
    """Return when an event happened on the edge's clock (None if that cannot be told), and whether it is late."""
    if event.device_at is None:
        return (None, True) if event.backlog else (event.at, False)
    if state.offset_s is None:
        return (None, True) if event.backlog else (event.at, False)
    occurred = event.device_at + timedelta(seconds=state.offset_s)
    late = (event.at - occurred).total_seconds() > LATE_AFTER_S
    return (occurred, True) if late else (occurred if event.backlog else event.at, False)


def _apply(state: DoorState, event: Event, *, door: Door, behind: bool) -> Step:
    if event.type in ("opened", "forced"):
        return _on_opening(state, event, door=door, behind=behind)
    late = _occurred(state, event)[1]
    if event.type == "closed":
        closed = DoorClosed(**_about(state, event, "door_closed", late=late))
        return (state if behind else _closed(state)), (closed,)
    if event.type == "held":
        if state.held_reported or behind:
            return state, ()
        fact, state = _held(state, occurrence=event.id, at=event.at, open_s=door.held_open_s)
        return state, (msgspec.structs.replace(fact, late=late),)
    if event.type == "exit_button":
        return _on_exit(state, event, late=late)
    return _on_simple(state, event, late=late)


def _on_simple(state: DoorState, event: Event, *, late: bool) -> Step:
    if event.type == "tamper":
        tampered = DoorTampered(**_about(state, event, "door_tampered", late=late))
        return msgspec.structs.replace(state, tamper=True), (tampered,)
    if event.type == "tamper_cleared":
        cleared = DoorTamperCleared(**_about(state, event, "door_tamper_cleared", late=late))
        return msgspec.structs.replace(state, tamper=False), (cleared,)
    if event.type == "emergency":
        until = event.at + timedelta(seconds=RELEASE_S)
        released = EmergencyReleased(**_about(state, event, "emergency_released", late=late))
        return msgspec.structs.replace(state, release_until=until), (released,)
    if event.type == "duress":
        return state, (DuressReported(**_about(state, event, "duress_reported", late=late)),)
    return state, (DoorFaulted(**_about(state, event, "door_faulted", late=late), detail=event.detail[:200]),)


def _on_exit(state: DoorState, event: Event, *, late: bool) -> Step:
    facts: tuple[AnyFact, ...] = (ExitRequested(**_about(state, event, "exit_requested", late=late)),)
    until = event.at + timedelta(seconds=EXIT_ORDER_S + 5.0)
    state = msgspec.structs.replace(state, exit_until=until)
    if state.pending is not None:  # the opening overtook the button
        opened = _opened(state, state.pending, cause="exit")
        state = msgspec.structs.replace(state, pending=None, pending_until=None)
        facts = (opened, *facts)
    return state, facts


def _on_opening(state: DoorState, event: Event, *, door: Door, behind: bool) -> Step:
    occurred, late = _occurred(state, event)
    cause, attempt = _cause(state, event, occurred=occurred, door=door)
    telling = door.exit_kind in ("sensor", "button")
    settling = state.settling_until is not None and event.at < state.settling_until
    if not behind:
        state = _open(state, event)
    if cause is not None:
        return state, (_opened(state, event, cause=cause, attempt=attempt, late=late),)
    if not telling or (event.type == "opened" and (settling or late or behind)):
        return state, (_opened(state, event, cause="unknown", late=late),)
    if event.type == "forced":
        alarm: Alarm = state.alarm if behind else "forced"
        return msgspec.structs.replace(state, alarm=alarm), (_forced(state, event),)
    earlier: tuple[AnyFact, ...] = () if state.pending is None else (_forced(state, state.pending),)
    until = event.at + timedelta(seconds=EXIT_ORDER_S)
    return msgspec.structs.replace(state, pending=event, pending_until=until), earlier


def _cause(
    state: DoorState, event: Event, *, occurred: datetime | None, door: Door
) -> tuple[OpeningCause | None, str | None]:
    """Return what explains an opening, or None. An event whose time cannot be told may be any grant's: unknown."""
    leeway = timedelta(seconds=LEEWAY_S)
    for expectation in reversed(state.expectations):
        if occurred is not None and expectation.since - leeway <= occurred <= expectation.until + leeway:
            return "granted", expectation.attempt
    if occurred is None:
        return ("unknown", None) if event.type == "opened" or state.expectations else (None, None)
    if state.mode in ("evacuating", "held_open") or (
        state.release_until is not None and occurred < state.release_until
    ):
        return "release", None
    if state.exit_until is not None and state.exit_until - timedelta(seconds=10) <= occurred < state.exit_until:
        return "exit", None
    if state.lock == "unlocked" and event.type == "opened" and door.exit_kind == "none":
        return "unknown", None
    return None, None


def _open(state: DoorState, event: Event) -> DoorState:
    return msgspec.structs.replace(state, contact="open", opened_at=event.at, opening_id=event.id, held_reported=False)


def _closed(state: DoorState) -> DoorState:
    return msgspec.structs.replace(
        state, contact="closed", alarm="none", opened_at=None, opening_id=None, held_reported=False
    )


def _held_too_long(state: DoorState, *, door: Door, at: datetime) -> bool:
    free = state.held_reported or state.mode in ("held_open", "evacuating")
    if free or state.contact != "open" or state.opened_at is None:
        return False
    return (at - state.opened_at).total_seconds() > door.held_open_s


def _about(state: DoorState, event: Event, kind: str, *, late: bool = False) -> dict[str, object]:
    key = fact_id(state.edge_id, state.door_id, event.id, kind)
    return {"id": key, "at": event.at, "device_at": event.device_at, "late": late, "door_id": state.door_id}


def _opened(
    state: DoorState, event: Event, *, cause: OpeningCause, attempt: str | None = None, late: bool = False
) -> DoorOpened:
    return DoorOpened(**_about(state, event, "door_opened", late=late), cause=cause, attempt=attempt)


def _forced(state: DoorState, event: Event) -> DoorForced:
    return DoorForced(**_about(state, event, "door_forced", late=_occurred(state, event)[1]))


def _held(state: DoorState, *, occurrence: str, at: datetime, open_s: float) -> tuple[DoorHeldOpen, DoorState]:
    key = fact_id(state.edge_id, state.door_id, occurrence, "door_held_open")
    alarm: Alarm = "forced" if state.alarm == "forced" else "held"
    fact = DoorHeldOpen(id=key, at=at, door_id=state.door_id, open_s=open_s)
    return fact, msgspec.structs.replace(state, alarm=alarm, held_reported=True)


def _gap(state: DoorState, gap: Missing, *, at: datetime) -> DeviceGap:
    key = fact_id(state.edge_id, state.door_id, f"{gap.first}-{gap.last}", "device_gap")
    return DeviceGap(id=key, at=at, door_id=state.door_id, first=gap.first, last=gap.last)
