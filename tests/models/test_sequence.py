"""Event numbers: what is taken, what is missing, and each event in its turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.reports import Event
from models.sequence import (
    MAX_HELD,
    MAX_MISSING,
    Missing,
    Numbers,
    announce,
    awaited,
    beside,
    committed,
    give_up,
    release,
    take,
)

T0 = datetime(2026, 5, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def event(seq: int | None, seconds: float = 0, **more: Any) -> Event:
    return Event(**{"id": f"e{seq}", "seq": seq, "type": "tamper", "at": at(seconds)} | more)


def after(*events: Event, start: Numbers | None = None) -> tuple[Numbers, list[Event]]:
    numbers = start or announce(Numbers(), 0, at=T0)
    order: list[Event] = []
    for one in events:
        numbers, _ = take(numbers, one)
        numbers, ready = release(numbers, at=one.at)
        order.extend(ready)
    return numbers, order


def test_a_number_is_taken_once_whatever_its_id() -> None:
    numbers, order = after(event(1), event(2), event(2), event(2, id="other"))
    assert [e.id for e in order] == ["e1", "e2"]
    assert numbers.last == 2


def test_an_id_is_taken_once_and_its_other_number_is_not_missed() -> None:
    numbers, order = after(event(1), event(2, id="e1"), event(3))
    assert [e.id for e in order] == ["e1", "e3"]
    assert committed(numbers) == 3


def test_events_without_numbers_are_told_apart_by_id() -> None:
    _, order = after(event(None), event(None), event(None, id="b"), start=Numbers())
    assert [e.id for e in order] == ["eNone", "b"]


def test_an_unnumbered_event_waits_for_nobody() -> None:
    _, order = after(event(2), event(None), event(1))
    assert [e.seq for e in order] == [None, 1, 2]


def test_what_overtook_waits_five_seconds() -> None:
    numbers, order = after(event(1), event(3))
    assert [e.seq for e in order] == [1]
    assert release(numbers, at=at(4.9))[1] == ()
    assert [e.seq for e in release(numbers, at=at(5))[1]] == [3]


def test_a_flood_behind_a_missing_number_is_let_through() -> None:
    _, order = after(*(event(seq) for seq in range(2, MAX_HELD + 3)))
    assert [e.seq for e in order] == list(range(2, MAX_HELD + 3))


def test_gaps_beyond_the_bound_are_reported_as_one_and_forgotten() -> None:
    numbers, _ = after(*(event(2 * n) for n in range(1, MAX_MISSING + 4)))
    assert len(numbers.missing) == MAX_MISSING
    assert numbers.written_off == Missing(first=1, last=5)
    numbers, gaps = give_up(numbers, at=at(1))
    assert [(g.first, g.last) for g in gaps] == [(1, 5)]
    assert numbers.written_off is None
    numbers, gaps = give_up(numbers, at=at(31))
    assert len(gaps) == MAX_MISSING
    assert not awaited(numbers)
    numbers, _ = after(event(100, 40), start=numbers)
    assert numbers.written_off is None, "a gap that was reported is forgotten without another report"
    assert len(numbers.missing) == MAX_MISSING


def test_events_from_before_we_knew_a_device_are_taken_but_not_waited_for() -> None:
    numbers, order = after(event(7), event(5), start=Numbers())
    assert [e.seq for e in order] == [7, 5]
    assert committed(numbers) == 7
    assert give_up(numbers, at=at(99)) == (numbers, ())


def test_an_older_announcement_says_nothing_new() -> None:
    numbers, _ = after(event(1), event(2))
    assert announce(numbers, 1, at=T0) == numbers


def test_a_used_number_with_a_time_outside_what_was_taken_is_a_counter_that_began_again() -> None:
    numbers, _ = after(event(1, device_at=at(0)), event(2, device_at=at(10)))
    for device_at, new in ((at(5), False), (at(11), True), (at(-1), True), (None, False)):
        again, fresh = take(numbers, event(1, 60, id="x", device_at=device_at))
        assert fresh is new
        assert (again.restarts, again.last) == ((1, 1) if new else (0, 2))
    assert take(after(event(2))[0], event(2, id="x", device_at=at(0)))[1] is False, "nothing to compare with"


def test_a_counter_that_began_again_below_a_given_up_number_is_recognised_by_a_newer_time() -> None:
    numbers, _ = after(event(3, device_at=at(0)))
    assert take(numbers, event(1, id="x", device_at=at(50)))[0].restarts == 0, "it is still awaited"
    numbers, _ = give_up(numbers, at=at(31))
    assert take(numbers, event(1, 60, id="x", device_at=at(50)))[0].restarts == 1
    assert take(numbers, event(1, 60, id="x", device_at=at(-1)))[0].restarts == 0


def test_neighbours_are_taken_awaited_or_lost() -> None:
    numbers, _ = after(event(1), event(3), event(4), event(5))
    assert [beside(numbers, seq, at=at(1)) for seq in (None, 1, 3, 4)] == ["taken", "awaited", "awaited", "taken"]
    assert [beside(numbers, seq, at=at(6)) for seq in (1, 3, 4)] == ["lost", "lost", "taken"]


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12), max_size=4), st.data())
def test_whatever_the_order_and_the_losses_nothing_missing_is_acknowledged(
    order: list[int], lost: set[int], data: st.DataObject
) -> None:
    numbers, taken, through = announce(Numbers(), 0, at=T0), set[int](), 0
    arriving = [seq for seq in order if seq not in lost]
    repeats = data.draw(st.lists(st.sampled_from(arriving), max_size=6)) if arriving else []
    for seq in [*arriving, *repeats]:
        numbers, new = take(numbers, event(seq))
        assert new is (seq not in taken)
        taken.add(seq)
        now = committed(numbers) or 0
        assert now >= through, "an acknowledgement never goes back"
        assert set(range(1, now + 1)) <= taken, "an acknowledgement never skips a missing number"
        through = now


@given(st.permutations(range(1, 11)))
def test_events_come_in_turn_however_they_arrive(order: list[int]) -> None:
    _, turns = after(*(event(seq) for seq in order))
    assert [e.seq for e in turns] == list(range(1, 11))
