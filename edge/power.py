"""Watch the doors' mains and tell of a power cut once for all of them. The rule is models.power's.

What is known of a cut is stored with its fact, so that a restart in the dark tells nothing twice and still tells the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from edge.clock import SteadyClock
from edge.spool import Spool
from models.doors import DoorState
from models.errors import StorageUnavailable
from models.events import PowerCut
from models.power import Power, look

log = logging.getLogger("gatehouse.edge.power")

KEY: Final = "power"
LOOK_S: Final = 0.5


class Mains:
    """Watch the mains of one edge's doors."""

    def __init__(
        self, *, edge_id: str, spool: Spool, clock: SteadyClock, states: Callable[[], tuple[DoorState, ...]]
    ) -> None:
        self._edge_id = edge_id
        self._spool = spool
        self._clock = clock
        self._states = states
        self._power = Power()

    async def run(self) -> None:
        """Watch for ever.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        self._power = _read(await self._spool.recall(KEY))
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Tell what has changed; a disk that takes nothing is asked again the next time."""
        states = self._states()
        if not states:
            return  # no policy yet: nothing can be told of its doors
        dark = [state.door_id for state in states if state.mains is False]
        power, fact = look(self._power, dark=dark, edge_id=self._edge_id, at=self._clock.now())
        if fact is not None:
            try:
                await self._spool.commit(None, (fact,), notes={KEY: msgspec.json.encode(power)})
            except StorageUnavailable as error:
                log.debug("a power cut or its end was not stored: %s", error)
                return
            if isinstance(fact, PowerCut):
                log.warning("doors without mains: %s", ", ".join(fact.doors))
            else:
                log.info("every door runs on mains again")
        self._power = power


def _read(stored: bytes | None) -> Power:
    try:
        return Power() if stored is None else msgspec.json.decode(stored, type=Power)
    except msgspec.MsgspecError as error:
        log.warning("what was known of a power cut cannot be read: %s", error)
        return Power()
