"""OSDP doors at the edge: forced is told on disk, a line that is pulled out invents nothing, a mode outlives it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from config.settings import BrokerLink
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from edge.wires import Wires
from models.access import Request, fresh
from models.events import AnyFact, DeviceLost, DoorForced, DoorOpened
from models.places import Door
from models.policy import DesiredMode
from tests.drivers.osdp.conftest import KEY, reader_settings
from tests.edge.doubles import EDGE, now, until


@dataclass
class Yard:
    """A gate and a back door on one line, served by an edge's doorkeeper."""

    bus: SimulatedBus
    gate: SimulatedReader
    back: SimulatedReader
    keeper: DoorKeeper
    spool: Spool
    heard: list[Request]
    doors: tuple[Door, ...]

    async def ready(self) -> None:
        await until(lambda: all(self._stands(door) for door in self.doors))

    def _stands(self, door: Door) -> bool:
        state = self.keeper.state(door.id)
        return state is not None and state.online is True and state.contact != "unknown"

    def settle(self) -> None:
        """Let the time be over in which an opening cannot be told from what came before."""
        for kept in self.keeper._doors.values():
            long_ago = now() - timedelta(minutes=5)
            kept.state = msgspec.structs.replace(kept.state, settling_until=long_ago, back_at=long_ago)

    async def facts(self) -> list[AnyFact]:
        rows = await self.spool.oldest(1000, max_bytes=10**9)
        return [msgspec.json.decode(row.body, type=AnyFact) for row in rows]

    async def openings(self) -> list[DoorForced | DoorOpened]:
        return [fact for fact in await self.facts() if isinstance(fact, DoorForced | DoorOpened)]


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    link = tmp_path / "port"
    gate, back = (SimulatedReader(name, address=at, key=KEY) for at, name in enumerate(("gate", "back")))
    readers = [reader_settings("gate", address=0), reader_settings("back")]
    driver: dict[str, object] = {"kind": "osdp", "port": str(link), "readers": readers}
    doors = tuple(
        Door(id=name, site_id="s", name=name, edge_id=EDGE, exit_kind="button", driver=driver)
        for name in ("gate", "back")
    )
    clock = SteadyClock()
    wires = Wires(BrokerLink(), edge_id=EDGE, now=clock.now)
    heard: list[Request] = []

    async def consider(request: Request) -> None:
        heard.append(request)

    async with (
        SimulatedBus(gate, back, link=link) as bus,
        Spool(tmp_path / "spool.db", budget_bytes=10**8) as spool,
        asyncio.TaskGroup() as tasks,
    ):
        keeper = DoorKeeper(
            edge_id=EDGE,
            spool=spool,
            clock=clock,
            tasks=tasks,
            open_driver=wires.open,
            driver_key=wires.key,
            new_id=lambda: uuid.uuid4().hex,
        )
        await keeper.start(consider)
        keeper.apply(doors, ())
        made = Yard(bus, gate, back, keeper, spool, heard, doors)
        await made.ready()
        yield made
        keeper.apply((), ())
        for task in list(tasks._tasks):
            task.cancel()


async def test_an_opening_that_nobody_released_is_forced_and_our_own_is_not(yard: Yard) -> None:
    yard.settle()
    assert (await yard.keeper.open("gate", attempt="a1")).ok
    yard.gate.open()
    yard.back.force()
    await until(lambda: yard.keeper.counters.get("door_forced") == 1)
    await yard.keeper.recorded("gate")
    await yard.keeper.recorded("back")
    told = {fact.door_id: fact for fact in await yard.openings()}
    assert isinstance(told["back"], DoorForced)
    assert isinstance(told["gate"], DoorOpened)
    assert (told["gate"].cause, told["gate"].attempt) == ("granted", "a1")


async def test_a_line_that_is_pulled_out_and_pushed_in_invents_no_alarm_and_opens_nothing(yard: Yard) -> None:
    yard.settle()
    yard.gate.faults.add("late_events")
    yard.bus.unplug()
    await until(lambda: yard.keeper._served_for("gate").down_since is not None)  # type: ignore[union-attr]
    yard.gate.open()
    asking = asyncio.ensure_future(yard.gate.request("card", "7186A61E", timeout_s=2.0))
    assert not (await yard.keeper.open("gate", attempt="a1", valid_ms=300)).ok
    yard.bus.plug_in()
    await until(lambda: bool(yard.heard))
    (request,) = yard.heard
    assert not fresh(request.device_at, offset=timedelta(0), redelivered=request.redelivered, at=now())
    await asking
    await until(lambda: yard.keeper.state("gate").contact == "open")  # type: ignore[union-attr]
    assert not [fact for fact in await yard.facts() if isinstance(fact, DoorForced | DeviceLost)]
    assert (await yard.keeper.open("gate", attempt="a2", valid_ms=5000)).ok
    assert yard.gate.unlocks == 1


async def test_a_mode_is_in_force_again_once_the_line_is_back(yard: Yard) -> None:
    mode = DesiredMode(door_id="gate", version=4, mode="held_open")
    yard.keeper.apply(yard.doors, (mode,))
    await until(lambda: yard.keeper.state("gate").mode == "held_open")  # type: ignore[union-attr]
    yard.bus.unplug()
    yard.gate._standing = yard.gate.lock = "locked"  # the reader lost its power too
    yard.bus.plug_in()
    await until(lambda: yard.gate.lock == "unlocked")
    assert yard.back.lock == "locked"
