"""Doors whose devices speak a vendor's words: a map turns their messages into the door contract's, and orders into theirs.

Such devices report how they stand, not what happened: an event is a change from what they said before. What is not known
to have changed is a state and raises no alarm. They number nothing and keep nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Final

import msgspec

from drivers.door import Capability, GiveFeedback, SetMode, UnlockDoor, Warn
from drivers.mqtt import wire
from drivers.mqtt.expressions import Compiled, Word
from drivers.mqtt.maps import SAYABLE, Map, Rule, Say, Stated, compiled, fill, names_for, needs, topic_from
from drivers.mqtt.speech import Arrived, Heard, Outgoing
from models.access import Request
from models.doors import Event, EventType, Presence, Report, Snapshot
from models.errors import InvalidInput

LOW: Final = 0.15
"""A battery below this is low, until it is above `GOOD`."""
GOOD: Final = 0.25
OUTSTANDING: Final = 32
CHANGES: Final[dict[tuple[str, object], EventType]] = {
    ("contact", "open"): "opened", ("contact", "closed"): "closed",
    ("tamper", True): "tamper", ("tamper", False): "tamper_cleared",
    ("mains", False): "mains_lost", ("mains", True): "mains_back",
    ("battery_low", True): "battery_low", ("battery_low", False): "battery_ok",
}  # fmt: skip
What = Report | Request | wire.ResultPayload | InvalidInput
ALARMING: Final = frozenset({"opened", "tamper", "mains_lost", "battery_low"})
LASTING: Final = frozenset({"fault", "tamper", "mains_lost", "battery_low"})
"""Types that a device repeats while they last: only the first message of each spell is an event."""


@dataclass
class Read:
    """One rule of one door, its names filled in and its look-ups compiled."""

    rule: Rule
    online: Compiled | None
    state: dict[Stated, Compiled]
    events: list[tuple[Compiled, EventType]]
    request: tuple[Compiled, Compiled | None] | None
    result: tuple[Compiled, Compiled | None, Compiled | None, Compiled | None] | None


@dataclass
class MappedDoor:
    """What is known of one door, and the orders that it has not answered."""

    id: str
    names: dict[str, str]
    reads: dict[str, list[Read]] = field(default_factory=dict)
    state: dict[Stated, Word] = field(default_factory=dict)
    known: dict[Stated, Word] = field(default_factory=dict)
    """The last of each that was not unknown."""
    online: dict[str, bool] = field(default_factory=dict)
    lasting: set[tuple[int, int]] = field(default_factory=set)
    outstanding: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Numbers given to orders, and the orders' ids; oldest first."""
    numbers: int = 0


@dataclass(frozen=True)
class Told:
    """A message, the door that it is about, and whether it may have waited for us."""

    door: MappedDoor
    message: Arrived
    waited: bool


class MappedSpeech:
    """Speak through a map.

    Args:
        doors: the adopted doors.
        known: the map.
        names: what a door's settings say of its templates' names.

    Raises:
        InvalidInput: the map or the names cannot be used.
    """

    retains_no_request = False

    def __init__(self, doors: frozenset[str], *, known: Map, names: object = None) -> None:
        self.announced: dict[str, wire.Hello] = {}
        self._map = known
        self._made = 0
        self._doors = {door_id: _door(door_id, known, names) for door_id in sorted(doors)}
        self._capabilities = {door.id: _capabilities(known, door) for door in self._doors.values()}
        self._answered = {
            door.id: any(read.result for reads in door.reads.values() for read in reads)
            for door in self._doors.values()
        }
        self._heard_on: dict[str, list[MappedDoor]] = {}
        for door in self._doors.values():
            for topic in door.reads:
                self._heard_on.setdefault(topic, []).append(door)

    def topics(self) -> list[tuple[str, int]]:
        """Return the exact topics of the map, filled in for each door.

        Devices do not say when somebody presented a card, so the broker keeps nothing (QoS 0) of a topic that only asks.
        """
        return [(topic, 0 if _only_asks(doors, topic) else 1) for topic, doors in sorted(self._heard_on.items())]

    def hear(self, message: Arrived, *, catching_up: Callable[[str], bool]) -> Sequence[Heard]:
        """Return what a message says of each door that it is about. Raises `InvalidInput` as the protocol says."""
        if len(message.payload) > wire.MAX_PAYLOAD_BYTES:
            raise InvalidInput(
                "map", f"{len(message.payload)} bytes are more than the {wire.MAX_PAYLOAD_BYTES} allowed"
            )
        heard: list[Heard] = []
        payloads: dict[str, object] = {}
        for door in self._heard_on.get(message.topic, ()):
            waited = message.redelivered or catching_up(door.id)
            for read in door.reads[message.topic]:
                kind = read.rule.payload
                payload = payloads[kind] = payloads[kind] if kind in payloads else _payload(message.payload, kind)
                heard += self._heard(read, payload, Told(door=door, message=message, waited=waited))
        return heard

    def say(self, order: UnlockDoor | GiveFeedback | Warn, *, at: datetime) -> Outgoing | None:
        """Return what the map says for an order, filled in."""
        door = self._doors[order.door_id]
        say = _saying(self._map, order)
        if say is None:
            return None
        hold_s = order.hold_s if isinstance(order, UnlockDoor) else 0.0
        door.numbers = max(door.numbers + 1, int(at.timestamp() * 1000) % 2**31)
        reason = getattr(order, "reason", "")
        names = {
            **door.names, "id": order.id, "hold_s": str(max(1, ceil(hold_s))), "hold_ms": str(max(1, round(hold_s * 1000))),
            "hold_ds": str(max(1, round(hold_s * 10))), "valid_ms": str(order.valid_ms), "number": str(door.numbers),
            "reason": reason,
        }  # fmt: skip
        answered = isinstance(order, UnlockDoor) and self._answered[door.id]
        if answered:
            door.outstanding[str(door.numbers)] = order.id
            while len(door.outstanding) > OUTSTANDING:
                door.outstanding.popitem(last=False)
        payload = fill(say.payload, names=names, where="driver.map").encode()
        return Outgoing(topic=topic_from(say.topic, names=names), payload=payload, answered=answered, dated=False)

    def say_mode(self, order: SetMode) -> Outgoing | None:
        """Return nothing: no mapped device keeps a mode, and nothing retained is left for one."""
        del order
        return None

    def settled(self, order_id: str) -> None:
        """Expect no answer to an order any more."""
        for door in self._doors.values():
            for number in [number for number, own in door.outstanding.items() if own == order_id]:
                del door.outstanding[number]

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what the map lets a door do."""
        return self._capabilities.get(door_id)

    def _heard(self, read: Read, payload: object, told: Told) -> list[Heard]:
        try:
            said = self._said(read, payload, told)
        except InvalidInput as error:
            said = [error]
        return [Heard(door_id=told.door.id, what=what) for what in said]

    # ---- one rule ---------------------------------------------------------------------------------------------------

    def _said(self, read: Read, payload: object, told: Told) -> list[What]:
        """Return what a message says by one rule. Whatever cannot be read is found out before anything is remembered."""
        message, door = told.message, told.door
        online = None if read.online is None else read.online(payload)
        reachable = None if online is None else _truth(online, "online")
        stated = _checked({name: value for name, at in read.state.items() if (value := at(payload)) is not None})
        spells = [(position, kind, when(payload) is True) for position, (when, kind) in enumerate(read.events)]
        requests = self._requests(read, payload, told)
        said: list[What] = [*requests, *(() if message.retained else _results(read, payload, door))]
        if reachable is not None:
            door.online[message.topic] = reachable
            said.append(Presence(at=message.at, online=all(door.online.values())))
        if not message.retained:
            said += self._happened(read, spells, told)
        if stated:
            said += self._changed(stated, told)
        return said

    def _requests(self, read: Read, payload: object, told: Told) -> Iterator[Request]:
        rule, message = read.rule.request, told.message
        if rule is None or read.request is None or read.request[0](payload) is not True:
            return
        value = None if read.request[1] is None else read.request[1](payload)
        yield Request(
            id=self._new_id(message.at),
            door_id=told.door.id,
            kind=rule.kind,
            reader=rule.reader,
            value=None if value is None else _bounded(value),
            redelivered=message.retained or told.waited,
        )

    def _happened(self, read: Read, spells: list[tuple[int, EventType, bool]], told: Told) -> Iterator[Report]:
        lasting = told.door.lasting
        for position, kind, now in spells:
            key = (id(read), position)
            if now and not (key in lasting and kind in LASTING):
                yield self._event(kind, told)
            elif key in lasting and not now and kind == "fault":
                yield self._event("fault_cleared", told)
            (lasting.add if now else lasting.discard)(key)

    def _changed(self, stated: dict[Stated, Word], told: Told) -> Iterator[Report]:
        """Yield an event for each change that is known to be one, then the whole state."""
        known, message = told.door.known, told.message
        charge = stated.get("battery")
        if isinstance(charge, float) and "battery_low" not in stated:
            recovered = charge > GOOD and known.get("battery_low") is True
            if charge < LOW or recovered:
                stated["battery_low"] = charge < LOW
        for name, value in stated.items():
            kind = CHANGES.get((name, value)) if not isinstance(value, float) else None
            before = known.get(name)
            news = before is not None or (told.waited and kind in ALARMING) or kind == "battery_low"
            if kind is not None and news and before != value and not message.retained:
                yield self._event(kind, told)
            if value != "unknown":
                known[name] = value
        told.door.state.update(stated)
        fields: dict[str, object] = {name: value for name, value in told.door.state.items() if name != "battery_low"}
        yield msgspec.convert(
            {"at": message.at, "retained": message.retained, **fields, "report": "snapshot"}, Snapshot
        )

    def _event(self, kind: EventType, told: Told) -> Event:
        at = told.message.at
        return Event(id=self._new_id(at), seq=None, type=kind, at=at, backlog=told.waited)

    def _new_id(self, at: datetime) -> str:
        """Return an id of our own: the devices give none."""
        self._made += 1
        return f"m{int(at.timestamp() * 1_000_000):x}-{self._made:x}"


def _only_asks(doors: Sequence[MappedDoor], topic: str) -> bool:
    """Return whether a topic says nothing of any door but who stands at a reader."""
    rules = [read.rule for door in doors for read in door.reads[topic]]
    return all(rule.request and not (rule.online or rule.state or rule.events or rule.result) for rule in rules)


def _results(read: Read, payload: object, door: MappedDoor) -> Iterator[wire.ResultPayload]:
    if read.result is None or not door.outstanding:
        return
    when, ok, number, error = read.result
    if when(payload) is not True:
        return
    named = next(iter(door.outstanding)) if number is None else _bounded(number(payload) or "")
    agreed = True if ok is None else ok(payload) is True
    reason = None if agreed or error is None else _bounded(error(payload) or "")
    order_id = door.outstanding.pop(named, None)
    if order_id is not None:
        yield wire.ResultPayload(id=order_id, ok=agreed, error=reason or None)


def _door(door_id: str, known: Map, given: object) -> MappedDoor:
    door = MappedDoor(id=door_id, names=names_for(door_id, known=known, given=given))
    absent = known.names.keys() - door.names.keys()
    for rule in known.hears:
        if needs(rule.topic) & absent:
            continue
        read = _compiled(rule, door.names, absent)
        if read is not None:
            door.reads.setdefault(topic_from(rule.topic, names=door.names), []).append(read)
    for say in (known.says.unlock, known.says.granted, known.says.refused, known.says.warn):
        if say is not None:
            topic_from(say.topic, names={**door.names, **dict.fromkeys(SAYABLE, "0")})
            fill(say.payload, names=door.names, where="driver.map", later=SAYABLE)
    return door


def _compiled(rule: Rule, names: dict[str, str], absent: frozenset[str] | set[str]) -> Read | None:
    """Return a rule ready to use, or None if it needs a name that this door does not have."""
    told = [rule.online, *rule.state.values(), *(e.when for e in rule.events)]
    sources = [value if isinstance(value, str) else value.source for value in told if value is not None]
    if any(needs(source) & absent for source in sources):
        return None

    def of(source: str | None) -> Compiled | None:
        return None if source is None else compiled(source, names=names)

    asked, answered = rule.request, rule.result
    return Read(
        rule=rule,
        online=None if rule.online is None else compiled(rule.online, names=names),
        state={name: compiled(value, names=names) for name, value in rule.state.items()},
        events=[(compiled(event.when, names=names), event.type) for event in rule.events],
        request=None
        if asked is None
        else (compiled(asked.when, names=names), None if asked.value is None else compiled(asked.value, names=names)),
        result=None
        if answered is None
        else (compiled(answered.when, names=names), of(answered.ok), of(answered.number), of(answered.error)),
    )


def _capabilities(known: Map, door: MappedDoor) -> frozenset[Capability]:
    reads = [read for reads in door.reads.values() for read in reads]
    stated = {name for read in reads for name in read.state}
    plain: tuple[Capability, ...] = ("contact", "lock", "tamper")
    found: set[Capability] = {name for name in plain if name in stated}
    if stated & {"battery", "battery_low", "mains"}:
        found.add("power")
    askable: tuple[Capability, ...] = ("card", "pin", "qr", "button")
    for read in reads:
        asked = read.rule.request
        found |= {word for word in askable if asked is not None and asked.kind == word}
    if known.says.refused is not None or known.says.warn is not None:
        found.add("feedback")
    if not any(read.result for read in reads):
        found.add("relay")
    return frozenset(found)


def _saying(known: Map, order: UnlockDoor | GiveFeedback | Warn) -> Say | None:
    if isinstance(order, UnlockDoor):
        return known.says.unlock
    if isinstance(order, Warn):
        return known.says.warn
    return known.says.granted if order.ok else known.says.refused


def _payload(raw: bytes, kind: str) -> object:
    try:
        return raw.decode() if kind == "text" else msgspec.json.decode(raw)
    except (ValueError, RecursionError, OverflowError):
        raise InvalidInput("map", f"the payload is not {'JSON' if kind == 'json' else 'text'} in UTF-8") from None


def _checked(stated: dict[Stated, Word]) -> dict[Stated, Word]:
    """Return stated values of the right types and ranges."""
    for name, value in stated.items():
        if name in {"contact", "lock"}:
            words = ("open", "closed", "unknown") if name == "contact" else ("locked", "unlocked", "unknown")
            if value not in words:
                raise InvalidInput("map", f"{name} must be one of {', '.join(words)}")
        elif name == "battery":
            if isinstance(value, str | bool) or value is None or not 0 <= value <= 1:
                raise InvalidInput("map", "battery must be a number from 0 to 1")
            stated[name] = float(value)
        else:
            stated[name] = _truth(value, name)
    return stated


def _truth(value: Word, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("map", f"{name} must be true or false")
    return value


def _bounded(value: Word) -> str:
    """Return what a device said as a text; a presented value is never quoted in an error."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if len(text) > 512 or not text.isprintable():
        raise InvalidInput("map", "the value has more than 512 characters, or some that cannot be printed")
    return text
