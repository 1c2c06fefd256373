"""How useful an eye finds its camera's pictures, and whether the camera's clock is right: a look every few seconds."""

from __future__ import annotations

from typing import Final

from models.events import Trouble
from models.picture_health import Lasting, Limits, Luma, PictureHealth, Verdict, view_of

CLOCK_OFF_S: Final = 10.0
CLOCK_RIGHT_S: Final = 5.0
CLOCK_LASTS_S: Final = 30.0


class Looks:
    """Follow one camera's pictures and clock, over reconnections."""

    def __init__(self, limits: Limits) -> None:
        self._health = PictureHealth(limits)
        self._clock = Lasting(CLOCK_LASTS_S, ends_s=limits.ends_s)
        self._every_s = 0.9 * limits.ends_s
        self._verdict = Verdict()
        self._looked_s: float | None = None
        self._glances = False

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong, lastingly."""
        return (*self._verdict.troubles, *(("clock_skew",) if self._clock.state else ()))

    @property
    def absent(self) -> tuple[Trouble, ...]:
        """What is known not to be wrong."""
        return (*self._verdict.absent, *(("clock_skew",) if self._clock.state is False else ()))

    def observe(self, luma: Luma, at_s: float, *, clock_off_s: float | None) -> bool:
        """Take a picture, (height, width) uint8, at its monotonic time; say whether anything changed.

        Args:
            luma: its brightness.
            at_s: when it was decoded.
            clock_off_s: by how much the camera's clock is ahead of ours; None where it does not say.
        """
        # The picture right after a glance counts, too: a frozen camera shows the same twice.
        if self._looked_s is not None and at_s - self._looked_s < self._every_s and not self._glances:
            return False
        self._glances = self._looked_s is not None and at_s - self._looked_s > 1.5 * self._every_s
        self._looked_s = at_s
        before = self.troubles, self.absent
        view = view_of(luma)
        self._verdict = Verdict() if view is None else self._health.observe(view, at_s)
        limit_s = CLOCK_RIGHT_S if self._clock.state else CLOCK_OFF_S
        self._clock.observe(None if clock_off_s is None else abs(clock_off_s) > limit_s, at_s)
        return (self.troubles, self.absent) != before
