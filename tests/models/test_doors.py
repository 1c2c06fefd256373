"""The door state machine, in tables of what happened and what is reported."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from models.doors import (
    DoorState,
    Event,
    EventType,
    Presence,
    Report,
    Snapshot,
    advance,
    awaits_time,
    committed_through,
    expect_opening,
    resume,
    tick,
    withdraw_expectation,
)
from models.events import AnyFact, DoorHeldOpen, DoorOpened, kind_of
from models.places import Door

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOOR = Door(id="d", site_id="s", name="Gate", edge_id="e", exit_kind="button", held_open_s=30.0, unlock_s=5.0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def known(**more: Any) -> DoorState:
    """Return a door that has been known and quiet for a while: closed, numbered up to 10, settled."""
    state = DoorState(door_id="d", edge_id="e")
    state, _ = advance(state, Presence(at=at(-100), online=True), door=DOOR)
    state, _ = advance(state, Snapshot(at=at(-100), event_seq=10, contact="closed", lock="locked"), door=DOOR)
    return msgspec.structs.replace(state, **more)


def event(kind: EventType, seconds: float, *, seq: int | None = None, key: str = "", **more: Any) -> Event:
    return Event(id=key or f"{kind}-{seq}-{seconds}", seq=seq, type=kind, at=at(seconds), **more)


def play(state: DoorState, reports: Iterable[Report | float], *, door: Door = DOOR) -> tuple[DoorState, list[AnyFact]]:
    """Advance through reports; a number is a tick at that second."""
    facts: list[AnyFact] = []
    for report in reports:
        if isinstance(report, int | float):
            state, more = tick(state, door=door, at=at(report))
        else:
            state, more = advance(state, report, door=door)
            again, nothing = advance(state, report, door=door)
            assert (again, nothing) == (state, ()), "advancing twice on the same report changes something"
        facts.extend(more)
    return state, facts


def kinds(facts: Iterable[AnyFact]) -> list[str]:
    return [f"{kind_of(f)}:{f.cause}" if isinstance(f, DoorOpened) else kind_of(f) for f in facts]


STORIES: dict[str, tuple[list[Report | float], list[str]]] = {
    "an opening that nobody explains is forced after a second and a half": (
        [event("opened", 0, seq=11), 1.4, 1.5],
        ["door_forced"],
    ),
    "an opening after the exit button is an exit": (
        [event("exit_button", 0, seq=11), event("opened", 3, seq=12), 10],
        ["exit_requested", "door_opened:exit"],
    ),
    "an exit button that follows the opening explains it": (
        [event("opened", 0, seq=11), event("exit_button", 1.4, seq=12), 10],
        ["exit_requested", "door_opened:exit"],
    ),
    "an exit button that comes too late explains nothing": (
        [event("opened", 0, seq=11), 1.5, event("exit_button", 2.0, seq=12), 10],
        ["door_forced", "exit_requested"],
    ),
    "an exit request explains nothing once the door has locked again": (
        [event("exit_button", 0, seq=11), event("opened", 6.6, seq=12), 10],
        ["exit_requested", "door_forced"],
    ),
    "a bouncing contact does not hide the exit button from its first opening": (
        [
            event("opened", 0, seq=11),
            event("closed", 0.1, seq=12),
            event("opened", 0.2, seq=13),
            event("exit_button", 1, seq=14),
            10,
        ],
        ["door_closed", "exit_requested", "door_opened:exit", "door_opened:exit"],
    ),
    "what the device itself calls forced is reported at once": (
        [event("forced", 0, seq=11)],
        ["door_forced"],
    ),
    "opened and forced for the same opening is one forced door": (
        [event("opened", 0, seq=11), event("forced", 0.1, seq=12), 10],
        ["door_opened:unknown", "door_forced"],
    ),
    "forced and then opened for the same opening is one forced door": (
        [event("forced", 0, seq=11), event("opened", 0.1, seq=12), 10],
        ["door_forced", "door_opened:unknown"],
    ),
    "what the device calls forced is an exit if the button was pressed": (
        [event("exit_button", 0, seq=11), event("forced", 1, seq=12), 10],
        ["exit_requested", "door_opened:exit"],
    ),
    "a door that was forced and closed at once is reported with its end after it": (
        [event("opened", 0, seq=11), event("closed", 0.5, seq=12), 2],
        ["door_closed", "door_forced", "door_closed"],
    ),
    "an emergency release explains openings for a minute": (
        [event("emergency", 0, seq=11), event("opened", 50, seq=12), 70],
        ["emergency_released", "door_opened:release"],
    ),
    "an emergency release explains nothing for ever": (
        [event("emergency", 0, seq=11), event("opened", 62, seq=12), 64],
        ["emergency_released", "door_forced"],
    ),
    "a door that stays open is reported once": (
        [event("exit_button", 0, seq=11), event("opened", 1, seq=12), 31, 31.1, 60, event("held", 61, seq=13)],
        ["exit_requested", "door_opened:exit", "door_held_open"],
    ),
    "a device that reports held first is not reported again": (
        [event("exit_button", 0, seq=11), event("opened", 1, seq=12), event("held", 20, seq=13), 60],
        ["exit_requested", "door_opened:exit", "door_held_open"],
    ),
    "a door held open twice is reported twice": (
        [
            event("exit_button", 0, seq=11),
            event("opened", 1, seq=12),
            40,
            event("closed", 41, seq=13),
            event("exit_button", 50, seq=14),
            event("opened", 51, seq=15),
            90,
        ],
        [
            "exit_requested",
            "door_opened:exit",
            "door_held_open",
            "door_closed",
            "exit_requested",
            "door_opened:exit",
            "door_held_open",
        ],
    ),
    "nothing is forced or held while a door is evacuating": (
        [
            Snapshot(at=at(0), contact="closed", mode="evacuating"),
            event("opened", 1, seq=11),
            90,
            event("held", 91, seq=12),
        ],
        ["door_opened:release"],
    ),
    "nothing is forced or held while a door is held open on purpose": (
        [Snapshot(at=at(0), contact="closed", mode="held_open"), event("opened", 1, seq=11), 90],
        ["door_opened:release"],
    ),
    "an opening that arrives just after the evacuation ended is of unknown cause": (
        [
            Snapshot(at=at(0), contact="closed", mode="evacuating"),
            Snapshot(at=at(5), contact="closed", mode="normal"),
            event("opened", 5.1, seq=11),
            20,
        ],
        ["door_opened:unknown"],
    ),
    "a snapshot of an open door raises nothing": (
        [Snapshot(at=at(0), event_seq=10, contact="open", lock="unlocked", tamper=True), 20],
        [],
    ),
    "a door first seen open is held open after its limit": (
        [Snapshot(at=at(0), event_seq=10, contact="open"), 31],
        ["door_held_open"],
    ),
    "a retained picture from before the last event changes nothing": (
        [event("forced", 0, seq=11), Snapshot(at=at(1), event_seq=10, contact="closed", retained=True), 5],
        ["door_forced"],
    ),
    "a picture from before the last event changes nothing, live or not": (
        [event("forced", 0, seq=11), Snapshot(at=at(1), event_seq=10, contact="closed"), 5],
        ["door_forced"],
    ),
    "a picture of a closed door ends an alarm whose closing was lost": (
        [event("forced", 0, seq=11), Snapshot(at=at(5), event_seq=12, contact="closed"), 10, 36],
        ["door_forced", "device_gap", "door_closed"],
    ),
    "a picture of a closed door waits for the closing itself": (
        [
            event("forced", 0, seq=11),
            Snapshot(at=at(5), event_seq=12, contact="closed"),
            event("closed", 6, seq=12),
            36,
        ],
        ["door_forced", "door_closed"],
    ),
    "a picture overtaking an opening does not hide that it is forced": (
        [Snapshot(at=at(0), event_seq=11, contact="open"), event("opened", 0.1, seq=11), 2],
        ["door_forced"],
    ),
    "a picture two events ahead does not hide a forced door": (
        [
            Snapshot(at=at(0), event_seq=12, contact="closed"),
            event("opened", 0.1, seq=11),
            event("closed", 0.2, seq=12),
            2,
        ],
        ["door_closed", "door_forced", "door_closed"],
    ),
    "tamper, its end, duress and faults are reported as they come": (
        [
            event("tamper", 0, seq=11),
            event("tamper_cleared", 1, seq=12),
            event("duress", 2, seq=13),
            event("fault", 3, seq=14, detail="x" * 500),
        ],
        ["door_tampered", "door_tamper_cleared", "duress_reported", "door_faulted"],
    ),
    "a number that never comes is a gap, once": (
        [event("closed", 0, seq=11), event("tamper", 1, seq=13), 2, 6, 29, 31, 60],
        ["door_closed", "door_tampered", "device_gap"],
    ),
    "a gap shows even when nothing follows": (
        [Snapshot(at=at(0), event_seq=12, contact="closed"), 30],
        ["device_gap"],
    ),
    "an event that was given up is still taken when it comes": (
        [event("tamper", 0, seq=12), 31, event("duress", 40, seq=11)],
        ["door_tampered", "device_gap", "duress_reported"],
    ),
    "an opening beside a lost event is of unknown cause: it may have been the exit button": (
        [event("opened", 0, seq=12), 4.9, 5, 30],
        ["door_opened:unknown", "device_gap"],
    ),
    "an opening waits while the event after it is missing": (
        [
            event("opened", 0, seq=11, device_at=at(0)),
            event("closed", 1, seq=13, device_at=at(1)),
            4,
            event("exit_button", 4.5, seq=12, device_at=at(0.5)),
            10,
        ],
        ["exit_requested", "door_closed", "door_opened:exit"],
    ),
    "an opening whose following event was lost is of unknown cause": (
        [event("opened", 0, seq=11), event("tamper", 1, seq=13), 4, 6, 31],
        ["door_tampered", "door_opened:unknown", "door_held_open", "device_gap"],
    ),
    "a device that reports itself opened again while open was not forced": (
        [event("exit_button", 0, seq=11), event("opened", 1, seq=12), event("opened", 20, seq=13), 25],
        ["exit_requested", "door_opened:exit", "door_opened:unknown"],
    ),
    "an opening soon after a reconnection is of unknown cause": (
        [
            Presence(at=at(0), online=False),
            Presence(at=at(60), online=True),
            event("opened", 65, seq=11),
            80,
        ],
        ["door_opened:unknown"],
    ),
    "a held report that was late changes no newer opening": (
        [event("closed", 0, seq=12), 31, event("held", 40, seq=11)],
        ["door_closed", "device_gap", "door_held_open"],
    ),
    "a late closing does not close a newer opening": (
        [event("exit_button", 0, seq=11), event("opened", 1, seq=13), 6, event("closed", 7, seq=12), 35],
        ["exit_requested", "door_opened:exit", "door_closed", "door_held_open", "device_gap"],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str) -> None:
    reports, expected = STORIES[story]
    _, facts = play(known(), reports)
    if story == "a late closing does not close a newer opening":
        assert sorted(kinds(facts)) == sorted(f for f in expected if f != "device_gap")
    else:
        assert kinds(facts) == expected
    assert len({fact.id for fact in facts}) == len(facts)


@pytest.mark.parametrize("exit_kind", ["mechanical", "none"])
@pytest.mark.parametrize("kind", ["opened", "forced"])
def test_forced_cannot_be_told_at_a_door_that_opens_mechanically(exit_kind: Any, kind: EventType) -> None:
    door = msgspec.structs.replace(DOOR, exit_kind=exit_kind)
    _, facts = play(known(), [event(kind, 0, seq=11), 60], door=door)
    assert kinds(facts)[0] == "door_opened:unknown"
    assert "door_forced" not in kinds(facts)


def test_our_own_unlock_followed_by_an_opening_is_granted() -> None:
    state = expect_opening(known(), attempt="a1", at=at(0), until=at(9))
    state, facts = play(state, [event("opened", 2, seq=11), event("closed", 3, seq=12), event("opened", 4, seq=13), 10])
    assert kinds(facts) == ["door_opened:granted", "door_closed", "door_opened:granted"]
    assert [f.attempt for f in facts if isinstance(f, DoorOpened)] == ["a1", "a1"]


def test_a_withdrawn_expectation_explains_nothing() -> None:
    state = expect_opening(known(), attempt="a1", at=at(0), until=at(9))
    _, facts = play(withdraw_expectation(state, "a1"), [event("opened", 2, seq=11), 4])
    assert kinds(facts) == ["door_forced"]


def test_an_attempt_that_is_expected_again_is_expected_once() -> None:
    state = known()
    for _ in range(3):
        state = expect_opening(state, attempt="a1", at=at(0), until=at(9))
    assert len(state.expectations) == 1


def test_a_granted_opening_that_arrives_a_minute_late_is_still_granted() -> None:
    state, _ = play(known(), [event("closed", -50, seq=11, device_at=at(-50 - 3600))])
    state = expect_opening(state, attempt="a1", at=at(0), until=at(9))
    _, facts = play(state, [event("opened", 60, seq=12, device_at=at(2 - 3600)), 70])
    assert kinds(facts) == ["door_opened:granted"]
    assert facts[0].late


def test_a_forced_door_that_is_reported_late_is_forced_and_late() -> None:
    state, _ = play(known(), [event("closed", -50, seq=11, device_at=at(-50))])
    _, facts = play(state, [event("opened", 300, seq=12, device_at=at(0), backlog=True), 310])
    assert kinds(facts) == ["door_forced"]
    assert facts[0].late


def test_a_backlog_whose_time_cannot_be_told_is_never_forced_while_grants_are_kept() -> None:
    state = expect_opening(known(), attempt="a1", at=at(-5000), until=at(-4990))
    both: tuple[EventType, ...] = ("opened", "forced")
    for kind in both:
        _, facts = play(state, [event(kind, 0, seq=11, backlog=True), 10])
        assert kinds(facts) == ["door_opened:unknown"]
    _, facts = play(known(), [event("opened", 0, seq=11, backlog=True), 10])
    assert kinds(facts) == ["door_opened:unknown"]


def test_forgotten_expectations_make_openings_unknown_rather_than_forced() -> None:
    state, _ = play(known(), [event("closed", -50, seq=11, device_at=at(-50))])
    for number in range(40):
        state = expect_opening(state, attempt=f"a{number}", at=at(number * 20), until=at(number * 20 + 9))
    _, facts = play(state, [event("opened", 900, seq=12, device_at=at(5), backlog=True), 910])
    assert kinds(facts) == ["door_opened:unknown"]
    _, facts = play(state, [event("opened", 901, seq=12, device_at=at(860), backlog=True), 910])
    assert kinds(facts) == ["door_forced"]


def test_the_first_thing_ever_heard_of_a_door_is_of_unknown_cause() -> None:
    for seq in (None, 1, 7):
        _, facts = play(DoorState(door_id="d", edge_id="e"), [event("opened", 0, seq=seq), 5])
        assert kinds(facts) == ["door_opened:unknown"]


def test_an_opening_right_after_a_restart_is_of_unknown_cause_and_later_forced_again() -> None:
    state = resume(known(), at=at(0))
    state, facts = play(
        state, [event("opened", 5, seq=11), event("closed", 6, seq=12), event("opened", 20, seq=13), 25]
    )
    assert kinds(facts) == ["door_opened:unknown", "door_closed", "door_forced"]


def test_what_the_device_calls_forced_is_forced_even_right_after_a_restart() -> None:
    _, facts = play(resume(known(), at=at(0)), [event("forced", 1, seq=11)])
    assert kinds(facts) == ["door_forced"]


PENDING_AT_RESTART: dict[str, tuple[list[Report | float], list[str]]] = {
    "the exit button arrives after the restart": (
        [event("exit_button", 1.2, seq=12), 20],
        ["exit_requested", "door_opened:exit"],
    ),
    "the exit button arrives within the settling time, as placed by the device": (
        [event("exit_button", 6, seq=12, device_at=at(0.9), backlog=True), 20],
        ["exit_requested", "door_opened:exit"],
    ),
    "the device says that nothing followed": (
        [Snapshot(at=at(2), event_seq=11, contact="open"), 9, 11.1],
        ["door_forced"],
    ),
    "the device comes back and says nothing more": ([Presence(at=at(2), online=True), 11.1], ["door_forced"]),
    "the device says nothing at all": ([9, 11.1], ["door_opened:unknown"]),
    "what followed was lost": (
        [Snapshot(at=at(2), event_seq=12, contact="open"), 11.1, 40],
        ["door_opened:unknown", "door_held_open", "device_gap"],
    ),
}


@pytest.mark.parametrize("story", PENDING_AT_RESTART)
def test_an_opening_that_waits_for_the_exit_button_outlives_a_restart(story: str) -> None:
    state, _ = play(
        known(), [event("closed", -50, seq=10, device_at=at(-50)), event("opened", 0.5, seq=11, device_at=at(0.5))]
    )
    state = msgspec.json.decode(msgspec.json.encode(state), type=DoorState)
    reports, expected = PENDING_AT_RESTART[story]
    _, facts = play(resume(state, at=at(1)), reports)
    assert kinds(facts) == expected


def test_an_unnumbered_opening_that_was_pending_at_a_restart_is_of_unknown_cause() -> None:
    state, _ = play(known(), [event("closed", -50), event("opened", 0.5)])
    _, facts = play(resume(state, at=at(1)), [Presence(at=at(2), online=True), 12])
    assert kinds(facts) == ["door_opened:unknown"]


def test_a_device_that_goes_away_leaves_its_openings_undecided_for_a_while() -> None:
    reports: list[Report | float] = [
        event("opened", 0, seq=11),
        Presence(at=at(0.5), online=False),
        5,
        Presence(at=at(6), online=True),
        event("exit_button", 7, seq=12, backlog=True),
        20,
    ]
    _, facts = play(known(), reports)
    assert kinds(facts) == ["exit_requested", "door_opened:exit"]


def test_a_door_that_was_open_before_a_restart_is_held_open_from_then_on() -> None:
    state, _ = play(known(), [event("exit_button", 0, seq=11), event("opened", 1, seq=12)])
    state = resume(state, at=at(3600))
    state, facts = play(state, [3601, 3629])
    assert facts == []
    state, facts = play(state, [3631])
    assert isinstance(facts[0], DoorHeldOpen)
    assert facts[0].open_s == pytest.approx(31)


def test_the_alarm_shows_and_ends_with_the_closing() -> None:
    state, _ = play(known(), [event("forced", 0, seq=11)])
    assert state.alarm == "forced"
    state, _ = play(state, [40])
    assert state.alarm == "forced", "held open does not hide forced"
    state, _ = play(state, [event("closed", 41, seq=12)])
    assert state.alarm == "none"
    state, _ = play(state, [event("exit_button", 50, seq=13), event("opened", 51, seq=14), 90])
    assert state.alarm == "held"


def test_a_forced_door_without_a_contact_stays_in_alarm() -> None:
    state, facts = play(known(contact="unknown"), [event("forced", 0, seq=11), Snapshot(at=at(1), event_seq=11)])
    assert (state.alarm, kinds(facts)) == ("forced", ["door_forced"])


def test_held_openings_seen_only_in_pictures_have_ids_of_their_own() -> None:
    pictures: list[Report | float] = [
        Snapshot(at=at(0), contact="open"),
        31,
        Snapshot(at=at(32), contact="closed"),
        Snapshot(at=at(40), contact="open"),
        80,
    ]
    _, facts = play(known(), pictures)
    assert kinds(facts) == ["door_held_open", "door_closed", "door_held_open"]
    assert len({fact.id for fact in facts}) == 3


def test_a_device_says_held_before_anything_else() -> None:
    _, facts = play(known(), [event("held", 0, seq=11), event("held", 5, seq=12)])
    assert kinds(facts) == ["door_held_open"]


def test_a_device_that_counts_anew_is_heard() -> None:
    state, _ = play(known(), [event("closed", 0, seq=11, device_at=at(0))])
    state, facts = play(state, [event("tamper", 50, seq=1, device_at=at(50), key="new-1"), event("duress", 51, seq=2)])
    assert kinds(facts) == ["door_tampered", "duress_reported"]
    assert committed_through(state) == 2
    state, facts = play(state, [event("forced", 90, seq=3), Snapshot(at=at(91), event_seq=3, contact="open")])
    assert kinds(facts) == ["door_forced"]
    assert state.contact == "open"


def test_a_live_picture_of_a_device_that_counts_anew_is_believed() -> None:
    state, _ = play(known(), [Snapshot(at=at(0), event_seq=0, contact="open", lock="unlocked")])
    assert (state.contact, state.lock) == ("open", "unlocked")


def test_the_offset_of_the_device_clock_is_known_to_admission() -> None:
    assert known().offset_s is None
    assert play(known(), [event("fault", 0, seq=11, device_at=at(-3600))])[0].offset_s == pytest.approx(3600)


def test_too_many_undecided_openings_leave_the_oldest_unknown() -> None:
    reports: list[Report | float] = []
    for number in range(20):
        reports += [
            event("opened", number / 100, seq=11 + 2 * number),
            event("closed", number / 100, seq=12 + 2 * number),
        ]
    _, facts = play(known(), [*reports, 5])
    assert kinds(facts).count("door_opened:unknown") == 4
    assert kinds(facts).count("door_forced") == 16


def test_time_matters_only_while_something_waits() -> None:
    state = known()
    assert not awaits_time(state)
    assert awaits_time(play(state, [event("opened", 0, seq=11)])[0])
    assert awaits_time(play(state, [event("tamper", 0, seq=12)])[0])
    assert awaits_time(play(state, [Snapshot(at=at(0), event_seq=10, contact="open")])[0])
    held, _ = play(state, [event("exit_button", 0, seq=11), event("opened", 1, seq=12), 60])
    assert not awaits_time(held)


def test_nothing_is_acknowledged_before_an_event_was_taken() -> None:
    assert committed_through(DoorState(door_id="d", edge_id="e")) is None
    assert committed_through(known()) is None
    state, _ = play(known(), [event("tamper", 0, seq=11)])
    assert committed_through(state) == 11


def test_the_acknowledgement_stops_before_a_missing_number_until_it_is_given_up() -> None:
    state, _ = play(known(), [event("tamper", 0, seq=11), event("tamper", 1, seq=13), 6])
    assert committed_through(state) == 11
    state, _ = play(state, [31])
    assert committed_through(state) == 13


def test_waiting_for_missing_numbers_begins_again_after_a_restart() -> None:
    state, _ = play(known(), [event("tamper", 0, seq=11), event("tamper", 1, seq=13)])
    state, facts = play(resume(state, at=at(1000)), [1001])
    assert facts == []
    state, facts = play(state, [1031])
    assert kinds(facts) == ["door_tampered", "device_gap"]


def test_what_a_device_stored_before_it_was_adopted_is_not_about_this_door() -> None:
    adopted = msgspec.structs.replace(DOOR, since=at(100))
    before = event("tamper", 200, device_at=at(50), backlog=True)
    after = event("tamper", 201, device_at=at(150), backlog=True)
    untimed = event("tamper", 202, backlog=True)
    live = event("tamper", 203, device_at=at(20))
    for told, facts in (
        (before, []),
        (after, ["door_tampered"]),
        (untimed, ["door_tampered"]),
        (live, ["door_tampered"]),
    ):
        state = DoorState(door_id="d", edge_id="e")
        state, made = play(state, [told], door=adopted)
        assert kinds(made) == facts, told.id
        assert state.tamper == bool(facts)
    assert kinds(play(DoorState(door_id="d", edge_id="e"), [before])[1]) == ["door_tampered"]
