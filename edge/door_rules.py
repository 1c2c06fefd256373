"""The rules of doors that need more than the policy to judge by: what other doors of the edge do now.

The rules themselves are models.door_rules'; who may pass at all is decided before (models.access).
"""

from __future__ import annotations

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from models.door_rules import interlocked
from models.places import Door


class DoorRules:
    """Judge by the rules of one edge's doors."""

    def __init__(self, *, keeper: DoorKeeper, clock: SteadyClock) -> None:
        self._keeper = keeper
        self._clock = clock

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
