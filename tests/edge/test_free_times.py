"""Free times at the edge: doors that stand unlocked in a schedule, some from the first person on."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.door import SetMode
from edge.clock import SteadyClock
from edge.free_times import FreeTimes
from models.places import Door
from models.policy import DesiredMode
from models.reports import Snapshot
from models.rights import Rights
from models.schedules import Schedule, Window
from tests.edge.compound import Visitors, live_in
from tests.edge.conftest import House, open_house
from tests.edge.doubles import door, now, permit, until


@pytest.fixture
def ask(house: House) -> Visitors:
    return Visitors(house)


NOW_AND_ALWAYS, NEVER = Schedule(id="day"), Schedule(id="day", windows=())


def free(**more: Any) -> Door:
    return door(free_schedule_id="day", **more)


def told(house: House) -> list[tuple[int, str]]:
    """Return the modes that the door was told, each with its version; told again counts once, and versions only rise."""
    orders = [(order.version, order.mode) for order in house.wire.orders if isinstance(order, SetMode)]
    found: list[tuple[int, str]] = list(dict.fromkeys(orders))
    versions = [version for version, _ in found]
    assert versions == sorted(set(versions)), "a door takes higher versions only"
    return found


async def becomes(house: House, mode: str) -> None:
    """Wait until the door is told to be in a mode, and let it follow."""
    await until(lambda: bool(told(house)) and told(house)[-1][1] == mode, what=f"the order to be {mode}")
    before = len(house.wire.acknowledged)
    house.wire.say("d1", Snapshot(at=now(), event_seq=0, contact="closed", lock="unlocked", mode=mode))
    await until(lambda: len(house.wire.acknowledged) > before)
    assert house.keeper.state("d1").mode == mode  # type: ignore[union-attr]


async def test_a_door_stands_unlocked_in_its_schedule_and_locks_at_its_end(house: House) -> None:
    await live_in(house, free(), schedules=(NOW_AND_ALWAYS,))
    await becomes(house, "held_open")
    assert house.keeper.mode("d1") == "held_open"
    await live_in(house, free(), schedules=(NEVER,), n=2)
    await becomes(house, "normal")
    assert [mode for _, mode in told(house)] == ["held_open", "normal"]


async def test_what_people_want_goes_before_the_schedule_and_every_version_is_higher(house: House) -> None:
    await live_in(house, free(), schedules=(NOW_AND_ALWAYS,))
    await becomes(house, "held_open")
    for n, mode in enumerate(("locked_down", "normal", "evacuating"), 2):
        wish = DesiredMode(door_id="d1", version=2 * n, mode=mode)  # type: ignore[arg-type]
        await live_in(house, free(), schedules=(NOW_AND_ALWAYS,), modes=(wish,), n=n)
        await becomes(house, "held_open" if mode == "normal" else mode)
    assert [mode for _, mode in told(house)] == ["held_open", "locked_down", "held_open", "evacuating"]


async def test_versions_go_on_after_a_restart(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await live_in(house, free(), schedules=(NOW_AND_ALWAYS,))
        await becomes(house, "held_open")
        await live_in(house, free(), schedules=(NEVER,), n=2)
        await becomes(house, "normal")
        last = told(house)[-1][0]
    async with open_house(tmp_path) as house:
        await live_in(house, free(), schedules=(NOW_AND_ALWAYS,), n=3)
        await becomes(house, "held_open")
        assert told(house)[-1][0] > last


async def test_a_door_of_the_first_person_stays_locked_until_somebody_who_may_pass_comes(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        ask = Visitors(house)
        await live_in(house, free(first_person=True), schedules=(NOW_AND_ALWAYS,), permits=(permit("p1"),))
        assert await ask("p2") == "no_permit"
        assert await ask("p1", reader="out") == "unlocked"
        assert house.keeper.mode("d1") == "normal", "who leaves opens nothing for others"
        assert await ask("p1") == "unlocked"
        await becomes(house, "held_open")
    async with open_house(tmp_path) as house:
        await live_in(house, free(first_person=True), schedules=(NOW_AND_ALWAYS,))
        assert house.keeper.mode("d1") == "held_open", "a restart within the time forgets nothing"
        await live_in(house, free(first_person=True), schedules=(NEVER,), n=2)
        assert house.keeper.mode("d1") == "normal"
        await live_in(house, free(first_person=True), schedules=(NOW_AND_ALWAYS,), n=3)
        assert house.keeper.mode("d1") == "normal", "the next time needs somebody anew"


async def test_a_schedule_that_ended_while_the_edge_was_away_needs_somebody_anew(tmp_path: Path) -> None:
    three_hours_ago = msgspec.json.encode({"d1": now() - timedelta(hours=3)})
    past = (now() - timedelta(hours=1)).time(), (now() + timedelta(hours=2)).time()
    since = Schedule(id="day", timezone="UTC", windows=(Window(from_time=past[0], until_time=past[1]),))
    for schedule, expected in ((since, "normal"), (NOW_AND_ALWAYS, "held_open")):
        async with open_house(tmp_path / expected) as house:
            await house.spool.remember("first_in", three_hours_ago)
            await house.admission.load()
            await live_in(house, free(first_person=True), schedules=(schedule,))
            assert house.keeper.mode("d1") == expected


@pytest.mark.parametrize("why", ["clock", "policy"])
async def test_no_door_stands_unlocked_by_a_schedule_that_cannot_be_trusted(house: House, why: str) -> None:
    ended = {"valid_until": now() - timedelta(seconds=1)} if why == "policy" else {}
    await live_in(house, free(), schedules=(NOW_AND_ALWAYS,), **ended)
    if why == "clock":
        assert house.keeper.mode("d1") == "held_open"
        house.clock.not_before(now() + timedelta(hours=1))
    assert house.keeper.mode("d1") == "normal"


async def test_rules_for_who_comes_in_do_not_hold_while_a_door_stands_unlocked(house: House, ask: Visitors) -> None:
    await live_in(house, free(two_person=True), schedules=(NOW_AND_ALWAYS,))
    assert await ask("p1") == "unlocked"


async def test_a_time_that_ended_during_a_lock_down_needs_somebody_anew(house: House, ask: Visitors) -> None:
    doors = free(first_person=True)
    await live_in(house, doors, schedules=(NOW_AND_ALWAYS,))
    assert await ask("p1") == "unlocked"
    shut = DesiredMode(door_id="d1", version=2, mode="locked_down")
    for n, schedule in ((2, NOW_AND_ALWAYS), (3, NEVER), (4, NOW_AND_ALWAYS)):
        await live_in(house, doors, schedules=(schedule,), modes=(shut,), n=n)
        assert house.keeper.mode("d1") == "locked_down"
    await live_in(house, doors, schedules=(NOW_AND_ALWAYS,), n=5)
    assert house.keeper.mode("d1") == "normal"


NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
OFFICE = Schedule(id="day", timezone="UTC", windows=(Window(from_time=time(8), until_time=time(18)),))


@pytest.fixture
def turn() -> list[float]:
    """The time that the clock of `times` shows."""
    return [NINE.timestamp()]


@pytest.fixture
async def times(house: House, turn: list[float]) -> FreeTimes:
    """Return the free times of office hours, where somebody came in at nine."""
    made = FreeTimes(clock=SteadyClock(wall=lambda: turn[0], steady=lambda: turn[0]), spool=house.spool)
    made.apply(Rights(schedules=(OFFICE,)))
    made.came_in(free(first_person=True))
    return made


@pytest.mark.parametrize(("hours", "expected"), [(0.5, True), (8.9, True), (9.0, False), (23.5, False), (25.0, False)])
async def test_who_did_not_ask_for_hours_looks_whether_the_time_was_over_meanwhile(
    times: FreeTimes, hours: float, expected: bool
) -> None:
    for minutes in range(0, 20, 5):
        assert times.stands_free(free(first_person=True), at=NINE + timedelta(minutes=minutes))
    assert times.stands_free(free(first_person=True), at=NINE + timedelta(hours=hours)) is expected


async def test_who_comes_the_day_after_counts_though_nobody_saw_the_time_end(
    times: FreeTimes, turn: list[float]
) -> None:
    turn[0] += 23.5 * 3600
    times.came_in(free(first_person=True))
    assert times.stands_free(free(first_person=True), at=NINE + timedelta(hours=23.6))
