"""What holds for every door and every order of events: the invariants behind "nothing lost, nothing twice"."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from models.doors import (
    DoorState,
    Event,
    EventType,
    Presence,
    Report,
    Snapshot,
    advance,
    committed_through,
    expect_opening,
    resume,
    tick,
)
from models.events import AnyFact, DoorClosed, DoorForced, DoorOpened, kind_of
from models.places import Door

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOOR = Door(id="d", site_id="s", name="Gate", edge_id="e", exit_kind="button")
KINDS: tuple[EventType, ...] = (
    "opened", "closed", "forced", "held", "tamper", "tamper_cleared", "exit_button", "emergency", "duress", "fault",
)  # fmt: skip


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def known() -> DoorState:
    state = DoorState(door_id="d", edge_id="e")
    state, _ = advance(state, Snapshot(at=at(-100), event_seq=0, contact="closed"), door=DOOR)
    return state


streams = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0.1, 30)), min_size=1, max_size=12)
"""What happened at a door: kinds, each some seconds after the one before."""
grants = st.lists(st.floats(0, 100), max_size=3)


def stream_of(happened: list[tuple[EventType, float]]) -> list[Event]:
    """Return the events of a stream, to be delivered as a backlog long after."""
    events, moment = [], 0.0
    for seq, (kind, later_s) in enumerate(happened, start=1):
        moment += later_s
        events.append(
            Event(id=f"e{seq}", seq=seq, type=kind, at=at(1000), device_at=at(moment), backlog=True, detail="")
        )
    return events


def deliver(state: DoorState, events: list[Event]) -> list[AnyFact]:
    """Return all facts of a burst that lasts less than a second, and of the minute after it."""
    facts: list[AnyFact] = []
    for number, event in enumerate(events):
        arrived = msgspec.structs.replace(event, at=at(1000 + number / 100))
        state, more = advance(state, arrived, door=DOOR)
        assert advance(state, arrived, door=DOOR) == (state, ())
        facts.extend(more)
    for second in (1003, 1010, 1060):
        state, more = tick(state, door=DOOR, at=at(second))
        facts.extend(more)
    return facts


def same(facts: list[AnyFact]) -> Counter[tuple[str, str]]:
    """Count facts by kind and id; when a closing was told is no alarm."""
    return Counter((kind_of(fact), fact.id) for fact in facts if not isinstance(fact, DoorClosed))


@settings(max_examples=150, deadline=None)
@given(streams, grants, st.data())
def test_reordering_and_repeating_a_stream_changes_no_fact(
    happened: list[tuple[EventType, float]], granted: list[float], data: st.DataObject
) -> None:
    state = known()
    state, _ = advance(state, Event(id="live", seq=None, type="fault", at=T0, device_at=T0), door=DOOR)
    for number, second in enumerate(granted):
        state = expect_opening(state, attempt=f"a{number}", at=at(second), until=at(second + 9))
    straight = stream_of(happened)
    repeats = data.draw(st.lists(st.sampled_from(straight), max_size=8))
    shuffled = data.draw(st.permutations([*straight, *repeats]))
    assert same(deliver(state, straight)) == same(deliver(state, list(shuffled)))


@settings(max_examples=150, deadline=None)
@given(
    st.floats(0, 100),
    st.sampled_from(["opened", "forced"]),
    st.floats(0, 9),
    st.floats(0, 4000),
    st.booleans(),
    st.lists(st.sampled_from(["restart", "lost", "back", "tick"]), max_size=4),
)
def test_an_opening_that_a_grant_covers_is_never_forced(
    granted_s: float, kind: EventType, after_s: float, delay_s: float, backlog: bool, between: list[str]
) -> None:
    state = known()
    state, _ = advance(state, Event(id="live", seq=1, type="closed", at=at(-5), device_at=at(-5 - 7200)), door=DOOR)
    state = expect_opening(state, attempt="a", at=at(granted_s), until=at(granted_s + 9))
    arrival = granted_s + after_s + delay_s
    facts: list[AnyFact] = []
    for what in between:
        if what == "restart":
            state = resume(msgspec.json.decode(msgspec.json.encode(state), type=DoorState), at=at(arrival))
        elif what == "tick":
            state, more = tick(state, door=DOOR, at=at(arrival))
            facts.extend(more)
        else:
            state, more = advance(state, Presence(at=at(arrival), online=what == "back"), door=DOOR)
            facts.extend(more)
    opening = Event(id="o", seq=2, type=kind, at=at(arrival), device_at=at(granted_s + after_s - 7200), backlog=backlog)
    state, more = advance(state, opening, door=DOOR)
    facts.extend(more)
    for later in (2, 12, 40):
        state, more = tick(state, door=DOOR, at=at(arrival + later))
        facts.extend(more)
    assert not [fact for fact in facts if isinstance(fact, DoorForced)]
    opened = [fact for fact in facts if isinstance(fact, DoorOpened)]
    assert [fact.cause for fact in opened] == ["granted"]


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 1.4), st.booleans(), st.floats(0, 1.4), st.floats(0, 8), st.booleans())
def test_an_opening_beside_an_exit_request_is_never_forced_whenever_the_edge_is_killed(
    apart_s: float, exit_first: bool, killed_s: float, down_s: float, numbered: bool
) -> None:
    first: EventType = "exit_button" if exit_first else "opened"
    second: EventType = "opened" if exit_first else "exit_button"
    kinds: tuple[tuple[EventType, float], ...] = ((first, 0.0), (second, apart_s))
    state, facts, killed = known(), list[AnyFact](), False
    for seq, (kind, moment) in enumerate(kinds, start=1):
        if not killed and moment >= killed_s:
            killed = True
            state = resume(msgspec.json.decode(msgspec.json.encode(state), type=DoorState), at=at(killed_s + down_s))
        arrival = max(moment, killed_s + down_s) if killed else moment
        state, more = tick(state, door=DOOR, at=at(arrival))
        facts.extend(more)
        event = Event(id=f"e{seq}", seq=seq if numbered else None, type=kind, at=at(arrival), device_at=at(moment))
        state, more = advance(state, event, door=DOOR)
        facts.extend(more)
    _, more = tick(state, door=DOOR, at=at(60))
    assert not [fact for fact in (*facts, *more) if isinstance(fact, DoorForced)]


reports = st.one_of(
    st.builds(
        Event,
        id=st.sampled_from([f"e{n}" for n in range(20)]),
        seq=st.none() | st.integers(1, 20),
        type=st.sampled_from(KINDS),
        at=st.floats(0, 100).map(at),
        device_at=st.none() | st.floats(-50, 100).map(at),
        backlog=st.booleans(),
    ),
    st.builds(
        Snapshot,
        at=st.floats(0, 100).map(at),
        event_seq=st.none() | st.integers(0, 20),
        contact=st.sampled_from(["open", "closed", "unknown"]),
        mode=st.sampled_from([None, "normal", "evacuating", "held_open", "locked_down"]),
        retained=st.booleans(),
    ),
    st.builds(Presence, at=st.floats(0, 100).map(at), online=st.booleans()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(reports, max_size=25), st.lists(st.floats(100, 200), max_size=3))
def test_whatever_is_reported_the_state_survives_and_no_report_counts_twice(
    reported: list[Report], ticks: list[float]
) -> None:
    state, ids = DoorState(door_id="d", edge_id="e"), Counter[str]()
    for report in reported:
        before = committed_through(state)
        state, facts = advance(state, report, door=DOOR)
        assert advance(state, report, door=DOOR) == (state, ())
        ids.update(fact.id for fact in facts)
        assert msgspec.json.decode(msgspec.json.encode(state), type=DoorState) == state
        restarted = state.numbers.restarts > 0
        assert restarted or (committed_through(state) or 0) >= (before or 0)
        if isinstance(report, Snapshot):
            assert not [f for f in facts if not isinstance(f, DoorClosed)]
    for second in sorted(ticks):
        state, facts = tick(state, door=DOOR, at=at(second))
        ids.update(fact.id for fact in facts)
        assert tick(state, door=DOOR, at=at(second)) == (state, ())
    assert state.numbers.restarts or max(ids.values(), default=0) <= 1
