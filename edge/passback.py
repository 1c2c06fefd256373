"""Who is inside, by the readers of doors that mind anti-passback; on disk with the opening, so that a restart forgets nobody.

Somebody is inside of the door by which they came. Whoever leaves is never asked. The rule is models.door_rules'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from models.access import Claim
from models.door_rules import inside
from models.places import Door
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.passback")


class Insiders:
    """Know who came in by which door of one edge, and has not left."""

    def __init__(self, *, keeper: DoorKeeper, clock: SteadyClock, spool: Spool) -> None:
        self._keeper = keeper
        self._clock = clock
        self._spool = spool
        self._came_in: dict[tuple[str, str], datetime] = {}

    async def load(self) -> None:
        """Take up what the last run left.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        self._came_in = await self._spool.insiders()

    def forget(self, policy: Policy) -> None:
        """Forget who is no longer in the policy, and doors that no longer mind."""
        doors = {door.id for door in policy.doors if door.passback != "off"}
        people = {person.id for person in policy.people} | {permit.person_id for permit in policy.permits}
        for door_id, person_id in tuple(self._came_in):
            if door_id not in doors or person_id not in people or person_id in policy.tombstones:
                self._went_out(door_id, person_id)

    def comes_again(self, claim: Claim, door: Door) -> bool:
        """Return whether a claim is of somebody who comes in by a door by which they came, and has not left."""
        state = self._keeper.state(door.id)
        if door.passback == "off" or claim.reader == "out" or claim.person_id is None or state is None:
            return False
        came_in = self._came_in.get((door.id, claim.person_id))
        return came_in is not None and inside(came_in, door=door, state=state, at=self._clock.now())

    def move(self, claim: Claim, door: Door) -> Callable[[], None]:
        """Note that somebody goes in or out, before the door is told to open; return what takes it back."""
        if door.passback == "off" or claim.person_id is None:
            return lambda: None
        key = (door.id, claim.person_id)
        before = self._came_in.get(key)
        self._put(key, None if claim.reader == "out" else self._clock.now())
        return lambda: self._put(key, before)

    def _put(self, key: tuple[str, str], at: datetime | None) -> None:
        if at is None:
            self._went_out(*key)
            return
        self._came_in[key] = at
        self._spool.note_insider(*key, at=at).add_done_callback(_said)

    def _went_out(self, door_id: str, person_id: str) -> None:
        if self._came_in.pop((door_id, person_id), None) is not None:
            self._spool.forget_insider(door_id, person_id).add_done_callback(_said)


def _said(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("who is inside was not stored, and may be forgotten by a restart: %s", error)
