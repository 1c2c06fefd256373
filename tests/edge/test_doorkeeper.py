"""The doorkeeper: committed before acknowledged, opened even when the disk is full, one dead wire delays no other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from drivers.door import Executed, Order, Reported, SetMode, Warn
from edge.doorkeeper import REQUESTS_AT_DOOR, REQUESTS_AT_ONCE
from edge.served import told
from models.access import Request
from models.doors import held_soon
from models.errors import DeviceRefused, DeviceUnreachable
from models.events import DeviceLost, DoorForced, DoorOpened, kind_of
from models.link import TROUBLE_CHARS
from models.policy import DesiredMode
from models.reports import Snapshot
from tests.edge.conftest import House, open_house
from tests.edge.doubles import MemoryWire, door, event, now, online, until

CLOSED = Snapshot(at=now(), contact="closed", lock="locked")


async def settle(house: House, *, seq: int = 0) -> None:
    """Bring a door to where a forced opening can be told: known, and long enough after the start."""
    house.wire.say("d1", online())
    house.wire.say("d1", Snapshot(at=now(), event_seq=seq, contact="closed", lock="locked"))
    await until(lambda: house.keeper.state("d1").contact == "closed")  # type: ignore[union-attr]
    long_ago = now() - timedelta(minutes=5)
    kept = house.keeper._doors["d1"]
    kept.state = msgspec.structs.replace(kept.state, settling_until=long_ago, back_at=long_ago)


async def test_a_forced_opening_is_on_disk_before_it_is_acknowledged(house: House) -> None:
    house.keeper.apply((door(),), ())
    await settle(house)
    house.wire.say("d1", event(1))
    await until(lambda: ("d1", 1) in house.wire.acknowledged)
    assert house.spool.commits > 0
    await until(lambda: "door_forced" in house.keeper.counters)
    await house.keeper.recorded("d1")
    facts = await house.facts()
    assert [kind_of(f) for f in facts if isinstance(f, DoorForced | DoorOpened)] == ["door_forced"]


async def test_our_own_opening_is_not_forced_even_if_its_report_overtakes_the_answer(tmp_path: Path) -> None:
    wire = MemoryWire()
    house: House

    async def open_first(order: Order) -> Executed:
        wire.say("d1", event(1))
        await until(lambda: ("d1", 1) in wire.acknowledged)
        return Executed(ok=True)

    async with open_house(tmp_path, wire=wire) as house:
        house.keeper.apply((door(),), ())
        await settle(house)
        wire.answer = open_first
        assert (await house.keeper.open("d1", attempt="a1")).ok
        await house.keeper.recorded("d1")
        opened = [f for f in await house.facts() if isinstance(f, DoorForced | DoorOpened)]
        assert [(f.cause, f.attempt) for f in opened if isinstance(f, DoorOpened)] == [("granted", "a1")]
        assert len(opened) == 1


async def test_an_unlock_that_was_refused_explains_no_opening(house: House) -> None:
    async def refuse(order: Order) -> Executed:
        raise DeviceRefused("d1", "no")

    house.keeper.apply((door(),), ())
    await settle(house)
    house.wire.answer = refuse
    assert not (await house.keeper.open("d1", attempt="a1")).ok
    house.wire.say("d1", event(1))
    await until(lambda: house.keeper.counters.get("door_forced") == 1)


async def test_an_unlock_without_an_answer_may_still_explain_an_opening(house: House) -> None:
    async def silent(order: Order) -> Executed:
        return Executed(ok=False, certain=False, error="no answer")

    house.keeper.apply((door(),), ())
    await settle(house)
    house.wire.answer = silent
    assert not (await house.keeper.open("d1", attempt="a1")).ok
    house.wire.say("d1", event(1))
    await until(lambda: house.keeper.counters.get("door_opened") == 1)


async def test_a_redelivered_report_makes_the_same_fact(tmp_path: Path) -> None:
    ids: list[list[str]] = []
    first = event(1, at=now())
    for _ in range(2):
        async with open_house(tmp_path / str(len(ids))) as house:
            house.keeper.apply((door(),), ())
            await settle(house)
            house.wire.say("d1", first)
            house.wire.say("d1", first)
            await until(lambda house=house: len(house.wire.acknowledged) >= 4)  # type: ignore[misc]
            await until(lambda house=house: house.keeper.counters.get("door_forced") == 1)  # type: ignore[misc]
            await house.keeper.recorded("d1")
            ids.append([f.id for f in await house.facts() if isinstance(f, DoorForced)])
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


async def test_state_survives_a_restart_and_old_events_stay_taken(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        house.keeper.apply((door(),), ())
        await settle(house)
        house.wire.say("d1", event(1))
        await until(lambda: house.keeper.counters.get("door_forced") == 1)
        await house.keeper.recorded("d1")
        count = len(await house.facts())
    async with open_house(tmp_path) as house:
        house.keeper.apply((door(),), ())
        house.wire.say("d1", event(1))
        await until(lambda: ("d1", 1) in house.wire.acknowledged)
        assert len(await house.facts()) == count


async def test_a_full_disk_acknowledges_nothing_and_locks_nobody_out(tmp_path: Path) -> None:
    async with open_house(tmp_path, budget_bytes=64 * 4096) as house:
        house.keeper.apply((door(),), ())
        await settle(house)
        await until(lambda: len(house.wire.acknowledged) == 2)
        n = 0
        while house.spool.failures == 0:
            n += 1
            house.wire.say("d1", event(n, "fault", detail="x" * 200))
            if n % 20 == 0:
                await asyncio.sleep(0.001)
        durable = {fact.id for fact in await house.facts()}
        acknowledged = max(seq or 0 for _, seq in house.wire.acknowledged)
        assert acknowledged <= len(durable)
        assert (await house.keeper.open("d1", attempt="a1")).ok, "residents still get in"
        assert house.keeper.counters["unlocks_before_journal"] == 1
        await house.spool.confirm(sorted(durable))
        await until(lambda: ("d1", n) in house.wire.acknowledged, what="the retried commit")
        assert len(await house.facts()) + len(durable) >= n


async def test_a_wire_that_ends_is_opened_again_and_settles(house: House) -> None:
    house.keeper.apply((door(),), ())
    await settle(house)
    house.wire.end(DeviceUnreachable("broker", "gone"))
    await until(lambda: house.wire.opened == 2)
    house.wire.say("d1", event(1))
    await until(lambda: house.keeper.counters.get("door_opened") == 1)
    assert "door_forced" not in house.keeper.counters


async def test_the_desired_mode_is_sent_until_the_door_is_in_it(house: House) -> None:
    house.keeper.apply((door(),), (DesiredMode(door_id="d1", version=3, mode="locked_down"),))
    house.wire.say("d1", online())
    await until(lambda: any(isinstance(order, SetMode) and order.version == 3 for order in house.wire.orders))
    assert house.keeper.mode("d1") == "locked_down"


async def test_a_door_is_no_longer_held_open_after_its_time_without_being_told(house: House) -> None:
    until_then = now() + timedelta(seconds=0.6)
    house.keeper.apply((door(),), (DesiredMode(door_id="d1", version=4, mode="held_open", until=until_then),))
    house.wire.say("d1", online())
    await until(lambda: any(isinstance(order, SetMode) and order.version == 4 for order in house.wire.orders))
    await until(lambda: any(isinstance(order, SetMode) and order.version == 5 for order in house.wire.orders))
    told = [(order.version, order.mode) for order in house.wire.orders if isinstance(order, SetMode)]
    assert told[0] == (4, "held_open")
    assert told[-1] == (5, "normal")
    assert house.keeper.mode("d1") == "normal"


async def test_a_change_of_names_restarts_no_wire_and_a_change_of_driver_does(house: House) -> None:
    house.keeper.apply((door(),), ())
    await until(lambda: house.wire.opened == 1)
    house.keeper.apply((door(held_open_s=99.0),), ())
    house.wire.say("d1", online())
    await until(lambda: len(house.wire.acknowledged) == 1)
    assert house.wire.opened == 1
    house.keeper.apply((door(driver={"kind": "mqtt", "host": "else"}),), ())
    await until(lambda: house.wire.opened == 2)


async def test_reports_of_unknown_doors_are_counted_and_acknowledged(house: House) -> None:
    house.keeper.apply((door(),), ())
    house.wire.say("somebody", event(1))
    await until(lambda: house.wire.acknowledged == [("somebody", None)])
    assert house.keeper.counters["reports_of_unknown_doors"] == 1


async def test_a_door_without_a_wire_fails_for_certain(tmp_path: Path) -> None:
    async with open_house(tmp_path, wire=MemoryWire(fails=DeviceUnreachable("broker", "away"))) as house:
        house.keeper.apply((door(),), ())
        executed = await house.keeper.open("d1", attempt="a1")
        assert (executed.ok, executed.certain) == (False, True)
        assert house.keeper.state("d1").expectations == ()  # type: ignore[union-attr]
        assert not house.keeper.statuses()[0].online


async def test_doors_of_a_wire_that_stays_away_are_reported_lost_and_back(tmp_path: Path) -> None:
    wire = MemoryWire(fails=DeviceUnreachable("broker", "away"))
    async with open_house(tmp_path, wire=wire) as house:
        house.keeper.apply((door(),), ())
        await until(lambda: house.keeper._served["memory"].down_since is not None)
        assert "device_lost" not in house.keeper.counters, "not before the hold-off"
        house.keeper._served["memory"].down_since = house.clock.unix() - 60.0
        await until(lambda: house.keeper.counters.get("device_lost") == 1)
        wire.fails = None
        wire.say("d1", online())
        await until(lambda: house.keeper.counters.get("device_back") == 1)
        assert house.keeper.statuses()[0].online


async def test_a_door_that_its_wire_calls_offline_is_shown_so_at_once_and_lost_only_if_it_stays_away(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, lost_after_s=1.0) as house:
        house.keeper.apply((door("d1"), door("d2")), ())
        house.wire.say("d1", online(value=False))  # the broker kept the last will of both
        house.wire.say("d2", online(value=False))
        await until(lambda: [one.online for one in house.keeper.states()] == [False, False])
        assert not any(one.online for one in house.keeper.statuses())
        assert "device_lost" not in house.keeper.counters
        house.wire.say("d2", online())
        await until(lambda: house.keeper.counters.get("device_lost") == 1, limit_s=5)
        await house.keeper.recorded("d1")
    async with open_house(tmp_path, lost_after_s=0.5) as house:
        house.keeper.apply((door("d1"), door("d2")), ())
        house.wire.say("d1", online(value=False))
        house.wire.say("d2", online(value=False))
        await until(lambda: house.keeper.counters.get("device_lost") == 1, limit_s=5)
        await house.keeper.recorded("d2")
        lost = [fact.door_id for fact in await house.facts() if isinstance(fact, DeviceLost)]
        assert lost == ["d1", "d2"], "each once, also over a restart"


async def test_a_door_says_why_it_is_not_served_until_it_is(tmp_path: Path) -> None:
    wire = MemoryWire(fails=DeviceRefused("localhost:1883", "the broker refused 'gate': bad user name or password"))
    async with open_house(tmp_path, wire=wire) as house:
        house.keeper.apply((door(),), ())
        await until(lambda: house.keeper.statuses()[0].trouble is not None)
        status = house.keeper.statuses()[0]
        assert status.trouble == "localhost:1883: the broker refused 'gate': bad user name or password"
        wire.fails = None
        wire.say("d1", online())
        await until(lambda: house.keeper.statuses()[0].online)
        assert house.keeper.statuses()[0].trouble is None
        wire.fails = DeviceUnreachable("localhost:1883", "away")
        wire.end(DeviceUnreachable("localhost:1883", "the connection ended"))
        await until(lambda: house.keeper.statuses()[0].trouble == "localhost:1883: away")


def test_what_a_door_says_of_its_trouble_is_one_short_line_without_secrets() -> None:
    gate = door(driver={"password": "hunter22", "readers": [{"key": "ab" * 16}]})
    error = DeviceRefused("rtsp://u:pass@host/", f"no\nto hunter22 with {'ab' * 16} {'x' * 500}")
    text = told(error, settings=[{"kind": "mqtt"}, gate.driver])
    assert text.startswith("rtsp://…@host/: no to … with … xxx")
    assert len(text) == TROUBLE_CHARS
    assert told(KeyError("hunter22"), settings=[gate.driver]).startswith("its driver failed (KeyError)")


async def test_a_door_that_stays_open_too_long_is_reported_by_time_alone(house: House) -> None:
    house.keeper.apply((door(held_open_s=1.0, exit_kind="none"),), ())
    await settle(house)
    house.wire.say("d1", event(1))
    await until(lambda: house.keeper.counters.get("door_held_open") == 1, limit_s=5)
    assert house.keeper.statuses()[0].alarm == "held"


@pytest.mark.parametrize("can_warn", [True, False])
async def test_a_door_warns_once_before_it_has_been_open_for_too_long(house: House, *, can_warn: bool) -> None:
    async def answers(order: Order) -> Executed:
        able = can_warn or not isinstance(order, Warn)
        return Executed(ok=able, error=None if able else "unsupported")

    house.wire.answer = answers
    house.keeper.apply((door(held_open_s=2.0, exit_kind="none"),), ())
    await settle(house)
    counted = "warnings" if can_warn else "warnings_not_given"
    for seq in (1, 3):
        house.wire.say("d1", event(seq))
        await until(lambda n=seq: house.keeper.counters.get(counted) == (n + 1) // 2, limit_s=5)  # type: ignore[misc]
        assert "door_held_open" not in house.keeper.counters, "the warning comes first"
        house.wire.say("d1", event(seq + 1, "closed"))
        await until(lambda n=seq: ("d1", n + 1) in house.wire.acknowledged)  # type: ignore[misc]
    warnings = [order for order in house.wire.orders if isinstance(order, Warn)]
    assert [(order.door_id, order.reason) for order in warnings] == [("d1", "held_soon")] * 2


async def test_nobody_is_warned_at_a_door_that_may_stand_open(house: House) -> None:
    house.keeper.apply((door(held_open_s=1.0, exit_kind="none"),), ())
    await settle(house)
    house.wire.say("d1", Snapshot(at=now(), event_seq=0, contact="open", lock="unlocked", mode="held_open"))
    await until(lambda: house.keeper.state("d1").contact == "open")  # type: ignore[union-attr]
    state = house.keeper.state("d1")
    assert state is not None
    later = now() + timedelta(seconds=30)
    assert not held_soon(state, door=door(held_open_s=1.0), at=later)
    assert held_soon(msgspec.structs.replace(state, mode="normal"), door=door(held_open_s=1.0), at=later)


async def test_a_door_that_leaves_the_policy_and_comes_back_keeps_its_state(house: House) -> None:
    house.keeper.apply((door("d1"), door("d2")), ())
    await settle(house)
    house.wire.say("d1", event(1))
    await until(lambda: ("d1", 1) in house.wire.acknowledged)
    house.keeper.apply((door("d2"),), ())
    assert house.keeper.door("d1") is None
    assert house.keeper.state("d1") is None
    assert house.keeper.mode("d1") == "normal"
    house.keeper.apply((door("d1"), door("d2")), ())
    house.wire.say("d1", event(1))
    await until(lambda: house.wire.acknowledged.count(("d1", 1)) == 2)
    assert house.keeper.state("d1").numbers.last == 1  # type: ignore[union-attr]
    house.keeper.apply((), ())
    assert house.keeper.statuses() == ()


async def test_an_acknowledgement_that_finds_no_connection_is_counted(house: House) -> None:
    async def gone(_through: int | None) -> None:
        raise DeviceUnreachable("broker", "gone")

    house.keeper.apply((door(),), ())
    house.wire._reports.put_nowait(Reported(door_id="d1", report=online(), acknowledge=gone))
    await until(lambda: house.keeper.counters.get("acknowledgements_lost") == 1)


async def test_a_request_that_cannot_be_considered_harms_no_other(house: House) -> None:
    seen = []

    async def consider(request: Request) -> None:
        seen.append(request.id)
        if request.id == "bad":
            raise RuntimeError("a mistake of ours")

    house.keeper._consider = consider
    house.keeper.apply((door(),), ())
    for name, door_id in (("bad", "d1"), ("lost", "elsewhere"), ("good", "d1")):
        house.wire.ask(Request(id=name, door_id=door_id, kind="card"))
    await until(lambda: seen == ["bad", "good"])
    assert house.keeper.counters["requests_failed"] == 1
    assert house.keeper.counters["requests_of_unknown_doors"] == 1


async def test_more_requests_than_can_be_answered_are_dropped_and_counted(house: House) -> None:
    never, seen = asyncio.Event(), list[str]()

    async def consider(request: Request) -> None:
        seen.append(request.door_id)
        await never.wait()

    house.keeper._consider = consider
    doors = [f"d{n}" for n in range(REQUESTS_AT_ONCE // REQUESTS_AT_DOOR + 1)]
    house.keeper.apply([door(one) for one in doors], ())
    for one in doors:
        for n in range(REQUESTS_AT_DOOR):
            house.wire.ask(Request(id=f"r{n}", door_id=one, kind="card"))
    await until(lambda: house.keeper.counters.get("requests_dropped") == REQUESTS_AT_DOOR)
    assert seen == [one for one in doors[:-1] for _ in range(REQUESTS_AT_DOOR)]


async def test_a_reader_that_asks_without_end_takes_no_room_from_another_door(house: House) -> None:
    gate, seen = asyncio.Event(), list[str]()

    async def consider(request: Request) -> None:
        seen.append(request.id)
        if request.door_id == "d1":
            await gate.wait()

    house.keeper._consider = consider
    house.keeper.apply((door("d1"), door("d2")), ())
    for n in range(REQUESTS_AT_ONCE + 5):
        house.wire.ask(Request(id=f"r{n}", door_id="d1", kind="card"))
    house.wire.ask(Request(id="elsewhere", door_id="d2", kind="card"))
    await until(lambda: "elsewhere" in seen)
    assert house.keeper.counters["requests_dropped"] == REQUESTS_AT_ONCE + 5 - REQUESTS_AT_DOOR
    gate.set()
    await until(lambda: house.keeper._asking.total() == 0)
    house.wire.ask(Request(id="again", door_id="d1", kind="card"))
    await until(lambda: "again" in seen)


async def test_a_mode_that_cannot_be_delivered_is_said_and_an_unknown_door_opens_nothing(house: House) -> None:
    async def refuse(order: Order) -> Executed:
        raise DeviceRefused("d1", "no")

    house.wire.answer = refuse
    house.keeper.apply((door(),), (DesiredMode(door_id="d1", version=1, mode="evacuating"),))
    await until(lambda: house.keeper.counters.get("modes_not_delivered") == 1)
    assert not (await house.keeper.open("elsewhere", attempt="a")).ok
    await house.keeper.feedback("d1", attempt="a", reason="x")
    assert house.keeper.counters["feedback_failed"] == 1
