"""A simulated ONVIF device in this process, on a real port of loopback, and drivers that speak to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from drivers.door import DoorDriver
from drivers.onvif.driver import OnvifDoors
from drivers.onvif.endpoint import Endpoint, endpoint_of
from drivers.onvif.positions import Positions
from drivers.onvif.refusals import Refusals
from drivers.onvif.simauth import Access
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simdoor import Timing
from drivers.onvif.simserver import SimulatedOnvif
from drivers.onvif.simulator import Answer, Order, obey
from tests.drivers.contract import now

PASSWORD = 'gate "& <7> %41 ü'


def simulated(*doors: str, **changes: Any) -> SimulatedOnvif:
    """Return a device that wants credentials; `changes` are the device's."""
    given: dict[str, Any] = {"doors": doors or ("gate",), "timing": Timing(access_s=0.3), **changes}
    device = SimulatedDevice(Identity(), **given)
    return SimulatedOnvif(device, access=Access(user="edge", password=PASSWORD), now=now, rng=random.Random(5))


async def eventually(wanted: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(limit_s):
        while not wanted():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


@dataclass
class Site:
    """A running device and what connects to it."""

    unit: SimulatedOnvif
    positions: Positions = field(default_factory=Positions)
    refusals: Refusals = field(default_factory=Refusals)

    def settings(self, **changes: Any) -> dict[str, Any]:
        url = f"{self.unit.origin}/onvif/device_service"
        return {"url": url, "user": "edge", "password": PASSWORD, "pull_s": 2, "timeout_s": 2.0, **changes}

    def endpoint(self, **changes: Any) -> Endpoint:
        return endpoint_of(self.settings(**changes))

    def driver(self, *doors: str, **changes: Any) -> OnvifDoors:
        return OnvifDoors(
            self.endpoint(**changes),
            doors=doors or ("gate",),
            client_id="edge-1",
            now=now,
            positions=self.positions,
            refusals=self.refusals,
        )

    async def act(self, act: Any, **more: Any) -> Answer:
        """Do something at the device, as its control port would."""
        return await obey(self.unit, Order(act=act, **more))

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            await self.unit.until(wanted)


@contextlib.asynccontextmanager
async def running(unit: SimulatedOnvif) -> AsyncIterator[Site]:
    async with unit.serving():
        yield Site(unit)


class Gate:
    """The contract's words for one door of a simulated device."""

    def __init__(self, site: Site, door: str = "gate") -> None:
        self.id = door
        self.site = site
        self.machine = site.unit.device.doors[door]

    @property
    def contact(self) -> str:
        return self.machine.leaf.lower()

    @property
    def lock(self) -> str:
        return "unlocked" if self.machine.unlocked else "locked"

    @property
    def unlocks(self) -> int:
        return self.machine.unlocks

    @property
    def faults(self) -> set[Any]:
        return self.site.unit.faults

    def _do(self, act: Callable[[], object]) -> None:
        act()
        self.site.unit.device.settle(self.site.unit.clock())
        self.site.unit.changed()

    def open(self) -> None:
        self._do(lambda: self.site.unit.device.open(self.id, self.site.unit.clock()))

    def force(self) -> None:
        self._do(lambda: self.site.unit.device.open(self.id, self.site.unit.clock(), force=True))

    def close(self) -> None:
        self._do(self.machine.close)

    def tamper(self) -> None:
        self._do(lambda: setattr(self.machine, "tampered", True))

    def drop(self) -> None:
        self.site.unit.reboot(for_s=0.3)

    def progress(self) -> tuple[int, int]:
        """Return how many events were told; a device numbers nothing and hears of a commit by the next pull only."""
        return self.site.unit.device.told, 0

    async def request(self, kind: str, value: str | None) -> Answer:
        return await self.site.act(kind, door=self.id, value=value)

    async def until(self, wanted: Callable[[], bool]) -> None:
        await self.site.until(wanted)


@dataclass
class OnvifRig:
    """A door of a device that stores its events, and drivers of one identity."""

    door: Gate
    keeps_sessions: bool = True
    numbered: bool = False

    @property
    def current_device(self) -> str:
        """Return the name under which positions are kept."""
        return f"edge-1 {self.door.site.endpoint().url}"

    @contextlib.asynccontextmanager
    async def driver(self) -> AsyncIterator[DoorDriver]:
        async with self.door.site.driver(self.door.id) as driver:
            yield driver

    async def break_wire(self) -> None:
        self.door.site.unit.cut()
