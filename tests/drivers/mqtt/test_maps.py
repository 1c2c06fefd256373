"""Vendor maps: what devices publish by their makers' documentation becomes what a door says, and orders become theirs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog import open_door
from drivers.door import GiveFeedback, SetMode, UnlockDoor, Warn
from drivers.mqtt import wire
from drivers.mqtt.expressions import MAX_CHARS, Compiled
from drivers.mqtt.mapped import MappedSpeech
from drivers.mqtt.maps import load_map, shipped
from drivers.mqtt.speech import Arrived, Outgoing
from models.access import Request
from models.doors import Event, Presence, Snapshot
from models.errors import InvalidInput

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UNLOCK = UnlockDoor(id="u1", door_id="gate", attempt=None, hold_s=5.0, valid_ms=3000)


class Door:
    """One door behind a map; every message is a second later than the one before."""

    def __init__(self, known: object, **names: str) -> None:
        self.speech = MappedSpeech(frozenset({"gate"}), known=load_map(known), names=names)
        self.at = AT

    def hear(self, topic: str, payload: object, *, waited: bool = False, **how: bool) -> list[Any]:
        raw = (
            payload
            if isinstance(payload, bytes)
            else (payload if isinstance(payload, str) else json.dumps(payload)).encode()
        )
        self.at += timedelta(seconds=1)
        message = Arrived(topic=topic, payload=raw, at=self.at, **how)
        return [heard.what for heard in self.speech.hear(message, catching_up=lambda _: waited)]

    def can(self) -> set[str]:
        return set(self.speech.capabilities("gate") or ())

    def say(self, order: Any = UNLOCK) -> Outgoing:
        outgoing = self.speech.say(order, at=self.at)
        assert outgoing is not None
        return outgoing


def events(said: list[Any]) -> list[str]:
    return [what.type for what in said if isinstance(what, Event)]


def results(said: list[Any]) -> list[Any]:
    return [what for what in said if isinstance(what, wire.ResultPayload)]


def snapshot(said: list[Any]) -> Snapshot:
    found = [what for what in said if isinstance(what, Snapshot)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_map_opens_a_door_with_nothing_but_its_id(name: str) -> None:
    outgoing = Door(name).say()
    assert "{" not in outgoing.topic
    assert "gate" in outgoing.topic


def test_tasmota() -> None:
    door = Door("tasmota", device="tasmota_4D2A11", contact="1")
    assert door.can() == {"contact", "lock", "card"}
    assert door.hear("tele/tasmota_4D2A11/LWT", "Online", retained=True) == [Presence(at=door.at, online=True)]
    assert door.hear("tele/tasmota_4D2A11/LWT", "Offline") == [Presence(at=door.at, online=False)]
    outgoing = door.say()
    assert (outgoing.topic, outgoing.payload) == ("cmnd/tasmota_4D2A11/Backlog0", b"Power 1; Delay 50; Power 0")
    said = door.hear("stat/tasmota_4D2A11/POWER", "ON")
    assert results(said) == [wire.ResultPayload(id="u1", ok=True)]
    assert snapshot(said).lock == "unlocked"
    assert snapshot(door.hear("stat/tasmota_4D2A11/POWER", "OFF")).lock == "locked"
    sensor = {"Time": "2026-11-23T12:00:00", "Switch1": "OFF"}
    assert events(door.hear("tele/tasmota_4D2A11/SENSOR", sensor)) == []
    assert events(door.hear("stat/tasmota_4D2A11/RESULT", {"Switch1": {"Action": "ON"}})) == ["opened"]
    assert events(door.hear("stat/tasmota_4D2A11/RESULT", {"Switch1": {"Action": "OFF"}})) == ["closed"]
    assert door.hear("stat/tasmota_4D2A11/RESULT", {"POWER": "ON"}) == []
    card = {"Time": "2026-11-23T12:00:01", "PN532": {"UID": "5C23F4A1", "DATA": ""}}
    [request] = door.hear("tele/tasmota_4D2A11/SENSOR", card)
    assert isinstance(request, Request)
    assert (request.kind, request.value, request.redelivered) == ("card", "5C23F4A1", False)


def test_a_tasmota_with_several_relays() -> None:
    door = Door("tasmota", device="t1", relay="2")
    assert door.say().payload == b"Power2 1; Delay 50; Power2 0"
    assert "stat/t1/POWER2" in dict(door.speech.topics())
    assert "contact" not in door.can()


def test_shelly() -> None:
    door = Door("shelly", device="shellypro1-30c6f7850a64", contact="0", exit="1")
    outgoing = door.say()
    asked = json.loads(outgoing.payload)
    assert outgoing.topic == "shellypro1-30c6f7850a64/rpc"
    assert asked["params"] == {"id": 0, "on": True, "toggle_after": 5}
    reply = {"id": asked["id"], "src": "shellypro1-30c6f7850a64", "dst": asked["src"], "result": {"was_on": False}}
    assert results(door.hear("gatehouse/gate/rpc", {**reply, "id": 1})) == []
    assert results(door.hear("gatehouse/gate/rpc", reply)) == [wire.ResultPayload(id="u1", ok=True)]
    assert results(door.hear("gatehouse/gate/rpc", reply)) == []
    notice = {"src": "shellypro1-30c6f7850a64", "dst": "shellypro1-30c6f7850a64/events", "method": "NotifyStatus"}
    switched = {**notice, "params": {"ts": 1795435200.1, "switch:0": {"id": 0, "output": True, "source": "MQTT"}}}
    assert snapshot(door.hear("shellypro1-30c6f7850a64/events/rpc", switched)).lock == "unlocked"
    status = {"id": 0, "state": True}
    assert snapshot(door.hear("shellypro1-30c6f7850a64/status/input:0", status)).contact == "closed"
    opened = {**notice, "params": {"ts": 1795435202.5, "input:0": {"id": 0, "state": False}}}
    assert events(door.hear("shellypro1-30c6f7850a64/events/rpc", opened)) == ["opened"]
    pressed = {"component": "input:1", "id": 1, "event": "btn_down", "ts": 1795435203.0}
    pushed = {**notice, "method": "NotifyEvent", "params": {"ts": 1795435203.0, "events": [pressed]}}
    assert events(door.hear("shellypro1-30c6f7850a64/events/rpc", pushed)) == ["exit_button"]
    assert events(door.hear("shellypro1-30c6f7850a64/events/rpc", pushed)) == ["exit_button"]


def test_a_shelly_that_refuses_says_why() -> None:
    door = Door("shelly", device="s1")
    number = json.loads(door.say().payload)["id"]
    reply = {"id": number, "src": "s1", "error": {"code": -105, "message": "Argument 'id', value 0 not found!"}}
    [result] = results(door.hear("gatehouse/gate/rpc", reply))
    assert (result.ok, result.error) == (False, "Argument 'id', value 0 not found!")


def test_esphome() -> None:
    door = Door("esphome", device="gatehouse-node", lock="front", contact="leaf", tamper="lid", card="tag", pin="code")
    assert door.can() == {"contact", "lock", "tamper", "card", "pin"}
    outgoing = door.say()
    assert (outgoing.topic, outgoing.payload) == ("gatehouse-node/lock/front/command", b"UNLOCK")
    assert results(door.hear("gatehouse-node/lock/front/state", "UNLOCKING")) == []
    assert results(door.hear("gatehouse-node/lock/front/state", "UNLOCKED"))[0].id == "u1"
    assert events(door.hear("gatehouse-node/lock/front/state", "JAMMED")) == ["fault"]
    assert events(door.hear("gatehouse-node/lock/front/state", "JAMMED")) == []
    assert events(door.hear("gatehouse-node/lock/front/state", "LOCKED")) == ["fault_cleared"]
    assert events(door.hear("gatehouse-node/binary_sensor/lid/state", "OFF")) == []
    assert events(door.hear("gatehouse-node/binary_sensor/lid/state", "ON")) == ["tamper"]
    [request] = door.hear("gatehouse-node/sensor/tag/state", "74-10-37-94", retained=True)
    assert (request.value, request.redelivered) == ("74-10-37-94", True)  # a kept card opens nothing
    assert door.hear("gatehouse-node/sensor/code/state", "") == []
    [request] = door.hear("gatehouse-node/sensor/code/state", "2468")
    assert request.kind == "pin"
    assert "2468" not in repr(request)


def test_zigbee2mqtt() -> None:
    door = Door("zigbee2mqtt", device="gate strike", contact="gate_contact", keypad="keypad")
    outgoing = door.say()
    assert outgoing.topic == "zigbee2mqtt/gate strike/set"
    assert json.loads(outgoing.payload) == {"state": "ON", "on_time": 5, "off_wait_time": 0}
    assert results(door.hear("zigbee2mqtt/gate strike", {"state": "ON", "linkquality": 120}))[0].ok
    seen = {"battery": 97, "battery_low": False, "contact": True, "linkquality": 134, "tamper": False, "voltage": 2900}
    said = door.hear("zigbee2mqtt/gate_contact", seen)
    assert (events(said), snapshot(said).contact, snapshot(said).battery) == ([], "closed", 0.97)
    assert events(door.hear("zigbee2mqtt/gate_contact", {**seen, "contact": False})) == ["opened"]
    assert events(door.hear("zigbee2mqtt/gate_contact", {**seen, "contact": False, "linkquality": 90})) == []
    weak = {**seen, "tamper": True, "battery_low": True}
    assert sorted(events(door.hear("zigbee2mqtt/gate_contact", weak))) == ["battery_low", "closed", "tamper"]
    asked = {"action": "disarm", "action_code": "2468", "action_zone": 0, "action_transaction": 12, "battery": 100}
    [request] = door.hear("zigbee2mqtt/keypad", asked)
    assert (request.kind, request.value) == ("pin", "2468")
    assert door.hear("zigbee2mqtt/keypad", {"action": "arm_all_zones", "action_code": None}) == []
    assert door.hear("zigbee2mqtt/gate strike/availability", {"state": "offline"})[0].online is False
    assert door.hear("zigbee2mqtt/bridge/state", {"state": "online"})[0].online is False  # the device is still away


def test_a_lock_on_zigbee2mqtt() -> None:
    door = Door("zigbee2mqtt-lock", device="yale")
    assert json.loads(door.say().payload) == {"state": "UNLOCK"}
    said = door.hear("zigbee2mqtt/yale", {"state": "UNLOCK", "lock_state": "unlocked", "battery": 8})
    assert results(said)[0].ok
    assert events(said) == ["battery_low"]
    assert events(
        door.hear("zigbee2mqtt/yale", {"state": "LOCK", "lock_state": "not_fully_locked", "battery": 90})
    ) == [
        "fault",
        "battery_ok",
    ]


@pytest.mark.parametrize(
    ("name", "names", "asking"),
    [
        ("esphome", {"device": "n", "contact": "c", "card": "a", "pin": "b"}, {"n/sensor/a/state", "n/sensor/b/state"}),
        ("zigbee2mqtt", {"contact": "c", "keypad": "k"}, {"zigbee2mqtt/k"}),
        ("zigbee2mqtt", {"contact": "k", "keypad": "k"}, set()),  # its contact is on the same topic
        ("tasmota", {"device": "t", "contact": "1"}, set()),
        ("tasmota", {"device": "t"}, {"tele/t/SENSOR"}),
    ],
)  # fmt: skip
def test_the_broker_keeps_nothing_of_a_topic_that_only_asks(name: str, names: dict[str, str], asking: set[str]) -> None:
    topics = dict(Door(name, **names).speech.topics())
    assert {topic for topic, qos in topics.items() if qos == 0} == asking


def test_a_card_that_may_have_waited_for_us_is_not_of_now() -> None:
    door = Door("tasmota", device="t", contact="1")
    card = {"Switch1": "OFF", "PN532": {"UID": "5C23F4A1"}}

    def flagged(**how: bool) -> list[bool]:
        return [what.redelivered for what in door.hear("tele/t/SENSOR", card, **how) if isinstance(what, Request)]

    assert flagged() == [False]
    assert [flagged(waited=True), flagged(redelivered=True), flagged(retained=True)] == [[True]] * 3


def test_a_bare_relay_is_pulsed_and_confirms_nothing() -> None:
    door = Door("relay", topic="yard/gate/set", payload="pulse")
    outgoing = door.say()
    assert outgoing == Outgoing(topic="yard/gate/set", payload=b"pulse", answered=False, dated=False)
    assert door.can() == {"relay"}
    assert door.speech.topics() == []
    assert door.speech.say_mode(SetMode(door_id="gate", version=1, mode="locked_down")) is None
    assert door.speech.say(GiveFeedback(id="f", door_id="gate", attempt="a", ok=False, reason="no"), at=AT) is None
    assert door.speech.say(Warn(id="w", door_id="gate", reason="held_soon"), at=AT) is None


def test_a_state_from_before_raises_no_alarm_and_what_waited_is_marked() -> None:
    door = Door("zigbee2mqtt", contact="c")
    assert events(door.hear("zigbee2mqtt/c", {"contact": False}, retained=True)) == []
    door = Door("zigbee2mqtt", contact="c")
    assert events(door.hear("zigbee2mqtt/c", {"contact": False})) == []  # nothing tells that it was closed before
    door = Door("zigbee2mqtt", contact="c")
    said = door.hear("zigbee2mqtt/c", {"contact": False}, redelivered=True)
    assert [event.backlog for event in said if isinstance(event, Event)] == [True]
    assert events(Door("zigbee2mqtt", contact="c").hear("zigbee2mqtt/c", {"contact": False}, waited=True)) == ["opened"]


def test_an_unknown_contact_hides_no_opening() -> None:
    own = {
        "hears": [{"topic": "t", "payload": "text", "state": {"contact": "@"}}],
        "says": {"unlock": {"topic": "t/set"}},
    }
    door = Door(own)
    assert events(door.hear("t", "closed")) == []
    assert events(door.hear("t", "unknown")) == []
    assert events(door.hear("t", "open")) == ["opened"]


def test_one_part_that_cannot_be_read_costs_the_others_nothing() -> None:
    door = Door("shelly", device="s", contact="0")
    said = door.hear("s/events/rpc", {"params": {"switch:0": {"output": "smoke"}, "input:0": {"state": True}}})
    assert [type(what) for what in said] == [InvalidInput, Snapshot]
    assert snapshot(said).contact == "closed"


def test_two_events_never_share_an_id() -> None:
    door = Door("zigbee2mqtt", contact="c")
    for state in (True, False, True, False):
        said = door.hear("zigbee2mqtt/c", {"contact": state}, waited=True)
    ids = {
        what.id for _ in range(3) for what in door.hear("zigbee2mqtt/c", {"contact": True}) if isinstance(what, Event)
    }
    ids |= {what.id for what in said if isinstance(what, Event)}
    assert len(ids) == 2


def test_the_maps_on_the_page_can_be_used() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text()
    examples = [yaml.safe_load(text)["driver"] for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(examples) == 2
    for settings in examples:
        driver = open_door(settings, doors=("gate",), client_id="edge", now=lambda: AT)
        assert {"contact"} < set(driver.capabilities("gate") or ())


SAYS = {"unlock": {"topic": "t"}}
WRONG: list[tuple[object, str]] = [
    ("homematic", "use esphome"), (7, "Expected `object`"), ({}, "says"), ({"says": SAYS, "typo": 1}, "typo"),
    ({"says": {"unlock": {"topic": "a/+/b"}}}, "is no topic"), ({"says": {"unlock": {"topic": "{else}"}}}, "not among"),
    ({"says": {"unlock": {"topic": "$SYS/x"}}}, "is no topic"), ({"says": {"unlock": {"topic": "t", "payload": "{x}"}}}, "{x}"),
    ({"says": SAYS, "hears": [{"topic": "#"}]}, "is no topic"), ({"says": SAYS, "hears": [{"topic": "t"}] * 33}, "length <= 32"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "a ="}]}, "is not JMESPath"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "x" * (MAX_CHARS + 1)}]}, "length <= 300"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "[*].a"}]}, "single values"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "[@,@][]|[@,@][]"}]}, "single values"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "sort(@)"}]}, "use one of"),
    ({"says": SAYS, "hears": [{"topic": "t", "online": "&a"}]}, "single values"),
    ({"says": SAYS, "hears": [{"topic": "t", "state": {"colour": "a"}}]}, "colour"),
    ({"says": SAYS, "hears": [{"topic": "t", "events": [{"when": "a", "type": "exploded"}]}]}, "exploded"),
    ({"says": SAYS, "names": {"UPPER": "x"}}, "matching regex"), ({"says": SAYS, "names": {"a": 'x"'}}, "quotation"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "hint"), WRONG, ids=[str(wanted)[:50] for wanted, _ in WRONG])
def test_a_map_that_cannot_be_used_is_refused_with_its_reason(wanted: object, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Door(wanted)
    assert hint in str(refused.value)
    assert refused.value.where.startswith("driver.")


@pytest.mark.parametrize(
    "names",
    [{"device": "a/#"}, {"device": 'a"b'}, {"device": "a\nb"}, {"nonsense": "a"}, {"device": "x" * 129}, "text"],
)
def test_names_that_would_break_a_topic_or_a_payload_are_refused(names: object) -> None:
    with pytest.raises(InvalidInput):
        open_door({"kind": "mqtt", "map": "tasmota", "names": names}, doors=("gate",), client_id="e", now=lambda: AT)


def test_an_expression_takes_no_list_apart_and_no_object_for_a_value() -> None:
    assert Compiled("a[0].b")({"a": [{"b": 3}]}) == 3
    assert Compiled("a", times=0.5)({"a": 3}) == 1.5
    assert Compiled("a", words={"3": "three"})({"a": 3.0}) == "three"
    several: list[object] = [{}, [1]]
    for inner in several:
        with pytest.raises(InvalidInput, match="not a single value"):
            Compiled("a")({"a": inner})
    with pytest.raises(InvalidInput, match="no meaning"):
        Compiled("a", words={"ON": True})({"a": "secret"})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["ON", "LOCK", "online"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["state", "contact", "battery", "tamper", "params", "switch:0", "input:0", "output", "id", "error",
                             "events", "Switch1", "Action", "PN532", "UID", "action_code", "battery_low", "lock_state"]),
            inner, max_size=5,
        )
    ),
    max_leaves=14,
)  # fmt: skip
NAMES = {
    "tasmota": {"contact": "1"}, "shelly": {"contact": "0", "exit": "1"}, "zigbee2mqtt": {"contact": "c", "keypad": "k"},
    "zigbee2mqtt-lock": {"contact": "c"}, "relay": {"status": "s"},
    "esphome": {"contact": "c", "tamper": "t", "card": "k", "pin": "p"},
}  # fmt: skip


@pytest.mark.parametrize("name", shipped())
@given(data=st.data())
def test_any_payload_is_read_or_refused_and_says_only_what_a_door_may_say(name: str, data: st.DataObject) -> None:
    door = Door(name, **NAMES[name])
    door.say()
    for _ in range(data.draw(st.integers(1, 5))):
        topic = data.draw(st.sampled_from([topic for topic, _ in door.speech.topics()]))
        payload = data.draw(st.binary(max_size=30) | _JSON.map(lambda value: json.dumps(value).encode()))
        try:
            said = door.hear(topic, payload, redelivered=data.draw(st.booleans()), retained=data.draw(st.booleans()))
        except InvalidInput:
            continue
        for what in said:
            if isinstance(what, Snapshot):
                assert what.contact in {"open", "closed", "unknown"}
                assert what.battery is None or 0 <= what.battery <= 1
            if isinstance(what, Request):
                assert what.value is None or len(what.value) <= 512


def test_an_oversized_payload_is_refused_before_it_is_parsed() -> None:
    door = Door("zigbee2mqtt", contact="c")
    with pytest.raises(InvalidInput, match="more than the 16384"):
        door.hear("zigbee2mqtt/c", b'{"contact":false}' + b" " * wire.MAX_PAYLOAD_BYTES)
    with pytest.raises(InvalidInput, match="not JSON"):
        door.hear("zigbee2mqtt/c", b"[" * 16_000)
