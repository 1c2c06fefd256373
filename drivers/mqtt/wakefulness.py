"""Whether this machine stood still: stopped, swapped out, asleep, or so busy that what is read now is not about now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

BEAT_S: Final = 0.5
HELD_UP: Final = timedelta(seconds=3)
"""So long without a sign of life is as long as a request stays fresh (models.access)."""
READ: Final = timedelta(seconds=1)
"""So soon after it goes on, what waited in a socket has been read."""


class Wakefulness:
    """Beat in the running loop until `end`, and notice when no beat came for too long.

    Args:
        now: the caller's clock; one that counts suspended time shows that the machine slept, too.
    """

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last = self._until = now()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def held_up(self) -> bool:
        """Return whether what is read now may have waited in a socket while this machine stood still."""
        self._look()
        return self._last < self._until

    def end(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._look()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _look(self) -> None:
        at = self._now()
        if not timedelta(0) <= at - self._last <= HELD_UP:
            self._until = at + READ
        self._last = at
