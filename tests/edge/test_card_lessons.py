"""Card lessons at the edge: cards are gathered in place of decided on, for a time, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.settings import BrokerLink
from drivers.door import GiveFeedback, UnlockDoor
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from edge.admission import Admission
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.orders import Orders
from edge.spool import Spool
from edge.wires import Wires
from models.access import Request
from models.card_lessons import LearnCards
from models.errors import DeviceUnreachable
from models.link import Progress, Result
from models.places import Door, Reader
from tests.drivers.onvif.rigs import running, simulated
from tests.drivers.osdp.conftest import KEY, reader_settings
from tests.edge.doubles import EDGE, MemoryWire, card, door, now, permit, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import open_rig
from tests.models.test_card_lessons import CARDS, backwards, framed

RESIDENT: dict[str, Any] = {"credentials": (card("p1", CARDS[0]),), "permits": (permit("p1"),)}


@dataclass
class Desk:
    """Stand for the gateway: hear what was read, and say whether anybody still wants it."""

    told: list[Progress] = field(default_factory=list)
    wanted: bool = True
    away: bool = False

    async def tell(self, progress: Progress) -> bool:
        if self.away:
            raise DeviceUnreachable("gateway", "it is away")
        self.told.append(progress)
        return self.wanted

    @property
    def readings(self) -> tuple[str, ...]:
        return self.told[-1].readings if self.told else ()


@dataclass
class Porch:
    """A door with an edge's admission behind it, over whatever wire."""

    admission: Admission
    keeper: DoorKeeper
    spool: Spool
    desk: Desk = field(default_factory=Desk)

    def begin(self, door_id: str = "d1", *, for_s: float = 30.0, **given: Any) -> asyncio.Task[Result]:
        """Begin a lesson."""
        order = LearnCards(id=uuid.uuid4().hex, door_id=door_id, deadline=now() + timedelta(seconds=for_s), **given)
        return asyncio.create_task(self.admission.lessons.learn(order, tell=self.desk.tell))

    async def begun(self, door_id: str = "d1", **given: Any) -> asyncio.Task[Result]:
        """Begin a lesson, and wait until it gathers."""
        learning = self.begin(door_id, **given)
        await until(lambda: bool(self.desk.told), what="the lesson")
        return learning

    async def read(self, many: int) -> None:
        """Wait until the gateway has so many readings."""
        await until(lambda: len(self.desk.readings) == many, what=f"card {many}")

    async def present(self, value: str, *, reader: Any = "in", **given: Any) -> None:
        """Present a card in memory."""
        request = Request(id=uuid.uuid4().hex, door_id="d1", kind="card", reader=reader, value=value, **given)
        await self.admission.consider(request)

    async def facts(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(row.body) for row in await self.spool.oldest(1000, max_bytes=10**9)]


async def _porch(
    spool: Spool, tasks: asyncio.TaskGroup, *, wire: Any = None, wires: Wires | None = None, doors: tuple[Door, ...]
) -> Porch:
    keeper = DoorKeeper(
        edge_id=EDGE, spool=spool, clock=SteadyClock(), tasks=tasks,
        open_driver=wires.open if wires is not None else lambda _doors: wire,
        driver_key=wires.key if wires is not None else lambda _door: "one", new_id=lambda: uuid.uuid4().hex,
    )  # fmt: skip
    admission = Admission(edge_id=EDGE, keeper=keeper, clock=SteadyClock(), spool=spool)
    await admission.load()
    admission.apply(policy(*doors, **RESIDENT))
    await keeper.start(admission.consider)
    keeper.apply(doors, ())
    return Porch(admission, keeper, spool)


def _stop(porch: Porch, tasks: asyncio.TaskGroup) -> None:
    porch.keeper.apply((), ())
    for task in list(tasks._tasks):
        task.cancel()


@pytest.fixture
def wire() -> MemoryWire:
    return MemoryWire()


@pytest.fixture
async def porch(tmp_path: Path, wire: MemoryWire) -> AsyncIterator[Porch]:
    both = msgspec.structs.replace(door(), readers=(Reader(), Reader(side="out")))
    async with Spool(tmp_path / "spool.db", budget_bytes=10**8) as spool, asyncio.TaskGroup() as tasks:
        made = await _porch(spool, tasks, wire=wire, doors=(both,))
        await until(lambda: wire.opened == 1)
        yield made
        _stop(made, tasks)


def orders(wire: MemoryWire, kind: Any) -> list[Any]:
    return [one for one in wire.orders if isinstance(one, kind)]


async def test_cards_are_gathered_and_open_nothing_until_there_are_enough(
    porch: Porch, wire: MemoryWire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    learning = await porch.begun(cards=2)
    for value in (CARDS[0], CARDS[0], backwards(CARDS[1])):
        await porch.present(value)
    ended = await learning
    assert (ended.state, porch.desk.readings, porch.desk.told[-1].again) == ("confirmed", (CARDS[0], "A3F9C204"), 1)
    assert not orders(wire, UnlockDoor)
    assert [(one.ok, one.reason) for one in orders(wire, GiveFeedback)] == [(False, "learning")] * 3
    assert await porch.facts() == [], "nothing of it is on record at the edge"
    said = caplog.text + repr(ended) + repr(porch.desk.told)
    assert not any(one in said for one in (*CARDS, backwards(CARDS[1])))
    await porch.present(CARDS[0])
    assert len(orders(wire, UnlockDoor)) == 1, "once it is over the card lets in again"


async def test_only_cards_of_its_own_side_are_gathered_and_nobody_is_kept_inside(
    porch: Porch, wire: MemoryWire
) -> None:
    inside = await porch.begun(reader="out")
    await porch.present(CARDS[0])
    assert len(orders(wire, UnlockDoor)) == 1, "the other side goes on"
    await porch.present(CARDS[0], reader="out")
    assert len(orders(wire, UnlockDoor)) == 2, "the way out opens, and is learnt from"
    await until(lambda: porch.desk.readings == (CARDS[0],), what="the reading")
    porch.desk.wanted = False
    assert (await inside).reason == "cancelled"


async def test_a_card_that_waited_on_its_way_is_not_gathered(porch: Porch) -> None:
    learning = await porch.begun()
    await porch.present(CARDS[0], redelivered=True)
    porch.desk.wanted = False
    assert (await learning).reason == "cancelled"
    assert porch.desk.readings == ()


async def test_it_ends_when_nobody_wants_it_and_when_its_time_is_over(porch: Porch, wire: MemoryWire) -> None:
    learning = await porch.begun()
    assert (await porch.begin()).reason == "busy"
    assert (await porch.begin("elsewhere")).reason == "no_such_door"
    porch.desk.wanted = False
    ended = await learning
    assert (ended.state, ended.reason) == ("refused", "cancelled")
    await porch.present(CARDS[0])
    assert len(orders(wire, UnlockDoor)) == 1
    porch.desk = Desk()
    assert (await porch.begin(for_s=2.2)).reason == "too_few_cards"


async def test_a_gateway_that_comes_back_in_time_has_all_and_one_that_does_not_has_nothing_confirmed(
    porch: Porch,
) -> None:
    learning = await porch.begun()
    porch.desk.away = True
    for value in CARDS:
        await porch.present(value)
    porch.desk.away = False
    assert ((await learning).state, porch.desk.readings) == ("confirmed", CARDS)
    porch.desk = Desk()
    learning = await porch.begun(for_s=2.5)
    porch.desk.away = True
    for value in CARDS:
        await porch.present(value)
    ended = await learning
    assert (ended.state, ended.reason) == ("failed", "not_told")


async def test_an_edge_that_cannot_learn_says_so() -> None:
    order = LearnCards(id="l", door_id="d1", deadline=now() + timedelta(seconds=9))
    assert (await Orders(SteadyClock()).obey(order)).reason == "unsupported"


# ---- over real wires --------------------------------------------------------------------------------------------------


async def test_a_door_on_mqtt_is_learnt_from_through_the_edge_as_a_process(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0 and any(s.doors and s.doors[0].online for s in gateway.statuses))
        gateway.send(LearnCards(id="l1", door_id="d1", deadline=now() + timedelta(seconds=30)))
        await until(lambda: bool(gateway.progress), what="the lesson")
        for value in (CARDS[0], backwards(CARDS[1])):
            seen = await rig.doors["d1"].request("card", value, reader="in", timeout_s=5)
            assert (seen.unlocked, seen.feedback) == (False, "learning")
        await until(lambda: any(r.command_id == "l1" for r in gateway.results), what="its end")
        assert gateway.progress[-1].readings == (CARDS[0], backwards(CARDS[1]))
        assert (await rig.doors["d1"].request("card", CARDS[0], reader="in", timeout_s=5)).unlocked
        await until(lambda: len(gateway.of("access_granted")) == 1)
        assert not gateway.of("access_denied")
        written = [path for path in (tmp_path / "edge").rglob("*") if path.is_file()]
        assert written
        assert not any(one.encode() in path.read_bytes() for path in written for one in (*CARDS, backwards(CARDS[1])))
        assert not any(one in line for line in rig.worker.lines for one in (*CARDS, backwards(CARDS[1])))


async def test_a_lesson_ends_with_its_edge_and_another_run_says_that_it_is_another(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0 and any(s.doors and s.doors[0].online for s in gateway.statuses))
        order = LearnCards(id="l1", door_id="d1", deadline=now() + timedelta(seconds=60))
        gateway.send(order)
        await until(lambda: bool(gateway.progress), what="the lesson")
        await rig.doors["d1"].request("card", CARDS[0], reader="in", timeout_s=5)
        await until(lambda: gateway.progress[-1].done == 1, what="the first card")
        before = gateway.progress[-1].since
        await rig.worker.stop()
        mark = len(gateway.progress)
        await rig.worker.start()
        await until(lambda: gateway.listeners > 0, what="the edge's stream")
        gateway.send(order)
        await until(lambda: len(gateway.progress) > mark, what="the lesson of the next run")
        again = gateway.progress[mark]
        assert (again.readings, again.done) == ((), 0)
        assert again.since is not None
        assert before is not None
        assert again.since > before


async def test_an_osdp_reader_is_learnt_from_bit_by_bit(tmp_path: Path) -> None:
    link = tmp_path / "port"
    gate = SimulatedReader("d1", address=0, key=KEY)
    driver: dict[str, object] = {"kind": "osdp", "port": str(link), "readers": [reader_settings("d1", address=0)]}
    served = msgspec.structs.replace(door(), driver=driver)
    wires = Wires(BrokerLink(), edge_id=EDGE, now=SteadyClock().now)
    async with (
        SimulatedBus(gate, link=link),
        Spool(tmp_path / "spool.db", budget_bytes=10**8) as spool,
        asyncio.TaskGroup() as tasks,
    ):
        porch = await _porch(spool, tasks, wires=wires, doors=(served,))
        await until(lambda: (state := porch.keeper.state("d1")) is not None and state.online is True, what="the reader")
        learning = await porch.begun()
        for number, value in enumerate(CARDS, start=1):
            seen = await gate.request("card", framed(backwards(value)), timeout_s=5)
            assert not seen.unlocked
            await porch.read(number)
        assert (await learning).state == "confirmed"
        assert porch.desk.readings == tuple(framed(backwards(one)) for one in CARDS)
        _stop(porch, tasks)


async def test_an_onvif_access_point_is_learnt_from_by_its_card_identifier(tmp_path: Path) -> None:
    async with (
        Spool(tmp_path / "spool.db", budget_bytes=10**8) as spool,
        running(simulated()) as site,
        asyncio.TaskGroup() as tasks,
    ):
        served = msgspec.structs.replace(door(), id="gate")
        porch = await _porch(spool, tasks, wire=site.driver(pull_s=1), doors=(served,))
        await until(
            lambda: (state := porch.keeper.state("gate")) is not None and state.online is True, what="the device"
        )
        learning = await porch.begun("gate")
        for value in CARDS:
            seen = await site.act("card", value=backwards(value))
            assert seen is not None
        assert (await learning).state == "confirmed"
        assert porch.desk.readings == tuple(map(backwards, CARDS))
        _stop(porch, tasks)
