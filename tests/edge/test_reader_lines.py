"""Lines of readers before they are doors, over a real wire: found, keyed, tried, and never taken from doors unasked."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.settings import BrokerLink
from drivers.door import GiveFeedback, UnlockDoor
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.line_names import same_lines
from edge.lines import Lines
from edge.spool import Spool
from edge.wires import Wires
from models.access import Request
from models.device_orders import InstallKey, ProbeDevice
from models.devices import Candidate, drives
from models.errors import DeviceUnreachable, InvalidInput
from models.link import Result
from models.openings import Expectation
from models.places import Door
from models.policy import DesiredMode
from tests.drivers.osdp.conftest import KEY
from tests.edge.doubles import EDGE, now, until
from tests.edge.test_adopting import soon

NEW = "5a" * 15 + "01"


@dataclass
class Yard:
    """A line with a reader that has a key and one that waits for its own, as an edge sees it."""

    bus: SimulatedBus
    gate: SimulatedReader
    fresh: SimulatedReader
    wires: Wires
    lines: Lines
    served: list[Door] = field(default_factory=list)
    keeper: DoorKeeper | None = None

    async def ask(self, suffix: str = "", *, key: str = "", pause: bool = False) -> Result:
        order = ProbeDevice(
            id="o1", wire="osdp", address=f"{self.bus.port}{suffix}", password=key, pause=pause, deadline=soon(30)
        )
        return await self.lines.survey(order)

    async def one(self, suffix: str, *, key: str = "") -> Candidate:
        (found,) = (await self.ask(suffix, key=key)).candidates
        return found

    async def install(self, suffix: str, *, key: str = NEW, pause: bool = False) -> Result:
        order = InstallKey(
            id="o2", wire="osdp", address=f"{self.bus.port}{suffix}", key=key, reason="adoption", requested_by="u",
            pause=pause, deadline=soon(30),
        )  # fmt: skip
        return await self.lines.install(order)

    def door(self, *readers: dict[str, Any]) -> Door:
        driver: dict[str, object] = {
            "kind": "osdp", "port": self.bus.port, "baud_rate": 9600, "readers": list(readers)
        }  # fmt: skip
        return Door(id="gate", site_id="s", name="gate", edge_id=EDGE, driver=driver)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    gate = SimulatedReader("gate", address=0, key=KEY)
    fresh = SimulatedReader("fresh", address=3, key=None)
    clock, served = SteadyClock(), list[Door]()
    async with SimulatedBus(gate, fresh, link=tmp_path / "port") as bus:
        wires = Wires(BrokerLink(), edge_id=EDGE, now=clock.now)
        made: list[Yard] = []
        lines = Lines(
            clock=clock,
            wires=wires,
            doors=lambda: served,
            mode=lambda door_id: "normal" if made[0].keeper is None else made[0].keeper.mode(door_id),
            state=lambda door_id: None if made[0].keeper is None else made[0].keeper.state(door_id),
        )
        made.append(Yard(bus, gate, fresh, wires, lines, served))
        yield made[0]


async def test_a_line_tells_who_is_on_it_and_what_each_can_do_without_any_key(yard: Yard) -> None:
    yard.gate.faults.add("garbage")
    result = await yard.ask()
    assert result.state == "confirmed"
    told = [
        (one.id, one.reach, one.trouble, one.firmware, one.parts[0].settings["address"]) for one in result.candidates
    ]
    assert told == [
        ("osdp-005eed-00001000", "answers", "", "1.2.3", 0), ("osdp-005eed-00001003", "answers", "", "1.2.3", 3),
    ]  # fmt: skip
    (part,) = result.candidates[0].parts
    assert {"card", "pin", "feedback", "lock"} <= set(part.capabilities)
    assert (part.settings["strike"], part.settings["plain"]) == (0, False)


async def test_a_reader_is_known_by_its_key_and_by_no_other(yard: Yard) -> None:
    assert (await yard.one("#0", key=KEY.hex())).reach == "known"
    unasked = await yard.one("#0")
    assert (unasked.reach, unasked.trouble) == ("answers", ""), "the same as of the whole line"
    wrong = await yard.one("#0", key=NEW)
    assert (wrong.id, wrong.reach, wrong.trouble) == ("osdp-005eed-00001000", "answers", "credentials")
    nobody = await yard.one("#9")
    assert (nobody.reach, nobody.trouble, nobody.parts) == ("heard", "unreachable", ())
    assert NEW not in f"{wrong} {nobody}"


@pytest.mark.parametrize(
    ("suffix", "key", "why"),
    [
        ("", NEW, "name it behind the port"),
        ("#127", "", "0 to 126"),
        ("?baud=1200", "", "baud"),
        ("#0", "zz", "hexadecimal"),
        ("#0", "00" * 16, "keeps nobody out"),
    ],
)
async def test_a_place_or_a_key_that_cannot_be_one_is_refused_with_what_to_write(
    yard: Yard, suffix: str, key: str, why: str
) -> None:
    result = await yard.ask(suffix, key=key)
    assert (result.state, result.reason, why in result.detail) == ("refused", "invalid", True), result.detail
    assert not key or key not in result.detail


async def test_a_line_that_is_not_there_is_told_so(yard: Yard) -> None:
    yard.bus.unplug()
    result = await yard.ask("/dev/ttyNONE9")
    assert (result.state, result.reason) == ("failed", "unreachable")


async def test_a_reader_takes_its_key_in_install_mode_only_and_answers_by_it_again(yard: Yard) -> None:
    assert (await yard.install("#3")).state == "confirmed"
    assert (await yard.one("#3", key=NEW)).reach == "known"
    assert (await yard.install("#3")).state == "confirmed", "it has it already"
    other = await yard.install("#0")
    assert (other.state, other.reason, "install mode" in other.detail) == ("refused", "refused", True)
    assert (await yard.one("#0", key=KEY.hex())).reach == "known", "its own key stays"
    assert (await yard.install("#9")).reason == "unreachable"


async def test_a_trial_lights_and_sounds_a_reader_or_pulses_its_strike(yard: Yard) -> None:
    known = {"port": yard.bus.port, "baud_rate": 9600, "address": 0, "plain": False, "strike": 0, "key": KEY.hex()}
    async with yard.wires.open_trial("osdp", known, part="0") as driver:
        feedback = GiveFeedback(id="t1", door_id="0", attempt="t1", ok=True, reason="test", valid_ms=3000)
        assert (await driver.execute(feedback)).ok
        assert (yard.gate.unlocks, any("green" in told for told in yard.gate.told)) == (0, True)
        unlock = UnlockDoor(id="t2", door_id="0", attempt=None, hold_s=1.0, valid_ms=3000)
        assert (await driver.execute(unlock)).ok
    assert yard.gate.unlocks == 1


@contextlib.asynccontextmanager
async def serving(yard: Yard, tmp_path: Path, *, lost_after_s: float = 20.0) -> AsyncIterator[tuple[DoorKeeper, Spool]]:
    """Serve the gate of the yard's line as an edge does."""
    door = yard.door({"address": 0, "side": "in", "key": KEY.hex(), "strike": 0})
    yard.served.append(door)
    async with Spool(tmp_path / "spool.db", budget_bytes=10**8) as spool, asyncio.TaskGroup() as tasks:
        yard.keeper = keeper = DoorKeeper(
            edge_id=EDGE, spool=spool, clock=SteadyClock(), tasks=tasks, open_driver=yard.wires.open,
            driver_key=yard.wires.key, new_id=lambda: uuid.uuid4().hex, lost_after_s=lost_after_s,
            line_free=yard.wires.free,
        )  # fmt: skip

        async def consider(_request: Request) -> None:
            return

        await keeper.start(consider)
        keeper.apply([door], [])
        await until(lambda: keeper.state("gate").online is True)  # type: ignore[union-attr]
        yield keeper, spool
        keeper.apply([], [])
        for task in list(tasks._tasks):
            task.cancel()


async def test_doors_on_the_line_stand_still_only_if_the_order_says_so_and_are_back_after_it(
    yard: Yard, tmp_path: Path
) -> None:
    async with serving(yard, tmp_path) as (keeper, _):
        refused = await yard.ask()
        assert (refused.state, refused.reason, "gate" in refused.detail) == ("refused", "in_use", True)
        assert (await yard.install("#3")).reason == "in_use"
        assert (await keeper.open("gate", attempt="a1")).ok, "nobody disturbed it"
        assert (await yard.install("#3", pause=True)).state == "confirmed"
        await until(lambda: keeper.counters.get("driver_ends", 0) >= 1)
        both = yard.door(
            {"address": 0, "side": "in", "key": KEY.hex(), "strike": 0}, {"address": 3, "side": "out", "key": NEW}
        )
        keeper.apply([both], [])
        await until(lambda: yard.gate.lock == "locked" and keeper.state("gate").online is True, limit_s=15)  # type: ignore[union-attr]
        assert (await keeper.open("gate", attempt="a2", valid_ms=5000)).ok
        assert yard.gate.unlocks == 2


async def test_an_evacuation_breaks_a_search_off_and_none_begins_during_one(yard: Yard, tmp_path: Path) -> None:
    async with serving(yard, tmp_path) as (keeper, _):
        searching = asyncio.create_task(yard.ask(pause=True))
        await asyncio.sleep(0.5)
        keeper.apply(yard.served, [DesiredMode(door_id="gate", version=1, mode="evacuating")])
        async with asyncio.timeout(1.0):
            broken = await searching
        assert (broken.state, broken.reason, "gate is evacuating" in broken.detail) == ("failed", "emergency", True)
        await until(lambda: yard.gate.lock == "unlocked", limit_s=4)
        refused = await yard.ask(pause=True)
        assert (refused.state, refused.reason) == ("refused", "emergency")
        keeper.apply(yard.served, [DesiredMode(door_id="gate", version=2, mode="normal")])
        await until(lambda: yard.gate.lock == "locked", limit_s=4)
        state = keeper.state("gate")
        assert state is not None
        release = Expectation(cause="release", since=now(), until=soon(60))
        keeper._doors["gate"].state = msgspec.structs.replace(state, expectations=(release,))
        assert (await yard.ask(pause=True)).reason == "emergency"


async def test_doors_that_stand_still_are_not_lost(yard: Yard, tmp_path: Path) -> None:
    async with serving(yard, tmp_path, lost_after_s=2.0) as (keeper, spool):
        searching = asyncio.create_task(yard.ask(pause=True))
        await until(lambda: "order" in (keeper.statuses()[0].trouble or ""), what="the reason")
        assert not keeper.statuses()[0].online
        assert (await searching).state == "confirmed"
        await until(lambda: keeper.statuses()[0].online, limit_s=2.0, what="the door")
        bodies = [row.body for row in await spool.oldest(1000, max_bytes=10**9)]
        assert not any(b"device_lost" in body for body in bodies)


@pytest.mark.parametrize("fault", ["key file", "no key", "address"])
async def test_a_door_that_cannot_be_served_keeps_no_other_of_its_line_from_being_served(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("edge.partly.AGAIN_S", 0.2)
    file = tmp_path / "key"
    others: dict[str, dict[str, Any]] = {
        "key file": {"address": 3, "key_file": str(file)}, "no key": {"address": 3}, "address": {"address": 0, "key": NEW},
    }  # fmt: skip
    assert (await yard.install("#3")).state == "confirmed"
    shed = yard.door({"side": "in", **others[fault]})
    shed = msgspec.structs.replace(shed, id="shed", name="shed")
    async with serving(yard, tmp_path, lost_after_s=1.0) as (keeper, _):
        keeper.apply([yard.served[0], shed], [])
        await until(lambda: len(keeper.statuses()) == 2 and keeper.statuses()[0].online)
        await until(lambda: bool(keeper.statuses()[1].trouble))
        gate, away = keeper.statuses()
        assert (gate.online, gate.trouble, away.online) == (True, None, False)
        assert {"key file": "cannot be read", "no key": "32 hexadecimal", "address": "its own"}[fault] in (
            away.trouble or ""
        )
        assert NEW not in (away.trouble or "")
        assert (await keeper.open("gate", attempt="a1")).ok
        assert not (await keeper.open("shed", attempt="a2")).ok
        await until(lambda: keeper.state("shed").lost, limit_s=3.0)  # type: ignore[union-attr]
        if fault == "key file":
            file.write_text(NEW)
            await until(lambda: all(one.online and not one.trouble for one in keeper.statuses()), limit_s=12.0)


async def test_a_line_of_which_no_door_can_be_served_is_refused(yard: Yard) -> None:
    with pytest.raises(InvalidInput, match="hexadecimal"):
        yard.wires.open((yard.door({"address": 0}), msgspec.structs.replace(yard.door({"address": 3}), id="shed")))


@pytest.mark.parametrize("after_s", [0.0, 1.0])
async def test_a_driver_that_still_enters_its_line_leaves_it_too(yard: Yard, after_s: float) -> None:
    door = yard.door({"address": 0, "side": "in", "key": KEY.hex()}, {"address": 9, "side": "out", "key": NEW})
    yard.served.append(door)
    driver = yard.wires.open((door,))
    entering = asyncio.create_task(driver.__aenter__())  # reader 9 is not there: this takes 5 s
    await asyncio.sleep(after_s)
    found = await yard.ask("#3", pause=True)
    assert (found.state, [one.reach for one in found.candidates]) == ("confirmed", ["answers"])
    with pytest.raises(DeviceUnreachable):
        await entering


async def test_a_line_is_the_same_one_under_another_name(yard: Yard, tmp_path: Path) -> None:
    other = tmp_path / "by-id"
    other.symlink_to(yard.bus.port)
    async with serving(yard, tmp_path) as (keeper, _):
        order = ProbeDevice(id="o1", wire="osdp", address=f"{other}#3", deadline=soon(30))
        refused = await yard.lines.survey(order)
        assert (refused.state, refused.reason) == ("refused", "in_use")
        found = await yard.lines.survey(msgspec.structs.replace(order, pause=True))
        assert [one.reach for one in found.candidates] == ["answers"], "the door's driver left it"
        await until(lambda: keeper.statuses()[0].online)


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("tcp://localhost:4001", {"tcp://127.0.0.1:4001", "tcp://LOCALHOST.:4001"}),
        ("tcp://no-such-host.invalid:4001", {"tcp://No-Such-Host.invalid.:4001"}),
        ("tcp://localhost:4003", set()),
        ("/dev/../dev/ttyNONE0", {"/dev/ttyNONE0"}),
        ("", set()),
        ("tcp://x:y", set()),
    ],
)
async def test_names_of_a_line_are_compared_by_where_they_lead(line: str, same: set[str]) -> None:
    others = {
        "tcp://127.0.0.1:4001", "tcp://LOCALHOST.:4001", "tcp://127.0.0.1:4002", "tcp://No-Such-Host.invalid.:4001",
        "/dev/ttyNONE0", "/dev/ttyNONE1", "/dev/tty\0",
    }  # fmt: skip
    assert await same_lines(line, others) == {line} | same


@pytest.mark.parametrize(
    ("port", "known"),
    [("tcp://Converter.lan.:4001", True), ("tcp://converter.lan:4002", False), ("/dev/ttyUSB0", False)],
)
def test_the_gateway_knows_a_line_however_its_host_is_written(port: str, known: bool) -> None:
    driver = {"kind": "osdp", "port": "tcp://converter.lan:4001", "readers": [{"address": 3, "key": NEW}]}
    assert drives(driver, "gate", part="3", wire="osdp", settings={"port": port, "address": 3}) is known
