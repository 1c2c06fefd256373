"""How a simulated door behaves and misbehaves: habits, misbehaviours by name, and what they put on the wire. Pure."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from typing import Final, Literal, get_args

import msgspec

from drivers.door import Capability
from drivers.mqtt import wire
from models.errors import InvalidInput

Fault = Literal[
    "duplicate", "reorder", "retained_request", "stale_request", "garbage", "oversized", "forged_id", "clock_hour_off",
    "slow", "refuse_unlock", "silent", "deaf", "replay_command", "no_ack",
]  # fmt: skip
PowerEvent = Literal["mains_lost", "mains_back", "battery_low", "battery_ok"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
ALL_CAPABILITIES: Final[tuple[Capability, ...]] = tuple(word for word in get_args(Capability) if word != "relay")

STANDING_OPEN: Final = frozenset({"held_open", "evacuating"})
"""Modes in which a door stays unlocked, whatever a hold or a closing would do."""


class Habits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say how a simulated door behaves: `plain` never says forced; with `auto_open_s` grants are walked through."""

    plain: bool = False
    auto_open_s: float | None = None
    open_for_s: float = 1.0
    exit_hold_s: float = 5.0
    capabilities: tuple[Capability, ...] = ALL_CAPABILITIES


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a simulated controller runs on, and how full its battery is, from 0 to 1."""

    mains: bool = True
    battery: float = 0.93

    def after(self, event: PowerEvent) -> Power:
        """Return the power after an event."""
        if event in {"mains_lost", "mains_back"}:
            return msgspec.structs.replace(self, mains=event == "mains_back")
        return msgspec.structs.replace(self, battery=0.08 if event == "battery_low" else 0.93)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Say how somebody at the door fared: let in, told why not, or not answered; `ms` from request to that."""

    ok: bool
    unlocked: bool = False
    feedback: str | None = None
    ms: float | None = None
    error: str | None = None
    request: str | None = None


def mischief(
    door_id: str, payload: bytes, *, faults: Container[str], rng: random.Random
) -> Sequence[tuple[str, bytes]]:
    """Return what a broken controller publishes beside an event: topic and payload, with QoS 1."""
    made: list[tuple[str, bytes]] = []
    topic = wire.topic_of(door_id, "event")
    if "duplicate" in faults:
        made.append((topic, payload))
    if "garbage" in faults:
        junk = (b"", b"\xff\xfe", b"{", b"[" * 5000, b'{"id":1}', b"null", rng.randbytes(64))
        kinds = [kind for kind in wire.FROM_DOOR if kind != "online"]
        made += [(wire.topic_of(door_id, kind), piece) for kind in kinds for piece in junk]
    if "oversized" in faults:
        made.append((topic, b'{"id":"big","type":"forced","detail":"' + b"x" * 40_000 + b'"}'))
    if "forged_id" in faults:
        event = msgspec.json.decode(payload, type=wire.EventPayload)
        made.append((topic, wire.encode(msgspec.structs.replace(event, door_id="another"))))
        made.append((wire.topic_of("another", "event"), payload))
    return made


def request_payload(**fields: object) -> wire.RequestPayload:
    """Return a request of these fields.

    Raises:
        InvalidInput: a field is unknown to the contract or out of its bounds.
    """
    try:
        return msgspec.convert(fields, wire.RequestPayload)
    except msgspec.ValidationError as error:
        raise InvalidInput("request", str(error)) from None
