"""Wrong attempts: who guesses is locked out, who does not is not; and nobody's guess is free."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.guesses import LOCKOUTS, PACES, SUBJECTS, Family, Guesses
from tests.edge.conftest import House
from tests.edge.doubles import card, permit, person, pin
from tests.edge.visitors import CARD, PIN, answer, asked, compound, move_in


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def guess(guesses: Guesses, n: int, flat: str = "1", door_id: str = "d") -> None:
    for _ in range(n):
        guesses.wrong(door_id, "flat", flat=flat)


def test_a_flat_is_locked_at_the_door_where_it_was_guessed_and_nowhere_else() -> None:
    guesses = Guesses(clock := Clock())
    guess(guesses, LOCKOUTS["flat"].attempts - 1)
    assert not guesses.locked("d", "flat", flat="1")
    guess(guesses, 1)
    assert guesses.locked("d", "flat", flat="1")
    assert not guesses.locked("d", "flat", flat="2"), "another flat at the same door"
    assert not guesses.locked("e", "flat", flat="1"), "the same flat at another door"
    assert not guesses.locked("d", "pin")
    clock.at += LOCKOUTS["flat"].for_s
    assert not guesses.locked("d", "flat", flat="1")


def test_wrong_attempts_are_forgotten_after_five_minutes() -> None:
    guesses = Guesses(clock := Clock())
    for _ in range(20):
        guess(guesses, LOCKOUTS["flat"].attempts - 1)
        clock.at += LOCKOUTS["flat"].within_s + 1
    assert not guesses.locked("d", "flat", flat="1")


def test_a_right_pin_forgets_what_its_own_flat_got_wrong() -> None:
    guesses = Guesses(Clock())
    guess(guesses, 4)
    guess(guesses, 4, "2")
    guesses.right("d", "1")
    guess(guesses, 4)
    assert not guesses.locked("d", "flat", flat="1")
    guess(guesses, 1, "2")
    assert guesses.locked("d", "flat", flat="2")


def wait_s(guesses: Guesses, clock: Clock, family: Family = "flat", flat: str = "new") -> float:
    """Let time pass until an attempt would be looked at; return how long that was."""
    began = clock.at
    while guesses.locked("d", family, flat=flat):
        clock.at += 0.5
    return clock.at - began


@pytest.mark.parametrize("family", ["pin", "flat"])
def test_who_goes_on_guessing_waits_longer_each_time_and_a_minute_at_most(
    family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    guesses = Guesses(clock := Clock())
    for n in range(PACES[family].free):
        guesses.wrong("d", family, flat=f"{n}")
        assert wait_s(guesses, clock, family) == 0
    waits = []
    for n in range(8):
        guesses.wrong("d", family, flat=f"x{n}")
        assert not guesses.locked("e", family, flat="new"), "other doors are as they were"
        waits.append(wait_s(guesses, clock, family))
    assert 2 <= waits[0] <= 4
    assert waits == sorted(waits)
    assert 50 < waits[-1] <= PACES[family].longest_s == 60
    assert sum("wrong PINs" in line for line in caplog.messages) == 1, "said once"


def test_what_is_typed_while_a_keypad_waits_lengthens_nothing_and_calm_forgives() -> None:
    guesses = Guesses(clock := Clock())
    guess(guesses, PACES["flat"].free + 8, "")
    assert wait_s(guesses, clock) == 60
    clock.at += 9 * 60.0
    guess(guesses, 1, "")
    assert wait_s(guesses, clock) == 0, "a minute forgives one"


@pytest.mark.parametrize(("family", "most"), [("pin", 16), ("flat", 26)])
@pytest.mark.parametrize("hours", [1, 10])
def test_guessing_without_a_pause_gets_no_more_tries_than_the_docstring_says(
    family: Family, most: int, hours: int
) -> None:
    guesses = Guesses(clock := Clock())
    seen, began = 0, clock.at
    while clock.at - began < hours * 3600:
        flat = str(seen)
        if guesses.locked("d", family, flat=flat):
            clock.at += 0.5
        else:
            guesses.wrong("d", family, flat=flat)
            seen += 1
    assert seen <= most + hours * 60
    assert seen >= hours * 60, "else the keypad is closed for longer than it says"


@given(
    st.lists(st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from([0.0, 0.5, 20.0, 60.0, 300.0])), max_size=80)
)
def test_whoever_comes_after_a_guesser_waits_a_minute_at_most(attempts: list[tuple[str, float]]) -> None:
    guesses = Guesses(clock := Clock())
    for flat, passed_s in attempts:
        clock.at += passed_s
        if not guesses.locked("d", "flat", flat=flat):
            guesses.wrong("d", "flat", flat=flat)
            guesses.wrong("d", "pin")
    clock.at += 60.0
    assert not any(guesses.locked("d", "flat", flat=flat) for flat in ("", "1", "2"))
    assert not guesses.locked("d", "pin")


def test_flats_that_do_not_exist_slow_the_keypad_and_are_not_remembered() -> None:
    guesses = Guesses(Clock())
    guess(guesses, PACES["flat"].free + 1, "")
    assert guesses.locked("d", "flat", flat="")
    assert guesses.locked("d", "flat", flat="1")
    assert guesses._tallies == {}


def test_what_is_remembered_is_bounded() -> None:
    guesses = Guesses(Clock())
    guess(guesses, 3, "first")
    for n in range(SUBJECTS):
        guesses.wrong(f"door {n}", "card")
    assert len(guesses._tallies) == SUBJECTS


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from([60.0, 100.0, 400.0])), max_size=60))
def test_a_flat_that_made_no_mistake_is_never_locked(attempts: list[tuple[str, float]]) -> None:
    guesses = Guesses(clock := Clock())
    for flat, passed_s in attempts:
        clock.at += passed_s
        guesses.wrong("d", "flat", flat=flat)
        assert not guesses.locked("d", "flat", flat="4")
        assert not guesses.locked("e", "flat", flat=flat)


# ---- at the door ----------------------------------------------------------------------------------------------------


async def test_guessing_one_flats_pins_shuts_no_neighbour_out(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    two = compound(
        credentials=(card("p1", CARD), pin("p1", PIN), pin("p2", "730915")),
        permits=(permit("p1", "d1", "d2"), permit("p2", "d1", "d2")),
    )
    await move_in(house, two)
    for n in range(LOCKOUTS["flat"].attempts):
        assert await answer(house, asked(n, "flat_pin", f"1-101#{n:06d}")) == "unknown_credential"
    assert await answer(house, asked("a", "flat_pin", f"1-101#{PIN}")) == "locked_out"
    assert await answer(house, asked("b", "flat_pin", "1-102#730915")) == "unlocked"
    assert await answer(house, asked("c", "pin", PIN)) == "unlocked", "the bare PIN has a count of its own"
    assert await answer(house, asked("d", "card", CARD)) == "unlocked"
    assert await answer(house, asked("e", "flat_pin", f"1-101#{PIN}", "d2")) == "unlocked", "at another door"
    assert house.admission.counters["denied_locked_out"] == 1
    assert "1-101" not in caplog.text, "a log names no flat"


async def test_one_pin_tried_on_every_flat_keeps_nobody_out_for_more_than_a_minute(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = tuple(person(f"p{n}", flats=(f"1-{n:03d}",)) for n in range(60))
    pins = tuple(pin(f"p{n}", f"{600000 + n}") for n in range(60))
    await move_in(house, compound(people=people, credentials=pins, permits=tuple(permit(p.id) for p in people)))
    answers = [await answer(house, asked(n, "flat_pin", f"1-{n:03d}#111111")) for n in range(59)]
    free = PACES["flat"].free
    assert answers == ["unknown_credential"] * (free + 1) + ["locked_out"] * (58 - free)
    assert await answer(house, asked("x", "flat_pin", "1-059#600059")) == "locked_out", "the keypad waits for seconds"
    later = house.clock.unix() + 60
    monkeypatch.setattr(house.admission._guesses, "_unix", lambda: later)
    assert await answer(house, asked("y", "flat_pin", "1-000#600000")) == "unlocked", "tried or not"
    assert await answer(house, asked("z", "flat_pin", "1-059#600059")) == "unlocked"


async def test_a_pin_that_is_right_elsewhere_is_a_wrong_one_here(house: House) -> None:
    await move_in(house, compound(permits=(permit("p1", "d2"),)))
    for n in range(PACES["pin"].free + 1):
        assert await answer(house, asked(n, "pin", PIN)) == "no_permit"
    assert await answer(house, asked("x", "pin", PIN)) == "locked_out"


async def test_somebody_at_the_wrong_hour_is_not_guessing(house: House) -> None:
    late = permit("p1", valid_from=house.clock.now().replace(year=2099))
    await move_in(house, compound(permits=(late,)))
    for n in range(PACES["pin"].free + 2):
        assert await answer(house, asked(n, "pin", PIN)) == "not_permitted_now"


async def test_who_mistypes_now_and_then_is_not_locked_out(house: House) -> None:
    await move_in(house, compound())
    wrong = LOCKOUTS["flat"].attempts - 1
    for day in range(3):
        for n in range(wrong):
            assert await answer(house, asked(f"{day}-{n}", "flat_pin", "1-101#999999")) == "unknown_credential"
        assert await answer(house, asked(f"{day}-right", "flat_pin", f"1-101#{PIN}")) == "unlocked"


async def test_flats_that_do_not_exist_take_no_room(house: House) -> None:
    await move_in(house, compound())
    for n in range(LOCKOUTS["flat"].attempts + 2):
        assert await answer(house, asked(n, "flat_pin", "9-999#999999")) == "unknown_credential"
    assert house.admission._guesses._tallies == {}
