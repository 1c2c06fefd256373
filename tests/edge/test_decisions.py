"""Decisions from the policy alone: groups, hours and holidays, every credential, without gateway, network or centre."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.credentials import Book
from edge.keystore import KeyStore
from edge.policies import Policies
from models.access import Claim, Denial, decide
from models.people import Consent, Credential, Group, Permit
from models.policy import Policy
from models.schedules import Calendar, Schedule, SpecialDay, Window
from tests.edge.conftest import House, open_house
from tests.edge.doubles import card, consent, now, pin
from tests.edge.visitors import CARD, PIN, VISITOR_PIN, answer, asked, compound, move_in, ticket, visitor
from tests.models.households import consents, moments, permits, schedules

NEVER = Schedule(id="never", windows=())
ALWAYS = Schedule(id="always")
TODAY = Calendar(id="today", days=(SpecialDay(first=date(2000, 1, 1), last=date(2099, 1, 1)),))
NOT_ON_HOLIDAYS = Schedule(id="working days", calendars=("today",), holiday_windows=())
GATES = Group(id="gates", site_id="s1", doors=("d1",))


def by_group(schedule: Schedule | None, **more: Any) -> Policy:
    group = msgspec.structs.replace(GATES, schedule_id=schedule.id if schedule else None)
    return compound(
        permits=(Permit(id="of-o1-gates", person_id="p1", group_id="gates", **more),),
        groups=(group,),
        schedules=(NEVER, ALWAYS, NOT_ON_HOLIDAYS),
        calendars=(TODAY,),
    )


@pytest.mark.parametrize(
    ("given_policy", "expected"),
    [
        pytest.param(by_group(None), "unlocked", id="a group without hours"),
        pytest.param(by_group(ALWAYS), "unlocked", id="a group within its hours"),
        pytest.param(by_group(NEVER), "not_permitted_now", id="a group outside its hours"),
        pytest.param(by_group(NOT_ON_HOLIDAYS), "not_permitted_now", id="a holiday"),
        pytest.param(by_group(ALWAYS, schedule_id="never"), "not_permitted_now", id="a permit's own hours"),
        pytest.param(by_group(None, valid_until=now()), "expired", id="moved out"),
        pytest.param(by_group(None, valid_from=now() + timedelta(days=1)), "not_permitted_now", id="not moved in yet"),
        pytest.param(msgspec.structs.replace(by_group(None), groups=()), "no_permit", id="a group that is missing"),
        pytest.param(
            msgspec.structs.replace(by_group(ALWAYS), schedules=()), "not_permitted_now", id="hours that are missing"
        ),
    ],
)
async def test_rights_by_group_and_hours(house: House, given_policy: Policy, expected: str) -> None:
    await move_in(house, given_policy)
    assert await answer(house, asked(1, "card", CARD)) == expected
    assert await answer(house, asked(2, "card", CARD, "d2")) == "no_permit"


WAYS = [
    ("card", CARD), ("pin", PIN), ("flat_pin", f"1-101#{PIN}"), ("qr", "resident"), ("qr", "visitor"),
    ("pin", VISITOR_PIN), ("flat_pin", f"1-101#{VISITOR_PIN}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), WAYS)
async def test_every_way_in_works_from_the_stored_policy_after_a_restart_without_a_gateway(
    tmp_path: Path, kind: str, value: str
) -> None:
    async with open_house(tmp_path) as house:
        policies = Policies(edge_id="edge-1", spool=house.spool, keys=KeyStore(tmp_path))
        assert await policies.take(compound(visitor())) is not None
    async with open_house(tmp_path) as house:
        stored = await Policies(edge_id="edge-1", spool=house.spool, keys=KeyStore(tmp_path)).load()
        assert stored is not None
        await move_in(house, stored)
        shown = {"resident": ticket("qr-p1", "credential"), "visitor": ticket("v1")}.get(value, value)
        assert await answer(house, asked(1, kind, shown)) == "unlocked"


@pytest.mark.parametrize(("kind", "value"), WAYS)
async def test_without_any_policy_nothing_opens(house: House, kind: str, value: str) -> None:
    first = compound()
    house.keeper.apply(first.doors, ())
    shown = {"resident": ticket("qr-p1", "credential"), "visitor": ticket("v1")}.get(value, value)
    await house.admission.consider(asked(1, kind, shown))
    assert not house.wire.unlocks()
    expected = "denied_forged" if kind == "qr" else "denied_unknown_credential"
    assert house.admission.counters[expected] == 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "unlocked"),
        ({"valid_until": now() + timedelta(hours=1)}, "unlocked"),
        ({"valid_until": now()}, "expired"),
        ({"valid_from": now() + timedelta(hours=1)}, "not_permitted_now"),
    ],
)
async def test_a_card_has_a_validity_of_its_own(house: House, limits: dict[str, Any], expected: str) -> None:
    limited = msgspec.structs.replace(card("p1", CARD), **limits)
    await move_in(house, compound(credentials=(limited,)))
    assert await answer(house, asked(1, "card", CARD)) == expected


async def test_of_two_who_chose_one_pin_each_has_their_own_rights(house: House) -> None:
    rights = (Permit(id="m1", person_id="p1", doors=("d1",)), Permit(id="m2", person_id="p2", doors=("d2",)))
    await move_in(house, compound(credentials=(pin("p1", PIN), pin("p2", PIN)), permits=rights))
    for n, (value, door_id, expected) in enumerate(
        [
            (f"1-101#{PIN}", "d1", "unlocked"),
            (f"1-102#{PIN}", "d1", "no_permit"),
            (f"1-102#{PIN}", "d2", "unlocked"),
            (f"1-101#{PIN}", "d2", "no_permit"),
        ]
    ):
        assert await answer(house, asked(n, "flat_pin", value, door_id)) == expected
    assert await answer(house, asked("bare", "pin", PIN, "d2")) == "unlocked"


async def test_while_the_clock_is_not_trusted_only_rights_without_time_count(house: House) -> None:
    await move_in(house, by_group(None))
    house.clock.not_before(now() + timedelta(days=365))
    assert await answer(house, asked(1, "card", CARD)) == "unlocked"
    house.admission.apply(by_group(ALWAYS))
    assert await answer(house, asked(2, "card", CARD)) == "not_permitted_now"
    house.admission.apply(
        compound(credentials=(msgspec.structs.replace(card("p1", CARD), valid_until=now().replace(year=2099)),))
    )
    assert await answer(house, asked(3, "card", CARD)) == "not_permitted_now"


async def test_what_was_given_just_now_opens_at_a_door_whose_clock_is_a_little_behind(house: House) -> None:
    ahead = now() + timedelta(minutes=2)
    just_now = (Permit(id="m", person_id="p1", doors=("d1", "d2"), valid_from=ahead),)
    of_today = visitor(valid_from=ahead, valid_until=ahead + timedelta(hours=1))
    given_now = msgspec.structs.replace(compound(of_today, permits=just_now), issued_at=ahead)
    await move_in(house, given_now)
    assert await answer(house, asked(1, "card", CARD)) == "unlocked"
    assert await answer(house, asked(2, "qr", ticket("v1", since=ahead))) == "unlocked"
    house.admission.apply(msgspec.structs.replace(given_now, issued_at=now()))
    assert await answer(house, asked(3, "card", CARD)) == "not_permitted_now"


# ---- the face changes nothing (R3) ----------------------------------------------------------------------------------


@given(st.lists(consents, max_size=4), st.lists(permits, max_size=4), schedules("a"), moments)
@settings(max_examples=60, deadline=None)
def test_card_pin_and_qr_open_alike_with_and_without_a_face(
    agreed: list[Consent], held: list[Permit], hours: Schedule, at: datetime
) -> None:
    people = {"p": "p1", "q": "p2"}
    own = tuple(msgspec.structs.replace(one, person_id=people[one.person_id], id=f"m{n}") for n, one in enumerate(held))
    own = tuple(msgspec.structs.replace(one, group_id=None, doors=("d1",) if "d" in one.doors else ()) for one in own)
    with_faces = tuple(msgspec.structs.replace(one, person_id=people[one.person_id], doors=("d1",)) for one in agreed)
    qr = Credential(id="qr-p1", person_id="p1", kind="qr")
    common: dict[str, Any] = {
        "permits": own, "schedules": (hours,), "credentials": (card("p1", CARD), pin("p2", PIN), qr),
    }  # fmt: skip
    books = [
        Book.of(compound(**common, consents=with_faces, assessed=("face",))),
        Book.of(compound(**common, consents=(), assessed=())),
    ]
    minute = at.replace(microsecond=0)
    shown = ticket("qr-p1", "credential", since=minute - timedelta(minutes=1))
    for kind, value in (("card", CARD), ("pin", PIN), ("flat_pin", f"1-102#{PIN}"), ("qr", shown)):
        first, second = (_outcome(book, kind, value, at=minute) for book in books)
        assert first == second


def _outcome(book: Book, kind: str, value: str, *, at: datetime) -> list[str | None]:
    assert book.policy is not None
    outcomes: list[str | None] = []
    for found in book.find(asked(1, kind, value), at=at, clock_trusted=True):
        claim = Claim(attempt="a", door_id="d1", method=kind, person_id=found.person_id, pass_id=found.pass_id)  # type: ignore[arg-type]
        decision = decide(
            claim, door=book.policy.doors[0], mode="normal", rights=book.rights, at=at, presented=found.refusal
        )
        outcomes.append(decision.reason if isinstance(decision, Denial) else None)
    return outcomes


async def test_a_person_who_never_consented_has_the_same_doors(house: House) -> None:
    for n, agreed in enumerate(((), (consent("p1"),), (consent("p1", withdrawn_at=now()),))):
        house_policy = compound(n=n + 1, consents=agreed)
        await move_in(house, house_policy)
        for m, (kind, value) in enumerate(WAYS[:3]):
            assert await answer(house, asked(f"{n}-{m}", kind, value)) == "unlocked"


# ---- daylight saving, at a door -------------------------------------------------------------------------------------


@given(st.integers(-3 * 60, 3 * 60))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_night_window_follows_the_wall_clock_through_the_hour_that_comes_twice(minutes: int) -> None:
    at = datetime(2026, 10, 25, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    night = Schedule(id="night", timezone="Europe/Berlin", windows=(Window(from_time=time(2), until_time=time(3)),))
    one = Permit(id="m", person_id="p1", doors=("d1",), schedule_id="night")
    book = Book.of(compound(permits=(one,), schedules=(night,)))
    twice = datetime(2026, 10, 25, 0, tzinfo=UTC) <= at < datetime(2026, 10, 25, 2, tzinfo=UTC)
    assert _outcome(book, "card", CARD, at=at) == [None if twice else "not_permitted_now"]


async def test_many_at_once_are_each_answered(house: House) -> None:
    await move_in(house, compound(visitor(uses=0)))
    ways = [(kind, {"resident": ticket("qr-p1", "credential"), "visitor": ticket("v1")}.get(v, v)) for kind, v in WAYS]
    await asyncio.gather(*(house.admission.consider(asked(n, kind, v)) for n, (kind, v) in enumerate(ways * 5)))
    assert len({order.attempt for order in house.wire.unlocks()}) == len(ways) * 5
