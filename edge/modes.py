"""Which mode each door shall be in, and whether it has to be told again. It sends nothing (edge.doorkeeper)."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.door import SetMode
from edge.clock import SteadyClock
from edge.ledger import Kept
from models.policy import DesiredMode

MODE_AGAIN_S = 5.0


class Modes:
    """Hold the desired modes of one edge's doors."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock
        self._set: dict[str, DesiredMode] = {}

    def apply(self, modes: Iterable[DesiredMode]) -> None:
        """Want these modes from now on."""
        self._set = {mode.door_id: mode for mode in modes}

    def doors(self) -> tuple[str, ...]:
        """Return the doors of which a mode is wanted."""
        return tuple(self._set)

    def desired(self, door_id: str) -> DesiredMode | None:
        """Return the mode that a door shall be in now, if any is wanted."""
        return None if (mode := self._set.get(door_id)) is None else mode.now(self._clock.now())

    def due(self, kept: Kept) -> SetMode | None:
        """Return what a door has to be told now: that it is in another mode, again after a while if it does not follow."""
        mode = self.desired(kept.door.id)
        if mode is None:
            return None
        now, sent = self._clock.unix(), kept.mode_sent
        recently = sent is not None and sent[0] == mode.version and now - sent[1] < MODE_AGAIN_S
        if recently or (kept.state.mode == mode.mode and sent is not None and sent[0] == mode.version):
            return None
        kept.mode_sent = (mode.version, now)
        return SetMode(door_id=kept.door.id, version=mode.version, mode=mode.mode)
