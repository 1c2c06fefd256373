"""What devices write is read within bounds: XML, addresses, topics, times, notifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from drivers.onvif.endpoint import endpoint_of, same_device, same_host
from drivers.onvif.markup import MAX_ELEMENTS, MAX_XML_BYTES, read_xml
from drivers.onvif.soap import Fault, body_of, unpack
from drivers.onvif.wire import identifier, moment, normal_topic, read_batch
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


def test_the_xml_of_a_device_is_read_without_its_comments() -> None:
    root = read_xml(b"<a><!-- x --><?y z?><b/></a>", where="x")
    assert [etree.QName(child).localname for child in root] == ["b"]
