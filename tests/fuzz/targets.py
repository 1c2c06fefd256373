"""What is fuzzed: everything that reads bytes from outside, and the errors that it may answer with.

A target is made anew for each run (`make`), so that a fuzzer may watch what it imports, and takes one input at a time.
What it raises beyond `allowed` is a find: it gets a regression test beside the other tests of its module, and is mended.
`python -m tests.fuzz` runs them (docs: CONTRIBUTING.md); a house test feeds each its seeds, without any fuzzer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import msgspec

from models.errors import DeviceRefused, ImageRejected, InvalidInput, ModelFileError, SettingsError

Take = Callable[[bytes], object]
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Say how to make what is fuzzed, what it may raise, and what inputs look like."""

    make: Callable[[], Take]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], Iterator[bytes]]
    bytes_most: int = 4096


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield data in pieces, the first of which says by its first byte how long they are."""
    step = 1 + (data[0] % 64 if data else 0)
    for at in range(1, len(data), step):
        yield data[at : at + step]


# ---- cameras --------------------------------------------------------------------------------------------------------


def _rtsp() -> Take:
    from drivers.rtsp import wire

    def take(data: bytes) -> None:
        reader = wire.Reader()
        for piece in pieces(data):
            for item in reader.feed(piece):
                if isinstance(item, wire.Request):
                    wire.parse_transport(item.headers.get("transport", ""))
                    for kind in ("basic", "digest", "sha256", "both"):
                        wire.authorised(item, kind=kind, user="u", password="p", nonce="n")

    return take


def _rtsp_seeds() -> Iterator[bytes]:
    head = b"SETUP rtsp://host/gate/trackID=0 RTSP/1.0\r\nCSeq: 3\r\n"
    yield b"\x3f" + head + b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1,RTP/AVP;client_port=5000-5001\r\n\r\n"
    digest = (
        b'Authorization: Digest username="u", realm="r", nonce="n", uri="/", response="0", qop=auth, nc=1, cnonce="c"'
    )
    yield b"\x05" + head + digest + b"\r\n\r\n$\x00\x00\x04abcd"
    yield b"\x3f" + head + b"Authorization: Basic dTpw\r\nContent-Length: 5\r\n\r\nhello"


def _rtp() -> Take:
    from drivers.rtsp import rtp, stream_clock

    def take(data: bytes) -> None:
        packets = [rtp.parse_packet(piece) for piece in data.split(b"\xff\xfe\xfd")]
        for unit in rtp.reassemble(packet.payload for packet in packets):
            assert unit, "an empty unit"
        stream_clock.clock_off_s(data, AT.timestamp())

    return take


def _rtp_seeds() -> Iterator[bytes]:
    from drivers.rtsp import rtp

    units = [b"\x67abc", b"\x68de", b"\x65" + bytes(3000)]
    for aggregate in (False, True):
        made = rtp.packets(units, sequence=1, timestamp=2, ssrc=3, aggregate=aggregate)
        yield b"\xff\xfe\xfd".join(packet[:400] for packet in made)


# ---- ONVIF ----------------------------------------------------------------------------------------------------------

EVENTS = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://docs.oasis-open.org/wsn/b-2">'
    "<s:Body><w:PullMessagesResponse><w:CurrentTime>2026-11-24T12:00:00Z</w:CurrentTime>"
    "<w:TerminationTime>2026-11-24T12:01:00Z</w:TerminationTime><w:NotificationMessage>"
    "<w:Topic>tns1:AccessControl/Request/Identifier</w:Topic><w:Message>"
    '<t:Message xmlns:t="http://www.onvif.org/ver10/schema" UtcTime="2026-11-24T12:00:00Z" PropertyOperation="Initialized">'
    '<t:Source><t:SimpleItem Name="AccessPointToken" Value="gate"/></t:Source><t:Data>'
    '<t:SimpleItem Name="IdentifierType" Value="pt:Card"/><t:SimpleItem Name="FormatType" Value="SIMPLE_NUMBER32"/>'
    '<t:SimpleItem Name="IdentifierValue" Value="7186A61E"/></t:Data></t:Message></w:Message></w:NotificationMessage>'
    "</w:PullMessagesResponse></s:Body></s:Envelope>"
)
FAULT = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value>'
    "<s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code><s:Reason><s:Text>no</s:Text></s:Reason>"
    "</s:Fault></s:Body></s:Envelope>"
)
MATCH = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="urn:a" xmlns:d="urn:d"><s:Header>'
    "<a:RelatesTo>q</a:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><a:Address>urn:uuid:1</a:Address>"
    "<d:Scopes>onvif://www.onvif.org/name/A%20B onvif://www.onvif.org/hardware/C</d:Scopes>"
    "<d:XAddrs>http://10.0.0.9:8080/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
)


def _soap() -> Take:
    from drivers.onvif import soap

    def take(data: bytes) -> None:
        soap.body_of(soap.unpack(data, where="device"), where="device")

    return take


def _onvif_events() -> Take:
    from drivers.onvif import soap, wire

    def take(data: bytes) -> None:
        batch = wire.read_batch(soap.body_of(soap.unpack(data, where="device"), where="device"))
        assert len(batch.notifications) <= wire.MAX_NOTIFICATIONS
        for one in batch.notifications:
            assert one.key, repr(one)
            wire.identifier(one.value("FormatType"), one.value("IdentifierValue"))

    return take


def _onvif_discovery() -> Take:
    from drivers.onvif.discovery import match_of

    return lambda data: match_of(data, sender="10.0.0.9", asked=("q",), at=AT)


def _texts(*texts: str) -> Iterator[bytes]:
    return (text.encode() for text in texts)


# ---- MQTT -----------------------------------------------------------------------------------------------------------


def _mqtt() -> Take:
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


def _mqtt_seeds() -> Iterator[bytes]:
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


def _mqtt_maps() -> Take:
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


def _mqtt_own_map() -> Take:
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


def _own_map_seeds() -> Iterator[bytes]:
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


def _osdp_wire() -> Take:
    from drivers.osdp import wire

    def take(data: bytes) -> None:
        frames = wire.Frames()
        for piece in pieces(data):
            for frame in frames.feed(piece):
                wire.data_of(frame)
        frames.forget()

    return take


def _osdp_seeds() -> Iterator[bytes]:
    from drivers.osdp import wire

    yield b"\x3f" + wire.command(0, wire.IDENTIFY, b"\x00") + wire.command(0x81, wire.NAK, b"\x03")
    yield b"\x02\xff\xff" + wire.command(1, wire.POLL, b"") + b"\x53\x00\x08\x00\x04"


def _osdp_words() -> Take:
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


def _osdp_word_seeds() -> Iterator[bytes]:
    from drivers.osdp import messages

    yield b"\x02301#1234#"
    yield messages.encode(messages.Card(address=1, bits=26, raw=b"\x1a\x2b\x3c\x40", at=1.0, waited=False))
    yield messages.encode(messages.Act(number=1, address=1, until=1.0, command=messages.Beep(times=2)))


def _cards() -> Take:
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


def _card_seeds() -> Iterator[bytes]:
    yield from (b"\n7186A61E", b"\n26:1A2B3C40", b'{"id":"f","notation":"facility","frame":26}\n123,45678')
    yield from (
        b'{"id":"f","notation":"decimal","width":4,"reverse":true}\n1904649758',
        b'{"id":"f","frame":34}\n34:3CC53C3D40',
    )
    yield b'{"id":"f","keep":3,"keep_from":"start","width":7}\n04A1B2C3D4E5F6'


# ---- files ----------------------------------------------------------------------------------------------------------


def _dat() -> Take:
    from models.faces import dat
    from models.faces.weights import convert

    def take(data: bytes) -> None:
        for read_layer in dat._LAYERS.values():  # a whole network is too long for an input
            with contextlib.suppress(ModelFileError):
                read_layer(dat._Reader(data, "network.dat"))
        convert(data, file="network.dat")

    return take


def _dat_seeds() -> Iterator[bytes]:
    from models.faces import dat
    from models.faces.weights import model_path

    for file in ("dlib_face_recognition_resnet_model_v1.dat", "mmod_human_face_detector.dat"):
        content = model_path(file).read_bytes()
        yield content[:1000]
        for name in dat._LAYERS:
            if (at := content.find(name.encode())) >= 0:
                yield content[at + len(name) :][:500]


def _onnx() -> Take:
    from models.faces.own_files import OwnNetwork
    from models.faces.own_models import OwnModel

    file = Path(gettempdir()) / "gatehouse-fuzz.onnx"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        OwnNetwork(OwnModel(file=str(file), sha256=digest, id="m", kind="arcface", licence="x"), threads=1)

    return take


def _onnx_seeds() -> Iterator[bytes]:
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    for operator in ("Relu", "GlobalAveragePool", "Flatten"):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [given], [told])
        yield helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _photo() -> Take:
    from models.faces.images import decode_photo

    def take(data: bytes) -> None:
        picture = decode_photo(data, side_px=160)
        assert picture.ndim == 3, "no colour picture"
        assert max(picture.shape[:2]) <= 160, "larger than asked for"

    return take


def _photo_seeds() -> Iterator[bytes]:
    import io

    from PIL import Image

    for format_, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P")):
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new(mode, (64, 48)).save(stream, format_, exif=exif.tobytes())
        yield stream.getvalue()


def _read_by(module: str, function: str) -> Take:
    import importlib

    read = getattr(importlib.import_module(module), function)
    file = Path(gettempdir()) / f"gatehouse-fuzz-{function}.yaml"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        read(file, environment={"SECRET": "s"})

    return take


def _examples(*patterns: str) -> Iterator[bytes]:
    yield b"a: {<<: *x, b: !!binary c}\n---\n&x [${SECRET}, 1e9, ~]"
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield path.read_bytes()


TARGETS: dict[str, Target] = {
    "rtsp": Target(make=_rtsp, allowed=(InvalidInput,), seeds=_rtsp_seeds),
    "rtp": Target(make=_rtp, allowed=(InvalidInput,), seeds=_rtp_seeds),
    "onvif-soap": Target(make=_soap, allowed=(InvalidInput, DeviceRefused), seeds=partial(_texts, EVENTS, FAULT)),
    "onvif-events": Target(make=_onvif_events, allowed=(InvalidInput, DeviceRefused), seeds=partial(_texts, EVENTS)),
    "onvif-discovery": Target(make=_onvif_discovery, allowed=(), seeds=partial(_texts, MATCH)),
    "mqtt": Target(make=_mqtt, allowed=(InvalidInput,), seeds=_mqtt_seeds),
    "mqtt-maps": Target(make=_mqtt_maps, allowed=(InvalidInput,), seeds=lambda: iter(VENDORS)),
    "mqtt-own-map": Target(make=_mqtt_own_map, allowed=(InvalidInput,), seeds=_own_map_seeds),
    "osdp-frames": Target(make=_osdp_wire, allowed=(), seeds=_osdp_seeds),
    "osdp-words": Target(make=_osdp_words, allowed=(), seeds=_osdp_word_seeds),
    "cards": Target(make=_cards, allowed=(InvalidInput,), seeds=_card_seeds, bytes_most=256),
    "dat": Target(make=_dat, allowed=(ModelFileError,), seeds=_dat_seeds),
    "onnx": Target(make=_onnx, allowed=(ModelFileError,), seeds=_onnx_seeds),
    "photo": Target(make=_photo, allowed=(ImageRejected,), seeds=_photo_seeds),
    "scenario": Target(
        make=partial(_read_by, "config.scenario", "read_scenario"), allowed=(SettingsError,), bytes_most=16_384,
        seeds=partial(_examples, "config/scenarios/*.yaml"),
    ),
    "settings": Target(
        make=partial(_read_by, "config.settings", "read_settings"), allowed=(SettingsError,), bytes_most=16_384,
        seeds=partial(_examples, "config/gatehouse.example.yaml"),
    ),
    "site": Target(
        make=partial(_read_by, "config.site", "read_site"), allowed=(SettingsError,), bytes_most=16_384,
        seeds=partial(_examples, "config/site.example.yaml"),
    ),
}  # fmt: skip
"""Every target by its name. No session description is among them: FFmpeg alone reads those of cameras."""


def guarded(target: Target) -> Take:
    """Return what takes one input and raises only what is a find."""
    take = target.make()

    def guard(data: bytes) -> None:
        try:
            take(data)
        except target.allowed:
            return

    return guard
