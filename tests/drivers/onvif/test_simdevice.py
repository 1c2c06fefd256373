"""The simulated device: what it tells, and whom it asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.onvif.simdevice import NOTICES, Identity, Kind, Notice, SimulatedDevice
from drivers.onvif.simdoor import Timing
from drivers.onvif.simstore import DeviceStore
from models.errors import InvalidInput

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def device(*doors: str, **changes: Any) -> SimulatedDevice:
    return SimulatedDevice(Identity(), doors=doors or ("gate",), timing=Timing(access_s=5, decision_s=4), **changes)


def told(unit: SimulatedDevice) -> list[tuple[str, str]]:
    """Return topics and last data items so far, shortly."""
    return [(notice.topic.partition("/")[2], notice.data[-1][1] if notice.data else "") for notice in unit.journal]


def test_an_access_tells_mode_and_lock_and_the_way_back() -> None:
    unit = device()
    assert unit.access("gate", AT)
    unit.advance(later(5))
    assert told(unit) == [
        ("State/DoorMode", "Accessed"),
        ("State/LockPhysicalState", "Unlocked"),
        ("State/DoorMode", "Locked"),
        ("State/LockPhysicalState", "Locked"),
    ]
    assert {notice.operation for notice in unit.journal} == {"Changed"}


def test_settling_twice_tells_nothing_twice() -> None:
    unit = device()
    unit.doors["gate"].tampered = True
    unit.settle(AT)
    unit.settle(AT)
    assert told(unit) == [("State/DoorTamper", "TamperDetected")]


def test_every_state_is_told_as_initialized_with_its_source() -> None:
    unit = device("a", "b")
    current = unit.current(AT)
    assert {notice.operation for notice in current} == {"Initialized"}
    assert len({(notice.topic, notice.source) for notice in current}) == len(current)
    tokens = {notice.source[0][1] for notice in current if notice.topic == "Door/State/DoorMode"}
    assert tokens == {"a", "b"}


def test_a_card_is_asked_about_and_a_grant_opens_the_door() -> None:
    unit = device()
    asking = unit.ask(unit.points["gate-in"], "card", value="17", now=AT)
    request = unit.journal[0]
    assert request.topic == "AccessControl/Request/Identifier"
    assert dict(request.data)["IdentifierValue"] == "3137"
    assert unit.decide("gate-in", granted=True, reason="granted", now=later(1))
    assert asking.outcome == ("Granted", "granted")
    assert unit.doors["gate"].unlocked
    assert ("External", "true") in unit.journal[1].data
    unit.open("gate", later(2))
    assert unit.journal[-1].topic == "AccessControl/AccessTaken/Identifier"


def test_a_grant_that_nobody_uses_is_told_as_not_taken() -> None:
    unit = device(credentials=True)
    unit.ask(unit.points["gate-in"], "card", value="17", now=AT)
    unit.decide("gate-in", granted=True, reason="", now=AT)
    unit.advance(later(5))
    assert unit.journal[-1].topic == "AccessControl/AccessNotTaken/Credential"
    assert unit.journal[-1].data == (("CredentialToken", "17"),)


def test_a_denial_carries_its_reason_and_opens_nothing() -> None:
    unit = device()
    asking = unit.ask(unit.points["gate-in"], "button", value=None, now=AT)
    assert unit.decide("gate-in", granted=False, reason="outside_hours", now=AT)
    assert asking.outcome == ("Denied", "outside_hours")
    assert unit.journal[-1].topic == "AccessControl/Denied/Anonymous"
    assert not unit.doors["gate"].unlocked


def test_a_decision_that_is_too_late_or_for_nobody_is_refused() -> None:
    unit = device()
    asking = unit.ask(unit.points["gate-in"], "card", value="17", now=AT)
    assert not unit.decide("gate-out", granted=True, reason="", now=AT)
    unit.advance(later(4))
    assert asking.outcome == ("Timeout", "")
    assert unit.journal[-1].topic == "AccessControl/Request/Timeout"
    assert not unit.decide("gate-in", granted=True, reason="", now=later(5))
    assert not unit.doors["gate"].unlocked


def test_whoever_asks_next_ends_the_wait_of_the_one_before() -> None:
    unit = device()
    first = unit.ask(unit.points["gate-in"], "card", value="1", now=AT)
    second = unit.ask(unit.points["gate-in"], "card", value="2", now=AT)
    unit.decide("gate-in", granted=True, reason="", now=AT)
    assert first.outcome == ("Timeout", "")
    assert second.outcome == ("Granted", "")


def test_a_grant_at_a_door_that_is_locked_down_is_refused_and_still_answerable() -> None:
    unit = device()
    unit.command("gate", "LockDownDoor", now=AT)
    asking = unit.ask(unit.points["gate-in"], "card", value="17", now=AT)
    assert not unit.decide("gate-in", granted=True, reason="", now=AT)
    assert unit.decide("gate-in", granted=False, reason="locked_down", now=AT)
    assert asking.outcome == ("Denied", "locked_down")


def test_an_access_point_that_is_disabled_asks_nobody() -> None:
    unit = device()
    unit.points["gate-in"].enabled = False
    unit.settle(AT)
    unit.ask(unit.points["gate-in"], "card", value="17", now=AT)
    assert [topic for topic, _ in told(unit)] == ["State/Enabled"]


@pytest.mark.parametrize("value", [None, "", "x" * 129, "ключ"])
def test_a_value_that_no_reader_reads_is_refused(value: str | None) -> None:
    unit = device()
    with pytest.raises(InvalidInput, match="ASCII"):
        unit.ask(unit.points["gate-in"], "card", value=value, now=AT)


def test_the_exit_button_is_an_input_a_grant_and_a_release() -> None:
    unit = device()
    unit.press_exit("gate", AT)
    assert [topic for topic, _ in told(unit)] == [
        "Trigger/DigitalInput",
        "Trigger/DigitalInput",
        "AccessGranted/Anonymous",
        "State/DoorMode",
        "State/LockPhysicalState",
    ]
    unit.open("gate", later(1))
    assert unit.doors["gate"].alarm == "Normal"


def test_a_relay_releases_its_door_for_its_pulse() -> None:
    unit = device()
    unit.set_relay("gate-relay", on=True, now=AT, pulse_s=2)
    assert unit.due() == later(2)
    assert told(unit)[:2] == [("State/DoorMode", "Accessed"), ("State/LockPhysicalState", "Unlocked")]
    unit.advance(later(2))
    assert not unit.doors["gate"].unlocked
    assert ("Trigger/Relay", "inactive") in told(unit)


def test_a_device_of_relays_tells_contacts_buttons_and_relays_and_nothing_of_doors() -> None:
    unit = device(relays_only=True)
    unit.set_relay("gate-relay", on=True, now=AT, pulse_s=2)
    unit.open("gate", AT)
    unit.press_exit("gate", AT)
    unit.doors["gate"].close()
    unit.settle(later(1))
    assert {notice.topic for notice in unit.journal} == {"Device/Trigger/Relay", "Device/Trigger/DigitalInput"}
    contact = [n.data[0][1] for n in unit.journal if n.source == (("InputToken", "gate-contact"),)]
    assert contact == ["true", "false"]


def test_every_event_that_happens_is_described() -> None:
    unit = device()
    kinds: tuple[Kind, ...] = ("card", "button")
    for kind in kinds:
        for granted in (True, False):
            unit.ask(unit.points["gate-in"], kind, value="17", now=AT)
            unit.decide("gate-in", granted=granted, reason="", now=AT)
    unit.duress(unit.points["gate-in"], AT)
    described = {*NOTICES, *(topic for topic, _ in unit.properties())}
    assert {notice.topic for notice in unit.journal} <= described


def test_a_device_remembers_its_events_and_its_lock_down(tmp_path: Path) -> None:
    with DeviceStore(tmp_path / "device.db") as store:
        unit = device()
        store.restore(unit)
        unit.command("gate", "LockDownDoor", now=AT)
        unit.open("gate", later(1), force=True)
        kept: list[Notice] = list(unit.journal)
    with DeviceStore(tmp_path / "device.db") as store:
        again = device()
        store.restore(again)
        assert list(again.journal) == kept
        assert (again.doors["gate"].mode, again.doors["gate"].leaf) == ("LockedDown", "Open")
        again.settle(later(2))
        assert again.told == unit.told, "what it was is no news"
        again.doors["gate"].close()
        again.settle(later(3))
        assert [topic for topic, _ in told(again)][unit.told :] == ["State/DoorPhysicalState", "Trigger/DigitalInput"]
