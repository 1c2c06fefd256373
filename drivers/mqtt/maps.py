"""Vendor maps: how a device that does not know the door contract says what a door says, and how it is told to open.

A map is data (docs/mqtt.md): topic templates, JMESPath expressions for payloads, templates for what is sent. Shipped maps
are the YAML files in maps/; a door may bring its own in `driver.map`. Pure but for reading a shipped file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec
import yaml

from drivers.mqtt.expressions import Compiled, Expression
from models.errors import InvalidInput
from models.reports import EventType

MAX_TOPIC_CHARS: Final = 256
PLACE: Final = re.compile(r"\{([a-z_]{1,32})\}")
SAYABLE: Final = frozenset({"id", "hold_s", "hold_ms", "hold_ds", "valid_ms", "number", "reason"})
"""What a sent message may hold besides the names: the order's id, how long to hold in s (whole), ms and tenths of a
second, how long it is valid in ms, a number that the device may give back, and why somebody was refused."""
Template = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,32}$")]
Fill = Annotated[str, msgspec.Meta(max_length=128)]
Stated = Literal["contact", "lock", "tamper", "battery", "battery_low", "mains"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Take(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """Say where a value stands, and what the device's words for it mean."""

    source: Expression
    words: Annotated[dict[str, str | bool], msgspec.Meta(max_length=32)] | None = None
    times: float | None = None


Value = Expression | Take


class EventRule(_Strict, frozen=True, kw_only=True):
    """Say when a message is an event of a type."""

    when: Expression
    type: EventType


class RequestRule(_Strict, frozen=True, kw_only=True):
    """Say when a message is somebody at a reader, and where the card or PIN stands."""

    when: Expression
    kind: Literal["card", "pin", "flat_pin", "qr", "button", "call"]
    value: Value | None = None
    reader: Literal["in", "out"] = "in"


class ResultRule(_Strict, frozen=True, kw_only=True):
    """Say when a message answers an order; without `number` it answers the oldest order under way."""

    when: Expression
    ok: Expression | None = None
    number: Expression | None = None
    error: Expression | None = None


class Rule(_Strict, frozen=True, kw_only=True):
    """Say what the messages of one topic mean."""

    topic: Template
    payload: Literal["json", "text"] = "json"
    online: Value | None = None
    state: dict[Stated, Value] = {}
    events: Annotated[tuple[EventRule, ...], msgspec.Meta(max_length=16)] = ()
    request: RequestRule | None = None
    result: ResultRule | None = None


class Say(_Strict, frozen=True, kw_only=True):
    """Say what is published where; never retained, QoS 0."""

    topic: Template
    payload: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Sayings(_Strict, frozen=True, kw_only=True):
    """Say how a door is told to open, and to tell people at it that they may pass, may not, or shall close it."""

    unlock: Say
    granted: Say | None = None
    refused: Say | None = None
    warn: Say | None = None


class Map(_Strict, frozen=True, kw_only=True):
    """Describe one kind of device. `names` fill the templates; a name that is null leaves out what needs it."""

    about: str = ""
    names: Annotated[dict[Name, Fill | None], msgspec.Meta(max_length=16)] = {}
    hears: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=32)] = ()
    says: Sayings


def shipped() -> tuple[str, ...]:
    """Return the names of the maps that come with Gatehouse."""
    folder = files("drivers.mqtt") / "maps"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_map(wanted: object) -> Map:
    """Return the map of a door's setting: the name of a shipped one, or a whole one.

    Raises:
        InvalidInput: no map has this name, or the map given breaks a rule; the text says where.
    """
    if isinstance(wanted, str):
        if wanted not in shipped():
            raise InvalidInput("driver.map", f"use {', '.join(shipped())}, or a map of your own, not {wanted[:80]!r}")
        wanted = yaml.safe_load((files("drivers.mqtt") / "maps" / f"{wanted}.yaml").read_text("utf-8"))
    try:
        return msgspec.convert(wanted, Map)
    except msgspec.ValidationError as error:
        raise InvalidInput("driver.map", str(error)[:300]) from None


def names_for(door_id: str, *, known: Map, given: object) -> dict[str, str]:
    """Return what fills a door's templates: its id, the map's names, and what the door's settings say instead.

    Raises:
        InvalidInput: a name that the map does not have, or that holds what a topic or a payload could be broken with.
    """
    try:
        own = msgspec.convert({} if given is None else given, dict[Name, Fill | None])
    except msgspec.ValidationError as error:
        raise InvalidInput("driver.names", str(error)[:200]) from None
    if strange := own.keys() - known.names.keys():
        raise InvalidInput("driver.names", f"the map has {', '.join(known.names) or 'none'}, not {min(strange)}")
    names = {"door": door_id}
    for name, value in {**known.names, **own}.items():
        if value is None:
            continue
        filled = fill(value, names=names, where=f"driver.names.{name}")
        if not filled.isprintable() or set(filled) & set("+#\"\\{}'`$"):
            raise InvalidInput(f"driver.names.{name}", "it may have no quotation marks, braces or any of + # $ \\ `")
        names[name] = filled
    return names


def fill(template: str, *, names: Mapping[str, str], where: str, later: frozenset[str] = frozenset()) -> str:
    """Return a template with its names filled in; those of `later` stay as they are.

    Raises:
        InvalidInput: it asks for a name that there is not.
    """

    def filled(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in later:
            return match.group(0)
        if name not in names:
            raise InvalidInput(where, f"{{{name}}} is not among {', '.join(sorted({*names, *later}))}")
        return names[name]

    return PLACE.sub(filled, template)


def needs(template: str) -> frozenset[str]:
    """Return the names that a template asks for."""
    return frozenset(PLACE.findall(template))


def topic_from(template: str, *, names: Mapping[str, str]) -> str:
    """Return an exact topic.

    Raises:
        InvalidInput: it is none: wildcards, NUL, too long, or one of the broker's own.
    """
    topic = fill(template, names=names, where="driver.map")
    if not topic or len(topic) > MAX_TOPIC_CHARS or set(topic) & set("+#\0") or topic.startswith("$"):
        raise InvalidInput("driver.map", f"{topic[:80]!r} is no topic: 1 to {MAX_TOPIC_CHARS} characters without + # $")
    return topic


def compiled(value: Value, *, names: Mapping[str, str]) -> Compiled:
    """Return a value's look-up with its names filled in. Raises `InvalidInput` as `Compiled`."""
    take = Take(source=value) if isinstance(value, str) else value
    source = fill(take.source, names=names, where="driver.map")
    return Compiled(source, words=take.words, times=take.times)
