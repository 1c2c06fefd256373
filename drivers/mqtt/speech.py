"""What the driver and a door say to each other on the wire: the door contract here, a vendor's own words in mapped.py.

A speech turns messages into reports, requests, introductions and results, and orders into messages. No socket, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from drivers.door import Capability, GiveFeedback, SetMode, UnlockDoor, Warn
from drivers.mqtt import wire
from models.access import Request
from models.doors import Report
from models.errors import InvalidInput

ANNOUNCED: Final = 1000


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one message as it came.

    It is `redelivered` if the broker says that it sent it before, `held_up` if it may have waited while we stood still.
    """

    topic: str
    payload: bytes
    at: datetime
    retained: bool = False
    redelivered: bool = False
    held_up: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one thing that a message says of one door, or why a part of it cannot be read."""

    door_id: str
    what: Report | Request | wire.Hello | wire.ResultPayload | InvalidInput


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a message to a door; without `answered` nothing comes back that would confirm it.

    One that is not `dated` does not say until when it counts, so that a door obeys it however late it comes.
    """

    topic: str
    payload: bytes
    answered: bool = True
    dated: bool = True


class Speech(Protocol):
    """Translate between one wire's messages and the driver's words."""

    announced: dict[str, wire.Hello]
    """Every introduction that was heard, also of doors that are not adopted; at most 1000."""
    retains_no_request: bool
    """Whether a request published as retained is wrong; other makers retain what they say now, and mean it."""

    def topics(self) -> list[tuple[str, int]]:
        """Return what to subscribe to, each with its QoS."""

    def hear(self, message: Arrived, *, catching_up: Callable[[str], bool]) -> Sequence[Heard]:
        """Return what a message says, in order.

        Args:
            message: as it came.
            catching_up: tells whether a door's messages may have waited for the driver.

        Raises:
            InvalidInput: it cannot be read, or speaks for a door that is not adopted.
        """

    def say(self, order: UnlockDoor | GiveFeedback | Warn, *, at: datetime) -> Outgoing | None:
        """Return the message that carries an order, or None where the door has no word for it."""

    def say_mode(self, order: SetMode) -> Outgoing | None:
        """Return the message, to be retained, that wants a mode, or None where the door keeps none."""

    def settled(self, order_id: str) -> None:
        """Expect no answer to an order any more."""

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do, or None if it has not said."""


class ContractSpeech:
    """Speak door contract version 1 (docs/mqtt.md).

    Args:
        doors: the adopted doors.
    """

    retains_no_request = True

    def __init__(self, doors: frozenset[str]) -> None:
        self.announced: dict[str, wire.Hello] = {}
        self._doors = doors

    def topics(self) -> list[tuple[str, int]]:
        """Return every introduction, and all that the adopted doors send by exact names.

        Some brokers hold retained messages back from wildcards, so an adopted door's introduction is asked for by name.
        """
        own = [
            (wire.topic_of(door, kind), int(wire.QOS[kind])) for door in sorted(self._doors) for kind in wire.FROM_DOOR
        ]
        return [(wire.topic_of("+", "hello"), 1), *own]

    def hear(self, message: Arrived, *, catching_up: Callable[[str], bool]) -> Sequence[Heard]:
        """Return the one thing that a message says. Raises `InvalidInput` as the protocol says."""
        door_id, kind = wire.parse_topic(message.topic, doors=self._doors)
        waited = message.redelivered or (kind != "request" and catching_up(door_id))
        delivery = wire.Delivery(
            door_id=door_id, at=message.at, retained=message.retained, backlog=waited, doubted=message.held_up
        )
        what = _parsed(kind, message.payload, delivery)
        if isinstance(what, wire.Hello) and (door_id in self._doors or len(self.announced) < ANNOUNCED):
            self.announced[door_id] = what
        return (Heard(door_id=door_id, what=what),)

    def say(self, order: UnlockDoor | GiveFeedback | Warn, *, at: datetime) -> Outgoing | None:
        """Return a command; a bare relay is only ever told to pulse, and answers nothing."""
        known = self.capabilities(order.door_id)
        relay = known is not None and "relay" in known
        if relay and not isinstance(order, UnlockDoor):
            return None
        if isinstance(order, Warn) and (known is None or "feedback" not in known):
            return None
        topic = wire.topic_of(order.door_id, "command")
        return Outgoing(topic=topic, payload=wire.command_payload(order, at=at), answered=not relay, dated=not relay)

    def say_mode(self, order: SetMode) -> Outgoing | None:
        """Return the desired mode; nothing retained is ever left for a bare relay."""
        if "relay" in (self.capabilities(order.door_id) or ()):
            return None
        return Outgoing(topic=wire.topic_of(order.door_id, "mode"), payload=wire.mode_payload(order))

    def settled(self, order_id: str) -> None:
        """Forget nothing: results name their orders."""

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door introduced itself with."""
        hello = self.announced.get(door_id)
        return None if hello is None else hello.known


def _parsed(
    kind: wire.FromDoor, payload: bytes, delivery: wire.Delivery
) -> Report | Request | wire.Hello | wire.ResultPayload:
    if kind == "request":
        return wire.parse_request(payload, delivery=delivery)
    if kind == "result":
        return wire.parse_result(payload, door_id=delivery.door_id)
    if kind == "hello":
        return wire.parse_hello(payload, door_id=delivery.door_id)
    return wire.parse_report(kind, payload, delivery=delivery)
