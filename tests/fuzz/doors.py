"""Doors: what is read of their MQTT, of vendors' devices by maps, of OSDP readers, and of cards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from tests.fuzz.target import Take, pieces

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


# ---- MQTT -----------------------------------------------------------------------------------------------------------


def mqtt() -> Take:
    from drivers.mqtt import wire

    delivery = wire.Delivery(door_id="gate", at=AT)
    readers: dict[str, Take] = {
        "hello": partial(wire.parse_hello, door_id="gate"),
        "state": partial(wire.parse_report, "state", delivery=delivery),
        "event": partial(wire.parse_report, "event", delivery=delivery),
        "online": partial(wire.parse_report, "online", delivery=delivery),
        "request": partial(wire.parse_request, delivery=delivery),
        "result": partial(wire.parse_result, door_id="gate"),
        "ack": partial(wire.parse_ack, door_id="gate"),
        "mode": partial(wire.parse_mode, door_id="gate"),
        "command": partial(wire.parse_command, door_id="gate"),
    }

    def take(data: bytes) -> None:
        topic, _, payload = data.partition(b"\n")
        kind = topic.decode("utf-8", "replace")
        if kind not in wire.TO_DOOR:
            kind = wire.parse_topic(kind, doors={"gate"})[1]
        readers[kind](payload)

    return take


def mqtt_seeds() -> Iterator[bytes]:
    told: dict[str, object] = {
        "hello": {"model": "m", "capabilities": ["ack", "relay"]},
        "state": {"contact": "closed", "lock": "locked", "event_seq": 3, "battery": 0.5, "at": "2026-11-24T12:00:00Z"},
        "event": {"id": "e", "seq": 3, "type": "forced", "kept": True, "at": "2026-11-24T12:00:00+08:00"},
        "request": {"id": "r", "kind": "flat_pin", "value": "301#1234", "reader": "in"},
        "result": {"id": "c", "ok": False, "error": "jammed"},
        "online": "online",
    }
    for kind, payload in told.items():
        yield f"gatehouse/v1/doors/gate/{kind}\n{json.dumps(payload)}".encode()
    yield b'command\n{"id":"c","action":"unlock","hold_s":5,"valid_ms":3000}'
    yield b'ack\n{"seq":9}'
    yield b'mode\n{"version":2,"mode":"locked_down"}'


NAMES = {"contact": "c", "tamper": "t", "card": "n", "pin": "p", "exit": "1", "status": "s", "keypad": "k"}
VENDORS = (
    b"\x00" + b'{"id":1,"error":{"message":"no"},"params":{"switch:0":{"output":true},"events":[{"component":"input:1"}]}}',
    b"\x01ON", b'\x00{"PN532":{"UID":"7186A61E"},"Switchc":{"Action":"ON"}}',
    b'\xff{"state":"UNLOCK","battery":12.5,"contact":false,"tamper":true,"lock_state":"not_fully_locked","action_code":1}',
)  # fmt: skip


def mqtt_maps() -> Take:
    from drivers.mqtt.mapped import MappedSpeech
    from drivers.mqtt.maps import load_map, shipped
    from drivers.mqtt.speech import Arrived

    speeches = []
    for name in shipped():
        known = load_map(name)
        speeches.append(
            MappedSpeech(frozenset({"gate"}), known=known, names={k: v for k, v in NAMES.items() if k in known.names})
        )

    def take(data: bytes) -> None:
        for speech in speeches:
            for topic, _ in speech.topics():
                message = Arrived(topic=topic, payload=data[1:], at=AT, retained=bool(data[:1] > b"\x80"))
                for heard in speech.hear(message, catching_up=lambda _: False):
                    assert heard.door_id == "gate"

    return take


def mqtt_own_map() -> Take:
    from drivers.mqtt.mapped import MappedSpeech
    from drivers.mqtt.maps import load_map
    from drivers.mqtt.speech import Arrived

    def take(data: bytes) -> None:
        try:
            told: Any = json.loads(data)
        except (ValueError, RecursionError):
            return
        told = told if isinstance(told, dict) else {}
        speech = MappedSpeech(frozenset({"gate"}), known=load_map(told.get("map")), names=told.get("names"))
        payload = json.dumps(told.get("payload")).encode()
        for topic, _ in speech.topics():
            list(speech.hear(Arrived(topic=topic, payload=payload, at=AT), catching_up=lambda _: False))

    return take


def own_map_seeds() -> Iterator[bytes]:
    rule = {
        "topic": "{device}/state", "state": {"lock": {"from": "params.lock", "words": {"1": "locked", "0": "unlocked"}}},
        "events": [{"when": "contains(to_string(@), 'x') && abs(n) > `1`", "type": "forced"}],
        "request": {"when": "card != `null`", "kind": "card", "value": "card"}, "result": {"when": "id == `1`", "number": "id"},
    }  # fmt: skip
    says = {"unlock": {"topic": "{device}/set", "payload": '{"id":{number},"s":{hold_s}}'}}
    known = {"names": {"device": "{door}"}, "hears": [rule], "says": says}
    payload = {"params": {"lock": 1}, "n": -2.5, "card": "1F", "id": 1}
    yield json.dumps({"map": known, "names": {"device": "d"}, "payload": payload}).encode()
    yield b'{"map":"shelly","names":{"contact":"0"},"payload":[]}'


# ---- OSDP and cards -------------------------------------------------------------------------------------------------


def osdp_wire() -> Take:
    from drivers.osdp import wire

    def take(data: bytes) -> None:
        frames = wire.Frames()
        for piece in pieces(data):
            for frame in frames.feed(piece):
                wire.data_of(frame)
        frames.forget()

    return take


def osdp_seeds() -> Iterator[bytes]:
    from drivers.osdp import wire

    yield b"\x3f" + wire.command(0, wire.IDENTIFY, data=b"\x00") + wire.command(0x81, wire.NAK, data=b"\x03")
    yield b"\x02\xff\xff" + wire.command(1, wire.POLL, data=b"") + b"\x53\x00\x08\x00\x04"


def osdp_words() -> Take:
    from drivers.osdp import messages
    from drivers.osdp.keypad import Keypad

    def take(data: bytes) -> None:
        for pad in (Keypad("pin"), Keypad("flat_pin"), Keypad("off")):
            for at, piece in enumerate(pieces(data)):
                for typed in pad.press(piece, at=at * 0.9):
                    assert set(typed) <= set("0123456789#"), "no digits"
        for read in (messages.to_panel, messages.from_panel):
            try:
                repr(read(data))
            except msgspec.MsgspecError:
                continue

    return take


def osdp_word_seeds() -> Iterator[bytes]:
    from drivers.osdp import messages

    yield b"\x02301#1234#"
    yield messages.encode(messages.Card(address=1, bits=26, raw=b"\x1a\x2b\x3c\x40", at=1.0, waited=False))
    yield messages.encode(messages.Act(number=1, address=1, until=1.0, command=messages.Beep(times=2)))


def cards() -> Take:
    from models.cards import AS_IT_COMES, CardFormat, canonical_reading, check_format
    from models.people import canonical_card

    def take(data: bytes) -> None:
        told, _, text = data.partition(b"\n")
        by = AS_IT_COMES
        if told:
            try:
                by = check_format(msgspec.json.decode(told, type=CardFormat))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return
        kept = canonical_reading(text.decode("utf-8", "replace"), by)
        assert canonical_card(kept) == kept, "a canonical number is its own canonical form"

    return take


def card_seeds() -> Iterator[bytes]:
    yield from (b"\n7186A61E", b"\n26:1A2B3C40", b'{"id":"f","notation":"facility","frame":26}\n123,45678')
    yield from (
        b'{"id":"f","notation":"decimal","width":4,"reverse":true}\n1904649758',
        b'{"id":"f","frame":34}\n34:3CC53C3D40',
    )
    yield b'{"id":"f","keep":3,"keep_from":"start","width":7}\n04A1B2C3D4E5F6'
