"""What a device's notifications mean at our doors: events, states, people at readers, with and without a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.onvif.doors import Listener, Standing
from drivers.onvif.endpoint import DoorPart
from drivers.onvif.wire import Notification

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(topic: str, value: str, *, operation: Any = "Changed", second: float = 0, **source: str) -> Notification:
    item = "LogicalState" if topic.endswith("Input") else "Failed" if topic.endswith("Failure") else "State"
    where = source or {"DoorToken": "D"}
    return Notification(
        topic=topic,
        operation=operation,
        device_at=AT + timedelta(seconds=second),
        source=tuple(where.items()),
        data=((item, value),),
    )


def listening(subscription: str = "s1", **part: Any) -> Listener:
    readers: dict[str, tuple[str, Any]] = {"A": ("gate", "in"), "B": ("gate", "out")}
    return Listener({"gate": DoorPart(door="D", **part)}, readers=readers, subscription=subscription)


def untimed(notification: Notification) -> Notification:
    return msgspec.structs.replace(notification, device_at=None)


def kinds(listener: Listener, *batch: Notification, since: datetime | None = None) -> list[str]:
    return [event.type for _, event in listener.take(batch, at=AT, since=since).events]


OPEN = "Door/State/DoorPhysicalState"
ALARM = "Door/State/DoorAlarm"
TAMPER = "Door/State/DoorTamper"
GRANTED = "AccessControl/AccessGranted/Anonymous"


def test_a_forced_opening_is_one_event_in_whatever_order_it_is_told() -> None:
    assert kinds(listening(), told(OPEN, "Open"), told(ALARM, "DoorForcedOpen")) == ["forced"]
    assert kinds(listening(), told(ALARM, "DoorForcedOpen"), told(OPEN, "Open")) == ["forced"]


def test_forced_and_held_stay_apart() -> None:
    listener = listening()
    assert kinds(listener, told(OPEN, "Open")) == ["opened"]
    assert kinds(listener, told(ALARM, "DoorOpenTooLong", second=30)) == ["held"]
    assert kinds(listener, told(ALARM, "Normal", second=40), told(OPEN, "Closed", second=40)) == ["closed"]
    again = (told(OPEN, "Open", second=50), told(ALARM, "DoorForcedOpen", second=50))
    assert kinds(listener, *again) == ["forced"]


def test_initialized_properties_build_the_state_and_raise_nothing() -> None:
    listener = listening()
    batch = [told(OPEN, "Open", operation="Initialized"), told(ALARM, "DoorForcedOpen", operation="Initialized")]
    heard = listener.take(batch * 2, at=AT, since=None)
    assert heard.events == ()
    assert heard.changed == ("gate",)
    assert listener.standing["gate"] == Standing(contact="Open", alarm="DoorForcedOpen")


def test_what_is_repeated_or_at_rest_where_it_was_is_no_news() -> None:
    listener = listening()
    listener.standing["gate"] = Standing(tamper="NotInTamper", contact="Closed")
    assert kinds(listener, told(TAMPER, "NotInTamper"), told(OPEN, "Closed")) == []
    assert kinds(listener, told(TAMPER, "TamperDetected"), told(TAMPER, "TamperDetected", second=1)) == ["tamper"]
    assert kinds(listener, told(TAMPER, "NotInTamper", second=2)) == ["tamper_cleared"]


def test_an_opening_that_the_state_showed_first_is_still_told() -> None:
    listener = listening()
    listener.standing["gate"] = Standing(contact="Open")
    assert kinds(listener, told(OPEN, "Open")) == ["opened"]


def test_what_waited_is_told_as_such_and_does_not_undo_the_state() -> None:
    listener = listening()
    listener.standing["gate"] = Standing(contact="Closed")
    listener.sought = True
    heard = listener.take([told(OPEN, "Open")], at=AT, since=AT + timedelta(seconds=5))
    assert [(event.type, event.backlog) for _, event in heard.events] == [("opened", True)]
    assert listener.standing["gate"].contact == "Closed"


def test_what_is_told_without_being_sought_is_about_now_whatever_its_stamp() -> None:
    listener = listening()
    listener.standing["gate"] = Standing(contact="Closed")
    heard = listener.take([told(OPEN, "Open")], at=AT, since=AT + timedelta(hours=1))
    assert [(event.type, event.backlog) for _, event in heard.events] == [("opened", False)]
    assert listener.standing["gate"].contact == "Open"


def test_the_same_event_has_the_same_id_and_two_in_one_second_differ() -> None:
    def ids() -> list[str]:
        batch = [told(OPEN, "Open"), told(OPEN, "Closed"), told(OPEN, "Open"), told(OPEN, "Closed")]
        return [event.id for _, event in listening().take(batch, at=AT, since=None).events]

    assert ids() == ids()
    assert len(set(ids())) == 4


def test_a_clock_that_was_never_set_makes_no_two_events_or_requests_one() -> None:
    """The same opening and the same card, again and again, before and after a new subscription."""
    batch = [untimed(told(OPEN, "Open")), untimed(told(OPEN, "Closed")), untimed(asking("Request/Anonymous"))] * 2
    ids: list[str] = []
    for listener in (listening("s1"), listening("s2")):
        heard = listener.take(batch, at=AT, since=AT)
        ids += [event.id for _, event in heard.events] + [asked.request.id for asked in heard.asked]
    assert len(set(ids)) == len(ids) == 12


def test_what_the_device_grants_by_itself_explains_an_opening_once() -> None:
    listener = listening(exit_button="E")
    batch = [told("Device/Trigger/DigitalInput", "true", InputToken="E"), told(GRANTED, "", AccessPointToken="B")]
    assert kinds(listener, *batch) == ["exit_button"]
    ours = Notification(topic=GRANTED, source=(("AccessPointToken", "A"),), data=(("External", "true"),))
    assert kinds(listener, ours) == []


@pytest.mark.parametrize(("means", "states"), [("open", ["opened", "closed"]), ("closed", ["closed", "opened"])])
def test_a_contact_at_an_input_may_be_wired_either_way(means: str, states: list[str]) -> None:
    part = DoorPart(relay="R", contact="C", contact_true=means)  # type: ignore[arg-type]
    listener = Listener({"gate": part}, readers={}, subscription="s1")
    listener.standing["gate"] = Standing(contact="?")
    batch = [told("Device/Trigger/DigitalInput", value, InputToken="C") for value in ("true", "false")]
    assert kinds(listener, *batch) == states


def test_power_calls_and_threats_are_told() -> None:
    listener = listening(call="K")
    power = "Device/HardwareFailure/PowerSupplyFailure"
    assert kinds(listener, told(power, "true", Token="m"), told(power, "false", Token="m")) == [
        "mains_lost",
        "mains_back",
    ]
    assert kinds(listener, told("AccessControl/Duress", "", AccessPointToken="A")) == ["duress"]
    heard = listener.take([told("Device/Trigger/DigitalInput", "true", InputToken="K")], at=AT, since=None)
    assert [(asked.request.kind, asked.request.door_id) for asked in heard.asked] == [("call", "gate")]


def asking(topic: str, *, second: float = 0, **data: str) -> Notification:
    return Notification(
        topic=f"AccessControl/{topic}",
        device_at=AT + timedelta(seconds=second),
        source=(("AccessPointToken", "A"),),
        data=tuple(data.items()),
    )


def sought() -> Listener:
    """Return a listener to a device that brings back what it stored."""
    listener = listening()
    listener.sought = True
    return listener


def test_a_request_that_was_decided_or_is_long_over_is_not_asked_again() -> None:
    card = asking("Request/Credential", CredentialToken="7")
    decided = asking("AccessGranted/Credential", second=1, External="true", CredentialToken="7")
    later = AT + timedelta(seconds=10)
    assert sought().take([card, decided], at=AT, since=later).asked == ()
    (stale,) = sought().take([card], at=AT, since=later).asked
    assert stale.request.redelivered
    assert sought().take([card], at=AT, since=AT + timedelta(seconds=31)).asked == ()
    (now,) = listening().take([card], at=AT, since=None).asked
    assert (now.request.redelivered, now.access_point) == (False, "A")


def test_a_request_without_a_time_may_be_old_while_what_was_stored_comes_back() -> None:
    card = untimed(asking("Request/Credential", CredentialToken="7"))
    call = untimed(told("Device/Trigger/DigitalInput", "true", InputToken="K"))
    released = untimed(told("Device/Trigger/DigitalInput", "false", InputToken="K"))

    def redelivered(listener: Listener, *, after_s: float = 0) -> list[bool]:
        heard = listener.take([card, call, released], at=AT + timedelta(seconds=after_s), since=AT)
        return [asked.request.redelivered for asked in heard.asked]

    listener = listening(call="K")
    assert redelivered(listener) == [False, False]
    listener.sought, listener.sought_until = True, AT + timedelta(seconds=30)
    assert redelivered(listener) == [True, True]
    listener.take([], at=AT, since=AT)
    assert redelivered(listener) == [False, False], "an empty pull has brought the last"
    listener.sought, listener.sought_until = True, AT + timedelta(seconds=30)
    assert redelivered(listener, after_s=30) == [False, False], "a device that never rests is not doubted for ever"


def test_a_request_that_the_device_gave_up_awaits_no_answer() -> None:
    heard = listening().take(
        [asking("Request/Credential", CredentialToken="7"), asking("Request/Timeout")], at=AT, since=None
    )
    assert [asked.access_point for asked in heard.asked] == [""]
    assert heard.over == ("A",)


def test_a_presented_value_shows_in_no_representation() -> None:
    value = (("IdentifierType", "pt:PIN"), ("FormatType", "SIMPLE_ALPHA_NUMERIC"), ("IdentifierValue", "3133353739"))
    asking = Notification(topic="AccessControl/Request/Identifier", source=(("AccessPointToken", "A"),), data=value)
    heard = listening().take([asking], at=AT, since=None)
    assert heard.asked[0].request.value == "13579"
    assert "13579" not in repr(asking) + repr(heard)
    assert "3133353739" not in repr(asking) + repr(heard)


def test_an_evacuation_is_not_taken_for_a_door_held_open() -> None:
    standing = Standing(mode="LockedOpen")
    assert standing.snapshot(at=AT, ordered=None).mode == "held_open"
    assert standing.snapshot(at=AT, ordered="evacuating").mode == "evacuating"
    assert standing.snapshot(at=AT, ordered="evacuating").lock == "unlocked"


@given(
    st.lists(
        st.builds(
            told,
            st.sampled_from([OPEN, ALARM, TAMPER, GRANTED, "Device/Trigger/DigitalInput", "Door/State/", "x"]),
            st.sampled_from(["Open", "Closed", "DoorForcedOpen", "Normal", "true", "", "Unknown"]),
            operation=st.sampled_from(["Changed", "Initialized", "Deleted", ""]),
        ),
        max_size=20,
    )
)
def test_whatever_is_told_twice_changes_nothing_twice(batch: list[Notification]) -> None:
    listener = listening()
    first = [event.id for _, event in listener.take(batch, at=AT, since=None).events]
    assert len(set(first)) == len(first)
    fresh = [event.id for _, event in listening().take(batch, at=AT, since=None).events]
    assert fresh == first
