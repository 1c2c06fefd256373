"""The simulated door by the Door Control Service Specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.onvif.simdoor import FREE, RELEASES, TARGETS, DoorMachine, Mode, Timing

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
TIMING = Timing(access_s=5, open_too_long_s=20)


def door(given_mode: Mode = "Locked", *, plain: bool = False) -> DoorMachine:
    made = DoorMachine(timing=TIMING, plain=plain)
    made.mode = given_mode
    return made


def alarm(gate: DoorMachine) -> str:
    return gate.alarm


def mode(gate: DoorMachine) -> str:
    return gate.mode


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def test_an_access_falls_back_to_the_mode_before() -> None:
    for before in ("Locked", "Unlocked", "DoubleLocked"):
        gate = door(before)
        assert gate.access(AT)
        gate.advance(later(4.9))
        assert mode(gate) == "Accessed"
        gate.advance(later(5))
        assert mode(gate) == before


def test_a_second_access_prolongs_the_first_and_keeps_what_it_falls_back_to() -> None:
    gate = door()
    gate.access(AT)
    gate.access(later(3), for_s=10)
    gate.advance(later(12))
    assert mode(gate) == "Accessed"
    gate.advance(later(13))
    assert mode(gate) == "Locked"


@pytest.mark.parametrize("given_mode", ["Blocked", "LockedDown", "LockedOpen"])
def test_a_door_that_is_blocked_locked_down_or_locked_open_refuses_access(given_mode: Mode) -> None:
    gate = door(given_mode)
    assert not gate.access(AT)
    assert (gate.mode, gate.unlocks) == (given_mode, 0)


@pytest.mark.parametrize(("release", "held"), RELEASES.items())
def test_a_door_that_is_locked_down_or_open_obeys_its_release_alone(release: str, held: Mode) -> None:
    for command, target in TARGETS.items():
        gate = door(held)
        assert gate.command(command) == (target == held)
        assert mode(gate) == held
    gate = door(held)
    assert gate.command(release)
    assert mode(gate) == "Locked"
    assert not gate.command(release), "it is released already"


def test_an_opening_without_a_release_is_forced_until_the_leaf_closes() -> None:
    gate = door()
    assert gate.open(AT)
    assert alarm(gate) == "DoorForcedOpen"
    gate.advance(later(60))
    assert alarm(gate) == "DoorForcedOpen", "forced does not become too long"
    gate.close()
    assert alarm(gate) == "Normal"


def test_a_granted_opening_is_too_long_after_its_time_and_not_before() -> None:
    gate = door()
    gate.access(AT, too_long_s=8)
    gate.open(later(1))
    assert gate.due() == later(5)
    gate.advance(later(8.9))
    assert alarm(gate) == "Normal"
    gate.advance(later(9))
    assert alarm(gate) == "DoorOpenTooLong"
    gate.close()
    assert gate.due() is None
    gate.access(later(20))
    gate.open(later(21))
    gate.advance(later(30))
    assert alarm(gate) == "Normal", "the time of one access is not the next one's"


def test_closing_ends_the_access_that_was_taken() -> None:
    gate = door()
    gate.access(AT)
    gate.open(later(1))
    gate.close()
    assert mode(gate) == "Locked"


def test_an_unlocked_door_may_stand_open_for_ever() -> None:
    gate = door("Unlocked")
    gate.open(AT)
    gate.advance(later(10_000))
    assert alarm(gate) == "Normal"


def test_a_plain_door_tells_neither_forced_nor_too_long() -> None:
    gate = door(plain=True)
    gate.open(AT, force=True)
    gate.advance(later(1000))
    gate.held()
    assert alarm(gate) == "Normal"
    assert "Door/State/DoorAlarm" not in gate.properties()


def test_a_loss_of_power_ends_an_access_and_keeps_a_lock_down() -> None:
    for command, kept in (("LockDownDoor", "LockedDown"), (None, "Locked")):
        gate, after = door(), door()
        if command is not None:
            gate.command(command)
        else:
            gate.access(AT)
        gate.fault = "motor"
        after.restore(gate.record())
        assert (after.mode, after.fault) == (kept, "motor")


STEPS = st.lists(
    st.tuples(
        st.sampled_from([*TARGETS, *RELEASES, "access", "open", "force", "close", "held"]),
        st.floats(0, 30),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_lock_mode_and_alarm_fit_together(steps: list[tuple[str, float]]) -> None:
    gate, now = door(), AT
    for step, wait_s in steps:
        now += timedelta(seconds=wait_s)
        gate.advance(now)
        if step == "access":
            assert gate.access(now) == (gate.mode == "Accessed")
        elif step in ("open", "force"):
            gate.open(now, force=step == "force")
        elif step == "close":
            gate.close()
        elif step == "held":
            gate.held()
        else:
            gate.command(step)
        told = {topic.rpartition("/")[2]: data[0][1] for topic, data in gate.properties().items()}
        assert (told["LockPhysicalState"] == "Unlocked") == (told["DoorMode"] in FREE)
        assert told["DoorAlarm"] == "Normal" or told["DoorPhysicalState"] == "Open"
        assert (gate.mode == "Accessed") <= (gate.due() is not None)
        due = gate.due()
        assert due is None or due > now - timedelta(microseconds=1)
