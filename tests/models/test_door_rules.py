"""Rules of doors: what makes a door of a sluice one that somebody may go through now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.door_rules import First, awaits_second, inside, interlocked, passable
from models.doors import DoorState, Presence, advance, expect_opening, resume
from models.errors import InvalidInput
from models.places import Door, Reader, check_door

T0 = datetime(2026, 3, 1, tzinfo=UTC)
BOTH_SIDES = (Reader(), Reader(side="out"))


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def state(**more: Any) -> DoorState:
    return DoorState(door_id="d", edge_id="e", **more)


GRANTED = expect_opening(state(contact="closed", lock="locked"), attempt="a", at=T0, until=after(9))
DOOR = Door(id="d", site_id="s", name="d", edge_id="e", driver={})
AWAY, _ = advance(state(contact="open", lock="unlocked", online=True), Presence(at=T0, online=False), door=DOOR)


@pytest.mark.parametrize(
    ("stands", "at", "expected"),
    [
        (state(), T0, False),
        (state(contact="closed", lock="locked"), T0, False),
        (state(contact="open"), T0, True),
        (state(contact="closed", lock="unlocked"), T0, True),
        (state(contact="open", lost=True), T0, False),
        (AWAY, T0, False),
        (resume(AWAY, at=T0), T0, False),
        (advance(AWAY, Presence(at=T0, online=True), door=DOOR)[0], T0, True),
        (GRANTED, after(1), True),
        (GRANTED, after(9.1), False),
        (GRANTED, after(-1), False),
    ],
)
def test_a_door_is_passable_while_it_is_open_or_may_be_opened(
    stands: DoorState, at: datetime, *, expected: bool
) -> None:
    assert passable(stands, at=at) is expected
    assert interlocked([state(), stands], modes=["normal", "locked_down"], at=at) is expected
    assert not interlocked([stands], modes=["normal", "evacuating"], at=at)


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"interlock": "s", "free_schedule_id": "day"}, "free_schedule_id: a door of a sluice"),
        ({"first_person": True}, "first_person: it needs free_schedule_id"),
        ({"passback": "hard"}, "passback: it needs a reader on either side"),
        ({"second_within_s": 2.0}, "second_within_s: use 3 to 120"),
        ({"passback_reset_min": -1}, "passback_reset_min: use 0"),
        *(
            ({"factors": ("card+pin", other), "camera_id": "c"}, "factors: card\\+pin goes with qr and face only")
            for other in ("card", "pin", "flat_pin", "face+card", "face+pin")
        ),
    ],
)
def test_rules_that_contradict_one_another_are_refused(rules: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        check_door(Door(id="d", site_id="s", name="d", edge_id="e", **rules))


def test_rules_that_go_together_are_taken() -> None:
    wanted = Door(
        id="d", site_id="s", name="d", edge_id="e", passback="hard", two_person=True, first_person=True,
        free_schedule_id="day", readers=BOTH_SIDES, factors=("card+pin", "qr"),
    )  # fmt: skip
    assert check_door(wanted) is wanted


def minds(reset_min: int = 0) -> Door:
    return Door(
        id="d", site_id="s", name="d", edge_id="e", passback="hard", passback_reset_min=reset_min, readers=BOTH_SIDES
    )


@pytest.mark.parametrize(
    ("stands", "reset_min", "seconds", "expected"),
    [
        (state(contact="closed", closed_at=after(5)), 0, 10, True),
        (state(contact="closed", closed_at=after(-5)), 0, 10, False),
        (state(contact="closed"), 0, 10, False),
        (state(contact="open"), 0, 10, True),
        (state(), 0, 86_400 * 365, True),
        (state(), 10, 599, True),
        (state(), 10, 600, False),
    ],
)
def test_who_was_let_in_is_inside_once_the_door_was_opened_until_its_time_is_over(
    stands: DoorState, reset_min: int, seconds: float, *, expected: bool
) -> None:
    assert inside(T0, door=minds(reset_min), state=stands, at=after(seconds)) is expected


@given(asked=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=30), within_s=st.floats(3, 30))
def test_no_order_of_people_opens_a_door_of_two_for_one(asked: list[tuple[str, float]], within_s: float) -> None:
    two = Door(id="d", site_id="s", name="d", edge_id="e", two_person=True, second_within_s=within_s)
    first, at = None, T0
    for person, later_s in asked:
        at += timedelta(seconds=later_s)
        if awaits_second(first, person, door=two, at=at):
            first = First(person_id=person, at=at)
            continue
        assert first is not None
        assert first.person_id != person
        assert (at - first.at).total_seconds() <= within_s + 1e-6
        first = None
