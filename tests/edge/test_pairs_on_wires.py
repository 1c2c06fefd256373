"""A card and a PIN together at real readers: an edge decides, over the wire, at an OSDP keypad and an ONVIF access point."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.settings import BrokerLink
from drivers.door import DoorDriver
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from edge.admission import Admission
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from edge.wires import Wires
from models.events import AccessDenied, AccessGranted, AnyFact
from models.places import Door, Factor, Reader
from tests.drivers.onvif.rigs import Gate, running, simulated
from tests.drivers.osdp.conftest import KEY, reader_settings
from tests.edge.doubles import EDGE, card, permit, person, pin, policy, until

CARD, PIN, FLAT = "7186A61E", "480213", "1101"


@dataclass
class Inside:
    """The parts of an edge that a test looks at."""

    spool: Spool
    keeper: DoorKeeper
    admission: Admission


@dataclass
class Porch:
    """A door with somebody at its reader: what they present goes over the wire, and so does the answer."""

    present: Callable[[str, str], Awaitable[Any]]
    unlocks: Callable[[], int]
    shown: Callable[[], str]
    inside: Inside

    def waits(self, person_id: str) -> bool:
        """Return whether the edge waits for the other half of what a person showed."""
        halves = self.inside.admission.pairs._halves.values()
        return any(claim.person_id == person_id for half in halves for claim in half.claims)

    async def until_recorded(self, fact: tuple[str, str, str]) -> None:
        async with asyncio.timeout(10):
            while fact not in await self.facts():
                await self.inside.keeper.recorded("gate")

    async def facts(self) -> list[tuple[str, str, str]]:
        """Return every attempt on record: method, person and how it ended, once they are on disk."""
        rows = await self.inside.spool.oldest(1000, max_bytes=10**9)
        told = [msgspec.json.decode(row.body, type=AnyFact) for row in rows]
        return [
            (one.method, one.person_id or "", one.reason if isinstance(one, AccessDenied) else "granted")
            for one in told if isinstance(one, AccessGranted | AccessDenied)
        ]  # fmt: skip


@contextlib.asynccontextmanager
async def deciding(
    folder: Path, door: Door, *, open_driver: Callable[[tuple[Door, ...]], DoorDriver]
) -> AsyncIterator[Inside]:
    """Run an edge's admission at a door where one resident has a card and a PIN."""
    clock = SteadyClock()
    async with Spool(folder / "spool.db", budget_bytes=10**8) as spool, asyncio.TaskGroup() as tasks:
        keeper = DoorKeeper(
            edge_id=EDGE, spool=spool, clock=clock, tasks=tasks, open_driver=open_driver, driver_key=lambda _: "wire",
            new_id=lambda: uuid.uuid4().hex,
        )  # fmt: skip
        admission = Admission(edge_id=EDGE, keeper=keeper, clock=clock, spool=spool)
        await admission.load()
        await keeper.start(admission.consider)
        given = policy(
            door, permits=(permit("p1", door.id),),
            people=(person("p1", flats=(FLAT,)),),
            credentials=(card("p1", CARD), pin("p1", PIN)),
        )  # fmt: skip
        admission.apply(given)
        keeper.apply(given.doors, given.modes)
        await until(lambda: keeper.state(door.id) is not None and keeper.state(door.id).online is True)  # type: ignore[union-attr]
        yield Inside(spool, keeper, admission)
        keeper.apply([], [])
        for task in list(tasks._tasks):
            task.cancel()


def a_door(factors: tuple[Factor, ...], **driver: object) -> Door:
    return Door(id="gate", site_id="s", name="gate", edge_id=EDGE, factors=factors, readers=(Reader(),), driver=driver)


@contextlib.asynccontextmanager
async def at_osdp(
    folder: Path, *, factors: tuple[Factor, ...] = ("card+pin",), keypad: str = "pin"
) -> AsyncIterator[Porch]:
    reader = SimulatedReader("gate", address=1, key=KEY)
    async with SimulatedBus(reader) as bus:
        door = a_door(factors, kind="osdp", port=bus.port, readers=[reader_settings("gate", keypad=keypad)])
        wires = Wires(BrokerLink(), edge_id=EDGE, now=SteadyClock().now)
        async with deciding(folder, door, open_driver=wires.open) as inside:
            yield Porch(reader.request, lambda: reader.unlocks, lambda: " ".join(reader.told), inside)


@contextlib.asynccontextmanager
async def at_onvif(folder: Path) -> AsyncIterator[Porch]:
    async with running(simulated()) as site:
        gate = Gate(site)
        async with deciding(folder, a_door(("card+pin",)), open_driver=lambda _doors: site.driver(pull_s=1)) as inside:
            yield Porch(gate.request, lambda: gate.unlocks, lambda: "", inside)


async def test_osdp_a_card_is_asked_for_its_pin_at_the_reader_and_the_keypad_opens(tmp_path: Path) -> None:
    async with at_osdp(tmp_path) as porch:
        first = await porch.present("card", CARD)
        assert (first.unlocked, first.feedback, porch.unlocks()) == (False, "awaits_pin", 0)
        await until(lambda: "amber" in porch.shown() and "beep 1" in porch.shown(), what="light and sound")
        assert "red" not in porch.shown(), "it is no refusal"
        second = await porch.present("pin", PIN)
        assert (second.unlocked, porch.unlocks()) == (True, 1)
        await porch.until_recorded(("card+pin", "p1", "granted"))


async def test_osdp_a_pin_first_waits_for_its_card_and_a_wrong_one_completes_nothing(tmp_path: Path) -> None:
    async with at_osdp(tmp_path) as porch:
        assert (await porch.present("pin", PIN)).feedback == "awaits_card"
        assert (await porch.present("card", CARD)).unlocked
        assert (await porch.present("card", CARD)).feedback == "awaits_pin"
        assert (await porch.present("pin", "000111")).feedback == "unknown_credential"
        assert porch.unlocks() == 1
        assert (await porch.present("pin", PIN)).unlocked


async def test_osdp_a_flat_and_its_pin_open_by_the_keypad_alone_and_complete_a_card(tmp_path: Path) -> None:
    async with at_osdp(tmp_path, factors=("flat_pin",), keypad="flat_pin") as porch:
        assert (await porch.present("flat_pin", f"{FLAT}#000111")).feedback == "unknown_credential"
        assert (await porch.present("flat_pin", f"{FLAT}#{PIN}")).unlocked
        await porch.until_recorded(("flat_pin", "p1", "granted"))
    async with at_osdp(tmp_path, keypad="flat_pin") as porch:
        assert (await porch.present("card", CARD)).feedback == "awaits_pin"
        assert (await porch.present("flat_pin", f"{FLAT}#{PIN}")).unlocked
        await porch.until_recorded(("card+pin", "p1", "granted"))


@pytest.mark.parametrize("order", [(("card", CARD), ("pin", PIN)), (("pin", PIN), ("card", CARD))])
async def test_onvif_a_card_and_a_pin_at_an_access_point_are_two_requests_and_one_opening(
    tmp_path: Path, order: tuple[tuple[str, str], ...]
) -> None:
    async with at_onvif(tmp_path) as porch:
        first, second = order
        asking = asyncio.ensure_future(porch.present(*first))
        await until(lambda: porch.waits("p1"), what="the other half")
        assert porch.unlocks() == 0
        assert (await porch.present(*second)).unlocked
        assert porch.unlocks() == 1
        assert not (await asking).unlocked, "the first request alone was given up for the second"
        await porch.until_recorded(("card+pin", "p1", "granted"))


async def test_onvif_a_pin_that_is_not_the_card_holders_is_refused_by_name_at_the_device(tmp_path: Path) -> None:
    async with at_onvif(tmp_path) as porch:
        asking = asyncio.ensure_future(porch.present("card", CARD))
        await until(lambda: porch.waits("p1"), what="the other half")
        wrong = await porch.present("pin", "000111")
        assert (wrong.unlocked, wrong.feedback, porch.unlocks()) == (False, "unknown_credential", 0)
        assert (await porch.present("pin", PIN)).unlocked
        assert not (await asking).unlocked
