"""Which mode each door shall be in, and whether it has to be told again. It sends nothing (edge.doorkeeper)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from drivers.door import SetMode
from edge.clock import SteadyClock
from edge.ledger import Kept
from models.doors import DoorState
from models.places import Door
from models.policy import DesiredMode

MODE_AGAIN_S = 5.0


class Modes:
    """Hold the desired modes of one edge's doors: what people set, and else what the door's schedule says."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock
        self._set: dict[str, DesiredMode] = {}
        self.stands_free: Callable[[Door], bool] = lambda _: False
        """Says whether a door stands unlocked now by its schedule."""

    def apply(self, modes: Iterable[DesiredMode]) -> None:
        """Want these modes from now on."""
        self._set = {mode.door_id: mode for mode in modes}

    def desired(self, door: Door) -> DesiredMode | None:
        """Return the mode that a door shall be in now, under the version that people gave it, if any is wanted."""
        mode = self._set.get(door.id)
        if mode is None and door.free_schedule_id is None:
            return None
        mode = (mode or DesiredMode(door_id=door.id, version=0, mode="normal")).now(self._clock.now())
        free = self.stands_free(door)  # asked in every mode, so that the end of its time is seen in every mode
        return msgspec.structs.replace(mode, mode="held_open") if free and mode.mode == "normal" else mode

    def due(self, kept: Kept) -> tuple[SetMode, DoorState] | None:
        """Return what a door has to be told now and what is remembered of that, if it is in another mode.

        A door takes a higher version only, so what a schedule says gets versions of its own between those that people
        give; the last one is remembered with the door. It is told again after a while if it does not follow.
        """
        mode = self.desired(kept.door)
        if mode is None:
            return None
        state = kept.state
        if (state.mode_told, state.mode_for) != (mode.mode, mode.version):
            version = max(mode.version, state.mode_version + 1)
            state = msgspec.structs.replace(state, mode_told=mode.mode, mode_for=mode.version, mode_version=version)
        now, sent = self._clock.unix(), kept.mode_sent
        recently = sent is not None and sent[0] == state.mode_version and now - sent[1] < MODE_AGAIN_S
        if recently or (state.mode == mode.mode and sent is not None and sent[0] == state.mode_version):
            return None
        kept.mode_sent = (state.mode_version, now)
        return SetMode(door_id=kept.door.id, version=state.mode_version, mode=mode.mode), state
