"""The edge's clock: UTC that never jumps, so that a corrected wall clock or a leap cannot invent an alarm.

Steady time starts at the wall clock, runs on the machine's boot-time clock, and leans towards the wall clock by at
most one per cent. It does not synchronise anything: that is NTP's work, and the uplink measures the distance to the
gateway.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

SLEW = 0.01
"""At most this part of the passed time is corrected towards the wall clock."""
EARLIER_BY_S = 5.0
"""A start this much before the last persisted time makes the clock untrusted."""


def since_boot_s() -> float:
    """Return seconds on a clock that never goes back and counts suspended time where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class SteadyClock:
    """Tell steady UTC. `last_known` is the last persisted time: a clock that starts before it is not trusted."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot_s,
        last_known: float | None = None,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._at = wall()
        self._read = steady()
        self._distrust_until = last_known if last_known is not None and self._at < last_known - EARLIER_BY_S else None

    def unix(self) -> float:
        """Return steady Unix time in seconds."""
        read = self._steady()
        passed = max(0.0, read - self._read)
        self._read = read
        drift = self._wall() - (self._at + passed)
        lean = SLEW * passed
        self._at += passed + max(-lean, min(lean, drift))
        return self._at

    def now(self) -> datetime:
        """Return steady time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.unix(), UTC)

    def jumped_s(self) -> float:
        """Return how far the wall clock now is from steady time; 0 unless somebody moved it."""
        at = self.unix()
        return self._wall() - at

    def trusted(self) -> bool:
        """Return False while the clock reads earlier than a time that this edge has already lived through."""
        if self._distrust_until is not None and self.unix() >= self._distrust_until:
            self._distrust_until = None
        return self._distrust_until is None

    def confirm(self) -> None:
        """Trust the clock again: the gateway has just accepted it."""
        self._distrust_until = None
