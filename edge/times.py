"""The times that an edge has lived through: kept over restarts, so that a clock set back or far ahead is noticed and told.

Only a trusted clock moves them on; a clock set a year ahead must not make the right time look like the past for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from edge.clock import Doubt, SteadyClock
from edge.spool import Spool
from models.errors import StorageUnavailable
from models.events import ClockDoubted, ClockTrusted, fact_id

log = logging.getLogger("gatehouse.edge.times")

KEY: Final = "times"
SAVE_S: Final = 60.0
LOOK_S: Final = 2.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the last times of a run, as Unix time in s: of the trusted clock, and of the gateway's last answer."""

    last: float | None = None
    heard: float | None = None


async def last_times(spool: Spool) -> Times:
    """Return the times of the last run; none where they cannot be read."""
    stored = await spool.recall(KEY)
    try:
        return Times() if stored is None else msgspec.json.decode(stored, type=Times)
    except msgspec.MsgspecError as error:
        log.warning("the times of the last run cannot be read: %s", error)
        return Times()


class Lived:
    """Keep the times of this run, and report when the clock loses or regains trust."""

    def __init__(
        self,
        before: Times,
        *,
        edge_id: str,
        spool: Spool,
        clock: SteadyClock,
        heard: Callable[[], float | None],
        new_id: Callable[[], str],
    ) -> None:
        self._before = before
        self._edge_id = edge_id
        self._spool = spool
        self._clock = clock
        self._heard = heard
        self._new_id = new_id
        self._told: Doubt | None = None

    def last_heard(self) -> float | None:
        """Return when the gateway was last heard, this run or before."""
        return self._heard() or self._before.heard

    async def run(self) -> None:
        """Look at the clock for ever, and remember it once a minute while it is trusted."""
        since_save_s = 0.0
        while True:
            await self.tell()
            await asyncio.sleep(LOOK_S)
            since_save_s += LOOK_S
            if since_save_s >= SAVE_S:
                since_save_s = 0.0
                await self.remember()

    async def tell(self) -> None:
        """Report a change of trust as a fact; a disk that takes none is asked again the next time."""
        doubt = self._clock.doubt
        if (doubt and doubt.why) == (self._told and self._told.why):
            return
        at, occurrence = self._clock.now(), self._new_id()
        fact: ClockDoubted | ClockTrusted
        if doubt is not None:
            named = fact_id(self._edge_id, self._edge_id, occurrence, "clock_doubted")
            fact = ClockDoubted(id=named, at=at, edge_id=self._edge_id, why=doubt.why, off_s=round(doubt.off_s, 1))
            log.warning(
                "the clock is not trusted (%s, %+.0f s): what is limited in time fails closed", doubt.why, doubt.off_s
            )
        else:
            named = fact_id(self._edge_id, self._edge_id, occurrence, "clock_trusted")
            fact = ClockTrusted(id=named, at=at, edge_id=self._edge_id)
            log.info("the clock is trusted again")
        try:
            await self._spool.commit(None, (fact,))
        except StorageUnavailable as error:
            log.debug("a doubt about the clock was not stored: %s", error)
            return
        self._told = doubt

    async def remember(self) -> None:
        """Keep the clock's time if it is trusted, and when the gateway was heard."""
        last = self._clock.unix() if self._clock.trusted() else self._before.last
        self._before = Times(last=last, heard=self.last_heard())
        try:
            await self._spool.remember(KEY, msgspec.json.encode(self._before))
        except StorageUnavailable as error:
            log.debug("the time was not saved: %s", error)
