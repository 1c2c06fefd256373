"""Power cuts at an edge: one fact for all doors, over restarts too, and one for the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from edge import power
from edge.clock import SteadyClock
from edge.power import Mains
from edge.spool import Spool
from models.doors import DoorState
from models.events import PowerCut, PowerRestored
from models.power import Power
from tests.edge.conftest import House, open_house
from tests.edge.doubles import EDGE, door, event, online, until


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "LOOK_S", 0.01)
    monkeypatch.setattr("models.power.GATHER", timedelta(seconds=0.3))


DOORS = tuple(door(f"d{n}") for n in range(1, 4))


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[House]:
    """Start a house whose mains are watched."""
    async with open_house(folder) as house:
        house.keeper.apply(DOORS, ())
        mains = Mains(edge_id=EDGE, spool=house.spool, clock=house.clock, states=house.keeper.states)
        house.tasks.create_task(mains.run())
        yield house


async def told(house: House) -> list[PowerCut | PowerRestored]:
    return [fact for fact in await house.facts() if isinstance(fact, PowerCut | PowerRestored)]


async def happen(house: House, kind: str, seq: int, *doors: str) -> None:
    before = len(house.wire.acknowledged)
    for one in doors:
        house.wire.say(one, online())
        house.wire.say(one, event(seq, kind))
    await until(lambda: len(house.wire.acknowledged) == before + 2 * len(doors))


async def wait_for(house: House, count: int) -> list[PowerCut | PowerRestored]:
    for _ in range(500):
        if len(found := await told(house)) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{count} facts did not come")


async def test_three_doors_in_the_dark_are_one_cut_that_a_restart_neither_repeats_nor_forgets(tmp_path: Path) -> None:
    async with watched(tmp_path) as house:
        await happen(house, "mains_lost", 1, "d1", "d2", "d3")
        (cut,) = await wait_for(house, 1)
        assert isinstance(cut, PowerCut)
        assert cut.doors == ("d1", "d2", "d3")
    async with watched(tmp_path) as house:
        await happen(house, "mains_back", 2, "d1", "d2")
        await asyncio.sleep(0.5)
        assert len(await told(house)) == 1, "one door is still dark"
        await happen(house, "mains_back", 2, "d3")
        found = await wait_for(house, 2)
        assert [type(fact) for fact in found] == [PowerCut, PowerRestored]


async def test_a_cut_that_begins_while_the_edge_restarts_is_told_after_it(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        house.keeper.apply(DOORS, ())
        await happen(house, "mains_lost", 1, "d2")
    async with watched(tmp_path) as house:
        (cut,) = await wait_for(house, 1)
        assert isinstance(cut, PowerCut)
        assert cut.doors == ("d2",)


async def test_what_cannot_be_read_or_stored_costs_no_cut(tmp_path: Path) -> None:
    dark = DoorState(door_id="d1", edge_id=EDGE, mains=False)
    async with Spool(tmp_path / "spool.db") as spool, asyncio.TaskGroup() as tasks:
        await spool.remember(power.KEY, b"not JSON")
        states: tuple[DoorState, ...] = ()
        mains = Mains(edge_id=EDGE, spool=spool, clock=SteadyClock(), states=lambda: states)
        task = tasks.create_task(mains.run())
        states = (dark,)
        await until(lambda: mains._power != Power() and bool(mains._power.doors))
        states = ()  # a policy that is not there yet ends no cut
        await asyncio.sleep(0.1)
        assert mains._power.doors == ("d1",)
        task.cancel()
