"""Whether this process was held up: stopped, swapped out, or busy for so long that what it reads now is not about now."""

from __future__ import annotations

import asyncio
from typing import Final

BEAT_S: Final = 0.5
HELD_UP_S: Final = 3.0
"""So long without a beat is as long as a request stays fresh (models.access)."""


class Wakefulness:
    """Beat in the running loop until `end`; between beats, tell how long the last one is ago."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def was_held_up(self) -> bool:
        """Return, once after each time, whether no beat came for so long that what waits in a socket may be old."""
        before, self._last = self._last, self._loop.time()
        return self._last - before > HELD_UP_S

    def end(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        if self._loop.time() - self._last <= HELD_UP_S:  # else whoever reads next shall learn of it
            self._last = self._loop.time()
        self._timer = self._loop.call_later(BEAT_S, self._beat)
