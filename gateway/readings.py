"""What readers read during card lessons: personal data, in this process's memory alone, for the life of a lesson."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from models.cards import CardFormat
from models.link import Progress

KEPT_FOR: Final = timedelta(minutes=5)
"""Readings for which nobody asks are forgotten after this time."""
LESSONS_MOST: Final = 32
"""Lessons whose readings are held at once; the one that was touched longest ago makes room."""


@dataclass(repr=False)
class Held:
    """Hold what one lesson has gathered, and the formats that were proposed for it."""

    readings: tuple[str, ...]
    again: int
    touched_at: datetime
    fits: tuple[CardFormat, ...] = ()


class Readings:
    """Hold the readings of card lessons."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def hear(self, told: Progress, *, at: datetime) -> None:
        """Take what an edge has gathered so far, if it is a lesson."""
        if told.since is None:
            return
        held = self._held.setdefault(told.command_id, Held(readings=(), again=0, touched_at=at))
        held.readings, held.again, held.touched_at = told.readings, told.again, at
        while len(self._held) > LESSONS_MOST:
            del self._held[min(self._held, key=lambda key: self._held[key].touched_at)]

    def of(self, lesson_id: str, *, at: datetime) -> Held | None:
        """Return what a lesson has gathered, if it is not forgotten; who asks keeps it from being so."""
        self.forget_old(at=at)
        held = self._held.get(lesson_id)
        if held is not None:
            held.touched_at = at
        return held

    def forget(self, lesson_id: str) -> None:
        """Forget what a lesson has gathered."""
        self._held.pop(lesson_id, None)

    def forget_old(self, *, at: datetime) -> None:
        """Forget the readings for which nobody asks any more."""
        self._held = {key: held for key, held in self._held.items() if at - held.touched_at < KEPT_FOR}
