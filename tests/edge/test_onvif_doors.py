"""ONVIF doors at the edge: facts on disk alike for every exit kind, a rebooting device, and people who come too late."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from models.access import Request, fresh
from models.events import AnyFact, DeviceLost, DoorClosed, DoorForced, DoorHeldOpen, DoorOpened, DoorTampered
from models.places import Door
from tests.drivers.onvif.rigs import Gate, Site, eventually, running, simulated
from tests.edge.doubles import EDGE


@dataclass
class Yard:
    site: Site
    keeper: DoorKeeper
    spool: Spool
    heard: list[Request]

    @property
    def gate(self) -> Gate:
        return Gate(self.site)

    def serve(self, **changes: Any) -> None:
        given: dict[str, Any] = {"exit_kind": "button", **changes}
        self.keeper.apply([Door(id="gate", site_id="s", name="gate", edge_id=EDGE, **given)], [])

    async def ready(self) -> None:
        await eventually(self._online)

    def _online(self) -> bool:
        state = self.keeper.state("gate")
        return state is not None and state.online is True and state.contact != "unknown"

    async def facts(self) -> list[AnyFact]:
        rows = await self.spool.oldest(1000, max_bytes=10**9)
        return [msgspec.json.decode(row.body, type=AnyFact) for row in rows]

    async def until_fact(self, kind: type) -> Any:
        async with asyncio.timeout(10):
            while True:
                found = [fact for fact in await self.facts() if isinstance(fact, kind)]
                if found:
                    return found[0]
                await asyncio.sleep(0.02)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    house = Spool(tmp_path / "spool.db", budget_bytes=10**8)
    async with house as spool, running(simulated()) as site, asyncio.TaskGroup() as tasks:
        heard: list[Request] = []

        async def consider(request: Request) -> None:
            heard.append(request)

        keeper = DoorKeeper(
            edge_id=EDGE,
            spool=spool,
            clock=SteadyClock(),
            tasks=tasks,
            open_driver=lambda _doors: site.driver(pull_s=1),
            driver_key=lambda _door: "onvif",
            new_id=lambda: uuid.uuid4().hex,
        )
        await keeper.start(consider)
        yield Yard(site, keeper, spool, heard)
        keeper.apply([], [])
        for task in list(tasks._tasks):
            task.cancel()


@pytest.mark.parametrize(
    ("kind", "fact"), [("sensor", DoorForced), ("button", DoorForced), ("mechanical", DoorOpened), ("none", DoorOpened)]
)
async def test_force_is_told_where_the_exit_lets_it_be_told(yard: Yard, kind: str, fact: type) -> None:
    yard.serve(exit_kind=kind)
    await yard.ready()
    yard.gate.force()
    await yard.until_fact(fact)
    told = [type(found) for found in await yard.facts() if isinstance(found, DoorForced | DoorOpened)]
    assert told == [fact]


@pytest.mark.parametrize("kind", ["sensor", "button", "mechanical", "none"])
async def test_held_is_told_whatever_the_exit(yard: Yard, kind: str) -> None:
    yard.serve(exit_kind=kind)
    await yard.ready()
    assert (await yard.keeper.open("gate", attempt="a")).ok
    yard.gate.open()
    await yard.until_fact(DoorOpened)
    await yard.site.act("held")
    await yard.until_fact(DoorHeldOpen)
    assert not [fact for fact in await yard.facts() if isinstance(fact, DoorForced)]


async def test_a_device_that_reboots_invents_no_alarm_and_loses_no_opening(yard: Yard) -> None:
    yard.serve()
    await yard.ready()
    assert (await yard.keeper.open("gate", attempt="a")).ok
    yard.gate.open()
    await yard.until_fact(DoorOpened)
    yard.gate.drop()
    yard.gate.close()
    assert (await yard.keeper.open("gate", attempt="b", valid_ms=300)).ok is False
    await eventually(lambda: yard.keeper.state("gate").contact == "closed")  # type: ignore[union-attr]
    await yard.ready()
    assert (await yard.keeper.open("gate", attempt="c")).ok
    told = await yard.facts()
    assert not [fact for fact in told if isinstance(fact, DoorForced | DeviceLost)]


async def test_who_asked_while_the_wire_was_away_is_not_let_in_by_its_return(yard: Yard) -> None:
    """The device tells it again with the events that it kept: that was then, whoever stands there now."""
    yard.serve()
    await yard.ready()
    yard.site.unit.reboot(for_s=0.3)
    device, clock = yard.site.unit.device, yard.site.unit.clock
    device.ask(device.points["gate-in"], "card", value="4711", now=clock())
    await eventually(lambda: bool(yard.heard))
    (request,) = yard.heard
    assert request.redelivered
    assert not fresh(request.device_at, offset=timedelta(0), redelivered=request.redelivered, at=clock())
    assert yard.gate.unlocks == 0


async def test_a_device_whose_clock_is_set_back_keeps_no_door_wrong(yard: Yard) -> None:
    """Its times then are before the subscription, and before all that was heard of it."""
    yard.site.unit.faults.add("clock_hour_off")
    yard.serve(since=SteadyClock().now())
    await yard.ready()
    assert (await yard.keeper.open("gate", attempt="a")).ok
    await eventually(lambda: yard.keeper.state("gate").lock == "unlocked")  # type: ignore[union-attr]
    yard.gate.open()
    await yard.until_fact(DoorOpened)
    yard.site.unit.misbehave("clock_hour_off", on=False)
    yard.gate.close()
    await eventually(lambda: yard.keeper.state("gate").lock == "locked")  # type: ignore[union-attr]
    await yard.until_fact(DoorClosed)


async def test_a_device_whose_clock_is_set_back_hides_no_force(yard: Yard) -> None:
    """Its times then are before the door was adopted, which is for what it stored only."""
    yard.site.unit.faults.add("clock_hour_off")
    yard.serve(since=SteadyClock().now())
    await yard.ready()
    await yard.site.act("tamper")
    await yard.until_fact(DoorTampered)
    yard.site.unit.misbehave("clock_hour_off", on=False)
    yard.gate.force()
    forced = await yard.until_fact(DoorForced)
    assert not forced.late
    state = yard.keeper.state("gate")
    assert state is not None
    assert (state.contact, state.lock, state.alarm) == ("open", "locked", "forced")


async def test_who_asks_after_the_clock_was_set_is_not_taken_for_old(yard: Yard) -> None:
    yard.site.unit.faults.add("clock_hour_off")
    yard.serve()
    await yard.ready()
    device, clock = yard.site.unit.device, yard.site.unit.clock
    yard.gate.force()
    await yard.until_fact(DoorForced)
    yard.site.unit.misbehave("clock_hour_off", on=False)
    device.ask(device.points["gate-in"], "card", value="4711", now=clock())
    await eventually(lambda: bool(yard.heard))
    (request,) = yard.heard
    assert not request.redelivered
    assert request.offset_s is not None
    assert abs(request.offset_s) < 3
