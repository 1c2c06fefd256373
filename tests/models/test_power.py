"""Power: many doors, one cut; what flickers says nothing, and the end is told once, when all are back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.doors import DoorState, Event, Snapshot, advance
from models.events import MainsBack, MainsLost, PowerCut, PowerRestored
from models.places import Door
from models.power import Power, look

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DOOR = Door(id="d1", site_id="s", name="d1", edge_id="e")
Told = list[PowerCut | PowerRestored]


def told(history: list[tuple[float, str]], power: Power | None = None) -> Told:
    """Return the facts of a history of seconds and the letters of the doors that are dark then."""
    power, facts = power or Power(), []
    for seconds, dark in history:
        power, fact = look(power, dark=dark, edge_id="e", at=T0 + timedelta(seconds=seconds))
        facts += [fact] if fact else []
    return facts


def test_doors_that_go_dark_within_five_seconds_are_one_cut() -> None:
    (cut, end) = told([(0, "a"), (2, "ab"), (4.9, "abc"), (5, "abc"), (9, "abc"), (20, "c"), (21, "")])
    assert isinstance(cut, PowerCut)
    assert cut.doors == ("a", "b", "c")
    assert isinstance(end, PowerRestored)


@pytest.mark.parametrize("history", [[(0, ""), (9, "")], [(0, "a"), (4, ""), (8, "a"), (12, "")]])
def test_a_loss_that_is_over_at_once_is_no_cut(history: list[tuple[float, str]]) -> None:
    assert told(history) == []


def test_a_door_that_flickers_in_a_cut_is_told_once_and_one_that_joins_later_is_told_by_itself() -> None:
    first, second, end = told(
        [(0, "ab"), (5, "ab"), (8, "b"), (9, "ab"), (30, "ab"), (40, "abc"), (45, "abc"), (50, "c"), (60, "")]
    )
    assert [fact.doors for fact in (first, second) if isinstance(fact, PowerCut)] == [("a", "b"), ("c",)]
    assert isinstance(end, PowerRestored)


@given(st.lists(st.sets(st.sampled_from("abcd")), max_size=40), st.floats(0.5, 7.0))
def test_whatever_flickers_no_door_is_told_twice_in_a_cut_and_every_cut_ends(
    dark: list[set[str]], step_s: float
) -> None:
    power, at, open_doors = Power(), T0, set[str]()
    ids = set[str]()
    for now in [*dark, set[str]()]:
        at += timedelta(seconds=step_s)
        power, fact = look(power, dark=now, edge_id="e", at=at)
        if fact is not None:
            assert fact.id not in ids
            ids.add(fact.id)
        if isinstance(fact, PowerCut):
            assert open_doors.isdisjoint(fact.doors)
            assert now.issuperset(fact.doors)
            open_doors |= set(fact.doors)
        elif isinstance(fact, PowerRestored):
            assert open_doors
            assert not now
            open_doors = set()
    assert not open_doors
    assert power == Power()


def event(seq: int, kind: str, at_s: float = 0.0) -> Event:
    return Event(id=f"e{seq}", seq=seq, type=kind, at=T0 + timedelta(seconds=at_s))  # type: ignore[arg-type]


def test_mains_follow_events_and_only_their_return_follows_a_snapshot() -> None:
    state = DoorState(door_id="d1", edge_id="e")
    state, _ = advance(state, Snapshot(at=T0, event_seq=0, mains=False), door=DOOR)
    assert state.mains is None, "a snapshot raises no alarm"
    state, facts = advance(state, event(1, "mains_lost"), door=DOOR)
    assert state.mains is False
    assert [type(fact) for fact in facts] == [MainsLost]
    state, facts = advance(state, Snapshot(at=T0, event_seq=1, mains=True), door=DOOR)
    assert state.mains is True
    assert facts == ()
    state, _ = advance(state, event(2, "mains_lost"), door=DOOR)
    state, facts = advance(state, event(3, "mains_back"), door=DOOR)
    assert state.mains is True
    assert [type(fact) for fact in facts] == [MainsBack]


def test_a_loss_that_arrives_after_the_snapshot_of_the_return_is_on_record_only() -> None:
    state = DoorState(door_id="d1", edge_id="e")
    state, _ = advance(state, Snapshot(at=T0, event_seq=2, mains=True), door=DOOR)
    state, facts = advance(state, event(1, "mains_lost"), door=DOOR)
    assert [type(fact) for fact in facts] == [MainsLost]
    assert state.mains is True
