"""A line of readers of which some doors cannot be served: the others are, and these are away, each for its own reason.

A key file that is gone, or two readers with one address, must not close every door of a line. As soon as all doors can be
served again, the driver ends, so that it is opened with all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Final, Protocol, Self

from drivers.door import Capability, DoorDriver, Executed, HoldsLine, Order, Reported
from models.access import Request
from models.errors import InvalidInput
from models.reports import Presence, Snapshot

AGAIN_S: Final = 30.0
"""How often the settings of the doors that are left out are looked at again: their files may be back."""


class LineDriver(DoorDriver, HoldsLine, Protocol):
    """Serve doors over a line that it can leave."""


class Partly:
    """Serve some of the doors of a line; a `DoorDriver`.

    Args:
        driver: serves those that can be.
        left_out: the others, and why.
        check: raises `InvalidInput` as long as they cannot all be served.
        now: the edge's clock.
    """

    def __init__(
        self,
        driver: LineDriver,
        *,
        left_out: Mapping[str, str],
        check: Callable[[], object],
        now: Callable[[], datetime],
    ) -> None:
        self.left_out = left_out
        self.counters = driver.counters
        self._driver = driver
        self._check = check
        self._now = now
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._driver.__aenter__()
        self._looking = asyncio.create_task(self._look_again())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await self._driver.__aexit__(*exc)

    async def leave_line(self) -> None:
        """Leave the line to somebody else."""
        await self._driver.leave_line()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(InvalidInput):
                self._check()
                await self._driver.leave_line()
                return

    async def reports(self) -> AsyncIterator[Reported]:
        """Yield that the doors that are left out are away, then what the others tell."""
        for door_id in sorted(self.left_out):
            away = Presence(at=self._now(), online=False)
            yield Reported(door_id=door_id, report=away, acknowledge=_nothing_to_say)
        async for reported in self._driver.reports():
            yield reported

    def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at a reader now."""
        return self._driver.requests()

    async def execute(self, order: Order) -> Executed:
        """Carry out an order at a door that is served."""
        why = self.left_out.get(order.door_id)
        return await self._driver.execute(order) if why is None else Executed(ok=False, error=why)

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how a door stands; None of one that is left out."""
        return None if door_id in self.left_out else await self._driver.snapshot(door_id)

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do; None of one that is left out."""
        return None if door_id in self.left_out else self._driver.capabilities(door_id)


async def _nothing_to_say(_through: int | None) -> None:
    """Acknowledge nothing: the edge itself said it."""
