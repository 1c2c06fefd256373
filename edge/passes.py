"""Uses of visitors' passes: each is on disk before the door is told to open, so that no crash gives one back or takes two.

A use is a number of its pass, taken once: whoever comes second finds it taken. The rule for how many there are is
models.rights'.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final, TypeVar

from edge.spool import Spool
from models.errors import StorageUnavailable
from models.people import VisitorPass
from models.policy import Policy

T = TypeVar("T")

log = logging.getLogger("gatehouse.edge.passes")

WAIT_S: Final = 2.0
"""How long a visitor waits for the disk; a request is stale after three seconds."""
KEPT_FOR: Final = timedelta(days=30)
"""How long the uses of a pass are kept beyond its end, if the policy no longer names it."""


class Passes:
    """Count uses durably, on the edge that owns the doors of the passes."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def used(self, one: VisitorPass) -> int:
        """Return how often a pass has been used, as far as this edge or the gateway knows.

        Raises:
            StorageUnavailable: the disk did not answer.
        """
        return max(one.used, await self._within(self._spool.pass_uses(one.id)))

    async def take(self, one: VisitorPass, *, attempt: str, used: int) -> bool:
        """Take the next use of a pass for an attempt, durably; False if another attempt took it, or this one did before.

        Raises:
            StorageUnavailable: the disk did not answer in time. Whether the use is taken is not known: open nothing.
        """
        taken = self._spool.take_pass_use(one.id, n=used + 1, attempt=attempt, until=one.valid_until)
        return await self._within(taken)

    def give_back(self, one: VisitorPass, *, attempt: str) -> None:
        """Give a use back because the door has certainly not opened; if that cannot be stored, the use stays taken."""
        self._spool.return_pass_use(one.id, attempt=attempt).add_done_callback(_said)

    def forget(self, policy: Policy) -> None:
        """Forget the uses of passes that are long over, by the gateway's time, and no longer in the policy."""
        known = frozenset(one.id for one in policy.passes)
        self._spool.forget_pass_uses(known, before=policy.issued_at - KEPT_FOR).add_done_callback(_said)

    async def _within(self, future: asyncio.Future[T]) -> T:
        try:
            async with asyncio.timeout(WAIT_S):
                return await future
        except TimeoutError as error:
            raise StorageUnavailable("the spool did not answer in time") from error


def _said(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("uses of passes stay as they were: %s", error)
