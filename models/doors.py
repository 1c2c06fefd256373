"""The door state machine: reports in, states and facts out, alike for every wire. Pure: no clock, no I/O.

Events are taken in the order of their numbers (models.sequence) and happen when they arrive, unless they are late
(models.device_clock). Advancing twice on the same report changes nothing. An opening is forced if no grant, exit
request or release explains it (models.openings); where that cannot be told, its cause is unknown: a resident's own
opening is never reported as forced.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from models.device_clock import Placed, believed, measure, place
from models.events import (
    AnyFact,
    BatteryGood,
    BatteryLow,
    DeviceGap,
    DoorClosed,
    DoorFact,
    DoorFaultCleared,
    DoorFaulted,
    DoorForced,
    DoorHeldOpen,
    DoorOpened,
    DoorTamperCleared,
    DoorTampered,
    DuressReported,
    EmergencyReleased,
    ExitRequested,
    MainsBack,
    MainsLost,
    fact_id,
)
from models.openings import (
    EXIT_ORDER_S,
    FREE_MODES,
    MAX_PENDING,
    RELEASE_S,
    SETTLE_S,
    Alarm,
    DoorState,
    Expectation,
    Pending,
    blind,
    expect_around,
    expect_opening,
    explanation,
    forget_before,
    withdraw_expectation,
)
from models.places import Door
from models.presence import follow_presence
from models.reports import Contact, Event, EventType, Lock, Presence, Report, Snapshot
from models.sequence import Missing, announce, awaited, beside, committed, give_up, release, take, wait_again

__all__ = [
    "Alarm",
    "Contact",
    "DoorState",
    "Event",
    "EventType",
    "Expectation",
    "Lock",
    "Pending",
    "Presence",
    "Report",
    "Snapshot",
    "Step",
    "advance",
    "awaits_time",
    "committed_through",
    "expect_opening",
    "held_soon",
    "resume",
    "tick",
    "warned",
    "withdraw_expectation",
]

WARN_AT = 0.8
"""A door that has been open for this part of its limit warns whoever stands there."""

Happening = TypeVar("Happening", bound=DoorFact)

Plain = DuressReported | DoorFaultCleared | MainsLost | MainsBack | BatteryLow | BatteryGood

Step = tuple[DoorState, tuple[AnyFact, ...]]


def advance(state: DoorState, report: Report, *, door: Door) -> Step:
    """Return the state after a report and the facts that follow from it.

    Args:
        state: the state before.
        report: what the wire said.
        door: the door's rules: exit kind, unlock time and held-open limit.
    """
    if isinstance(report, Event):
        return _on_event(state, report, door=door)
    if isinstance(report, Snapshot):
        return _end_alarm(_on_snapshot(state, report), at=report.at)
    return follow_presence(state, report)


def resume(state: DoorState, *, at: datetime) -> DoorState:
    """Return a persisted state made safe after a restart: what cannot be told for a while is unknown, not forced."""
    settled = at + timedelta(seconds=SETTLE_S)
    return msgspec.structs.replace(
        state,
        settling_until=settled,
        pending=tuple(msgspec.structs.replace(p, until=settled, doubted=True) for p in state.pending),
        numbers=wait_again(state.numbers, at=at),
        opened_at=None if state.opened_at is None else at,  # it may have been closed meanwhile
        online=None,
        away_since=None if state.away_since is None else at,  # it may have been back meanwhile
        heard=False,
    )


def tick(state: DoorState, *, door: Door, at: datetime) -> Step:
    """Return the state and facts that follow from time alone: an opening nobody explained, a door held open, a gap."""
    state, facts = _in_turn(state, door=door, at=at)
    if state.opened_at is not None and _held_too_long(state, door=door, at=at):
        state, held = _held(state, at=at, open_s=(at - state.opened_at).total_seconds())
        facts = (*facts, held)
    numbers, gaps = give_up(state.numbers, at=at)
    facts = (*facts, *(_gap(state, gap, at=at) for gap in gaps))
    state, ended = _end_alarm(msgspec.structs.replace(state, numbers=numbers), at=at)
    return state, (*facts, *ended)


def awaits_time(state: DoorState) -> bool:
    """Return whether `tick` may change the state or lead to facts."""
    held = state.contact == "open" and state.opened_at is not None and not state.held_reported
    waiting = state.numbers.held or awaited(state.numbers) or state.numbers.written_off is not None
    return bool(held or state.pending or waiting)


def committed_through(state: DoorState) -> int | None:
    """Return the sequence number up to which every event has been taken: what may be acknowledged end to end."""
    return committed(state.numbers)


def _on_snapshot(state: DoorState, report: Snapshot) -> DoorState:
    state = msgspec.structs.replace(state, heard=True)
    seq = report.event_seq
    if seq is not None and seq < (state.numbers.last or 0) and (seq > 0 or report.retained):
        return state  # an older picture than the events that we have taken; a live zero is a device that counts anew
    mode = report.mode or state.mode
    if state.mode in FREE_MODES and mode not in FREE_MODES:
        state = forget_before(state, report.at)  # openings of the free time may arrive late
    still_open = report.contact == "open"
    told_now = not report.retained or seq is not None
    opened_at = state.opened_at if state.contact == "open" and state.opened_at is not None else report.at
    state = msgspec.structs.replace(
        state,
        contact=report.contact,
        lock=report.lock,
        mode=mode,
        tamper=report.tamper,
        opened_at=opened_at if still_open else None,
        opening_id=state.opening_id if still_open else None,
        held_reported=state.held_reported and still_open,
        held_warned=state.held_warned and still_open,
        closed_at=report.at if state.contact == "open" and report.contact == "closed" else state.closed_at,
        mains=True if report.mains and told_now else state.mains,
    )
    if seq is None:
        return state
    numbers = announce(state.numbers, seq, at=report.at)
    return msgspec.structs.replace(state, numbers=numbers, shown_seq=max(seq, state.shown_seq or 0))


def _end_alarm(state: DoorState, *, at: datetime) -> Step:
    """Report a closing that only a snapshot showed, once its event can no longer be expected."""
    if state.alarm == "none" or state.contact != "closed" or awaited(state.numbers):
        return state, ()
    key = fact_id(state.edge_id, state.door_id, f"{state.alarm_id}:ended", "door_closed")
    state = msgspec.structs.replace(state, alarm="none", alarm_id="")
    return state, (DoorClosed(id=key, at=at, door_id=state.door_id),)


def _on_event(state: DoorState, event: Event, *, door: Door) -> Step:
    numbers, new = take(state.numbers, event)
    if numbers.restarts != state.numbers.restarts:
        state = msgspec.structs.replace(state, shown_seq=None)
    state = msgspec.structs.replace(state, numbers=numbers)
    if not new:
        return state, ()
    clock = believed(state.clock, event.offset_s)
    clock = measure(clock, event.device_at, at=event.at, backlog=event.backlog)
    return _in_turn(msgspec.structs.replace(state, clock=clock, heard=True), door=door, at=event.at)


def _in_turn(state: DoorState, *, door: Door, at: datetime) -> Step:
    """Apply the events whose turn it is, then look again at the openings that wait for an explanation."""
    numbers, ready = release(state.numbers, at=at)
    state = msgspec.structs.replace(state, numbers=numbers)
    facts: list[AnyFact] = []
    for event in ready:
        state, following = _apply(state, event, door=door)
        facts.extend(following)
    state, settled = _settle(state, at=at)
    return state, (*facts, *settled)


def _apply(state: DoorState, event: Event, *, door: Door) -> Step:
    placed = place(state.clock, event.device_at, at=event.at, backlog=event.backlog)
    newest = event.seq is None or event.seq >= (state.shown_seq or 0)
    if newest and event.seq is not None:
        state = msgspec.structs.replace(state, shown_seq=event.seq)
    if _before_adoption(event, placed, door=door):
        return state, ()
    if event.type in ("opened", "forced"):
        return _on_opening(state, event, door=door, placed=placed, newest=newest)
    if event.type == "closed":
        closed = _tell(DoorClosed, event, of=state, late=placed.late)
        return (_closed(state, at=event.at) if newest else state), (closed,)
    if event.type == "held":
        return _on_held(state, event, door=door, late=placed.late, newest=newest)
    if event.type == "exit_button":
        state = expect_around(state, event, placed=placed, cause="exit", lasting_s=door.unlock_s)
        return state, (_tell(ExitRequested, event, of=state, late=placed.late),)
    if event.type == "emergency":
        state = expect_around(state, event, placed=placed, cause="release", lasting_s=RELEASE_S)
        return state, (_tell(EmergencyReleased, event, of=state, late=placed.late),)
    if event.type in ("mains_lost", "mains_back") and newest:
        state = msgspec.structs.replace(state, mains=event.type == "mains_back")
    return _on_simple(state, event, late=placed.late)


_PLAIN: Final[dict[EventType, type[Plain]]] = {
    "duress": DuressReported,
    "fault_cleared": DoorFaultCleared,
    "mains_lost": MainsLost,
    "mains_back": MainsBack,
    "battery_low": BatteryLow,
    "battery_ok": BatteryGood,
}
"""Events that are a fact of their own and change nothing else."""


def _before_adoption(event: Event, placed: Placed, *, door: Door) -> bool:
    """Return whether a stored event happened before its device became this door."""
    if door.since is None or not event.backlog:
        return False
    happened = max(placed.moments, default=event.device_at)
    return happened is not None and happened < door.since


def _on_simple(state: DoorState, event: Event, *, late: bool) -> Step:
    if event.type == "tamper":
        return msgspec.structs.replace(state, tamper=True), (_tell(DoorTampered, event, of=state, late=late),)
    if event.type == "tamper_cleared":
        return msgspec.structs.replace(state, tamper=False), (_tell(DoorTamperCleared, event, of=state, late=late),)
    if event.type in _PLAIN:
        return state, (_tell(_PLAIN[event.type], event, of=state, late=late),)
    return state, (_tell(DoorFaulted, event, of=state, late=late, detail=event.detail[:200]),)


def _on_opening(state: DoorState, event: Event, *, door: Door, placed: Placed, newest: bool) -> Step:
    still = newest and state.contact == "open" and state.opening_id is not None
    untold = blind(state, event, placed=placed)
    if newest and not still:
        state = msgspec.structs.replace(
            state, contact="open", opened_at=event.at, opening_id=event.id, held_reported=False,
            held_warned=False,
        )  # fmt: skip
    cause, attempt = explanation(state, placed)
    if cause is not None:
        return state, (_tell(DoorOpened, event, of=state, late=placed.late, cause=cause, attempt=attempt),)
    if door.exit_kind not in ("sensor", "button") or (event.type == "opened" and (still or untold)):
        return state, (_tell(DoorOpened, event, of=state, late=placed.late, cause="unknown"),)
    if event.type == "forced":  # the device's own word settles what we wondered about the same opening
        same = tuple(p for p in state.pending if p.event.id == state.opening_id)
        told = tuple(_tell(DoorOpened, p.event, of=state, late=p.placed.late, cause="unknown") for p in same)
        state = msgspec.structs.replace(state, pending=tuple(p for p in state.pending if p not in same))
        state, forced = _forced(state, event, placed=placed, about=state.opening_id if newest else event.id)
        return state, (*told, *forced)
    pending = Pending(event=event, placed=placed, until=event.at + timedelta(seconds=EXIT_ORDER_S))
    overflow = state.pending[: max(0, len(state.pending) + 1 - MAX_PENDING)]
    told = tuple(_tell(DoorOpened, p.event, of=state, late=p.placed.late, cause="unknown") for p in overflow)
    return msgspec.structs.replace(state, pending=(*state.pending[len(overflow) :], pending)), told


def _settle(state: DoorState, *, at: datetime) -> Step:
    """Decide the pending openings that are explained by now, or whose time is over."""
    facts: list[AnyFact] = []
    kept: list[Pending] = []
    for waiting in state.pending:
        event, placed = waiting.event, waiting.placed
        cause, attempt = explanation(state, placed)
        around = beside(state.numbers, event.seq, at=at)
        unheard = waiting.doubted and (event.seq is None or not state.heard)
        if cause is not None:
            facts.append(_tell(DoorOpened, event, of=state, late=placed.late, cause=cause, attempt=attempt))
        elif at < waiting.until or around == "awaited":
            kept.append(waiting)
        elif unheard or around == "lost":
            facts.append(_tell(DoorOpened, event, of=state, late=placed.late, cause="unknown"))
        else:
            state, forced = _forced(state, event, placed=placed, about=event.id)
            facts.extend(forced)
    return msgspec.structs.replace(state, pending=tuple(kept)), tuple(facts)


def _forced(state: DoorState, event: Event, *, placed: Placed, about: str | None) -> Step:
    """Report a forced opening; if it was closed before that could be told, its end follows at once."""
    forced = _tell(DoorForced, event, of=state, late=placed.late)
    if state.contact != "closed" and state.opening_id in {None, about}:
        return msgspec.structs.replace(state, alarm="forced", alarm_id=event.id), (forced,)
    key = fact_id(state.edge_id, state.door_id, f"{event.id}:ended", "door_closed")
    return state, (forced, DoorClosed(id=key, at=event.at, late=placed.late, door_id=state.door_id))


def _closed(state: DoorState, *, at: datetime) -> DoorState:
    return msgspec.structs.replace(
        state, contact="closed", alarm="none", alarm_id="", opened_at=None, opening_id=None, held_reported=False,
        held_warned=False, closed_at=at,
    )  # fmt: skip


def held_soon(state: DoorState, *, door: Door, at: datetime) -> bool:
    """Return whether it is time to warn at a door that it will soon be open for too long: once per opening."""
    return not state.held_warned and _open_for(state, door.held_open_s * WARN_AT, at=at)


def warned(state: DoorState) -> DoorState:
    """Return the state of a door at which it was warned."""
    return msgspec.structs.replace(state, held_warned=True)


def _held_too_long(state: DoorState, *, door: Door, at: datetime) -> bool:
    return _open_for(state, door.held_open_s, at=at)


def _open_for(state: DoorState, limit_s: float, *, at: datetime) -> bool:
    """Return whether a door that should be closed has been open for longer, and nobody was told yet."""
    if state.held_reported or state.mode in FREE_MODES or state.contact != "open" or state.opened_at is None:
        return False
    return (at - state.opened_at).total_seconds() > limit_s


def _on_held(state: DoorState, event: Event, *, door: Door, late: bool, newest: bool) -> Step:
    if not newest:
        return state, (_tell(DoorHeldOpen, event, of=state, late=late, open_s=door.held_open_s),)
    if state.held_reported or state.mode in FREE_MODES:
        return state, ()
    state = msgspec.structs.replace(state, opening_id=state.opening_id or event.id)
    state, held = _held(state, at=event.at, open_s=door.held_open_s)
    return state, (msgspec.structs.replace(held, device_at=event.device_at, late=late),)


def _held(state: DoorState, *, at: datetime, open_s: float) -> tuple[DoorState, DoorHeldOpen]:
    opening = state.opening_id or f"since {'' if state.opened_at is None else state.opened_at.isoformat()}"
    key = fact_id(state.edge_id, state.door_id, opening, "door_held_open")
    alarm: Alarm = "forced" if state.alarm == "forced" else "held"
    state = msgspec.structs.replace(state, alarm=alarm, alarm_id=state.alarm_id or opening, held_reported=True)
    return state, DoorHeldOpen(id=key, at=at, door_id=state.door_id, open_s=open_s)


def _gap(state: DoorState, gap: Missing, *, at: datetime) -> DeviceGap:
    key = fact_id(state.edge_id, state.door_id, f"{state.numbers.restarts}:{gap.first}-{gap.last}", "device_gap")
    return DeviceGap(id=key, at=at, door_id=state.door_id, first=gap.first, last=gap.last)


def _tell(kind: type[Happening], event: Event, *, of: DoorState, late: bool, **more: Any) -> Happening:
    """Return the fact of a kind that an event is: its id follows from the event alone."""
    key = fact_id(of.edge_id, of.door_id, event.id, str(kind.__struct_config__.tag))
    return kind(id=key, at=event.at, device_at=event.device_at, late=late, door_id=of.door_id, **more)
