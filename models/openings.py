"""What is remembered of a door, and what explains an opening: grants, exit requests, releases. Raises no alarms."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from models.device_clock import LEEWAY_S, DeviceClock, Placed
from models.events import OpeningCause
from models.reports import Contact, Event, Lock
from models.sequence import Numbers, beside

Alarm = Literal["none", "forced", "held"]

EXIT_ORDER_S = LEEWAY_S
"""An exit request and the opening that it explains may arrive in either order within this time."""
SETTLE_S = 10.0
"""After a restart or reconnection: how long an unexplained opening is of unknown cause rather than forced."""
RELEASE_S = 60.0
"""How long an emergency release explains openings."""
MAX_EXPECTATIONS = 16
MAX_PENDING = 16
FREE_MODES = frozenset({"evacuating", "held_open"})


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """Expect openings between two times, and why; kept beyond them, since a contact may bounce and a report be late."""

    cause: OpeningCause = "granted"
    attempt: str | None = None
    since: datetime
    until: datetime


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an unexplained opening that an exit request may still explain, until a time."""

    event: Event
    placed: Placed
    until: datetime
    doubted: bool = False
    """True once we or the wire were away meanwhile: what would explain it may have been lost."""


class DoorState(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that is remembered about a door; persisted in one transaction with the facts that it led to."""

    door_id: str
    edge_id: str
    contact: Contact = "unknown"
    lock: Lock = "unknown"
    mode: str = "normal"
    mode_told: str = ""
    """The mode that it was told to be in last, for which version of people's wishes, and under which version of its own."""
    mode_for: int = 0
    mode_version: int = -1
    tamper: bool = False
    online: bool | None = None
    alarm: Alarm = "none"
    alarm_id: str = ""
    """The opening that the alarm is about."""
    numbers: Numbers = Numbers()
    clock: DeviceClock = DeviceClock()
    shown_seq: int | None = None
    """The newest event number that `contact` knows of."""
    expectations: tuple[Expectation, ...] = ()
    pending: tuple[Pending, ...] = ()
    opening_id: str | None = None
    opened_at: datetime | None = None
    held_reported: bool = False
    held_warned: bool = False
    """True if it was warned at the door that it will soon be open for too long."""
    closed_at: datetime | None = None
    """When it was last seen to close."""
    mains: bool | None = None
    """Whether it runs on mains: an event says when it is lost, an event or a snapshot that it is back."""
    settling_until: datetime | None = None
    """Openings before this cannot be told: we were away, or expectations were forgotten."""
    back_at: datetime | None = None
    """When the device came back: it may report its own start for a while."""
    heard: bool = False
    """True if the device has spoken since `resume`."""
    away_since: datetime | None = None
    """Since when the device says that it is away, while that is not a fact yet (models.presence)."""
    lost: bool = False
    lost_count: int = 0

    @property
    def offset_s(self) -> float | None:
        """What to add to the device's clock to get the edge's, as far as it was measured."""
        return self.clock.offset_s


def expect_opening(state: DoorState, *, attempt: str, at: datetime, until: datetime) -> DoorState:
    """Return the state that expects openings for a grant; call it, and journal it, before the unlock is sent."""
    return _expect(state, Expectation(attempt=attempt, since=at, until=until))


def withdraw_expectation(state: DoorState, attempt: str) -> DoorState:
    """Return the state without a grant's expectation: its unlock was refused for certain (a time-out is not that)."""
    kept = tuple(e for e in state.expectations if e.attempt != attempt)
    return msgspec.structs.replace(state, expectations=kept)


def blind(state: DoorState, event: Event, *, placed: Placed) -> bool:
    """Return whether what would explain an opening may be unknown to us, or lost on the way."""
    never_told = state.contact == "unknown" and len(state.numbers.recent_ids) <= 1
    if never_told or beside(state.numbers, event.seq, at=event.at) == "lost":
        return True
    leeway = timedelta(seconds=placed.leeway_s)
    for moment in placed.moments:
        if state.settling_until is not None and moment - leeway < state.settling_until:
            return True
        if state.back_at is not None and state.back_at <= moment < state.back_at + timedelta(seconds=SETTLE_S):
            return True
    return not placed.moments


def explanation(state: DoorState, placed: Placed) -> tuple[OpeningCause | None, str | None]:
    """Return what explains an opening, and whose attempt; None if nothing does."""
    leeway = timedelta(seconds=placed.leeway_s)
    for expected in reversed(state.expectations):
        if any(expected.since - leeway <= moment <= expected.until + leeway for moment in placed.moments):
            return expected.cause, expected.attempt
    if state.mode in FREE_MODES:
        return "release", None
    return ("unknown", None) if not placed.moments and state.expectations else (None, None)


def _expect(state: DoorState, expectation: Expectation) -> DoorState:
    attempt = expectation.attempt
    live = tuple(e for e in state.expectations if attempt is None or e.attempt != attempt)
    for forgotten in live[: max(0, len(live) + 1 - MAX_EXPECTATIONS)]:
        state = forget_before(state, forgotten.until)
    return msgspec.structs.replace(state, expectations=(*live, expectation)[-MAX_EXPECTATIONS:])


def expect_around(
    state: DoorState, event: Event, *, placed: Placed, cause: OpeningCause, lasting_s: float
) -> DoorState:
    """Expect openings around an exit request or a release, each moment that it may have happened."""
    lasting = timedelta(seconds=lasting_s)
    moments = placed.moments or (event.at,)
    for moment in moments:
        state = _expect(state, Expectation(cause=cause, since=moment, until=moment + lasting))
    stuck = tuple(p for p in state.pending if p.doubted or not placed.moments)
    if stuck:  # it may have waited at the device since before these openings
        since = min(moment for pending in stuck for moment in pending.placed.moments)
        state = _expect(state, Expectation(cause=cause, since=since, until=event.at))
    return state


def forget_before(state: DoorState, until: datetime) -> DoorState:
    """Return the state in which openings before a time cannot be told any more."""
    settled = until if state.settling_until is None else max(until, state.settling_until)
    return msgspec.structs.replace(state, settling_until=settled)
