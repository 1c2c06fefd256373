"""The numbers of a door's events: what was taken, what is missing, and each event in its turn. Knows no door rules.

An event that overtook others waits for them for a moment, so that reordering on the wire changes nothing downstream.
A number that never comes is reported, and still taken should it come after all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from models.reports import Event

HOLD_S = 5.0
"""How long an event waits for the numbers before it."""
GAP_CLOSES_WITHIN_S = 30.0
"""How long a missing number holds back the end-to-end acknowledgement before it is reported as a gap."""
MAX_MISSING = 16
MAX_HELD = 32
RECENT_IDS = 64


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Remember numbers that have not arrived, and since when. Whether given up or not, they are taken if they come.

    Those from before we knew the device have no `since`: nobody waits for them.
    """

    first: int
    last: int
    since: datetime | None = None
    given_up: bool = False


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Hold which of a device's event numbers were taken; all up to `last`, but for the missing ones."""

    last: int | None = None
    restarts: int = 0
    """How often the device began to count anew."""
    missing: tuple[Missing, ...] = ()
    written_off: Missing | None = None
    """Gaps that there was no room to remember one by one: from the first to the last, to be reported."""
    held: tuple[Event, ...] = ()
    """Taken, and waiting for their turn."""
    recent_ids: tuple[str, ...] = ()
    earliest_device_at: datetime | None = None
    latest_device_at: datetime | None = None


def take(numbers: Numbers, event: Event) -> tuple[Numbers, bool]:
    """Return the numbers after an event, and whether it is new; a new one waits in `held` for `release`."""
    known = event.id in numbers.recent_ids
    if event.seq is not None and (numbers.last is None or (not known and _restarted(numbers, event))):
        numbers = msgspec.structs.replace(
            numbers,
            last=event.seq,
            restarts=numbers.restarts + (numbers.last is not None),
            missing=_never_expected(event.seq - 1),
            earliest_device_at=None,
            latest_device_at=None,
        )
    elif event.seq is not None:
        counted = _count(numbers, event.seq, at=event.at)
        known = known or counted is None
        numbers = counted or numbers
    if known:
        return numbers, False
    times = [t for t in (numbers.earliest_device_at, numbers.latest_device_at, event.device_at) if t is not None]
    return msgspec.structs.replace(
        numbers,
        held=(*numbers.held, event),
        recent_ids=(*numbers.recent_ids, event.id)[-RECENT_IDS:],
        earliest_device_at=min(times, default=None),
        latest_device_at=max(times, default=None),
    ), True


def announce(numbers: Numbers, seq: int, *, at: datetime) -> Numbers:
    """Return the numbers once the device has named its newest one: what did not arrive yet is missing.

    At first sight of a device nothing is: what happened before is not expected, and not acknowledged either.
    """
    if numbers.last is None:
        return msgspec.structs.replace(numbers, last=seq, missing=_never_expected(seq))
    if seq <= numbers.last:
        return numbers
    return _miss(msgspec.structs.replace(numbers, last=seq), first=numbers.last + 1, last=seq, at=at)


def release(numbers: Numbers, *, at: datetime) -> tuple[Numbers, tuple[Event, ...]]:
    """Return the numbers without the events whose turn it is, and those events in order."""
    barrier = min((m.first for m in numbers.missing if _waits(m, at=at)), default=None)
    if barrier is None or len(numbers.held) > MAX_HELD:
        ready, held = numbers.held, numbers.held[:0]
    else:
        ready = tuple(e for e in numbers.held if e.seq is None or e.seq < barrier)
        held = tuple(e for e in numbers.held if e.seq is not None and e.seq >= barrier)
    return msgspec.structs.replace(numbers, held=held), tuple(sorted(ready, key=lambda e: e.seq or 0))


def give_up(numbers: Numbers, *, at: datetime) -> tuple[Numbers, tuple[Missing, ...]]:
    """Return the numbers that no longer wait for what is overdue, and the gaps to report."""
    overdue = tuple(m for m in numbers.missing if _awaited(m) and not _waits(m, at=at, for_s=GAP_CLOSES_WITHIN_S))
    if not overdue and numbers.written_off is None:
        return numbers, ()
    missing = tuple(msgspec.structs.replace(m, given_up=True) if m in overdue else m for m in numbers.missing)
    gaps = overdue if numbers.written_off is None else (numbers.written_off, *overdue)
    return msgspec.structs.replace(numbers, missing=missing, written_off=None), gaps


def wait_again(numbers: Numbers, *, at: datetime) -> Numbers:
    """Return the numbers with all waiting begun again: while we were away nothing could arrive."""
    missing = tuple(msgspec.structs.replace(m, since=at) if _awaited(m) else m for m in numbers.missing)
    return msgspec.structs.replace(numbers, missing=missing)


def committed(numbers: Numbers) -> int | None:
    """Return up to which number all have been taken or given up, or None as long as none was taken."""
    if numbers.last is None or numbers.missing == _never_expected(numbers.last):
        return None
    return min((m.first for m in numbers.missing if _awaited(m)), default=numbers.last + 1) - 1


def beside(numbers: Numbers, seq: int | None, *, at: datetime) -> Literal["taken", "awaited", "lost"]:
    """Return how the numbers right before and after one stand: one of them may be what explains it."""
    if seq is None:
        return "taken"
    gaps = [m for m in numbers.missing if m.since is not None and (m.last == seq - 1 or m.first == seq + 1)]
    if any(_waits(m, at=at) for m in gaps):
        return "awaited"
    return "lost" if gaps else "taken"


def awaited(numbers: Numbers) -> bool:
    """Return whether any number is still waited for."""
    return any(_awaited(m) for m in numbers.missing)


def _awaited(gap: Missing) -> bool:
    return gap.since is not None and not gap.given_up


def _waits(gap: Missing, *, at: datetime, for_s: float = HOLD_S) -> bool:
    return gap.since is not None and not gap.given_up and at < gap.since + timedelta(seconds=for_s)


def _never_expected(last: int) -> tuple[Missing, ...]:
    return (Missing(first=1, last=last),) if last >= 1 else ()


def _restarted(numbers: Numbers, event: Event) -> bool:
    """Tell a counter that began again (device replaced or wiped) from a redelivery.

    Whatever was taken bears a device time between the earliest and the latest taken, so a used number with a time
    outside is a new event. A number that was given up may well be older than the rest.
    """
    seq, at, earliest, latest = event.seq, event.device_at, numbers.earliest_device_at, numbers.latest_device_at
    if seq is None or at is None or earliest is None or latest is None or seq > (numbers.last or 0):
        return False
    gap = next((m for m in numbers.missing if m.first <= seq <= m.last), None)
    if gap is None:
        return not earliest <= at <= latest
    return not _awaited(gap) and at > latest


def _count(numbers: Numbers, seq: int, *, at: datetime) -> Numbers | None:
    """Return the numbers with `seq` taken, or None if it already was."""
    last = numbers.last or 0
    if seq > last:
        return _miss(msgspec.structs.replace(numbers, last=seq), first=last + 1, last=seq - 1, at=at)
    for index, gap in enumerate(numbers.missing):
        if gap.first <= seq <= gap.last:
            ends = ((gap.first, seq - 1), (seq + 1, gap.last))
            kept = tuple(msgspec.structs.replace(gap, first=a, last=b) for a, b in ends if a <= b)
            return _bounded(numbers, (*numbers.missing[:index], *kept, *numbers.missing[index + 1 :]))
    return None


def _miss(numbers: Numbers, *, first: int, last: int, at: datetime) -> Numbers:
    if first > last:
        return numbers
    return _bounded(numbers, (*numbers.missing, Missing(first=first, last=last, since=at)))


def _bounded(numbers: Numbers, missing: tuple[Missing, ...]) -> Numbers:
    """Return the numbers with at most `MAX_MISSING` gaps; those already reported are forgotten first."""
    if len(missing) <= MAX_MISSING:
        return msgspec.structs.replace(numbers, missing=missing)
    dropped = next((m for m in missing if not _awaited(m)), missing[0])
    kept, off = tuple(m for m in missing if m is not dropped), numbers.written_off
    if _awaited(dropped):
        known = (dropped,) if off is None else (off, dropped)
        off = Missing(first=min(m.first for m in known), last=max(m.last for m in known))
    return msgspec.structs.replace(numbers, missing=kept, written_off=off)
