"""MQTT door contract, version 1: topics and payloads to values and back. Pure: no socket, no clock, no broker.

Everything from outside is bounded and parsed once, here; what cannot be read is `InvalidInput` and never another error.
See docs/mqtt.md for the contract.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar, get_args

import msgspec

from drivers.door import Capability, GiveFeedback, SetMode, UnlockDoor, Warn
from models.access import Request
from models.doors import Event, EventType, Presence, Report, Snapshot
from models.errors import InvalidInput
from models.places import check_id

ROOT: Final = "gatehouse/v1/doors"
MAX_PAYLOAD_BYTES: Final = 16 * 1024
MAX_SEQ: Final = 2**53
DETAIL_CHARS: Final = 200
SANE_YEARS: Final = range(2020, 2100)
"""A device's time outside these years is a clock that was never set: the report counts, its time does not."""

FromDoor = Literal["hello", "state", "event", "request", "result", "online"]
ToDoor = Literal["ack", "command", "mode"]
FROM_DOOR: Final[tuple[FromDoor, ...]] = get_args(FromDoor)
TO_DOOR: Final[tuple[ToDoor, ...]] = get_args(ToDoor)
QOS: Final[dict[FromDoor | ToDoor, Literal[0, 1]]] = {
    "hello": 1, "state": 1, "event": 1, "ack": 1, "request": 0, "command": 0, "mode": 1, "result": 1, "online": 1,
}  # fmt: skip
RETAINED: Final = frozenset({"hello", "state", "ack", "mode", "online"})

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
Seq = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
Word = Annotated[str, msgspec.Meta(max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]
Mode = Literal["normal", "locked_down", "evacuating", "held_open"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Hold what any payload may say: the door that it is about, which must be the topic's."""

    door_id: Id | None = None


class Hello(Payload, frozen=True, kw_only=True):
    """Introduce a door: what it is and what it can do. Capabilities that this version does not know are left out."""

    model: Word = ""
    firmware: Word = ""
    serial: Word = ""
    capabilities: Annotated[tuple[Word, ...], msgspec.Meta(max_length=32)]

    @property
    def known(self) -> frozenset[Capability]:
        """Return the capabilities that this version knows."""
        return frozenset(word for word in get_args(Capability) if word in self.capabilities)


class StatePayload(Payload, frozen=True, kw_only=True):
    """Say how a door stands; `event_seq` names its last event."""

    event_seq: Count | None = None
    at: Time | None = None
    contact: Literal["open", "closed", "unknown"]
    lock: Literal["locked", "unlocked", "unknown"]
    mode: Mode | None = None
    tamper: bool = False
    battery: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    mains: bool | None = None


class EventPayload(Payload, frozen=True, kw_only=True):
    """Say that something happened; `kept` marks what a door publishes again after a (re)connection."""

    id: Id
    seq: Seq | None = None
    at: Time | None = None
    type: EventType
    detail: Text = ""
    kept: bool = False


class RequestPayload(Payload, frozen=True, kw_only=True):
    """Say that somebody stands at a reader now. `value` is a secret: it is never logged."""

    id: Id
    at: Time | None = None
    reader: Literal["in", "out"] = "in"
    kind: Literal["card", "pin", "flat_pin", "qr", "button", "call"]
    value: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    format: Word | None = None

    def __repr__(self) -> str:
        return f"RequestPayload(id={self.id!r}, kind={self.kind!r})"


class ResultPayload(Payload, frozen=True, kw_only=True):
    """Answer a command by its id."""

    id: Id
    ok: bool
    at: Time | None = None
    error: Text | None = None


class CommandPayload(Payload, frozen=True, kw_only=True):
    """Ask a door to act now. A door refuses an id that it has seen, and what comes later than `at` + `valid_ms`."""

    id: Id
    action: Literal["unlock", "lock", "feedback", "warn"]
    at: Time | None = None
    attempt: Id | None = None
    hold_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    valid_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 3000
    ok: bool | None = None
    reason: Word | None = None


class AckPayload(Payload, frozen=True, kw_only=True):
    """Say that every event up to `seq` is committed."""

    seq: Count


class ModePayload(Payload, frozen=True, kw_only=True):
    """Name the desired mode; the higher version wins."""

    version: Count
    mode: Mode


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a message came: for which door, when, and whether the wire says that it is not about now."""

    door_id: str
    at: datetime
    retained: bool = False
    backlog: bool = False
    doubted: bool = False
    """True if only its own time can say whether a request is about now."""


P = TypeVar("P", bound=Payload)


def topic_of(door_id: str, kind: FromDoor | ToDoor) -> str:
    """Return the topic of one kind of message of a door."""
    return f"{ROOT}/{door_id}/{kind}"


def parse_topic(topic: str, *, doors: Container[str]) -> tuple[str, FromDoor]:
    """Return the door and the kind of message that a topic names.

    Args:
        topic: as received.
        doors: the adopted doors; only `hello` may come from another.

    Raises:
        InvalidInput: another root, a kind that no door sends, an unusable door id, or a door that is not adopted.
    """
    head, _, rest = topic.partition(f"{ROOT}/")
    door_id, _, kind = rest.partition("/")
    if head or kind not in FROM_DOOR:
        raise InvalidInput("topic", f"use {ROOT}/{{door_id}}/{{{'|'.join(FROM_DOOR)}}}, not {topic[:120]!r}")
    check_id(door_id, "topic")
    if kind != "hello" and door_id not in doors:
        raise InvalidInput("topic", "it is of a door that is not adopted here")
    return door_id, next(known for known in FROM_DOOR if known == kind)


def parse_report(kind: Literal["state", "event", "online"], payload: bytes, *, delivery: Delivery) -> Report:
    """Return what a door reports.

    Raises:
        InvalidInput: the payload is too large, is not the JSON of its kind, or names another door.
    """
    if kind == "online":
        return Presence(at=delivery.at, online=parse_online(payload))
    if kind == "state":
        return _snapshot(_parse(payload, StatePayload, door_id=delivery.door_id), delivery)
    event = _parse(payload, EventPayload, door_id=delivery.door_id)
    return Event(
        id=event.id,
        seq=event.seq,
        type=event.type,
        at=delivery.at,
        device_at=sane(event.at),
        backlog=delivery.backlog or delivery.retained or event.kept,
        detail=event.detail[:DETAIL_CHARS],
    )


def parse_request(payload: bytes, *, delivery: Delivery) -> Request:
    """Return who stands at a reader; flagged redelivered if the wire says that it is not about now.

    Raises:
        InvalidInput: as `parse_report`; the text never quotes a presented value.
    """
    request = _parse(payload, RequestPayload, door_id=delivery.door_id)
    device_at = sane(request.at)
    return Request(
        id=request.id,
        door_id=delivery.door_id,
        kind=request.kind,
        reader=request.reader,
        value=request.value,
        device_at=device_at,
        redelivered=delivery.retained or delivery.backlog or (delivery.doubted and device_at is None),
    )


def parse_hello(payload: bytes, *, door_id: str) -> Hello:
    """Return a door's introduction. Raises `InvalidInput` as `parse_report`."""
    return _parse(payload, Hello, door_id=door_id)


def parse_result(payload: bytes, *, door_id: str) -> ResultPayload:
    """Return a door's answer to a command. Raises `InvalidInput` as `parse_report`."""
    return _parse(payload, ResultPayload, door_id=door_id)


def parse_command(payload: bytes, *, door_id: str) -> CommandPayload:
    """Return what the edge asks of a door (the door's side). Raises `InvalidInput` as `parse_report`."""
    return _parse(payload, CommandPayload, door_id=door_id)


def parse_ack(payload: bytes, *, door_id: str) -> int:
    """Return up to where a door's events are committed (the door's side). Raises `InvalidInput` as `parse_report`."""
    return _parse(payload, AckPayload, door_id=door_id).seq


def parse_mode(payload: bytes, *, door_id: str) -> ModePayload:
    """Return the desired mode (the door's side). Raises `InvalidInput` as `parse_report`."""
    return _parse(payload, ModePayload, door_id=door_id)


def command_payload(order: UnlockDoor | GiveFeedback | Warn, *, at: datetime) -> bytes:
    """Return the payload of a command that is sent at `at`."""
    if isinstance(order, Warn):
        return _compact(CommandPayload(id=order.id, action="warn", at=at, reason=order.reason, valid_ms=order.valid_ms))
    if isinstance(order, UnlockDoor):
        return _compact(
            CommandPayload(
                id=order.id, action="unlock", at=at, attempt=order.attempt, hold_s=order.hold_s, valid_ms=order.valid_ms
            )
        )
    feedback = CommandPayload(
        id=order.id,
        action="feedback",
        at=at,
        attempt=order.attempt,
        ok=order.ok,
        reason=order.reason,
        valid_ms=order.valid_ms,
    )
    return _compact(feedback)


def ack_payload(seq: int) -> bytes:
    """Return the payload that says: everything up to `seq` is committed."""
    return msgspec.json.encode({"seq": seq})


def mode_payload(order: SetMode) -> bytes:
    """Return the payload of a desired mode."""
    return msgspec.json.encode({"version": order.version, "mode": order.mode})


def encode(payload: Payload) -> bytes:
    """Return a payload as JSON without what it does not say (the door's side)."""
    return _compact(payload)


def sane(at: datetime | None) -> datetime | None:
    """Return a device's time in UTC, or None if its clock was evidently never set."""
    if at is None or at.year not in SANE_YEARS:
        return None
    return at.astimezone(UTC)


def _compact(payload: Payload) -> bytes:
    fields = msgspec.structs.asdict(payload)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _snapshot(state: StatePayload, delivery: Delivery) -> Snapshot:
    return Snapshot(
        at=delivery.at,
        event_seq=state.event_seq,
        contact=state.contact,
        lock=state.lock,
        mode=state.mode,
        tamper=state.tamper,
        battery=state.battery,
        mains=state.mains,
        retained=delivery.retained,
    )


def parse_online(payload: bytes) -> bool:
    """Return whether a door says that it is connected. Raises `InvalidInput` for any other word."""
    words = {b'"online"': True, b"online": True, b'"offline"': False, b"offline": False}
    online = words.get(payload.strip()) if len(payload) <= MAX_PAYLOAD_BYTES else None
    if online is None:
        raise InvalidInput("online", 'use "online" or "offline"')
    return online


def _parse(payload: bytes, kind: type[P], *, door_id: str) -> P:
    where = kind.__name__.removesuffix("Payload").lower()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidInput(where, f"{len(payload)} bytes are more than the {MAX_PAYLOAD_BYTES} allowed")
    try:
        parsed = msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(where, str(error)[:DETAIL_CHARS]) from None
    except (ValueError, RecursionError, OverflowError):
        raise InvalidInput(where, "the payload is not JSON in UTF-8") from None
    if parsed.door_id not in (None, door_id):
        raise InvalidInput(where, f"it names door {parsed.door_id!r} on the topic of {door_id!r}")
    return parsed
