"""Doors that take a card and a PIN together: in any order, of one person, at one reader, in time; one alone opens nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.door import Executed, GiveFeedback, Order, UnlockDoor
from models.access import Request
from models.events import AccessDenied, AccessGranted, DuressReported
from models.people import VisitorPass, credential_digest
from models.places import Door, Reader
from tests.edge.compound import CARDS, PIN, UNDER_THREAT, Visitors, compound, live_in, pass_through
from tests.edge.conftest import House, open_house
from tests.edge.doubles import CREDENTIAL_KEY, door, now, person, pin, until

OTHER_PIN, VISITORS_PIN, FLAT = "593746", "604857", "1-101"
READERS = (Reader(), Reader(id="o", side="out"))
BOTH = door(factors=("card+pin", "qr"), readers=READERS)


async def live(house: House, *doors: Door, n: int = 2, cards: bool = True) -> None:
    """Put doors in force that two people have a card and a PIN for, and a third one a card."""
    await live_in(house, *doors)
    given = compound(*doors, n=n, people=(person("p1", flats=(FLAT,)), person("p2")))
    held = (*given.credentials, pin("p2", OTHER_PIN))
    if not cards:
        held = tuple(one for one in held if one.kind != "card")
    guest = VisitorPass(
        id="v1", host_id="p1", doors=("d1",), valid_from=now() - timedelta(hours=1), valid_until=now() + timedelta(hours=1),
        pin_digest=credential_digest("pin", VISITORS_PIN, bytes.fromhex(CREDENTIAL_KEY)),
    )  # fmt: skip
    house.admission.apply(msgspec.structs.replace(given, credentials=held, passes=(guest,)))


@pytest.fixture
async def ask(house: House) -> Callable[..., Any]:
    await live(house, BOTH)
    return typed(Visitors(house))


def typed(ask: Visitors) -> Callable[..., Any]:
    """Return `ask` for cards and PINs alike: what is no card is typed."""

    async def asks(who: str, door_id: str = "d1", *, reader: str = "in") -> str:
        kind = "card" if who in CARDS or who == "BAD" else "flat_pin" if "#" in who else "pin"
        return await ask(who, door_id, kind=kind, reader=reader)

    return asks


async def attempts(house: House, door_id: str = "d1") -> list[tuple[str, str, str | None, str]]:
    """Return every attempt on record: its id, method, person and how it ended."""
    await house.keeper.recorded(door_id)
    return [
        (fact.attempt, fact.method, fact.person_id, fact.reason if isinstance(fact, AccessDenied) else "granted")
        for fact in await house.facts() if isinstance(fact, AccessGranted | AccessDenied)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "says", "second"),
    [
        ("p1", "awaits_pin", PIN),
        ("p1", "awaits_pin", f"{FLAT}#{PIN}"),
        (PIN, "awaits_card", "p1"),
        (f"{FLAT}#{PIN}", "awaits_card", "p1"),
        ("p2", "awaits_pin", OTHER_PIN),
    ],
)
async def test_a_card_and_the_pin_of_its_holder_open_in_either_order_and_are_one_attempt(
    house: House, ask: Callable[..., Any], first: str, says: str, second: str
) -> None:
    assert await ask(first) == says
    (told,) = house.wire.orders
    assert isinstance(told, GiveFeedback)
    assert told.ok, "it is no refusal"
    assert await ask(second) == "unlocked"
    whose = "p2" if first == "p2" else "p1"
    assert await attempts(house) == [("r2", "card+pin", whose, "granted")]
    assert await ask(second) in {"awaits_pin", "awaits_card"}, "a pair opens once"


async def test_a_pin_that_is_not_the_card_holders_is_a_wrong_one_and_the_card_goes_on_waiting(
    house: House, ask: Callable[..., Any]
) -> None:
    assert [await ask(one) for one in ("p1", "000111", OTHER_PIN, PIN)] == [
        "awaits_pin", "unknown_credential", "unknown_credential", "unlocked",
    ]  # fmt: skip
    assert await attempts(house) == [
        ("r2", "card+pin", None, "unknown_credential"),
        ("r3", "card+pin", None, "unknown_credential"),
        ("r4", "card+pin", "p1", "granted"),
    ]


async def test_guesses_after_somebodys_card_lock_the_flat_and_slow_the_keypad(ask: Callable[..., Any]) -> None:
    assert await ask("p1") == "awaits_pin"
    assert [await ask(f"{FLAT}#00011{n}") for n in range(5)] == ["unknown_credential"] * 5
    assert await ask(f"{FLAT}#{PIN}") == "locked_out"


async def test_pins_of_others_before_a_card_are_guesses_too(ask: Callable[..., Any]) -> None:
    answers = [await ask(one) for _ in range(11) for one in (OTHER_PIN, "p1")]
    assert answers == ["awaits_card", "awaits_pin", *["unknown_credential", "awaits_pin"] * 10]
    assert await ask(PIN) == "locked_out", "eleven wrong PINs"


async def test_who_presents_the_same_again_goes_on_and_another_one_takes_the_place(
    house: House, ask: Callable[..., Any]
) -> None:
    assert [await ask(one) for one in ("p1", "p1", "p2", OTHER_PIN)] == [*["awaits_pin"] * 3, "unlocked"]
    assert await attempts(house) == [("r2", "card+pin", "p1", "awaits_pin"), ("r4", "card+pin", "p2", "granted")]


@pytest.mark.parametrize(("first", "says"), [("p1", "awaits_pin"), (PIN, "awaits_card")])
async def test_what_nobody_completes_is_one_refusal(
    house: House, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, first: str, says: str
) -> None:
    monkeypatch.setattr("edge.pairs.LOOK_S", 0.01)
    house.tasks.create_task(house.admission.pairs.run())
    monkeypatch.setattr("edge.pairs.WAITS_S", 0.05)
    assert await ask(first) == says
    await until(lambda: len(house.wire.orders) == 2)
    last = house.wire.orders[-1]
    assert isinstance(last, GiveFeedback)
    assert (last.attempt, last.ok, last.reason) == ("r1", False, says)
    assert await attempts(house) == [("r1", "card+pin", "p1", says)]


async def test_what_comes_too_late_is_no_pair(
    house: House, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.pairs.WAITS_S", 0.0)
    assert [await ask("p1"), await ask(PIN), await ask("p1")] == ["awaits_pin", "awaits_card", "awaits_pin"]
    assert house.wire.unlocks() == []
    assert await attempts(house) == [("r1", "card+pin", "p1", "awaits_pin"), ("r2", "card+pin", "p1", "awaits_card")]


async def test_another_door_another_side_and_a_restart_complete_nothing(tmp_path: Path) -> None:
    two = (BOTH, msgspec.structs.replace(BOTH, id="d2"))
    async with open_house(tmp_path) as house:
        await live(house, *two)
        ask = typed(Visitors(house))
        assert await ask("p1") == "awaits_pin"
        assert await ask(PIN, "d2") == "awaits_card"
        assert await ask(PIN, reader="out") == await ask("p1", reader="out") == "unlocked", "either alone leads out"
        assert await ask("BAD", reader="out") == "unknown_credential"
        assert await ask(PIN) == "unlocked"
        assert await ask("p1") == "awaits_pin"
    async with open_house(tmp_path) as house:
        await live(house, *two)
        assert await typed(Visitors(house, count=20))(PIN) == "awaits_card"


async def test_a_pin_for_duress_is_the_pin_of_the_pair_and_raises_a_silent_alarm(
    house: House, ask: Callable[..., Any]
) -> None:
    assert [await ask("p1"), await ask(UNDER_THREAT)] == ["awaits_pin", "unlocked"]
    assert [await ask(UNDER_THREAT), await ask("p1")] == ["awaits_card", "unlocked"]
    await house.keeper.recorded("d1")
    assert [fact.door_id for fact in await house.facts() if isinstance(fact, DuressReported)] == ["d1", "d1"]


async def test_a_card_that_is_revoked_while_it_waits_opens_nothing(house: House, ask: Callable[..., Any]) -> None:
    assert await ask("p1") == "awaits_pin"
    await live(house, BOTH, n=3, cards=False)
    assert await ask(PIN) == "unknown_credential"
    assert house.wire.unlocks() == []


async def test_a_visitors_pin_is_no_part_of_a_pair(ask: Callable[..., Any]) -> None:
    assert await ask("p1") == "awaits_pin"
    assert await ask(VISITORS_PIN) == "unsupported"
    assert await ask(PIN) == "unlocked"


async def test_requests_that_are_not_about_now_never_pair(house: House, ask: Callable[..., Any]) -> None:
    assert await ask("p1") == "awaits_pin"
    old = Request(id="old", door_id="d1", kind="pin", value=PIN, device_at=now() - timedelta(seconds=10))
    for request, reason in (
        (old, "stale"),
        (Request(id="kept", door_id="d1", kind="pin", value=PIN, redelivered=True), "stale"),
        (Request(id="r1", door_id="d1", kind="pin", value=PIN), "replayed"),
    ):
        await house.admission.consider(request)
        last = house.wire.orders[-1]
        assert isinstance(last, GiveFeedback)
        assert last.reason == reason
    assert house.wire.unlocks() == []


async def test_of_two_pins_at_once_after_one_card_one_opens(house: House, ask: Callable[..., Any]) -> None:
    assert await ask("p1") == "awaits_pin"
    assert sorted(await asyncio.gather(ask(PIN), ask(PIN))) == ["awaits_card", "unlocked"]


async def test_the_other_rules_of_the_door_judge_the_pair(house: House, ask: Callable[..., Any]) -> None:
    async def both(card: str, value: str, door_id: str = "d1") -> str:
        assert await ask(card, door_id) == "awaits_pin"
        return str(await ask(value, door_id))

    await live(house, msgspec.structs.replace(BOTH, two_person=True), n=3)
    assert [await both("p1", PIN), await both("p1", PIN)] == ["awaits_second_person"] * 2
    assert await both("p2", OTHER_PIN) == "unlocked"
    await live(house, msgspec.structs.replace(BOTH, passback="hard"), n=4)
    assert await both("p1", PIN) == "unlocked"
    await pass_through(house, "d1", 1)
    assert await both("p1", PIN) == "passback"
    sluice = msgspec.structs.replace(BOTH, interlock="sluice")
    await live(house, sluice, msgspec.structs.replace(sluice, id="d2"), n=5)
    assert await both("p1", PIN) == "unlocked"
    assert await both("p2", OTHER_PIN, "d2") == "interlocked"


async def test_a_lock_that_fails_uses_the_pair_up(house: House, ask: Callable[..., Any]) -> None:
    async def refuse(order: Order) -> Executed:
        return Executed(ok=not isinstance(order, UnlockDoor), error="no")

    assert await ask("p1") == "awaits_pin"
    house.wire.answer = refuse
    await house.admission.consider(Request(id="failed", door_id="d1", kind="pin", value=PIN))
    house.wire.answer = None
    assert await ask(PIN) == "awaits_card"


async def test_no_more_than_a_few_wait_and_the_oldest_is_given_up(
    house: House, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.pairs.WAITING", 2)
    await live(house, *(msgspec.structs.replace(BOTH, id=f"d{n}") for n in (1, 2, 3)), n=3)
    assert [await ask("p1", f"d{n}") for n in (1, 2, 3)] == ["awaits_pin"] * 3
    assert await attempts(house) == [("r1", "card+pin", "p1", "awaits_pin")]
    assert [await ask(PIN, f"d{n}") for n in (3, 1)] == ["unlocked", "awaits_card"]


KINDS = {
    "p1": ("p1", "card"),
    "p2": ("p2", "card"),
    PIN: ("p1", "pin"),
    UNDER_THREAT: ("p1", "pin"),
    OTHER_PIN: ("p2", "pin"),
}
acts = st.tuples(st.sampled_from([*KINDS, "p3", "BAD", "000111"]), st.sampled_from(["in", "in", "out"]))


@given(asked=st.lists(acts, max_size=14))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_order_of_events_opens_with_only_one_of_the_two(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str]]
) -> None:
    asyncio.run(_ask_all(tmp_path_factory.mktemp("house"), asked))


async def _ask_all(folder: Path, asked: list[tuple[str, str]]) -> None:
    async with open_house(folder) as house:
        await live(house, BOTH)
        ask, waits = typed(Visitors(house)), ("", "")
        for who, reader in asked:
            answer, (whose, kind) = await ask(who, reader=reader), KINDS.get(who, (who, "card"))
            other = (whose, "pin" if kind == "card" else "card")
            if who in {"BAD", "000111"}:
                assert answer in {"unknown_credential", "locked_out"}
            elif reader == "out":
                assert answer in {"unlocked", "locked_out"}, "whoever may pass gets out by either"
            elif answer == "unlocked":
                assert waits == other, "the other one of the same person came before, and was used by nobody"
                waits = ("", "")
            elif answer in {"awaits_pin", "awaits_card"}:
                assert waits != other
                waits = (whose, kind)
            else:
                assert (answer, kind, waits[1]) in {
                    ("unknown_credential", "pin", "card"), ("locked_out", "pin", "card"), ("locked_out", "pin", "pin"),
                }  # fmt: skip
