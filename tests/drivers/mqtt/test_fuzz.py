"""Whatever a door, a stranger or a broker does to the order, number and bytes of messages: counted, never believed twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mqtt import wire
from drivers.mqtt.broker import Account, Users, covers, may
from drivers.mqtt.speech import Arrived, ContractSpeech, Heard
from models.access import Request
from models.doors import DoorState, Event, Presence, Snapshot, advance, committed_through, tick
from models.errors import InvalidInput
from models.events import DoorForced, kind_of
from models.places import Door

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GATE = Door(id="gate", site_id="s", name="g", edge_id="edge")
DOORS = frozenset({"gate", "side"})
TYPES = ("opened", "closed", "forced", "tamper", "tamper_cleared", "exit_button", "duress", "fault", "mains_lost")


def never(_door: str) -> bool:
    return False


def hear(speech: ContractSpeech, topic: str, payload: bytes, *, at: datetime = AT, **how: bool) -> list[Heard]:
    return list(speech.hear(Arrived(topic=topic, payload=payload, at=at, **how), catching_up=never))


def event(seq: int, kind: str) -> bytes:
    at = (AT + timedelta(seconds=seq)).isoformat()
    return json.dumps({"id": f"e{seq}", "seq": seq, "at": at, "type": kind}).encode()


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[list[str], list[int], set[int]]:
    """Return what happened at a door, in which order it arrives (repeats included), and what is lost for good."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=12))
    numbers = list(range(1, len(kinds) + 1))
    lost = set(draw(st.lists(st.sampled_from(numbers), max_size=2)))
    arriving = [number for number in numbers if number not in lost]
    again = draw(st.lists(st.sampled_from(arriving), max_size=6)) if arriving else []
    return kinds, draw(st.permutations(arriving + again)), lost


@settings(deadline=None)
@given(disturbed(), st.booleans())
def test_replayed_reordered_and_lost_events_lead_to_each_fact_once(
    story: tuple[list[str], list[int], set[int]], redelivered: bool
) -> None:
    kinds, order, lost = story
    speech = ContractSpeech(DOORS)
    state = DoorState(door_id="gate", edge_id="edge", online=True, contact="closed")
    facts: list[Any] = []
    seen: set[int] = set()
    at = AT + timedelta(seconds=60)
    for number in order:
        at += timedelta(milliseconds=10)
        payload = event(number, kinds[number - 1])
        [heard] = hear(
            speech, wire.topic_of("gate", "event"), payload, at=at, redelivered=redelivered or number in seen
        )
        seen.add(number)
        assert isinstance(heard.what, Event)
        state, made = advance(state, heard.what, door=GATE)
        facts += made
    for _ in range(40):
        at += timedelta(seconds=5)
        state, made = tick(state, door=GATE, at=at)
        facts += made
    assert max(Counter(fact.id for fact in facts).values(), default=0) <= 1
    told = Counter(kind_of(fact) for fact in facts)
    happened = Counter(kinds[number - 1] for number in seen)
    assert told["duress_reported"] == happened["duress"]
    assert told["door_tampered"] == happened["tamper"]
    assert told["exit_requested"] == happened["exit_button"]
    assert told["mains_lost"] == happened["mains_lost"]
    assert sum(isinstance(fact, DoorForced) for fact in facts) <= happened["opened"] + happened["forced"]
    if not lost:
        assert told["device_gap"] == 0
        assert committed_through(state) == len(kinds)


GARBAGE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 5000, b'{"id":' * 900, b"1e999", b"\x00" * 64]),
    st.dictionaries(
        st.sampled_from(["id", "seq", "type", "at", "door_id", "kind", "value", "contact", "lock", "capabilities", "ok"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["side", "forced", "e1", "open"]),
        max_size=8,
    ).map(lambda fields: json.dumps(fields).encode()),
)  # fmt: skip
TOPICS = st.one_of(
    st.sampled_from([wire.topic_of(door, kind) for door in ("gate", "stranger", "../x") for kind in wire.FROM_DOOR]),
    st.text(max_size=40),
    st.text(max_size=12).map(lambda tail: f"{wire.ROOT}/gate/{tail}"),
)


@settings(max_examples=300, deadline=None)
@given(TOPICS, GARBAGE, st.booleans(), st.booleans())
def test_garbage_on_any_topic_is_refused_or_is_about_the_topics_own_door(
    topic: str, payload: bytes, retained: bool, redelivered: bool
) -> None:
    speech = ContractSpeech(frozenset({"gate"}))
    try:
        said = hear(speech, topic, payload, retained=retained, redelivered=redelivered)
    except InvalidInput:
        return
    for heard in said:
        assert topic.split("/")[3] == heard.door_id
        assert heard.door_id == "gate" or isinstance(heard.what, wire.Hello)
        assert isinstance(heard.what, Event | Snapshot | Presence | Request | wire.Hello | wire.ResultPayload)
        if isinstance(heard.what, Request):
            assert heard.what.redelivered == (retained or redelivered)


@given(st.sampled_from(["event", "state", "request", "hello", "result"]))
def test_a_forged_id_inside_the_payload_is_refused(kind: wire.FromDoor) -> None:
    good: dict[str, dict[str, object]] = {
        "event": {"id": "e", "type": "forced"}, "state": {"contact": "open", "lock": "locked"},
        "request": {"id": "r", "kind": "card", "value": "1"}, "hello": {"capabilities": []}, "result": {"id": "c", "ok": True},
    }  # fmt: skip
    speech = ContractSpeech(DOORS)
    assert hear(speech, wire.topic_of("gate", kind), json.dumps({**good[kind], "door_id": "gate"}).encode())
    with pytest.raises(InvalidInput, match="names door 'side'"):
        hear(speech, wire.topic_of("gate", kind), json.dumps({**good[kind], "door_id": "side"}).encode())


NAMES = st.text(st.sampled_from("ab/+#$"), min_size=1, max_size=9)


@settings(max_examples=300)
@given(own=NAMES, topic=NAMES)
def test_what_covers_a_topic_is_what_mqtt_says(own: str, topic: str) -> None:
    exact = set(own.removesuffix("/#")) | set(topic)
    if exact & set("+#") or (own.endswith("#") and not own.endswith("/#")):
        return
    levels = own.split("/")
    wanted = topic.split("/")[: len(levels) - 1] == levels[:-1] if levels[-1] == "#" else topic == own
    assert covers(own, topic) == wanted


@given(st.sampled_from(["#", "+/#", f"{wire.ROOT}/#", f"{wire.ROOT}/+/event", "$SYS/#"]), st.booleans())
def test_no_door_is_given_a_wildcard(topic: str, write: bool) -> None:
    users = Users(edge=Account(password="x"), doors={"gate": "x"})
    assert not may(users, "gate", topic=topic, write=write)
    assert not may(users, "", topic=topic, write=write)
