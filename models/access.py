"""Who may pass: one pure decision from a request, the policy's permits and a time. Opens nothing itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from models.events import DenialReason, FaceEvidence, Method
from models.people import Permit
from models.places import Door

STALE_AFTER = timedelta(seconds=3)
FRAME_STALE_MS = 1500.0
UNLOCKABLE_MODES = frozenset({"normal", "evacuating", "held_open"})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Say that somebody stands at a door now. `value` is a presented card or PIN: it never enters a fact or a log."""

    id: str
    door_id: str
    kind: Literal["card", "pin", "flat_pin", "qr", "button", "call"]
    reader: Literal["in", "out"] = "in"
    value: str | None = None
    device_at: datetime | None = None
    redelivered: bool = False
    """True if the wire flagged it retained or duplicate: it is not about now."""

    def __repr__(self) -> str:
        return f"Request(id={self.id!r}, door_id={self.door_id!r}, kind={self.kind!r})"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Say who is believed to stand at a door, and how that was learnt; `person_id` is None if nobody was recognised."""

    attempt: str
    door_id: str
    method: Method
    reader: Literal["in", "out"] = "in"
    person_id: str | None
    evidence: FaceEvidence | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the door may be opened for a claim."""

    claim: Claim


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a claim is refused, and why."""

    claim: Claim
    reason: DenialReason


def fresh(device_at: datetime | None, *, offset: timedelta, redelivered: bool, at: datetime) -> bool:
    """Return whether a request is about now: not redelivered, and at most 3 s old (or ahead) after the clock offset.

    Args:
        device_at: the device's own time of the request; None counts as fresh if it was not redelivered.
        offset: what to add to the device's clock to get ours.
        redelivered: the wire flagged it retained or duplicate.
        at: our time of arrival.
    """
    if redelivered:
        return False
    return device_at is None or abs(at - (device_at + offset)) <= STALE_AFTER


def decide(claim: Claim, *, door: Door, mode: str, permits: tuple[Permit, ...], at: datetime) -> Grant | Denial:
    """Decide a claim from the permits of the policy alone.

    Args:
        claim: who is believed to stand there.
        door: the door, with the factors that it takes.
        mode: the door's mode in force: normal, locked_down, evacuating or held_open.
        permits: permits of any persons; only those of the claimed person count.
        at: aware time of the decision.
    """
    reason = _refusal(claim, door=door, mode=mode, permits=permits, at=at)
    return Grant(claim=claim) if reason is None else Denial(claim=claim, reason=reason)


def _refusal(claim: Claim, *, door: Door, mode: str, permits: tuple[Permit, ...], at: datetime) -> DenialReason | None:
    if mode not in UNLOCKABLE_MODES:
        return "locked_down"
    if claim.method != "remote" and claim.method not in door.factors:
        return "unsupported"
    if claim.person_id is None:
        return "not_recognised" if claim.method == "face" else "unknown_credential"
    own = tuple(permit for permit in permits if permit.person_id == claim.person_id and door.id in permit.doors)
    if not own:
        return "no_permit"
    if any(permit.holds(door.id, at) for permit in own):
        return None
    return "expired" if all(permit.expired(at) for permit in own) else "not_permitted_now"
