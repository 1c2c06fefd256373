"""The door contract of drivers over OSDP, against libosdp's own device on a pseudo-terminal.

OSDP has no numbers, no acknowledgement and no memory, and a reader cannot tell forced from opened: the tests that speak
of those say here what holds instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from drivers.door import DoorDriver
from drivers.osdp.simreader import SimulatedReader
from models.doors import DoorState, advance, tick
from models.events import DoorForced
from models.places import Door
from models.reports import Event
from tests.drivers.contract import DoorDriverContract, next_event, now, soon, unlock
from tests.drivers.osdp.conftest import Site, next_presence, next_report, opened, snapshot_until


@dataclass
class OsdpRig:
    """A simulated reader on a pseudo-terminal, and drivers for its line."""

    site: Site
    keeps_sessions: bool = False
    numbered: bool = False

    @property
    def door(self) -> SimulatedReader:
        return self.site.door

    @contextlib.asynccontextmanager
    async def driver(self) -> AsyncIterator[DoorDriver]:
        async with self.site.driver() as driver:
            yield driver

    async def break_wire(self) -> None:
        self.site.bus.unplug()


class TestOnAPseudoTerminal(DoorDriverContract):
    @pytest.fixture
    async def rig(self, site: Site) -> OsdpRig:
        return OsdpRig(site)

    async def test_events_arrive_in_order_with_their_numbers(self, rig: OsdpRig) -> None:  # type: ignore[override]
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            rig.door.close()
            rig.door.tamper()
            events = [(await next_event(reports))[0] for _ in range(3)]
        assert [event.type for event in events] == ["opened", "closed", "tamper"]
        assert [event.seq for event in events] == [None] * 3
        assert len({event.id for event in events}) == 3

    async def test_nothing_is_acknowledged_end_to_end_before_the_caller_says_so(  # type: ignore[override]
        self, rig: OsdpRig
    ) -> None:
        async with rig.driver() as driver:
            rig.door.force()
            _, reported = await next_event(driver.reports(), acknowledge=False)
            await reported.acknowledge(1)
            assert "ack" not in (driver.capabilities(rig.door.id) or ())
            assert rig.door.progress() == (1, 0)

    async def test_an_event_that_was_not_acknowledged_comes_again_with_the_same_id(  # type: ignore[override]
        self, rig: OsdpRig
    ) -> None:
        async with rig.driver() as driver:
            rig.door.force()
            await next_event(driver.reports(), acknowledge=False)
        async with opened(rig.site.driver()) as (_, reports):
            assert (await snapshot_until(reports, contact="open")).tamper is False  # the state is there, not the event

    async def test_events_during_an_absence_of_the_driver_are_not_lost(  # type: ignore[override]
        self, rig: OsdpRig
    ) -> None:
        async with rig.driver():
            pass
        rig.door.force()
        rig.door.close()
        rig.door.tamper()
        async with opened(rig.site.driver()) as (driver, reports):
            assert (await snapshot_until(reports, contact="closed", tamper=True)).mains is True
            assert driver.counters["events"] == 0  # what happened meanwhile raises nothing

    async def test_a_repeated_event_changes_nothing_twice(self, rig: OsdpRig) -> None:  # type: ignore[override]
        rig.door.faults.add("duplicate")
        state = DoorState(door_id=rig.door.id, edge_id="edge", online=True, heard=True, contact="closed")
        door = Door(id=rig.door.id, site_id="s", name="d", edge_id="edge", exit_kind="sensor")
        facts: list[object] = []
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            rig.door.close()
            rig.door.tamper()
            for _ in range(3):
                event: Event = await next_report(reports, Event)
                state, made = advance(state, event, door=door)
                facts.extend(made)
        _, made = tick(state, door=door, at=now().replace(year=now().year + 1))
        facts.extend(made)
        assert len([fact for fact in facts if isinstance(fact, DoorForced)]) == 1

    async def test_only_a_definite_refusal_is_certain(self, rig: OsdpRig) -> None:  # type: ignore[override]
        async with rig.driver() as driver:
            rig.door.faults.add("refuse_unlock")
            refused = await soon(driver.execute(unlock(rig.door.id, "u-refused")))
            assert (refused.ok, refused.certain, refused.error) == (False, True, "the reader refused")
            rig.door.faults.clear()
            assert (await soon(driver.execute(unlock(rig.door.id, "u-between")))).ok  # in session again
            rig.door.faults.add("silent")
            unanswered = await soon(driver.execute(unlock(rig.door.id, "u-silent", valid_ms=300)))
            assert (unanswered.ok, unanswered.certain) == (False, False)

    async def test_garbage_is_counted_and_everything_else_goes_on(self, rig: OsdpRig) -> None:  # type: ignore[override]
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.faults.add("garbage")
            rig.door.force()
            event, _ = await next_event(reports)
            assert event.type == "opened"
            assert driver.counters["unreadable"] > 0
            assert (await soon(driver.execute(unlock(rig.door.id, "u-after-garbage")))).ok

    async def test_a_door_says_what_it_can_do(self, rig: OsdpRig) -> None:  # type: ignore[override]
        async with rig.driver() as driver:
            await next_presence(aiter(driver.reports()), online=True)
            capabilities = driver.capabilities(rig.door.id)
            assert sorted(capabilities or ()) == [
                "card", "contact", "feedback", "lock", "mode", "pin", "power", "tamper",
            ]  # fmt: skip
            assert driver.capabilities("somewhere-else") is None
