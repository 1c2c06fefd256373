"""Calls at door stations: one ring per door, told once, until the desk opens or refuses, or nobody answers for a minute.

What rings is on disk, so that a restart ends a ring all the same. It decides nothing: whoever calls is let in by hand.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from models.access import Request
from models.events import DoorCalled, DoorCallEnded, fact_id
from models.link import RefuseCall, Result
from models.places import Door

log = logging.getLogger("gatehouse.edge.calls")

KEY: Final = "calls"
RINGS_FOR: Final = timedelta(seconds=60)
LOOK_S: Final = 0.5
SAYS: Final = {"refused": "call_refused", "unanswered": "unanswered"}
"""What the caller is told at the end of a ring; one that ends with an opening tells itself."""


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the press that began a ring, and when it was pressed last."""

    attempt: str
    at: datetime


class Calls:
    """Ring for the desk at the doors of one edge."""

    def __init__(self, *, edge_id: str, keeper: DoorKeeper, clock: SteadyClock, spool: Spool) -> None:
        self._edge_id = edge_id
        self._keeper = keeper
        self._clock = clock
        self._spool = spool
        self._rings: dict[str, Ring] = {}

    async def load(self) -> None:
        """Take up what rang when the last run ended.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        stored = await self._spool.recall(KEY)
        try:
            self._rings = {} if stored is None else msgspec.json.decode(stored, type=dict[str, Ring])
        except msgspec.MsgspecError as error:
            log.warning("what rang cannot be read: %s", error)

    async def run(self) -> None:
        """End, for as long as the edge runs, what nobody answers."""
        while True:
            await asyncio.sleep(LOOK_S)
            over = self._clock.now() - RINGS_FOR
            for door_id in [door_id for door_id, ring in self._rings.items() if ring.at <= over]:
                await self.end(door_id, "unanswered")

    async def ring(self, request: Request, door: Door) -> None:
        """Ring for the desk, or go on ringing, and say so at the door station."""
        at, before = self._clock.now(), self._rings.get(door.id)
        attempt = request.id if before is None else before.attempt
        self._rings[door.id] = Ring(attempt=attempt, at=at)
        self._store()
        if before is None:
            key = fact_id(self._edge_id, door.id, attempt, "door_called")
            fact = DoorCalled(id=key, at=at, door_id=door.id, attempt=attempt, reader=request.reader)
            self._keeper.record(door.id, fact)
        await self._keeper.feedback(door.id, attempt=request.id, reason="calling", ok=True)

    async def end(self, door_id: str, how: Literal["opened", "refused", "unanswered"]) -> bool:
        """End the ring at a door and tell the caller; return whether there was one."""
        ring = self._rings.pop(door_id, None)
        if ring is None:
            return False
        self._store()
        key = fact_id(self._edge_id, door_id, ring.attempt, "door_call_ended")
        fact = DoorCallEnded(id=key, at=self._clock.now(), door_id=door_id, attempt=ring.attempt, how=how)
        self._keeper.record(door_id, fact)
        if how in SAYS:
            await self._keeper.feedback(door_id, attempt=ring.attempt, reason=SAYS[how])
        return True

    async def refuse(self, command: RefuseCall) -> Result:
        """Send whoever calls at a door away, because somebody at the desk said so."""
        if self._clock.now() >= command.deadline:
            return Result(command_id=command.id, state="expired", reason="expired", at=self._clock.now())
        ended = await self.end(command.door_id, "refused")
        return Result(
            command_id=command.id, state="confirmed" if ended else "refused", reason=None if ended else "no_call",
            at=self._clock.now(),
        )  # fmt: skip

    def _store(self) -> None:
        self._spool.remember(KEY, msgspec.json.encode(self._rings)).add_done_callback(_said)


def _said(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("what rings was not stored, and may ring on after a restart: %s", error)
