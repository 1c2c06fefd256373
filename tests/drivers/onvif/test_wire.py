"""What devices write is read within bounds: XML, topics, times, notifications; and what their events mean at doors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from drivers.onvif.doors import Listener, Standing
from drivers.onvif.endpoint import DoorPart, endpoint_of, same_device, same_host
from drivers.onvif.markup import MAX_ELEMENTS, MAX_XML_BYTES, read_xml
from drivers.onvif.soap import Fault, body_of, unpack
from drivers.onvif.wire import Notification, identifier, moment, normal_topic, read_batch
from models.errors import DeviceRefused, GatehouseError, InvalidInput

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
BASE = "http://192.0.2.10:8080/onvif/device_service"
SECURE = "https://192.0.2.10/onvif/device_service"


# ---- XML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        '<?xml version="1.0" encoding="utf-16-le"?><!DOCTYPE a><a/>'.encode("utf-16-le"),
        b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
        b"<a>" + b" " * MAX_XML_BYTES + b"</a>",
        b"<a>" * 300 + b"</a>" * 300,
        b"",
        b"<html>",
        b"\x00\x01\x02",
    ],
    ids=["bomb", "external", "utf16", "utf16le", "many", "large", "deep", "empty", "cut", "bytes"],
)
def test_hostile_xml_is_refused_and_never_expanded(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_xml(raw, where="192.0.2.10")


@given(st.binary(max_size=500))
def test_no_bytes_lead_to_another_error(raw: bytes) -> None:
    with pytest.raises(GatehouseError):
        unpack(raw, where="192.0.2.10")


FAULT = (
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:ter="urn:t"><e:Body><e:Fault><e:Code>'
    "<e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:InvalidArgs</e:Value><e:Subcode><e:Value>ter:NotFound</e:Value>"
    "</e:Subcode></e:Subcode></e:Code><e:Reason><e:Text>no such door</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"
)


def test_a_fault_tells_its_codes_from_the_outermost_on() -> None:
    with pytest.raises(Fault) as caught:
        unpack(FAULT.encode(), where="192.0.2.10")
    assert caught.value.codes == ("Sender", "InvalidArgs", "NotFound")
    assert "no such door" in caught.value.what
    assert isinstance(caught.value, DeviceRefused)


# ---- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "base", "wanted"),
    [
        ("http://192.0.2.10:8080/onvif/events", BASE, "http://192.0.2.10:8080/onvif/events"),
        ("http://192.0.2.10:9000/onvif/events?id=3", BASE, "http://192.0.2.10:9000/onvif/events?id=3"),
        ("http://10.0.0.1/onvif/events", BASE, "http://192.0.2.10:8080/onvif/events"),
        ("http://192.0.2.10/onvif/events", SECURE, "https://192.0.2.10/onvif/events"),
        ("http://root:secret@192.0.2.10:8080/x", BASE, "http://192.0.2.10:8080/x"),
        ("https://evil.example/x#y", SECURE, "https://192.0.2.10/x"),
    ],
)
def test_an_address_of_a_device_stays_on_the_device(told: str, base: str, wanted: str) -> None:
    assert same_device(told, base=base) == wanted


@pytest.mark.parametrize(
    "told", ["", "file:///etc/passwd", "gopher://192.0.2.10/", "http://[::1", "http://192.0.2.10:99999/"]
)
def test_what_is_no_address_of_http_is_refused(told: str) -> None:
    with pytest.raises(InvalidInput):
        same_device(told, base=BASE)


def test_a_stream_keeps_its_port_and_loses_host_and_credentials() -> None:
    assert same_host("rtsp://a:b@10.0.0.1:554/s?x=1", base=BASE) == "rtsp://192.0.2.10:554/s?x=1"
    for told in ("http://192.0.2.10/s", "rtsp://192.0.2.10/a b", "rtsp://192.0.2.10/" + "a" * 1000, "rtsp://[::"):
        with pytest.raises(InvalidInput):
            same_host(told, base=BASE)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"url": "ftp://192.0.2.10/"}, "driver.url"),
        ({"url": "http://a:b@192.0.2.10/"}, "driver.url"),
        ({"fingerprint": "ab"}, "driver.fingerprint"),
        ({"url": BASE, "fingerprint": "a" * 64}, "driver.url"),
        ({"ca_file": "/nowhere/ca.pem"}, "driver.ca_file"),
        ({"pasword": "x"}, "driver"),
        ({"doors": {"gate": {}}}, "driver.doors.gate"),
        ({"doors": {"gate": {"door": "1"}}, "door": "1"}, "driver.doors"),
        ({"door": "1", "relay": "2"}, "driver.relay"),
        ({"pull_s": 600}, "driver"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        endpoint_of({"url": SECURE, "password": "hunter2", **changes})
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)


def test_a_fingerprint_may_be_written_with_colons_and_nothing_shows_the_password() -> None:
    endpoint = endpoint_of({"url": SECURE, "fingerprint": ":".join(["AB"] * 32), "password": "hunter2"})
    assert endpoint.fingerprint == "ab" * 32
    assert "hunter2" not in repr(endpoint)


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("tns1:Door/State/DoorMode", "Door/State/DoorMode"),
        ("tns1:Door/State/DoorMode/", "Door/State/DoorMode"),
        ("tns1:Door/tns1:State/DoorMode//.", "Door/State/DoorMode"),
        ("tns1:AccessControl/Request/External/Credential", "AccessControl/Request/Credential"),
        ("", ""),
    ],
)
def test_topics_have_one_spelling(told: str, wanted: str) -> None:
    assert normal_topic(told) == wanted


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("SIMPLE_ALPHA_NUMERIC", "3133353739", "13579"),
        ("SIMPLE_NUMBER32", "0000002A", "42"),
        ("WIEGAND26", "7186a61e", "7186A61E"),
        ("", "not hex", "not hex"),
        ("SIMPLE_ALPHA_NUMERIC", "00FF", "00FF"),
    ],
)
def test_identifiers_become_text(kind: str, value: str, wanted: str) -> None:
    assert identifier(kind, value) == wanted


def test_times_are_utc_and_a_clock_that_was_never_set_tells_none() -> None:
    assert moment("2026-11-23T12:00:00Z") == AT
    assert moment("2026-11-23T12:00:00") == AT
    assert moment("2026-11-23T20:00:00+08:00") == AT
    assert [moment(text) for text in ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "soon", "")] == [None] * 4


@given(st.text(max_size=80))
def test_no_text_breaks_the_words(text: str) -> None:
    moment(text), identifier("SIMPLE_NUMBER16", text)
    assert "//" not in normal_topic(text)


def test_a_notification_that_cannot_be_read_costs_only_itself() -> None:
    good = (
        "<w:NotificationMessage><w:Topic>tns1:Door/State/DoorMode</w:Topic><w:Message><t:Message "
        'UtcTime="2026-11-23T12:00:00Z" PropertyOperation="Changed"><t:Source><t:SimpleItem Name="DoorToken" Value="1"/>'
        '</t:Source><t:Data><t:SimpleItem Name="State" Value="Locked"/></t:Data></t:Message></w:Message>'
        "</w:NotificationMessage>"
    )
    raw = (
        '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="urn:w" xmlns:t="urn:t"><e:Body><w:R>'
        "<w:CurrentTime>2026-11-23T12:00:01Z</w:CurrentTime><w:NotificationMessage/>"
        f"<w:NotificationMessage><w:Topic/></w:NotificationMessage>{good}</w:R></e:Body></e:Envelope>"
    )
    batch = read_batch(body_of(unpack(raw.encode(), where="x"), where="x"))
    assert batch.unreadable == 2
    assert batch.now == AT + timedelta(seconds=1)
    (told,) = batch.notifications
    assert (told.topic, told.operation, told.token("DoorToken"), told.value("State")) == (
        "Door/State/DoorMode",
        "Changed",
        "1",
        "Locked",
    )


# ---- doors ----------------------------------------------------------------------------------------------------------


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


def listening(**part: Any) -> Listener:
    return Listener({"gate": DoorPart(door="D", **part)}, readers={"A": ("gate", "in"), "B": ("gate", "out")})


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
    heard = listener.take([told(OPEN, "Open")], at=AT, since=AT + timedelta(seconds=5))
    assert [(event.type, event.backlog) for _, event in heard.events] == [("opened", True)]
    assert listener.standing["gate"].contact == "Closed"


def test_the_same_event_has_the_same_id_and_two_in_one_second_differ() -> None:
    def ids() -> list[str]:
        batch = [told(OPEN, "Open"), told(OPEN, "Closed"), told(OPEN, "Open"), told(OPEN, "Closed")]
        return [event.id for _, event in listening().take(batch, at=AT, since=None).events]

    assert ids() == ids()
    assert len(set(ids())) == 4


def test_what_the_device_grants_by_itself_explains_an_opening_once() -> None:
    listener = listening(exit_button="E")
    batch = [told("Device/Trigger/DigitalInput", "true", InputToken="E"), told(GRANTED, "", AccessPointToken="B")]
    assert kinds(listener, *batch) == ["exit_button"]
    ours = Notification(topic=GRANTED, source=(("AccessPointToken", "A"),), data=(("External", "true"),))
    assert kinds(listener, ours) == []


@pytest.mark.parametrize(("means", "states"), [("open", ["opened", "closed"]), ("closed", ["closed", "opened"])])
def test_a_contact_at_an_input_may_be_wired_either_way(means: str, states: list[str]) -> None:
    listener = Listener({"gate": DoorPart(relay="R", contact="C", contact_true=means)}, readers={})  # type: ignore[arg-type]
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


def test_a_request_that_was_decided_or_is_long_over_is_not_asked_again() -> None:
    card = asking("Request/Credential", CredentialToken="7")
    decided = asking("AccessGranted/Credential", second=1, External="true", CredentialToken="7")
    later = AT + timedelta(seconds=10)
    assert listening().take([card, decided], at=AT, since=later).asked == ()
    (stale,) = listening().take([card], at=AT, since=later).asked
    assert stale.request.redelivered
    assert listening().take([card], at=AT, since=AT + timedelta(seconds=31)).asked == ()
    (now,) = listening().take([card], at=AT, since=None).asked
    assert (now.request.redelivered, now.access_point) == (False, "A")


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


def test_the_xml_of_a_device_is_read_without_its_comments() -> None:
    root = read_xml(b"<a><!-- x --><?y z?><b/></a>", where="x")
    assert [etree.QName(child).localname for child in root] == ["b"]
