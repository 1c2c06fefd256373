"""Exit kinds: what can be told of a door differs in one thing, whether an opening was forced; all else is alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest

from models.doors import DoorState, Event, Snapshot, advance, expect_opening, held_soon, tick
from models.events import AnyFact, DoorClosed, DoorForced, DoorHeldOpen, DoorOpened, kind_of
from models.places import Door, ExitKind

T0 = datetime(2026, 3, 1, tzinfo=UTC)
KINDS: tuple[ExitKind, ...] = get_args(ExitKind)
TELLS = frozenset({"sensor", "button"})
"""Where a press or a sensor explains who leaves, whoever opens without one has forced the door."""


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def door(kind: ExitKind) -> Door:
    return Door(id="d", site_id="s", name="d", edge_id="e", exit_kind=kind, held_open_s=30.0)


def shut() -> DoorState:
    """Return a door that is known for long, and closed."""
    state = DoorState(door_id="d", edge_id="e")
    state, _ = advance(state, Snapshot(at=after(-600), event_seq=0, contact="closed", lock="locked"), door=door("none"))
    return state


def play(kind: ExitKind, *happened: tuple[float, str], until: float, state: DoorState | None = None) -> list[AnyFact]:
    """Return the facts of events at some seconds, of time looked at twice a second, for an exit kind."""
    state, facts = state or shut(), list[AnyFact]()
    events = {int(s * 2): name for s, name in happened}
    seq = 0
    for step in range(int(until * 2) + 1):
        at = after(step / 2)
        if (name := events.get(step)) is not None:
            seq += 1
            what: Any = name
            state, told = advance(state, Event(id=f"e{seq}", seq=seq, type=what, at=at), door=door(kind))
            facts += told
        state, told = tick(state, door=door(kind), at=at)
        facts += told
    return facts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", ["opened", "forced"])
def test_an_opening_that_nothing_explains_is_forced_only_where_that_can_be_told(kind: ExitKind, told: str) -> None:
    facts = play(kind, (1, told), (10, "closed"), until=20)
    first, last = facts[0], facts[-1]
    if kind in TELLS:
        assert isinstance(first, DoorForced)
    else:
        assert isinstance(first, DoorOpened)
        assert first.cause == "unknown"
    assert isinstance(last, DoorClosed)
    assert len(facts) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_granted_is_granted_everywhere(kind: ExitKind) -> None:
    expecting = expect_opening(shut(), attempt="a", at=T0, until=after(9))
    (opened, *_) = play(kind, (2, "opened"), (4, "closed"), until=10, state=expecting)
    assert isinstance(opened, DoorOpened)
    assert (opened.cause, opened.attempt) == ("granted", "a")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [((1.0, "exit_button"), (2.0, "opened")), ((1.0, "opened"), (2.0, "exit_button"))])
def test_who_asks_to_leave_forces_nothing_in_either_order(kind: ExitKind, order: Any) -> None:
    facts = play(kind, *order, until=10)
    assert sorted(kind_of(fact) for fact in facts) == ["door_opened", "exit_requested"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_door_is_held_open_alike_by_time_and_by_the_devices_word(kind: ExitKind) -> None:
    for reports in (((1.0, "opened"),), ((1.0, "opened"), (10.0, "held"))):
        held = [fact for fact in play(kind, *reports, until=60) if isinstance(fact, DoorHeldOpen)]
        assert len(held) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_door_warns_alike_before_it_is_held_open(kind: ExitKind) -> None:
    state, _ = advance(shut(), Event(id="e1", seq=1, type="opened", at=T0), door=door(kind))
    assert [held_soon(state, door=door(kind), at=after(s)) for s in (23.9, 24.1)] == [False, True]
    reported = msgspec.structs.replace(state, held_reported=True)
    assert not held_soon(reported, door=door(kind), at=after(40))
