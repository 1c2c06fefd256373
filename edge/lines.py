"""Lines of readers before they are doors: who is on one, and a reader's own key, as the gateway orders and never else.

A line has one master. Where it serves doors already, they stand still meanwhile, and only if the order says so: never while
one of them stands open for an emergency, and no longer than until one has to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

from drivers.catalog import KEYINGS, SURVEYS
from drivers.discovery import Keying, Survey
from edge.clock import SteadyClock
from edge.line_names import same_lines
from edge.wires import Wires, line_of
from models.device_orders import InstallKey, ProbeDevice
from models.devices import Candidate, Wire
from models.doors import DoorState
from models.errors import Conflict, DeviceRefused, DeviceUnreachable, GatehouseError
from models.link import Result
from models.places import Door

log = logging.getLogger("gatehouse.edge.lines")

MARGIN_S: Final = 1.5
"""What is kept of an order's time for its answer to arrive."""
EVERY_S: Final = 0.1
"""How often the doors that stand still are looked at."""
EMERGENCY: Final = "emergency"
"""The reason of what was refused or broken off for a door that lets people out."""
NOBODY: Final = "nobody answers on this line: look at the wiring, the power and the rate of the readers"


class Lines:
    """Obey the orders about readers that share a line.

    Args:
        clock: the edge's.
        wires: opens the drivers, and has them leave a line.
        doors: the doors that this edge serves.
        mode: the mode that decides at a door.
        state: how a door stands.
        surveys: the wires whose lines can be asked who is on them.
        keyings: the wires whose readers are given keys.
    """

    def __init__(
        self,
        *,
        clock: SteadyClock,
        wires: Wires,
        doors: Callable[[], Iterable[Door]],
        mode: Callable[[str], str],
        state: Callable[[str], DoorState | None],
        surveys: Mapping[Wire, Callable[[], Survey]] = SURVEYS,
        keyings: Mapping[Wire, Callable[[], Keying]] = KEYINGS,
    ) -> None:
        self._clock = clock
        self._wires = wires
        self._doors = doors
        self._mode = mode
        self._state = state
        self._surveys = surveys
        self._keyings = keyings
        self._one_at_a_time = asyncio.Lock()

    async def survey(self, order: ProbeDevice) -> Result:
        """Ask who is on a line, or one reader of it."""
        try:
            async with asyncio.timeout(self._left_s(order.deadline)), self.had(order.address, pause=order.pause):
                ask = self._surveys[order.wire]()
                found = await ask(order.address, key=order.password, now=self._clock.now)
        except (GatehouseError, TimeoutError) as error:
            return self._stopped(order.id, error)
        return self._ended(order.id, "confirmed", candidates=found, detail="" if found else NOBODY)

    async def install(self, order: InstallKey) -> Result:
        """Give a reader a key of its own, and see that it answers by it."""
        log.info("order %s of %s gives %s a key: %s", order.id, order.requested_by, order.address, order.reason)
        load = self._keyings.get(order.wire)
        if load is None:
            detail = f"devices by {order.wire} are given no key"
            return self._ended(order.id, "refused", reason="unsupported", detail=detail)
        try:
            async with asyncio.timeout(self._left_s(order.deadline)), self.had(order.address, pause=order.pause):
                await load()(order.address, key=order.key)
        except (GatehouseError, TimeoutError) as error:
            return self._stopped(order.id, error)
        return self._ended(order.id, "confirmed")

    async def names(self, line: str) -> frozenset[str]:
        """Return the name of a line, and whatever else doors that are served here call the same one."""
        return await same_lines(line, {line_of(door) for door in self._doors()})

    @contextlib.asynccontextmanager
    async def had(self, address: str, *, pause: bool) -> AsyncIterator[None]:
        """Have a line to oneself within the block.

        Raises:
            Conflict: it serves doors, and nobody said that they may stand still, or one lets people out.
            DeviceUnreachable: one has to let people out now; the block is broken off.
        """
        line = address.partition("#")[0].partition("?")[0]
        names = await self.names(line)
        served = sorted(door.id for door in self._doors() if line_of(door) in names)
        if served and not pause:
            raise Conflict(f"the line serves {', '.join(served)}: say that they may stand still for a moment")
        async with self._one_at_a_time:
            if (why := self._emergency(served)) is not None:
                raise Conflict(f"{why}: its line cannot stand still").because(EMERGENCY)
            async with self._wires.left(names), self._until_emergency(line, served):
                yield

    @contextlib.asynccontextmanager
    async def _until_emergency(self, line: str, served: Iterable[str]) -> AsyncIterator[None]:
        """Break the block off as soon as one of these doors has to let people out. Raises `DeviceUnreachable` then."""
        try:
            async with asyncio.timeout(None) as limit:
                watching = asyncio.create_task(self._watch(served, limit))
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            why = self._emergency(served) or "a door of the line had to let people out"
            raise DeviceUnreachable(line, f"broken off: {why}").because(EMERGENCY) from None

    async def _watch(self, served: Iterable[str], limit: asyncio.Timeout) -> None:
        while True:
            if self._emergency(served) is not None:
                limit.reschedule(asyncio.get_running_loop().time())
                return
            await asyncio.sleep(EVERY_S)

    def _emergency(self, served: Iterable[str]) -> str | None:
        """Return which of these doors lets people out, in words, or None."""
        for door_id in served:
            state = self._state(door_id)
            if self._mode(door_id) == "evacuating":
                return f"door {door_id} is evacuating"
            if state is not None and any(
                one.cause == "release" and one.until > self._clock.now() for one in state.expectations
            ):
                return f"door {door_id} was released for an emergency"
        return None

    def _stopped(self, order_id: str, error: GatehouseError | TimeoutError) -> Result:
        if isinstance(error, Conflict):
            return self._ended(order_id, "refused", reason=error.reason or "in_use", detail=str(error))
        if isinstance(error, DeviceRefused):
            return self._ended(order_id, "refused", reason="refused", detail=error.what)
        if isinstance(error, DeviceUnreachable):
            return self._ended(order_id, "failed", reason=error.reason or "unreachable", detail=error.what)
        if isinstance(error, TimeoutError):
            return self._ended(order_id, "failed", reason="no_answer", detail="it took too long")
        return self._ended(order_id, "refused", reason="invalid", detail=str(error))

    def _left_s(self, deadline: datetime) -> float:
        return (deadline - self._clock.now()).total_seconds() - MARGIN_S

    def _ended(
        self, order_id: str, state: Literal["confirmed", "failed", "refused"], *, reason: str | None = None,
        detail: str = "", candidates: tuple[Candidate, ...] = (),
    ) -> Result:  # fmt: skip
        return Result(
            command_id=order_id, state=state, reason=reason, detail=detail[:500], at=self._clock.now(),
            candidates=candidates,
        )  # fmt: skip
