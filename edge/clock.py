"""The edge's clock: UTC that never jumps, so that a corrected wall clock or a leap cannot invent an alarm.

Steady time starts at the wall clock, runs on the machine's boot-time clock, and leans towards the wall clock by at
most one per cent. It does not synchronise anything: that is NTP's work, and the uplink measures the distance to the
gateway. A clock that cannot be right is doubted: while it is, what is limited in time fails closed, and no time is kept
as the last one that was lived through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from drivers.since_boot import since_boot_s

SLEW = 0.01
"""At most this part of the passed time is corrected towards the wall clock."""
EARLIER_BY_S = 5.0
"""A start this much before the last persisted time makes the clock untrusted."""
LATER_BY_S = 30 * 86_400.0
"""A start this much after it does, too: a box that was away so long asks the gateway before it believes its clock."""
OFF_BY_S = 300.0
"""So far from the gateway's clock, ours is the one that is wrong."""


@dataclass(frozen=True)
class Doubt:
    """Say why a clock cannot be right, and by how many seconds: before or after what was known, or off the gateway's."""

    why: Literal["earlier", "later", "gateway"]
    off_s: float


class SteadyClock:
    """Tell steady UTC. `last_known` is the last persisted time: a clock that starts before or long after it is doubted."""

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
        self._floor = -math.inf if last_known is None else last_known
        self._doubt: Doubt | None = None
        if self._at < self._floor - EARLIER_BY_S:
            self._doubt = Doubt(why="earlier", off_s=self._at - self._floor)
        elif self._at > self._floor + LATER_BY_S and last_known is not None:
            self._doubt = Doubt(why="later", off_s=self._at - self._floor)

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

    @property
    def doubt(self) -> Doubt | None:
        """Why this clock is not trusted, or None."""
        doubt = self._doubt
        if doubt is not None and doubt.why == "earlier" and self.unix() >= self._floor:
            self._doubt = None  # it has reached what it had lived through
        return self._doubt

    def trusted(self) -> bool:
        """Return False while the clock cannot be right; see `doubt`."""
        return self.doubt is None

    def compare(self, gateway_ahead_s: float) -> None:
        """Judge this clock by the gateway's, which has just been heard: trust it, or doubt it if it is too far away.

        A wall clock that was set right meanwhile is taken over at once: it is the only time that steady time jumps.
        """
        right = abs(gateway_ahead_s) <= OFF_BY_S
        if not right and abs(self.jumped_s() - gateway_ahead_s) <= OFF_BY_S:
            self._at, right = self._wall(), True
        if right:
            self._doubt = None
        else:
            self._doubt = Doubt(why="gateway", off_s=-gateway_ahead_s)

    def confirm(self) -> None:
        """Trust the clock again: the gateway has just accepted it."""
        self.compare(0.0)

    def not_before(self, at: datetime) -> None:
        """Take a time that the gateway signed as past: a clock that reads much earlier is doubted until it gets there."""
        self._floor = max(self._floor, at.timestamp())
        off_s = self.unix() - self._floor
        if off_s < -OFF_BY_S and self._doubt is None:
            self._doubt = Doubt(why="earlier", off_s=off_s)
