"""Simulated readers on a pseudo-terminal, and drivers that come through the catalogue, as an edge opens them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.catalog import open_door
from drivers.door import DoorDriver, Reported
from drivers.osdp.bus import Bus
from drivers.osdp.line import Line
from drivers.osdp.messages import Act, Done, FromPanel, Offline, ReaderSetup
from drivers.osdp.session import Session
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from models.reports import Event, Presence, Report, Snapshot
from tests.drivers.contract import now, soon

KEY = bytes(range(1, 17))
INPUTS = {"open": 0, "exit": 1, "emergency": 2, "mains_lost": 3, "battery_low": 4}


def reader_settings(door: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a reader with everything wired; a change to None leaves a setting out."""
    given = {"door": door, "address": 1, "key": KEY.hex(), "strike": 0, "inputs": INPUTS, **changes}
    return {name: value for name, value in given.items() if value is not None}


def driver_of(bus: SimulatedBus, *readers: dict[str, Any], **changes: Any) -> DoorDriver:
    settings = {"kind": "osdp", "port": bus.port, "readers": list(readers), **changes}
    doors = tuple(dict.fromkeys(str(reader["door"]) for reader in readers))
    return open_door(settings, doors=doors, client_id="edge", now=now)


@dataclass
class Site:
    """One reader at one door on one bus."""

    bus: SimulatedBus
    door: SimulatedReader
    settings: dict[str, Any] = field(default_factory=lambda: reader_settings("gate"))

    def driver(self, **changes: Any) -> DoorDriver:
        return driver_of(self.bus, reader_settings(**{**self.settings, **changes}))

    def fault(self, name: Any) -> None:
        self.door.faults.add(name)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    door = SimulatedReader("gate", address=1, key=KEY)
    async with SimulatedBus(door) as bus:
        yield Site(bus=bus, door=door)


async def next_report(reports: AsyncIterator[Reported], kind: type[Report], limit_s: float = 10.0) -> Any:
    """Return the next report of a kind; the others on the way are of no interest."""

    async def look() -> Report:
        async for reported in reports:
            await reported.acknowledge(None)
            if isinstance(reported.report, kind):
                return reported.report
        raise AssertionError("the driver ended without an error")

    return await soon(look(), limit_s)


async def next_presence(reports: AsyncIterator[Reported], *, online: bool) -> None:
    while (await next_report(reports, Presence)).online is not online:
        pass


async def next_type(reports: AsyncIterator[Reported]) -> str:
    event: Event = await next_report(reports, Event)
    return event.type


async def snapshot_until(reports: AsyncIterator[Reported], **wanted: object) -> Snapshot:
    """Return the first snapshot with these values."""
    while True:
        snapshot: Snapshot = await next_report(reports, Snapshot)
        if all(getattr(snapshot, name) == value for name, value in wanted.items()):
            return snapshot


@contextlib.asynccontextmanager
async def opened(driver: DoorDriver) -> AsyncIterator[tuple[DoorDriver, AsyncIterator[Reported]]]:
    """Open a driver and wait until its reader is there."""
    async with driver:
        reports = aiter(driver.reports())
        await next_presence(reports, online=True)
        yield driver, reports


class Table:
    """One session on a line, stepped by the test, with a clock that it can move."""

    def __init__(self, bus: SimulatedBus, reader: ReaderSetup, *, hastening_s: float = 0.0) -> None:
        self.ahead_s = 0.0
        self.hastening_s = hastening_s
        """By how much more than it takes every step moves the clock on."""
        self.said: list[FromPanel] = []
        self.line = Line(bus.port, baud_rate=9600)
        self.bus = Bus(self.line, clock=self.clock)
        self.session = Session(reader, bus=self.bus, say=self.said.append, clock=self.clock)

    def clock(self) -> float:
        return time.monotonic() + self.ahead_s

    async def until(self, wanted: Callable[[], bool], limit_s: float = 8.0) -> None:
        async with asyncio.timeout(limit_s):
            while not wanted():
                self.bus.take()
                self.session.step()
                self.ahead_s += self.hastening_s
                await asyncio.sleep(0.003)

    async def move_on(self, by_s: float) -> None:
        """Move the clock on between two polls, so that none of them seems to wait for its answer meanwhile."""
        await self.until(lambda: self.session._turn.unanswered_since is None)
        self.ahead_s += by_s

    async def gone(self) -> None:
        """Wait until a reader that answers nothing more is told to be away, faster than time goes."""
        self.hastening_s = 0.02
        await self.until(lambda: self.has(Offline))
        self.hastening_s = 0.0

    def has(self, kind: type[FromPanel]) -> bool:
        return any(isinstance(record, kind) for record in self.said)

    def done(self, number: int) -> list[Done]:
        return [record for record in self.said if isinstance(record, Done) and record.number == number]

    def act(self, number: int, command: Any, *, within_s: float = 2.0) -> None:
        self.session.act(Act(number=number, address=1, until=self.clock() + within_s, command=command))
