"""Door policies at the edge: who is under threat, who comes twice, who must not come alone, and who only rings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.door import Executed, GiveFeedback, Order, SetMode, UnlockDoor
from models.access import Request
from models.events import AccessDenied, AccessGranted, DuressReported, PassbackNoticed
from models.link import Unlock
from models.people import Credential
from models.places import Door, Reader
from models.policy import DesiredMode, Policy
from models.reports import Snapshot
from models.schedules import Schedule, Window
from tests.edge.conftest import House, open_house
from tests.edge.doubles import card, door, event, now, online, permit, pin, policy, until

CARDS = {"p1": "A1", "p2": "A2", "p3": "A3"}
PIN, UNDER_THREAT = "480213", "771904"


def under_threat(person_id: str, value: str) -> Credential:
    return msgspec.structs.replace(pin(person_id, value), id=f"duress-{person_id}", duress=True)


def compound(*doors: Door, **more: Any) -> Policy:
    """Return a policy in which three people with cards, one of them with PINs, may pass all doors."""
    everywhere = tuple(one.id for one in doors)
    more.setdefault("permits", tuple(permit(person, *everywhere) for person in CARDS))
    return policy(
        *doors,
        credentials=(
            *(card(person, value) for person, value in CARDS.items()), pin("p1", PIN), under_threat("p1", UNDER_THREAT),
        ),
        **more,
    )  # fmt: skip


async def live_in(house: House, *doors: Door, **more: Any) -> None:
    """Put a policy with these doors in force."""
    given = compound(*doors, **more)
    house.admission.apply(given)
    house.keeper.apply(given.doors, given.modes)
    before = len(house.wire.acknowledged)
    for one in doors:
        house.wire.say(one.id, online())
        house.wire.say(one.id, Snapshot(at=now(), event_seq=0, contact="closed", lock="locked"))
    await until(lambda: len(house.wire.acknowledged) == before + 2 * len(doors))


class Visitors:
    """Let people present things at doors, one request after another."""

    def __init__(self, house: House, *, count: int = 0) -> None:
        self.house = house
        self.count = count

    async def __call__(self, who: str, door_id: str = "d1", *, kind: str = "card", reader: str = "in") -> str:
        """Let somebody (or a value that is nobody's) ask; return how it was answered at the reader."""
        self.count += 1
        how: dict[str, Any] = {"kind": kind, "reader": reader, "value": CARDS.get(who, who) or None}
        request = Request(id=f"r{self.count}", door_id=door_id, **how)
        await self.house.admission.consider(request)
        answers = [o for o in self.house.wire.orders if isinstance(o, UnlockDoor | GiveFeedback)]
        mine = [o for o in answers if o.attempt == request.id]
        assert len(mine) == 1, "every attempt is answered once"
        return "unlocked" if isinstance(mine[0], UnlockDoor) else mine[0].reason


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


# ---- sluice -------------------------------------------------------------------------------------------------------

SLUICE = (door("d1", interlock="sluice"), door("d2", interlock="sluice"), door("d3"))


async def pass_through(house: House, door_id: str, seq: int) -> None:
    """Let somebody open a door and close it behind them."""
    for number, kind in ((seq, "opened"), (seq + 1, "closed")):
        house.wire.say(door_id, event(number, kind))
        await until(lambda n=number: (door_id, n) in house.wire.acknowledged)  # type: ignore[misc]


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


# ---- free times ---------------------------------------------------------------------------------------------------

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
    said = Snapshot(at=now(), event_seq=0, contact="closed", lock="unlocked", mode=mode)
    house.wire.say("d1", said)
    await until(lambda: house.keeper.state("d1").mode == mode)  # type: ignore[union-attr]


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
