"""Wrong attempts at readers: who guesses is locked out for a while, and those who do not guess are not.

Flat and PIN are locked per flat and door: whoever tries the PINs of one flat shuts nobody else out. A door where many
flats are tried is guarded: there each flat has one try. A bare PIN or a card tells nobody apart, so these lock the
keypad, or the reader, of one door. It knows no values, only whether they were right.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

log = logging.getLogger("gatehouse.edge.guesses")

Family = Literal["card", "pin", "qr", "flat"]
Subject = tuple[str, Family, str]
"""A door, what was presented there, and the flat that was named (empty for the rest)."""


@dataclass(frozen=True)
class Lockout:
    """Lock for `for_s` after so many wrong attempts within `within_s`."""

    attempts: int
    for_s: float
    within_s: float = 300.0


LOCKOUTS: Final[dict[Family, Lockout]] = {
    "pin": Lockout(10, 60.0),
    "flat": Lockout(5, 60.0),
    "card": Lockout(60, 10.0),
    "qr": Lockout(60, 10.0),
}
"""Cards and tickets cannot be guessed as PINs can, and locking a reader shuts residents out: so it takes more, lasts less."""
SPRAYED: Final = Lockout(20, 3600.0)
"""Wrong flats and PINs at one door, whatever the flat, after which the door is guarded for so long."""
GUARDED: Final = Lockout(1, 300.0)
"""What holds for each flat at a guarded door."""
SUBJECTS: Final = 10_000
"""Subjects that are remembered; the one that was wrong longest ago makes room."""


@dataclass
class Tally:
    """Count the wrong attempts of one subject."""

    wrong: deque[float] = field(default_factory=deque)
    until: float = 0.0


class Guesses:
    """Count wrong attempts, and say who is locked out. `unix` gives the time in seconds."""

    def __init__(self, unix: Callable[[], float]) -> None:
        self._unix = unix
        self._tallies: dict[Subject, Tally] = {}
        self._doors: dict[str, Tally] = {}
        self.lockouts = 0

    def locked(self, door_id: str, family: Family, *, flat: str = "") -> bool:
        """Return whether attempts of a kind (and for a flat) are refused unseen at a door now."""
        tally = self._tallies.get((door_id, family, flat))
        return tally is not None and self._unix() < tally.until

    def wrong(self, door_id: str, family: Family, *, flat: str = "") -> None:
        """Note a wrong attempt; `flat` is empty for one that no flat answers to, which locks nothing but guards the door."""
        now = self._unix()
        rule = LOCKOUTS[family]
        if family == "flat":
            rule = GUARDED if self._guard(door_id, now) else rule
            if not flat:
                return
        tally = self._remember((door_id, family, flat))
        if _over(tally, rule, now):
            tally.until = now + rule.for_s
            self.lockouts += 1
            what = "a flat's PINs" if family == "flat" else f"the {family} reader"
            log.warning("door %s: %s locked for %.0f s after wrong attempts", door_id, what, rule.for_s)

    def right(self, door_id: str, flat: str) -> None:
        """Forget what a flat got wrong at a door: somebody of that flat has got it right."""
        self._tallies.pop((door_id, "flat", flat), None)

    def _guard(self, door_id: str, now: float) -> bool:
        """Count a wrong flat and PIN for the door; return whether the door is guarded."""
        tally = self._doors.setdefault(door_id, Tally())
        if _over(tally, SPRAYED, now):
            if now >= tally.until:
                log.warning("door %s: PINs of many flats were tried, each flat has one try for now", door_id)
            tally.until = now + SPRAYED.for_s
        return now < tally.until

    def _remember(self, subject: Subject) -> Tally:
        tally = self._tallies.pop(subject, None) or Tally()
        while len(self._tallies) >= SUBJECTS:
            del self._tallies[next(iter(self._tallies))]
        self._tallies[subject] = tally
        return tally


def _over(tally: Tally, rule: Lockout, now: float) -> bool:
    """Count a wrong attempt; return whether that is one too many, which begins the count anew."""
    tally.wrong.append(now)
    while tally.wrong[0] < now - rule.within_s:
        tally.wrong.popleft()
    if len(tally.wrong) < rule.attempts:
        return False
    tally.wrong.clear()
    return True
