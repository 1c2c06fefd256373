"""Door policies at the edge: who is under threat, who comes twice, who must not come alone, and doors that are a sluice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.door import Executed, Order, UnlockDoor
from models.access import Request
from models.events import AccessDenied, AccessGranted, DuressReported, PassbackNoticed
from models.link import Unlock
from models.places import Door, Reader
from models.policy import DesiredMode
from tests.edge.compound import CARDS, PIN, UNDER_THREAT, Visitors, compound, live_in, pass_through
from tests.edge.conftest import House, open_house
from tests.edge.doubles import door, event, now, permit, until


@pytest.fixture
def ask(house: House) -> Visitors:
    return Visitors(house)


# ---- duress -------------------------------------------------------------------------------------------------------


async def test_a_pin_for_duress_opens_as_always_and_raises_a_silent_alarm(house: House, ask: Visitors) -> None:
    await live_in(house, door())
    usual, threatened = await ask(PIN, kind="pin"), await ask(UNDER_THREAT, kind="pin")
    assert usual == threatened == "unlocked"
    first, second = house.wire.orders
    assert msgspec.structs.replace(first, id="", attempt="") == msgspec.structs.replace(second, id="", attempt="")
    await house.keeper.recorded("d1")
    facts = await house.facts()
    assert [fact.door_id for fact in facts if isinstance(fact, DuressReported)] == ["d1"]
    granted = [fact for fact in facts if isinstance(fact, AccessGranted)]
    assert [(fact.person_id, fact.method) for fact in granted] == [("p1", "pin")] * 2


async def test_a_pin_for_duress_that_does_not_open_is_refused_as_always_and_told_all_the_same(
    house: House, ask: Visitors
) -> None:
    await live_in(house, door(), permits=())
    assert await ask(PIN, kind="pin") == await ask(UNDER_THREAT, kind="pin") == "no_permit"
    await house.keeper.recorded("d1")
    facts = await house.facts()
    assert len([fact for fact in facts if isinstance(fact, DuressReported)]) == 1
    assert len([fact for fact in facts if isinstance(fact, AccessDenied)]) == 2


async def test_a_pin_for_duress_is_told_by_a_keypad_that_is_locked_out_and_answered_as_any_other(
    house: House, ask: Visitors
) -> None:
    await live_in(house, door())
    guesses = 100_000
    while await ask(str(guesses), kind="pin") != "locked_out":
        guesses += 1
    house.wire.orders.clear()
    assert await ask(PIN, kind="pin") == await ask(UNDER_THREAT, kind="pin") == "locked_out"
    first, second = house.wire.orders
    assert msgspec.structs.replace(first, id="", attempt="") == msgspec.structs.replace(second, id="", attempt="")
    await house.keeper.recorded("d1")
    facts = await house.facts()
    assert [fact.door_id for fact in facts if isinstance(fact, DuressReported)] == ["d1"]
    assert not [fact for fact in facts if isinstance(fact, AccessGranted)]


# ---- sluice -------------------------------------------------------------------------------------------------------

SLUICE = (door("d1", interlock="sluice"), door("d2", interlock="sluice"), door("d3"))


async def test_of_a_sluice_one_door_at_a_time_opens(house: House, ask: Visitors) -> None:
    await live_in(house, *SLUICE)
    assert await ask("p1", "d1") == "unlocked"
    assert await ask("p2", "d2") == "interlocked", "the first door may still be opened"
    assert await ask("p2", "d3") == "unlocked", "another door is none of its business"
    assert await ask("p1", "d1") == "unlocked", "the same door may be asked again"
    await pass_through(house, "d1", 1)
    assert await ask("p1", "d2") == "unlocked"
    house.wire.say("d2", event(1, "opened"))
    await until(lambda: ("d2", 1) in house.wire.acknowledged)
    assert await ask("p2", "d1") == "interlocked"


async def test_two_who_ask_at_both_doors_of_a_sluice_at_once_open_one(house: House, ask: Visitors) -> None:
    await live_in(house, *SLUICE)
    answers = await asyncio.gather(*(ask(f"p{1 + n % 2}", f"d{1 + n % 2}") for n in range(6)))
    assert set(answers) == {"unlocked", "interlocked"}
    assert len({order.door_id for order in house.wire.unlocks()}) == 1


async def test_an_order_from_afar_opens_no_second_door_of_a_sluice(house: House, ask: Visitors) -> None:
    await live_in(house, *SLUICE)
    assert await ask("p1", "d1") == "unlocked"
    order = Unlock(id="c", door_id="d2", reason="r", requested_by="u", deadline=now() + timedelta(seconds=5))
    result = await house.admission.unlock(order)
    assert (result.state, result.reason) == ("refused", "interlocked")


async def test_an_evacuation_releases_a_sluice(house: House, ask: Visitors) -> None:
    await live_in(house, *SLUICE, modes=(DesiredMode(door_id="d1", version=1, mode="evacuating"),))
    assert await ask("p1", "d1") == "unlocked"
    assert await ask("p2", "d2") == "unlocked"


# ---- coming in twice ----------------------------------------------------------------------------------------------

BOTH_SIDES = (Reader(), Reader(id="o", side="out"))


def minds(**more: Any) -> Door:
    return door(passback=more.pop("passback", "hard"), readers=BOTH_SIDES, **more)


async def test_who_came_in_and_did_not_leave_is_refused_and_never_kept_inside(house: House, ask: Visitors) -> None:
    await live_in(house, minds())
    assert await ask("p1") == "unlocked"
    assert await ask("p1") == "unlocked", "the door was not opened yet"
    await pass_through(house, "d1", 1)
    assert await ask("p1") == "passback"
    assert await ask("p2") == "unlocked", "another one has not come in"
    for _ in range(2):  # who slipped out behind somebody and is not known to be inside may leave all the same
        assert await ask("p1", reader="out") == "unlocked"
    assert await ask("p1") == "unlocked"


async def test_where_it_is_only_noted_who_comes_again_is_let_in_and_told_of(house: House, ask: Visitors) -> None:
    await live_in(house, minds(passback="soft"))
    assert await ask("p1") == "unlocked"
    await pass_through(house, "d1", 1)
    assert await ask("p1") == "unlocked"
    await house.keeper.recorded("d1")
    noticed = [fact for fact in await house.facts() if isinstance(fact, PassbackNoticed)]
    assert [(fact.attempt, fact.person_id) for fact in noticed] == [("r2", "p1")]


async def test_who_is_inside_is_known_over_a_restart_until_the_policy_forgets_them(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await live_in(house, minds())
        assert await Visitors(house)("p1") == "unlocked"
        await pass_through(house, "d1", 1)
    async with open_house(tmp_path) as house:
        await live_in(house, minds())
        ask = Visitors(house, count=10)
        assert await ask("p1") == "passback"
        house.admission.apply(compound(minds(), n=2, tombstones=("p1",)))
        await house.spool.recall("nothing")  # what was asked of the disk before is done by now
        assert await house.spool.insiders() == {}


async def test_an_unlock_that_failed_for_certain_lets_nobody_in(house: House, ask: Visitors) -> None:
    async def refuse(order: Order) -> Executed:
        return Executed(ok=not isinstance(order, UnlockDoor), error="no")

    await live_in(house, minds())
    house.wire.answer = refuse
    await house.admission.consider(Request(id="failed", door_id="d1", kind="card", value=CARDS["p1"]))
    house.wire.answer = None
    house.wire.say("d1", event(1, "opened"))
    await until(lambda: ("d1", 1) in house.wire.acknowledged)
    assert await ask("p1") == "unlocked"


# ---- two persons --------------------------------------------------------------------------------------------------


async def test_two_different_people_open_a_door_of_two_and_one_alone_does_not(house: House, ask: Visitors) -> None:
    await live_in(house, door(two_person=True))
    assert [await ask(one) for one in ("p1", "p1", "p2", "p2", "p3")] == [
        "awaits_second_person", "awaits_second_person", "unlocked", "awaits_second_person", "unlocked",
    ]  # fmt: skip
    assert await ask("BAD") == "unknown_credential"
    assert await ask("p1", reader="out") == "unlocked", "the way out takes one"
    await house.keeper.recorded("d1")
    granted = [fact.person_id for fact in await house.facts() if isinstance(fact, AccessGranted)]
    assert granted == ["p2", "p3", "p1"]


async def test_a_second_person_without_a_right_or_too_late_opens_nothing(
    house: House, ask: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live_in(house, door(two_person=True, second_within_s=3.0), permits=(permit("p1"), permit("p2")))
    assert [await ask(one) for one in ("p1", "p3")] == ["awaits_second_person", "no_permit"]
    later = now() + timedelta(seconds=3.5)
    monkeypatch.setattr(house.clock, "now", lambda: later)
    assert await ask("p2") == "awaits_second_person"


acts = st.tuples(st.sampled_from([*CARDS, "BAD", PIN]), st.sampled_from(["in", "out"]), st.booleans())


@given(asked=st.lists(acts, max_size=10), two=st.booleans(), wired=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_rules_every_attempt_is_answered_and_nobody_is_kept_inside(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str, bool]], *, two: bool, wired: bool
) -> None:
    one = minds(two_person=two, interlock="sluice" if wired else "")
    asyncio.run(_ask_all(tmp_path_factory.mktemp("house"), one, asked=asked))


async def _ask_all(folder: Path, one: Door, *, asked: list[tuple[str, str, bool]]) -> None:
    async with open_house(folder) as house:
        ask, seq = Visitors(house), 1
        await live_in(house, one, door("d2", interlock="sluice"))
        for who, reader, goes in asked:
            answer = await ask(who, kind="pin" if who == PIN else "card", reader=reader)
            if who == "BAD":
                assert answer == "unknown_credential"
            elif reader == "out":
                assert answer == "unlocked", "whoever may pass gets out, alone and at once"
            else:
                assert answer in {"unlocked", "passback", "awaits_second_person"}
            if goes and answer == "unlocked":
                await pass_through(house, "d1", seq)
                seq += 2
