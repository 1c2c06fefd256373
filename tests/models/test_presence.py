"""Devices that go away and come back: offline at once, lost once after the hold-off, back only if they were lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from models.doors import DoorState, advance, resume
from models.events import AnyFact, kind_of
from models.places import Door
from models.presence import is_away_for, lose
from models.reports import Presence

DOOR = Door(id="d", site_id="s", name="d", edge_id="e")
HOLD_OFF_S = 20.0


def at(second: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=second)


class Device:
    """A door whose edge hears its words and looks at the time; it remembers the facts."""

    def __init__(self) -> None:
        self.state = DoorState(door_id="d", edge_id="e")
        self.facts: list[AnyFact] = []

    def say(self, second: float, *, online: bool) -> None:
        self.state, facts = advance(self.state, Presence(at=at(second), online=online), door=DOOR)
        self.facts.extend(facts)

    def look(self, second: float) -> None:
        if is_away_for(self.state, HOLD_OFF_S, at=at(second)):
            self.give_up(second)

    def give_up(self, second: float) -> None:
        self.state, facts = lose(self.state, at=at(second))
        self.facts.extend(facts)

    def restart(self, second: float) -> None:
        self.state = resume(self.state, at=at(second))

    def told(self) -> list[str]:
        return [kind_of(fact) for fact in self.facts]


def test_a_device_is_offline_at_once_and_lost_once_after_the_hold_off() -> None:
    device = Device()
    device.say(0, online=False)
    assert device.state.online is False
    device.look(19.9)
    assert device.told() == []
    for second in (20, 21, 60):
        device.look(second)
    assert (device.told(), device.facts[0].at) == (["device_lost"], at(20))


def test_a_device_that_is_back_within_the_hold_off_is_no_fact() -> None:
    device = Device()
    for second in (0, 30, 60):
        device.say(second, online=False)
        device.look(second + 10)
        device.say(second + 12, online=True)
        device.look(second + 29)
    assert device.told() == []


def test_a_restart_begins_the_hold_off_anew_and_forgets_no_loss() -> None:
    device = Device()
    device.say(0, online=False)
    device.restart(15)
    device.look(34.9)
    assert device.told() == [], "it may have been back meanwhile"
    device.look(35)
    assert (device.told(), device.state.online) == (["device_lost"], False), "though its wire said nothing more"


def test_what_a_wire_kept_from_before_a_restart_is_believed_after_the_hold_off_only() -> None:
    quick, away = Device(), Device()
    for device in (quick, away):
        device.say(0, online=True)
        device.restart(100)
        device.say(101, online=False)
    quick.say(104, online=True)
    for second in range(101, 200):
        quick.look(second)
        away.look(second)
    assert (quick.told(), away.told()) == ([], ["device_lost"])


def test_lost_and_back_come_in_pairs_with_ids_of_their_own_across_restarts() -> None:
    device = Device()
    device.say(0, online=False)
    device.look(20)
    device.restart(25)
    device.say(26, online=False)
    device.look(60)
    assert device.told() == ["device_lost"], "a device that is still away is not lost twice"
    device.say(61, online=True)
    device.restart(70)
    device.say(71, online=True)
    assert device.told() == ["device_lost", "device_back"], "a device that was there before the restart is not back"
    device.say(80, online=False)
    device.look(100)
    assert device.told() == ["device_lost", "device_back", "device_lost"]
    assert len({fact.id for fact in device.facts}) == 3


def test_a_device_whose_wire_is_given_up_is_lost_once() -> None:
    device = Device()
    device.say(0, online=True)
    device.give_up(40)
    device.give_up(41)
    assert (device.told(), device.state.online) == (["device_lost"], False)
    device.say(50, online=True)
    assert device.told() == ["device_lost", "device_back"]
