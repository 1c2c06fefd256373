"""Door policies at the edge: who is under threat, who comes twice, who must not come alone, and who only rings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from drivers.door import GiveFeedback, UnlockDoor
from models.access import Request
from models.events import AccessDenied, AccessGranted, DuressReported
from models.link import Unlock
from models.people import Credential
from models.places import Door
from models.policy import DesiredMode, Policy
from tests.edge.conftest import House
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
    await until(lambda: len(house.wire.acknowledged) == before + len(doors))


class Visitors:
    """Let people present things at doors, one request after another."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.count = 0

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
