"""The rules of doors that need more than the policy to judge by: other doors, who came before, who is inside.

The rules themselves are models.door_rules'; who may pass at all is decided before (models.access). Whoever leaves is held
up by a sluice alone.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.passback import Insiders
from edge.spool import Spool
from models.access import Claim, Denial, Grant
from models.door_rules import First, awaits_second, interlocked
from models.events import DenialReason
from models.openings import FREE_MODES
from models.places import Door
from models.policy import Policy


class DoorRules:
    """Judge by the rules of one edge's doors."""

    def __init__(self, *, keeper: DoorKeeper, clock: SteadyClock, spool: Spool) -> None:
        self._keeper = keeper
        self._clock = clock
        self._insiders = Insiders(keeper=keeper, clock=clock, spool=spool)
        self._first: dict[str, First] = {}

    async def load(self) -> None:
        """Take up what the last run left.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        await self._insiders.load()

    def apply(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        self._insiders.forget(policy)

    def judge(self, decision: Grant | Denial, door: Door) -> Grant | Denial:
        """Return the decision, or the denial that the door's rules make of it. It notes nothing."""
        reason = None if isinstance(decision, Denial) else self._refusal(decision.claim, door)
        return decision if reason is None else Denial(claim=decision.claim, reason=reason)

    def _refusal(self, claim: Claim, door: Door) -> DenialReason | None:
        if claim.reader == "out" or self._keeper.mode(door.id) in FREE_MODES:
            return None
        if door.passback == "hard" and self._insiders.comes_again(claim, door):
            return "passback"
        if not door.two_person:
            return None
        if claim.person_id is None:
            return "unsupported"  # two passes may be one visitor's
        first = self._first.get(door.id)
        waits = awaits_second(first, claim.person_id, door=door, at=self._clock.now())
        return "awaits_second_person" if waits else None

    def interlocked(self, door: Door) -> bool:
        """Return whether a door must stay shut now because another door of its sluice is not."""
        if not door.interlock:
            return False
        sluice = [state for state in self._keeper.states() if self._interlock(state.door_id) == door.interlock]
        return interlocked(
            (state for state in sluice if state.door_id != door.id),
            modes=[self._keeper.mode(state.door_id) for state in sluice],
            at=self._clock.now(),
        )

    def _interlock(self, door_id: str) -> str:
        return "" if (door := self._keeper.door(door_id)) is None else door.interlock

    def waits(self, claim: Claim) -> None:
        """Remember the first of two, who is told to wait for the second."""
        if claim.person_id is not None:
            self._first[claim.door_id] = First(person_id=claim.person_id, at=self._clock.now())

    def noticed(self, claim: Claim, door: Door) -> bool:
        """Return whether it shall be told that somebody comes in again who has not left."""
        return door.passback == "soft" and self._insiders.comes_again(claim, door)

    def passes(self, claim: Claim, door: Door) -> Callable[[], None]:
        """Note that somebody is let through, before the door is told to open; return what takes it back."""
        self._first.pop(door.id, None)
        return self._insiders.move(claim, door)
