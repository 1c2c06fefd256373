"""Wrong attempts at readers: who guesses is slowed down, and who types correctly gets in within a minute.

Flat and PIN are locked per flat and door: whoever tries the PINs of one flat shuts nobody else out. The keypad itself is
paced, whatever the flat: some wrong attempts are free, each further one makes everybody wait, 2 s at first, twice as long
each time, a minute at most; a minute forgives one. A card tells nobody apart and cannot be guessed, so it takes many wrong
ones to lock its reader, for seconds. It knows no values, only whether they were right.

The arithmetic: in T minutes a keypad looks at no more than 26 + T wrong attempts at flat and PIN, and 16 + T at bare PINs.
A guess is right with a chance of 1 in 10 000 at most (models.pins; 1 in 40 000 on the day a PIN is given), so an hour of
guessing opens with 0.9 % at most (0.2 %), and a night of ten hours with 6 % (1.6 %), each attempt a fact on record. One
flat's PINs get no more than that, and five in a minute. What is typed while the keypad waits is refused
whatever it is and lengthens nothing: whoever comes after a guesser waits a minute at most. Duress is told all the same
(edge.admission), which nothing at the reader shows.

Pictures held up at a door that opens by a bare face are paced likewise: 6 + T in T minutes, those after a card or PIN
counted with them, and no card or PIN forgives one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

log = logging.getLogger("gatehouse.edge.guesses")

Family = Literal["card", "pin", "qr", "flat", "face"]
Subject = tuple[str, Family, str]
"""A door, what was presented there, and the flat that was named (empty for the rest)."""


@dataclass(frozen=True)
class Lockout:
    """Lock for `for_s` after so many wrong attempts within `within_s`."""

    attempts: int
    for_s: float
    within_s: float = 300.0


@dataclass(frozen=True)
class Pace:
    """Let so many wrong attempts go free and one more each minute; beyond, wait longer each time."""

    free: int
    forgives_s: float = 60.0
    first_s: float = 2.0
    longest_s: float = 60.0


LOCKOUTS: Final[dict[Family, Lockout]] = {
    "flat": Lockout(5, 60.0),
    "card": Lockout(60, 10.0),
    "qr": Lockout(60, 10.0),
}
"""Cards and tickets cannot be guessed as PINs can, and locking a reader shuts residents out: so it takes more, lasts less."""
PACES: Final[dict[Family, Pace]] = {"pin": Pace(10), "flat": Pace(20), "face": Pace(5)}
"""What can be tried: a keypad's bare PINs, its flats and PINs, whatever the flat, and pictures in place of a bare face."""
SUBJECTS: Final = 10_000
"""Subjects that are remembered; the one that was wrong longest ago makes room."""


@dataclass
class Tally:
    """Count the wrong attempts of one subject."""

    wrong: deque[float] = field(default_factory=deque)
    until: float = 0.0


@dataclass
class Run:
    """Hold how many wrong attempts of a keypad are not forgiven yet, as of a time, and until when it waits."""

    level: float = 0.0
    at: float = 0.0
    until: float = 0.0


class Guesses:
    """Count wrong attempts, and say who is locked out. `unix` gives the time in seconds."""

    def __init__(self, unix: Callable[[], float]) -> None:
        self._unix = unix
        self._tallies: dict[Subject, Tally] = {}
        self._keypads: dict[tuple[str, Family], Run] = {}
        self.lockouts = 0

    def locked(self, door_id: str, family: Family, *, flat: str = "") -> bool:
        """Return whether attempts of a kind (and for a flat) are refused at a door now, right or wrong."""
        now = self._unix()
        run = self._keypads.get((door_id, family))
        tally = self._tallies.get((door_id, family, flat))
        return (run is not None and now < run.until) or (tally is not None and now < tally.until)

    def wrong(self, door_id: str, family: Family, *, flat: str = "") -> None:
        """Note a wrong attempt; `flat` is empty for one that no flat answers to, which slows the keypad all the same."""
        now = self._unix()
        pace, rule = PACES.get(family), LOCKOUTS.get(family)
        if pace is not None:
            self._slow(door_id, family, pace=pace, now=now)
        if rule is None or (family == "flat" and not flat):
            return
        tally = self._remember((door_id, family, flat))
        if _over(tally, rule, now):
            tally.until = now + rule.for_s
            self.lockouts += 1
            what = "a flat's PINs" if family == "flat" else f"the {family} reader"
            log.warning("door %s: %s locked for %.0f s after wrong attempts", door_id, what, rule.for_s)

    def right(self, door_id: str, flat: str) -> None:
        """Forget what a flat got wrong at a door: somebody of that flat has got it right. The keypad's pace stays."""
        self._tallies.pop((door_id, "flat", flat), None)

    def _slow(self, door_id: str, family: Family, *, pace: Pace, now: float) -> None:
        """Count a wrong attempt for the keypad, and let it wait if that is one too many."""
        run = self._keypads.setdefault((door_id, family), Run(at=now))
        kept = max(0.0, run.level - max(0.0, now - run.at) / pace.forgives_s)
        run.level, run.at = kept + 1.0, now
        beyond = run.level - pace.free
        if beyond <= 0:
            return
        run.until = now + min(pace.longest_s, pace.first_s * 2.0**beyond)
        if kept <= pace.free:
            self.lockouts += 1
            what = "pictures held up, its camera" if family == "face" else "wrong PINs, its keypad"
            log.warning("door %s: many %s waits after each from now on", door_id, what)

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
