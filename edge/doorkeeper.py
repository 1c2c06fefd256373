"""Drivers and door states: takes reports, commits what follows, acknowledges, opens, and keeps modes in force.

One run per driver; a driver that ends is opened again with back-off and delays no other. A report is acknowledged only
after its state and facts are on disk; an unlock waits at most 50 ms for its journal entry and goes out even when the
disk is full. It decides nothing about people (edge.admission).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

import msgspec

from config.process import Backoff, Good, keep_running
from drivers.door import DoorDriver, Executed, GiveFeedback, Order, Reported, SetMode, UnlockDoor, Warn
from edge.clock import SteadyClock
from edge.ledger import Kept, Ledger, status_of
from edge.modes import Modes
from edge.served import LineFree, Served, always_free
from edge.spool import Spool
from models.access import Request
from models.doors import (
    DoorState,
    Presence,
    advance,
    awaits_time,
    committed_through,
    expect_opening,
    held_soon,
    resume,
    tick,
    warned,
    withdraw_expectation,
)  # fmt: skip
from models.errors import CommandExpired, Conflict, DeviceRefused, DeviceUnreachable, InvalidInput
from models.events import AnyFact
from models.link import DoorStatus
from models.places import Door
from models.policy import DesiredMode
from models.presence import is_away_for, lose

log = logging.getLogger("gatehouse.edge.doorkeeper")

JOURNAL_S = 0.05
"""An unlock never waits longer than this for the disk."""
TICK_S = 0.2
UNACKNOWLEDGED = 256
REQUESTS_AT_ONCE, REQUESTS_AT_DOOR = 32, 4
LOST_AFTER_S = 20.0
"""A door is shown as offline at once, and reported lost once it, or its wire, was away for so long."""
BACKOFF = Backoff(first_s=0.25, cap_s=5.0)

OpenDriver = Callable[[tuple[Door, ...]], DoorDriver]
DriverKey = Callable[[Door], str]
Consider = Callable[[Request], Awaitable[None]]
"""Answers a request at a door; must not raise for bad input."""
Taken = tuple[Kept, int, int | None, Reported]


class DoorKeeper:
    """Keep the doors of one edge. All methods belong to the loop of `tasks`."""

    def __init__(
        self,
        *,
        edge_id: str,
        spool: Spool,
        clock: SteadyClock,
        tasks: asyncio.TaskGroup,
        open_driver: OpenDriver,
        driver_key: DriverKey,
        new_id: Callable[[], str],
        lost_after_s: float = LOST_AFTER_S,
        line_free: LineFree = always_free,
    ) -> None:
        self._lost_after_s = lost_after_s
        self._line_free = line_free
        self._edge_id = edge_id
        self._spool = spool
        self._clock = clock
        self._tasks = tasks
        self._open_driver = open_driver
        self._driver_key = driver_key
        self._new_id = new_id
        self._doors: dict[str, Kept] = {}
        self._stored: dict[str, DoorState] = {}
        self._served: dict[str, Served] = {}
        self.modes = Modes(clock)
        self._consider: Consider | None = None
        self._asking: Counter[str] = Counter()
        self.on_change: Callable[[], None] = lambda: None
        self.counters: dict[str, int] = {}
        self._ledger = Ledger(spool, count=self._count)

    # ---- life -------------------------------------------------------------------------------------------------------

    async def start(self, consider: Consider) -> None:
        """Read the stored states and begin to tick; doors come with `apply`.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        self._consider = consider
        self._stored = await self._spool.states()
        self._tasks.create_task(self._tick_forever(), name="doors: tick")
        self._tasks.create_task(self._ledger.save_again_forever(), name="doors: save again")

    def apply(self, doors: Iterable[Door], modes: Iterable[DesiredMode]) -> None:
        """Serve these doors in these modes from now on; what did not change is not touched."""
        wanted = {door.id: door for door in doors}
        for door_id in self._doors.keys() - wanted.keys():
            kept = self._doors.pop(door_id)
            self._stored[door_id] = kept.state
            self._ledger.retire(kept)
        for door in wanted.values():
            self._keep(door)
        self.modes.apply(modes)
        groups: dict[str, list[Door]] = {}
        for door in sorted(wanted.values(), key=lambda d: d.id):
            groups.setdefault(self._driver_key(door), []).append(door)
        for key in self._served.keys() - groups.keys():
            self._stop_serving(key)
        for key, group in groups.items():
            self._serve(key, tuple(group))
        for door_id in self._doors:
            self._mode_in_force(door_id)
        self.on_change()

    def _keep(self, door: Door) -> None:
        kept = self._doors.get(door.id)
        if kept is not None:
            kept.door = door
            return
        stored = self._stored.pop(door.id, None)
        state = stored or DoorState(door_id=door.id, edge_id=self._edge_id)
        state = resume(msgspec.structs.replace(state, edge_id=self._edge_id), at=self._clock.now())
        self._doors[door.id] = self._ledger.keep(door, state)

    def _serve(self, key: str, doors: tuple[Door, ...]) -> None:
        served = self._served.get(key)
        wire = [(door.id, door.driver) for door in doors]
        if served is not None and [(door.id, door.driver) for door in served.doors] == wire:
            served.doors = doors
            return
        if served is not None:
            self._stop_serving(key)
        served = self._served[key] = Served(key=key, doors=doors)
        served.task = self._tasks.create_task(
            keep_running(f"doors {key}", partial(self._run, served), backoff=BACKOFF), name=f"doors {key}"
        )

    def _stop_serving(self, key: str) -> None:
        served = self._served.pop(key)
        if served.task is not None:
            served.task.cancel()

    # ---- drivers ----------------------------------------------------------------------------------------------------

    async def _run(self, served: Served, good: Good) -> None:
        """Serve one driver until it ends; `keep_running` opens it again."""
        try:
            with served.noting():
                await served.wait_for_line(self._line_free, now=self._clock.unix)
                async with self._open_driver(served.doors) as driver:
                    self._connected_again(served)
                    served.driver = driver
                    good()
                    await self._follow(driver)
        finally:
            served.driver = None
            if served.down_since is None:
                served.down_since = self._clock.unix()
            self._count("driver_ends")
            self.on_change()

    async def _follow(self, driver: DoorDriver) -> None:
        """Take the reports of an open driver and answer its requests, until it ends."""
        queue: asyncio.Queue[Taken] = asyncio.Queue(UNACKNOWLEDGED)
        async with asyncio.TaskGroup() as group:
            others = group.create_task(self._acknowledge(queue)), group.create_task(self._answer(driver))
            async for reported in driver.reports():
                await self._take(reported, queue)
            for task in others:
                task.cancel()

    def _connected_again(self, served: Served) -> None:
        if served.down_since is not None:  # what happened meanwhile cannot be told from what happens now
            for door in served.doors:
                kept = self._doors.get(door.id)
                if kept is not None:
                    kept.state = resume(kept.state, at=self._clock.now())
        served.down_since = served.trouble = None
        self.on_change()

    async def _take(self, reported: Reported, queue: asyncio.Queue[Taken]) -> None:
        kept = self._doors.get(reported.door_id)
        if kept is None:
            self._count("reports_of_unknown_doors")
            await reported.acknowledge(None)
            return
        state, facts = advance(kept.state, reported.report, door=kept.door)
        changed = state != kept.state
        self._ledger.note(kept, state, facts=facts)
        await queue.put((kept, kept.version, committed_through(state), reported))
        if isinstance(reported.report, Presence) and reported.report.online:
            kept.mode_sent = None
        if changed:
            self._mode_in_force(reported.door_id)
            self.on_change()

    async def _acknowledge(self, queue: asyncio.Queue[Taken]) -> None:
        """Acknowledge in order of arrival, each report after its state and facts are on disk."""
        while True:
            kept, version, through, reported = await queue.get()
            await self._ledger.on_disk(kept, version)
            try:
                await reported.acknowledge(through)
            except DeviceUnreachable:
                self._count("acknowledgements_lost")  # the wire will bring it again; its ids will be the same

    async def _answer(self, driver: DoorDriver) -> None:
        """Consider requests side by side, few of each door: one that hangs or is flooded keeps nobody else waiting."""
        async for request in driver.requests():
            if request.door_id not in self._doors:
                self._count("requests_of_unknown_doors")
            elif self._asking[request.door_id] >= REQUESTS_AT_DOOR or self._asking.total() >= REQUESTS_AT_ONCE:
                self._count("requests_dropped")
            else:
                self._asking[request.door_id] += 1
                self._tasks.create_task(self._consider_one(request), name=f"request at {request.door_id}")

    async def _consider_one(self, request: Request) -> None:
        try:
            if self._consider is not None:
                await self._consider(request)
        except Exception:
            self._count("requests_failed")
            log.exception("door %s: a request could not be answered", request.door_id)
        finally:
            self._asking[request.door_id] -= 1

    # ---- time -------------------------------------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            at = self._clock.now()
            for kept in tuple(self._doors.values()):
                if awaits_time(kept.state):
                    state, facts = tick(kept.state, door=kept.door, at=at)
                    if facts or state != kept.state:
                        self._ledger.note(kept, state, facts=facts)
                        self.on_change()
                if is_away_for(kept.state, self._lost_after_s, at=at):
                    self._lose(kept, at=at)
                if held_soon(kept.state, door=kept.door, at=at):
                    self._ledger.note(kept, warned(kept.state))
                    self._tasks.create_task(self._warn(kept.door), name=f"warning at {kept.door.id}")
            for door_id in self._doors:
                self._mode_in_force(door_id)
            for served in self._served.values():
                self._report_lost(served, at=at)

    def _report_lost(self, served: Served, *, at: datetime) -> None:
        """Report the doors of a wire that has been away for longer than the hold-off."""
        if served.down_since is None or at.timestamp() - served.down_since < self._lost_after_s:
            return
        for door in served.doors:
            kept = self._doors.get(door.id)
            if kept is not None and not (kept.state.lost and kept.state.online is False):
                self._lose(kept, at=at)

    def _lose(self, kept: Kept, *, at: datetime) -> None:
        state, facts = lose(kept.state, at=at)
        self._ledger.note(kept, state, facts=facts)
        self.on_change()

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def open(
        self, door_id: str, *, attempt: str, command_id: str | None = None, valid_ms: int = 3000
    ) -> Executed:
        """Unlock a door once, and expect it to open.

        The expectation is written before the order leaves, if the disk answers within 50 ms. It is withdrawn only when
        the door has certainly not obeyed.
        """
        kept = self._doors.get(door_id)
        if kept is None:
            return Executed(ok=False, error="no such door")
        at = self._clock.now()
        until = at + timedelta(milliseconds=valid_ms) + timedelta(seconds=kept.door.unlock_s + 1.0)
        version = self._ledger.note(kept, expect_opening(kept.state, attempt=attempt, at=at, until=until))
        try:
            async with asyncio.timeout(JOURNAL_S):
                await self._ledger.on_disk(kept, version)
        except TimeoutError:
            self._count("unlocks_before_journal")
        order = UnlockDoor(
            id=command_id or self._new_id(),
            door_id=door_id,
            attempt=None if command_id else attempt,
            hold_s=kept.door.unlock_s,
            valid_ms=valid_ms,
        )
        executed = await self._execute(order, limit_s=valid_ms / 1000 + 0.5)
        if not executed.ok and executed.certain:
            self._ledger.note(kept, withdraw_expectation(kept.state, attempt))
        return executed

    async def feedback(self, door_id: str, *, attempt: str, reason: str, ok: bool = False) -> Executed:
        """Tell the person at a reader how it ended, and return what the door said; no decision depends on it."""
        order = GiveFeedback(id=self._new_id(), door_id=door_id, attempt=attempt, ok=ok, reason=reason)
        executed = await self._execute(order, limit_s=order.valid_ms / 1000)
        if not executed.ok:
            self._count("feedback_failed")
        return executed

    async def _warn(self, door: Door) -> None:
        """Let a door sound that it will soon be open for too long, if it can."""
        order = Warn(id=self._new_id(), door_id=door.id, reason="held_soon")
        executed = await self._execute(order, limit_s=order.valid_ms / 1000)
        self._count("warnings" if executed.ok else "warnings_not_given")

    def record(self, door_id: str, fact: AnyFact) -> None:
        """Keep a fact of admission with its door; it reaches the disk as soon as that can be."""
        kept = self._doors.get(door_id)
        if kept is not None:
            self._ledger.note(kept, kept.state, facts=(fact,))

    async def recorded(self, door_id: str) -> None:
        """Wait until all that is known of a door is on disk."""
        kept = self._doors.get(door_id)
        if kept is not None:
            await self._ledger.on_disk(kept, kept.version)

    async def _execute(self, order: Order, *, limit_s: float) -> Executed:
        served = self._served_for(order.door_id)
        if served is None or served.driver is None:
            return Executed(ok=False, error="the door is not connected")
        try:
            async with asyncio.timeout(limit_s):
                return await served.driver.execute(order)
        except (DeviceRefused, CommandExpired, Conflict, InvalidInput) as error:
            return Executed(ok=False, error=str(error))
        except (DeviceUnreachable, TimeoutError) as error:
            return Executed(ok=False, certain=False, error=str(error) or "no answer in time")

    def _served_for(self, door_id: str) -> Served | None:
        return None if (kept := self._doors.get(door_id)) is None else self._served.get(self._driver_key(kept.door))

    def _mode_in_force(self, door_id: str) -> None:
        """Send the desired mode to a connected door that is in another; again after a while if it does not follow."""
        kept, served = self._doors.get(door_id), self._served_for(door_id)
        if kept is None or served is None or served.driver is None or kept.state.online is False:
            return
        if (due := self.modes.due(kept)) is not None:
            self._ledger.note(kept, due[1])
            self._tasks.create_task(self._send_mode(due[0]), name=f"mode of {door_id}")

    async def _send_mode(self, order: SetMode) -> None:
        executed = await self._execute(order, limit_s=5.0)
        if not executed.ok:
            self._count("modes_not_delivered")
            log.info("door %s did not take mode %s: %s", order.door_id, order.mode, executed.error)

    # ---- what others ask --------------------------------------------------------------------------------------------

    def door(self, door_id: str) -> Door | None:
        """Return a door that is served here."""
        return None if (kept := self._doors.get(door_id)) is None else kept.door

    def state(self, door_id: str) -> DoorState | None:
        """Return a door's state."""
        return None if (kept := self._doors.get(door_id)) is None else kept.state

    def states(self) -> tuple[DoorState, ...]:
        """Return the states of all doors."""
        return tuple(kept.state for kept in self._doors.values())

    def mode(self, door_id: str) -> str:
        """Return the mode that decides at a door: the desired one, or what the door says it is in."""
        if (kept := self._doors.get(door_id)) is None:
            return "normal"
        return desired.mode if (desired := self.modes.desired(kept.door)) is not None else kept.state.mode

    def statuses(self) -> tuple[DoorStatus, ...]:
        """Return how every door stands, for the gateway."""
        at = self._clock.now()
        return tuple(status_of(kept, served=self._served_for(door_id), at=at) for door_id, kept in self._doors.items())

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
