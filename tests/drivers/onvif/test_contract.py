"""The door contract of drivers over ONVIF, against a simulated device on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from drivers.door import Reported
from models.doors import DoorState, Presence, advance
from models.errors import DeviceUnreachable
from models.events import DoorForced
from models.places import Door
from tests.drivers.contract import DoorDriverContract, Rig, next_event, soon, unlock
from tests.drivers.onvif.rigs import Gate, OnvifRig, eventually, running, simulated


class TestOnvif(DoorDriverContract):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with running(simulated()) as site:
            yield OnvifRig(Gate(site))

    async def test_nothing_is_acknowledged_end_to_end_before_the_caller_says_so(self, rig: Rig) -> None:
        """A device hears of a commit by the next pull, and is asked again for what was not committed."""
        assert isinstance(rig, OnvifRig)
        subscriptions, site = rig.door.site.unit.subscriptions, rig.door.site
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            event, reported = await next_event(reports, acknowledge=False)
            pulls, before = subscriptions.pulls, site.positions.at(rig.current_device)
            assert event.device_at is not None
            assert before is None or before < event.device_at
            await reported.acknowledge(None)
            await soon(rig.door.until(lambda: subscriptions.pulls > pulls))
            after = site.positions.at(rig.current_device)
            assert after is not None
            assert after >= event.device_at

    async def test_a_repeated_event_changes_nothing_twice(self, rig: Rig) -> None:
        """What was not committed is sought back by the next connection, beside what was told already."""
        state = DoorState(door_id=rig.door.id, edge_id="edge", online=True)
        door = Door(id=rig.door.id, site_id="s", name="d", edge_id="edge")
        facts: list[object] = []
        for told_now in (True, False):
            async with rig.driver() as driver:
                reports = driver.reports()
                if told_now:
                    rig.door.force()
                    rig.door.close()
                for _ in range(2):
                    event, _ = await next_event(reports, acknowledge=False)
                    state, made = advance(state, event, door=door)
                    facts.extend(made)
        assert len([fact for fact in facts if isinstance(fact, DoorForced)]) == 1
        assert len(facts) == 2

    async def test_a_door_that_vanishes_is_reported_and_so_is_its_return(self, rig: Rig) -> None:
        """A device is the wire of its doors: its driver ends, and the next one reports them back."""
        async with rig.driver() as driver:
            rig.door.drop()
            with pytest.raises(DeviceUnreachable):
                await soon(_to_the_end(driver.reports()))
        with pytest.raises(DeviceUnreachable):
            async with rig.driver():
                pass
        async with asyncio.timeout(10):
            assert await _back(rig)

    async def test_garbage_is_counted_and_everything_else_goes_on(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.faults.add("garbage")
            rig.door.force()
            await eventually(lambda: driver.counters["unreadable"] > 0)
            rig.door.faults.clear()
            event, _ = await next_event(reports)
            assert event.type == "forced"
            assert (await soon(driver.execute(unlock(rig.door.id, "u-after-garbage")))).ok


async def _to_the_end(reports: AsyncIterator[Reported]) -> None:
    async for reported in reports:
        await reported.acknowledge(None)


async def _back(rig: Rig) -> bool:
    """Open drivers until one reports the door online."""
    while True:
        try:
            async with rig.driver() as driver:
                async for reported in driver.reports():
                    if isinstance(reported.report, Presence):
                        return reported.report.online
        except DeviceUnreachable:
            await asyncio.sleep(0.05)
