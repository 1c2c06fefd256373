"""Admission: only what is fresh, known and permitted opens; every attempt is answered; no value leaves by any way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.door import Executed, GiveFeedback, Order, UnlockDoor
from edge.admission import SEEN_REQUESTS
from edge.answers import DENIALS_RECORDED, UNLOCK_VALID_MS
from edge.guesses import PACES
from models.access import Request
from models.errors import InvalidInput
from models.events import AccessDenied, AccessGranted
from models.link import Unlock
from models.people import canonical_card
from models.policy import DesiredMode
from tests.edge.conftest import House, open_house
from tests.edge.doubles import card, door, event, now, online, permit, person, pin, policy, until

CARD = "7186A61E"
PIN = "480213"


def request(n: object = 1, kind: str = "card", value: str | None = CARD, **more: Any) -> Request:
    return Request(id=f"r{n}", door_id=more.pop("door_id", "d1"), kind=kind, value=value, **more)  # type: ignore[arg-type]


def residents(**more: Any) -> Any:
    return policy(
        door(factors=("card", "pin", "flat_pin")),
        credentials=(card("p1", CARD), pin("p1", PIN)),
        permits=more.pop("permits", (permit("p1"),)),
        people=(person("p1", flats=("1-101",)),),
        **more,
    )


async def live_in(house: House, **more: Any) -> None:
    given_policy = residents(**more)
    house.keeper.apply(given_policy.doors, given_policy.modes)
    house.admission.apply(given_policy)
    house.wire.say("d1", online())
    await until(lambda: bool(house.wire.acknowledged))


async def answer(house: House, asked: Request) -> str:
    """Let somebody ask; return how it was answered at the reader."""
    before = len(house.wire.orders)
    house.wire.ask(asked)
    await until(lambda: len(house.wire.orders) > before, what="an answer at the reader")
    order = house.wire.orders[-1]
    return "unlocked" if isinstance(order, UnlockDoor) else order.reason if isinstance(order, GiveFeedback) else "?"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(), "unlocked"),
        (request(value="71:86:a6:1e"), "unlocked"),
        (request(value="0000007186A61E"), "unlocked"),
        (request(value="7186A61F"), "unknown_credential"),
        (request(value="not hex"), "unknown_credential"),
        (request(value=""), "unknown_credential"),
        (request(value=None), "unknown_credential"),
        (request(value="F" * 10_000), "unknown_credential"),
        (request(kind="pin", value=PIN), "unlocked"),
        (request(kind="pin", value=CARD), "unknown_credential"),
        (request(kind="pin", value="٤٨٠٢١٣"), "unknown_credential"),
        (request(kind="flat_pin", value=f"1-101#{PIN}"), "unlocked"),
        (request(kind="flat_pin", value=f"1-102#{PIN}"), "unknown_credential"),
        (request(kind="flat_pin", value=PIN), "unknown_credential"),
        (request(kind="qr", value="x"), "unsupported"),
        (request(kind="button", value=None), "unsupported"),
        (request(kind="call", value=None), "unsupported"),
        (request(redelivered=True), "stale"),
        (request(device_at=now() - timedelta(hours=2)), "stale"),
        (request(device_at=now() + timedelta(minutes=1)), "stale"),
    ],
)
async def test_each_attempt_is_answered_at_the_reader(house: House, asked: Request, expected: str) -> None:
    await live_in(house)
    if asked.device_at is not None:
        house.wire.say("d1", event(1, "fault", device_at=now()))  # the device's clock is known to be right
        await until(lambda: house.keeper.state("d1").offset_s is not None)  # type: ignore[union-attr]
    assert await answer(house, asked) == expected


@pytest.mark.parametrize(
    ("permits", "expected"),
    [
        ((), "no_permit"),
        ((permit("p1", "d2"),), "no_permit"),
        ((permit("p1", valid_until=now() - timedelta(days=1)),), "expired"),
        ((permit("p1", valid_from=now() + timedelta(days=1)),), "not_permitted_now"),
    ],
)
async def test_a_resident_without_a_permit_is_told_so(house: House, permits: Any, expected: str) -> None:
    await live_in(house, permits=permits)
    assert await answer(house, request()) == expected
    await house.keeper.recorded("d1")
    (fact,) = [fact for fact in await house.facts() if isinstance(fact, AccessDenied)]
    assert (fact.person_id, fact.reason) == ("p1", expected)


async def test_a_replayed_request_opens_nothing_and_is_recorded_once(house: House) -> None:
    await live_in(house)
    assert await answer(house, request()) == "unlocked"
    assert await answer(house, request()) == "replayed"
    assert await answer(house, request()) == "replayed"
    await house.keeper.recorded("d1")
    facts = [f for f in await house.facts() if isinstance(f, AccessGranted | AccessDenied)]
    assert [type(fact).__name__ for fact in facts] == ["AccessGranted", "AccessDenied"]


async def test_a_device_with_a_wrong_clock_is_refused_once_and_then_understood(house: House) -> None:
    await live_in(house)
    wrong = timedelta(days=-3000)

    async def answers(_: Order) -> Executed:
        return Executed(ok=True, device_at=now() + wrong)

    house.wire.answer = answers
    assert await answer(house, request(1, device_at=now() + wrong)) == "stale"
    assert await answer(house, request(2, device_at=now() + wrong)) == "unlocked"
    assert await answer(house, request(3, device_at=now() + wrong - timedelta(seconds=10))) == "stale"


async def test_old_requests_that_come_one_after_another_stay_old(house: House) -> None:
    await live_in(house)

    async def answers(_: Order) -> Executed:
        return Executed(ok=True, device_at=now())

    for number, driver_answer in enumerate((None, None, answers, answers)):
        house.wire.answer = driver_answer
        old = now() - timedelta(minutes=40)
        assert await answer(house, request(number, device_at=old)) == "stale"
    assert await answer(house, request(9, device_at=now())) == "unlocked"


async def test_guessing_pins_locks_the_keypad_and_not_the_card_reader(house: House) -> None:
    await live_in(house)
    for n in range(PACES["pin"].free + 1):
        assert await answer(house, request(n, "pin", f"{n:06d}")) == "unknown_credential"
    assert await answer(house, request("right", "pin", PIN)) == "locked_out"
    assert await answer(house, request("card")) == "unlocked"


async def test_a_locked_down_door_opens_for_nobody(house: House) -> None:
    await live_in(house, modes=(DesiredMode(door_id="d1", version=1, mode="locked_down"),))
    house.wire.ask(request())
    await until(lambda: house.admission.counters.get("denied_locked_down") == 1)
    command = Unlock(id="c", door_id="d1", reason="r", requested_by="u", deadline=now() + timedelta(seconds=5))
    assert (await house.admission.unlock(command)).reason == "locked_down"
    assert not house.wire.unlocks()


async def test_a_lock_that_does_not_answer_is_recorded_as_not_unlocked(house: House) -> None:
    async def silent(order: Order) -> Executed:
        return Executed(ok=isinstance(order, GiveFeedback), certain=False, error="no answer")

    await live_in(house)
    house.wire.answer = silent
    house.wire.ask(request())
    await until(lambda: any(isinstance(order, GiveFeedback) for order in house.wire.orders))
    assert [type(order).__name__ for order in house.wire.orders] == ["UnlockDoor", "GiveFeedback"]
    await house.keeper.recorded("d1")
    (fact,) = [fact for fact in await house.facts() if isinstance(fact, AccessGranted)]
    assert not fact.unlocked
    assert fact.unlock_ms is None


async def test_a_slow_door_delays_no_other(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        never = asyncio.Event()

        async def slow_at_d2(order: Order) -> Executed:
            if order.door_id == "d2":
                await never.wait()
            return Executed(ok=True)

        both = policy(door("d1"), door("d2"), credentials=(card("p1", CARD),), permits=(permit("p1", "d1", "d2"),))
        house.keeper.apply(both.doors, ())
        house.admission.apply(both)
        house.wire.answer = slow_at_d2
        house.wire.ask(request(1, door_id="d2"))
        await until(lambda: any(order.door_id == "d2" for order in house.wire.orders))
        assert await answer(house, request(2)) == "unlocked"


async def test_no_value_reaches_facts_logs_or_texts(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await live_in(house)
    asked = [request(1), request(2, "pin", PIN), request(3, "pin", "918273"), request(4, "card", "ABCDEF12")]
    for one in asked:
        await answer(house, one)
    await house.keeper.recorded("d1")
    seen = caplog.text + repr(asked) + str([msgspec.json.encode(fact) for fact in await house.facts()])
    for value in (CARD, PIN, "918273", "ABCDEF12"):
        assert value not in seen


async def test_time_limited_permits_do_not_count_while_the_clock_is_not_trusted(house: House) -> None:
    await live_in(house, permits=(permit("p1", valid_until=now() + timedelta(days=1)),))
    house.clock.not_before(now() + timedelta(hours=1))
    assert await answer(house, request(1)) == "not_permitted_now"
    house.clock.confirm()
    assert await answer(house, request(2)) == "unlocked"


async def test_a_reader_gone_wild_is_answered_but_does_not_fill_the_spool(house: House) -> None:
    await live_in(house)
    for n in range(DENIALS_RECORDED + 30):
        await house.admission.consider(request(n, value="77"))
    await house.keeper.recorded("d1")
    assert len([f for f in await house.facts() if isinstance(f, AccessDenied)]) == DENIALS_RECORDED
    assert len([o for o in house.wire.orders if isinstance(o, GiveFeedback)]) == DENIALS_RECORDED + 30
    assert house.admission.counters["denials_not_recorded"] == 30


async def test_a_policy_whose_key_cannot_be_read_changes_nothing(house: House) -> None:
    await live_in(house)
    with pytest.raises(InvalidInput, match="credential_key: is not hexadecimal"):
        house.admission.apply(msgspec.structs.replace(residents(), credential_key="xyz", credentials=()))
    assert await answer(house, request()) == "unlocked"


async def test_a_request_at_a_door_of_nobody_is_counted_and_no_more(house: House) -> None:
    await live_in(house)
    await house.admission.consider(request(door_id="d9"))
    assert house.admission.counters == {"unknown_doors": 1}
    assert house.wire.orders == []


async def test_request_ids_are_remembered_within_bounds(house: House) -> None:
    await live_in(house)
    assert await answer(house, request("first")) == "unlocked"
    for n in range(SEEN_REQUESTS):
        house.admission._seen["d1", f"other {n}"] = None
    assert await answer(house, request("last")) == "unlocked"
    assert len(house.admission._seen) == SEEN_REQUESTS


async def test_no_unlock_stays_valid_beyond_the_deadline_of_its_command(house: House) -> None:
    await live_in(house)
    for n, left_s in enumerate((0.5, 60.0, -0.1)):
        command = Unlock(
            id=f"c{n}", door_id="d1", reason="r", requested_by="u", deadline=now() + timedelta(seconds=left_s)
        )
        result = await house.admission.unlock(command)
        assert result.state == ("confirmed" if left_s > 0 else "expired")
    short, usual = [order for order in house.wire.orders if isinstance(order, UnlockDoor)]
    assert 0 < short.valid_ms <= 500
    assert usual.valid_ms == UNLOCK_VALID_MS


async def test_an_unlock_for_an_unknown_door_is_refused(house: House) -> None:
    command = Unlock(id="c", door_id="x", reason="r", requested_by="u", deadline=now() + timedelta(seconds=5))
    result = await house.admission.unlock(command)
    assert (result.state, result.reason) == ("refused", "no_such_door")


requests_ = st.builds(
    request,
    st.integers(0, 5),
    kind=st.sampled_from(["card", "pin", "flat_pin", "qr", "button", "call"]),
    value=st.one_of(st.none(), st.sampled_from([CARD, PIN, f"1-101#{PIN}", "0"]), st.text(max_size=30)),
    redelivered=st.booleans(),
    device_at=st.one_of(st.none(), st.timedeltas(timedelta(hours=-1), timedelta(hours=1)).map(lambda d: now() + d)),
)


@given(asked=st.lists(requests_, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_only_a_fresh_right_value_opens_and_once(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Request]
) -> None:
    asyncio.run(_ask_all(tmp_path_factory.mktemp("house"), asked))


async def _ask_all(folder: Path, asked: list[Request]) -> None:
    async with open_house(folder) as house:
        await live_in(house)
        for one in asked:
            await house.admission.consider(one)
        unlocked = [order.attempt for order in house.wire.unlocks()]
        assert len(unlocked) == len(set(unlocked)), "no request opens twice"
        answered = len([o for o in house.wire.orders if isinstance(o, UnlockDoor | GiveFeedback)])
        assert answered == len(asked), "every attempt is answered"
        for attempt in unlocked:
            one = next(r for r in asked if r.id == attempt)
            assert not one.redelivered
            assert _right(one)


def _right(asked: Request) -> bool:
    """Return whether the value is the resident's, by the table of what was given to whom."""
    if asked.kind == "card":
        with contextlib.suppress(InvalidInput):
            return canonical_card(asked.value or "") == CARD
        return False
    return asked.value == {"pin": PIN, "flat_pin": f"1-101#{PIN}"}.get(asked.kind)
