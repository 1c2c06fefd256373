"""When a device's event happened on the edge's clock. A live event happens as it arrives; only a delayed one is placed.

Pure: it is handed both times. The device's clock decides nothing else.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

LATE_AFTER_S = 10.0
"""A delay above this makes an event late; it is also how far a placed time may be wrong."""
LEEWAY_S = 1.5
"""How far a live event's time may be off: our own clock may be set meanwhile."""


class DeviceClock(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what to add to a device's clock to get the edge's, and a larger offset that may be a clock set back."""

    offset_s: float | None = None
    doubt_s: float | None = None
    doubt_at: datetime | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Say when an event may have happened, give or take `leeway_s`; no moment at all means that it cannot be told."""

    moments: tuple[datetime, ...]
    late: bool
    leeway_s: float = LEEWAY_S


def believed(clock: DeviceClock, asked_s: float | None) -> DeviceClock:
    """Return the clock as it is once the wire has asked the device for it: one that is far off was set meanwhile.

    Args:
        clock: as learnt from events, which is finer.
        asked_s: the offset by the device's own answer; None where the wire did not ask.
    """
    if asked_s is None or (clock.offset_s is not None and abs(clock.offset_s - asked_s) <= LATE_AFTER_S):
        return clock
    return DeviceClock(offset_s=asked_s)


def measure(clock: DeviceClock, device_at: datetime | None, *, at: datetime, backlog: bool) -> DeviceClock:
    """Return the clock after an event that arrived at `at`; what is known to have waited measures nothing.

    A larger offset is a delayed event at first. If a second one agrees with it well after the first, no queue explains
    both (a queue empties at once): the device's clock was set back.
    """
    if device_at is None or backlog:
        return clock
    offset_s = (at - device_at).total_seconds()
    more_s = 0.0 if clock.offset_s is None else offset_s - clock.offset_s
    if clock.offset_s is None or more_s <= LATE_AFTER_S:
        return DeviceClock(
            offset_s=offset_s - 0.9 * max(0.0, more_s)
        )  # mostly delay; a slow clock shows again and again
    agrees = clock.doubt_s is not None and abs(offset_s - clock.doubt_s) <= LATE_AFTER_S
    if not agrees or clock.doubt_at is None:
        return msgspec.structs.replace(clock, doubt_s=offset_s, doubt_at=at)
    if (at - clock.doubt_at).total_seconds() > LATE_AFTER_S:
        return DeviceClock(offset_s=offset_s)
    return clock


def place(clock: DeviceClock, device_at: datetime | None, *, at: datetime, backlog: bool) -> Placed:
    """Return when an event happened on the edge's clock.

    Args:
        clock: the device's clock as measured, this event included.
        device_at: the device's own time of the event.
        at: its arrival.
        backlog: the wire knows that it waited.
    """
    if device_at is None or clock.offset_s is None:
        return Placed(moments=() if backlog else (at,), late=backlog)
    occurred = min(at, device_at + timedelta(seconds=clock.offset_s))
    late = (at - occurred).total_seconds() > LATE_AFTER_S
    if backlog:
        return Placed(moments=(occurred,), late=late, leeway_s=LATE_AFTER_S)
    moments = (at,) if occurred == at else (occurred, at)  # a delay, or the device's clock was set back
    return Placed(moments=moments, late=late, leeway_s=LATE_AFTER_S if late else LEEWAY_S)
