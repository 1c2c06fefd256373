"""Doors that stand unlocked in the times of a schedule, some only once somebody who may pass has come in.

That somebody came is on disk, and holds until the schedule's time is over. It is seldom asked while another mode, a doubted
clock or an ended policy goes before it, and never while the edge is away: so it looks whether the time was over meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

import msgspec

from edge.clock import SteadyClock
from edge.spool import Spool
from models.places import Door
from models.rights import Rights

log = logging.getLogger("gatehouse.edge.free_times")

KEY: Final = "first_in"
LOOK_BACK: Final = timedelta(minutes=1)
"""Who was not asked for longer looks back in these steps whether a schedule's time was over meanwhile."""
LONGEST: Final = timedelta(hours=24)
"""For so long one person's coming opens a door: then it takes another one, though the schedule knows no end."""


class FreeTimes:
    """Know which doors of one edge stand unlocked by their schedules."""

    def __init__(self, *, clock: SteadyClock, spool: Spool) -> None:
        self._clock = clock
        self._spool = spool
        self._rights = Rights()
        self._first_in: dict[str, datetime] = {}
        self._proved: dict[str, datetime] = {}
        """Until when the schedule's time is known to have lasted since somebody came."""

    async def load(self) -> None:
        """Take up what the last run left.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        stored = await self._spool.recall(KEY)
        try:
            self._first_in = {} if stored is None else msgspec.json.decode(stored, type=dict[str, datetime])
        except msgspec.MsgspecError as error:
            log.warning("who came in first cannot be read: %s", error)
        self._proved = {}

    def apply(self, rights: Rights) -> None:
        """Judge by these schedules from now on."""
        self._rights = rights

    def stands_free(self, door: Door, *, at: datetime) -> bool:
        """Return whether a door stands unlocked at a time by its schedule."""
        if door.free_schedule_id is None:
            return False
        covered = self._rights.covers(door.free_schedule_id, at)
        if not door.first_person:
            return covered
        since = self._first_in.get(door.id)
        if since is not None and not (covered and self._holds(door.id, door.free_schedule_id, since=since, at=at)):
            del self._first_in[door.id]
            self._proved.pop(door.id, None)
            self._store()
        return door.id in self._first_in

    def _holds(self, door_id: str, schedule_id: str, *, since: datetime, at: datetime) -> bool:
        """Return whether the schedule's time, which `at` lies in, has lasted since somebody came."""
        if not timedelta(0) <= at - since <= LONGEST:
            return False
        proved = self._proved.get(door_id, since)
        steps = max(0, int((at - proved) / LOOK_BACK)) + 1
        if steps > 1 and not all(self._rights.covers(schedule_id, proved + n * LOOK_BACK) for n in range(steps)):
            return False
        self._proved[door_id] = at
        return True

    def came_in(self, door: Door) -> None:
        """Note that somebody who may pass has come in."""
        at = self._clock.now()
        if not door.first_person or door.free_schedule_id is None or self.stands_free(door, at=at):
            return
        if self._rights.covers(door.free_schedule_id, at):
            self._first_in[door.id] = at
            self._store()

    def _store(self) -> None:
        self._spool.remember(KEY, msgspec.json.encode(self._first_in)).add_done_callback(_said)


def _said(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("who came in first was not stored, and may be forgotten by a restart: %s", error)
