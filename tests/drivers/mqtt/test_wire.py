"""The MQTT door contract's topics and payloads: what is right is read, all else is InvalidInput and nothing worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.door import GiveFeedback, SetMode, UnlockDoor
from drivers.mqtt import wire
from models.doors import Event, Presence, Snapshot
from models.errors import InvalidInput

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HERE = wire.Delivery(door_id="gate", at=AT)
PARSERS: dict[str, Callable[[bytes], object]] = {
    "event": lambda payload: wire.parse_report("event", payload, delivery=HERE),
    "state": lambda payload: wire.parse_report("state", payload, delivery=HERE),
    "online": lambda payload: wire.parse_report("online", payload, delivery=HERE),
    "request": lambda payload: wire.parse_request(payload, delivery=HERE),
    "hello": lambda payload: wire.parse_hello(payload, door_id="gate"),
    "result": lambda payload: wire.parse_result(payload, door_id="gate"),
    "command": lambda payload: wire.parse_command(payload, door_id="gate"),
    "ack": lambda payload: wire.parse_ack(payload, door_id="gate"),
    "mode": lambda payload: wire.parse_mode(payload, door_id="gate"),
}
GOOD: dict[str, dict[str, Any]] = {
    "event": {"id": "e1", "seq": 1, "at": "2026-11-23T11:59:59Z", "type": "forced"},
    "state": {"event_seq": 1, "at": "2026-11-23T11:59:59Z", "contact": "open", "lock": "locked", "mode": "normal"},
    "request": {"id": "r1", "at": "2026-11-23T11:59:59Z", "reader": "in", "kind": "pin", "value": "2468"},
    "hello": {"model": "m", "firmware": "1", "serial": "s", "capabilities": ["contact", "ack", "from-the-future"]},
    "result": {"id": "c1", "ok": True, "at": "2026-11-23T11:59:59Z", "error": None},
    "command": {"id": "c1", "action": "unlock", "attempt": "r1", "hold_s": 5, "valid_ms": 3000},
    "ack": {"seq": 4},
    "mode": {"version": 2, "mode": "locked_down"},
}


def json_of(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("kind", GOOD)
def test_what_the_contract_says_is_read(kind: str) -> None:
    assert PARSERS[kind](json_of(GOOD[kind])) is not None


def test_an_event_keeps_both_clocks() -> None:
    event = wire.parse_report("event", json_of(GOOD["event"]), delivery=HERE)
    assert event == Event(id="e1", seq=1, type="forced", at=AT, device_at=AT - timedelta(seconds=1))


@pytest.mark.parametrize("year", ["0001", "1970", "2000", "9999"])
def test_an_event_of_a_clock_that_was_never_set_counts_without_its_time(year: str) -> None:
    payload = json_of({**GOOD["event"], "at": f"{year}-01-01T00:00:00+08:00"})
    event = wire.parse_report("event", payload, delivery=HERE)
    assert isinstance(event, Event)
    assert event.device_at is None


@pytest.mark.parametrize(
    ("delivery", "more"),
    [({"retained": True}, {}), ({"backlog": True}, {}), ({}, {"kept": True})],
    ids=["retained", "redelivered", "kept by the door"],
)
def test_what_waited_is_marked(delivery: dict[str, bool], more: dict[str, bool]) -> None:
    where = wire.Delivery(door_id="gate", at=AT, **delivery)
    event = wire.parse_report("event", json_of({**GOOD["event"], **more}), delivery=where)
    assert isinstance(event, Event)
    assert event.backlog
    assert wire.parse_request(json_of(GOOD["request"]), delivery=where).redelivered == bool(delivery)


def test_a_state_is_a_snapshot() -> None:
    snapshot = wire.parse_report("state", json_of(GOOD["state"]), delivery=HERE)
    assert snapshot == Snapshot(at=AT, event_seq=1, contact="open", lock="locked", mode="normal", tamper=False)


@pytest.mark.parametrize(("payload", "online"), [(b'"online"', True), (b"online", True), (b'"offline"', False)])
def test_presence(payload: bytes, online: bool) -> None:
    assert wire.parse_report("online", payload, delivery=HERE) == Presence(at=AT, online=online)


def test_unknown_capabilities_are_left_out() -> None:
    assert wire.parse_hello(json_of(GOOD["hello"]), door_id="gate").known == {"contact", "ack"}


@pytest.mark.parametrize("kind", list(GOOD))
def test_a_payload_that_names_another_door_is_refused(kind: str) -> None:
    assert PARSERS[kind](json_of({**GOOD[kind], "door_id": "gate"})) is not None
    with pytest.raises(InvalidInput, match="names door 'other'"):
        PARSERS[kind](json_of({**GOOD[kind], "door_id": "other"}))


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("event", {"id": ""}), ("event", {"id": "x" * 65}), ("event", {"id": "a b"}), ("event", {"id": 7}),
    ("event", {"seq": 0}), ("event", {"seq": -1}), ("event", {"seq": 2**53 + 1}), ("event", {"seq": "1"}),
    ("event", {"seq": 1.5}), ("event", {"seq": True}), ("event", {"type": "exploded"}), ("event", {"at": "yesterday"}),
    ("event", {"at": "2026-11-23T11:59:59"}), ("event", {"at": 1700000000}), ("event", {"detail": "x" * 2001}),
    ("state", {"contact": "ajar"}), ("state", {"battery": 1.5}), ("state", {"event_seq": -1}), ("state", {"tamper": 0}),
    ("request", {"kind": "face"}), ("request", {"reader": "up"}), ("request", {"value": 1234}),
    ("request", {"value": "9" * 513}), ("hello", {"capabilities": ["x"] * 33}), ("hello", {"model": "m" * 129}),
    ("result", {"ok": "yes"}), ("command", {"valid_ms": 0}), ("command", {"hold_s": -1}), ("ack", {"seq": -1}),
    ("mode", {"mode": "party"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), WRONG, ids=[f"{k}-{str(c)[:30]}" for k, c in WRONG])
def test_a_wrong_value_is_refused_with_its_place(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        PARSERS[kind](json_of({**GOOD[kind], **change}))
    assert refused.value.where == kind
    assert next(iter(change)) in refused.value.what


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff\xfe", b"{", b"null", b"[" * 16_000, b'{"a":' * 3000, b"1e999", b'"\\ud800"', b"x" * 16_385,
        b'{"id":"e","seq":1e400,"type":"forced"}', b"\x00" * 100,
    ],
    ids=lambda payload: repr(payload[:12]),
)  # fmt: skip
def test_malformed_bytes_are_refused(kind: str, payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        PARSERS[kind](payload)


def test_an_oversized_payload_is_refused_even_if_it_is_right() -> None:
    payload = json_of(GOOD["event"]) + b" " * wire.MAX_PAYLOAD_BYTES
    with pytest.raises(InvalidInput, match="more than the 16384 allowed"):
        PARSERS["event"](payload)


def test_a_presented_value_is_never_quoted() -> None:
    request = wire.parse_request(json_of(GOOD["request"]), delivery=HERE)
    assert request.value == "2468"
    assert "2468" not in repr(request)
    with pytest.raises(InvalidInput) as refused:
        PARSERS["request"](json_of({**GOOD["request"], "kind": 1}))
    assert "2468" not in str(refused.value)


@given(st.binary(max_size=200), st.sampled_from(sorted(PARSERS)))
def test_any_bytes_are_read_or_refused(payload: bytes, kind: str) -> None:
    _read_or_refuse(kind, payload)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["e1", "forced"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.data(), st.sampled_from(sorted(GOOD)))
def test_any_json_in_the_right_places_is_read_or_refused(data: st.DataObject, kind: str) -> None:
    changes = data.draw(st.dictionaries(st.sampled_from([*GOOD[kind], "door_id"]), _JSON, max_size=4))
    _read_or_refuse(kind, json_of({**GOOD[kind], **changes}))


def _read_or_refuse(kind: str, payload: bytes) -> None:
    try:
        parsed = PARSERS[kind](payload)
    except InvalidInput:
        return
    assert parsed is not None


@pytest.mark.parametrize("kind", wire.FROM_DOOR)
def test_topics_name_a_door_and_a_kind(kind: wire.FromDoor) -> None:
    assert wire.parse_topic(wire.topic_of("gate", kind), doors={"gate"}) == ("gate", kind)


@pytest.mark.parametrize(
    "topic",
    [
        "", "/", "gatehouse/v1/doors/", "gatehouse/v1/doors/gate", "gatehouse/v1/doors//event",
        "gatehouse/v2/doors/gate/event",
        "x/gatehouse/v1/doors/gate/event", "gatehouse/v1/doors/gate/event/more", "gatehouse/v1/doors/gate/command",
        "gatehouse/v1/doors/gate/ack", "gatehouse/v1/doors/ga te/hello", "gatehouse/v1/doors/../event",
        "gatehouse/v1/doors/+/hello",
        "gatehouse/v1/doors/other/event", "gatehouse/v1/doors/" + "g" * 65 + "/hello", "gatehouse/v1/doors/大门/hello",
    ],
)  # fmt: skip
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(InvalidInput):
        wire.parse_topic(topic, doors={"gate"})


@given(st.text(max_size=60))
def test_any_topic_is_read_or_refused(tail: str) -> None:
    try:
        door_id, kind = wire.parse_topic(f"{wire.ROOT}/{tail}", doors={"gate"})
    except InvalidInput:
        return
    assert kind == "hello" or door_id == "gate"


def test_a_door_that_is_not_adopted_may_only_introduce_itself() -> None:
    assert wire.parse_topic(wire.topic_of("new", "hello"), doors=()) == ("new", "hello")


def test_what_the_edge_says_is_what_the_contract_says() -> None:
    unlock = UnlockDoor(id="c1", door_id="gate", attempt="r1", hold_s=5.0, valid_ms=3000)
    assert json.loads(wire.command_payload(unlock, at=AT)) == {
        "id": "c1", "action": "unlock", "attempt": "r1", "hold_s": 5.0, "valid_ms": 3000, "at": "2026-11-23T12:00:00Z",
    }  # fmt: skip
    feedback = GiveFeedback(id="c2", door_id="gate", attempt="r1", ok=False, reason="no_permit")
    assert json.loads(wire.command_payload(feedback, at=AT))["reason"] == "no_permit"
    assert json.loads(wire.ack_payload(7)) == {"seq": 7}
    order = SetMode(door_id="gate", version=3, mode="evacuating")
    assert json.loads(wire.mode_payload(order)) == {"version": 3, "mode": "evacuating"}
