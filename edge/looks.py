"""How useful an eye finds its camera's pictures, and whether the camera's clock is right: a look every few seconds."""

from __future__ import annotations

from typing import Final

from models.events import Trouble
from models.picture_health import Lasting, Limits, Luma, PictureHealth, Verdict, view_of

CLOCK_OFF_S: Final = 10.0
CLOCK_RIGHT_S: Final = 5.0
CLOCK_LASTS_S: Final = 30.0


class ClockLook:
    """Say of a camera's clock whether it is lastingly wrong, by whatever way it tells the time.

    Args:
        lasts_s: how long it must be wrong.
        ends_s: how long it must be right again.
    """

    def __init__(self, lasts_s: float, *, ends_s: float) -> None:
        self._lasting = Lasting(lasts_s, ends_s=ends_s)

    @property
    def wrong(self) -> bool | None:
        """Whether it is wrong, lastingly; None as long as that is not known."""
        return self._lasting.state

    def observe(self, off_s: float | None, at_s: float) -> None:
        """Take by how much the clock is ahead of ours at a monotonic time; None where it does not say."""
        limit_s = CLOCK_RIGHT_S if self._lasting.state else CLOCK_OFF_S
        self._lasting.observe(None if off_s is None else abs(off_s) > limit_s, at_s)


class Looks:
    """Follow one camera's pictures and clock, over reconnections."""

    def __init__(self, limits: Limits) -> None:
        self._health = PictureHealth(limits)
        self._clock = ClockLook(CLOCK_LASTS_S, ends_s=limits.ends_s)
        self._every_s = 0.9 * limits.ends_s
        self._verdict = Verdict()
        self._looked_s: float | None = None
        self._glances = False

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong, lastingly."""
        return (*self._verdict.troubles, *(("clock_skew",) if self._clock.wrong else ()))

    @property
    def absent(self) -> tuple[Trouble, ...]:
        """What is known not to be wrong."""
        return (*self._verdict.absent, *(("clock_skew",) if self._clock.wrong is False else ()))

    def due(self, at_s: float) -> bool:
        """Say whether a picture of this time should be observed."""
        # The picture right after a glance counts, too: a frozen camera shows the same twice.
        return self._looked_s is None or self._glances or at_s - self._looked_s >= self._every_s

    def observe(self, luma: Luma, at_s: float, *, clock_off_s: float | None) -> bool:
        """Take a picture, (height, width) uint8, at its monotonic time; say whether anything changed.

        Args:
            luma: its brightness.
            at_s: when it was decoded.
            clock_off_s: by how much the camera's clock is ahead of ours; None where it does not say.
        """
        if not self.due(at_s):
            return False
        self._glances = self._looked_s is not None and at_s - self._looked_s > 1.5 * self._every_s
        self._looked_s = at_s
        before = self.troubles, self.absent
        view = view_of(luma)
        self._verdict = Verdict() if view is None else self._health.observe(view, at_s)
        self._clock.observe(clock_off_s, at_s)
        return (self.troubles, self.absent) != before
