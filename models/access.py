"""Who may pass: one pure decision from a request, the policy's permits and a time. Opens nothing itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from models.events import DenialReason, FaceEvidence, Method
from models.places import Door
from models.rights import Rights

STALE_AFTER = timedelta(seconds=3)
FRAME_STALE_MS = 1500.0
WITH_FACE: Final[dict[str, Method]] = {"card": "face+card", "pin": "face+pin", "flat_pin": "face+pin"}
"""What a card or PIN becomes at a door that takes it only together with the face of its holder."""
PAIR: Final = "card+pin"
"""What it becomes where both of the same person have to come."""
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
    offset_s: float | None = None
    """What to add to `device_at` to get our time, where the wire asked the device for its clock itself."""

    def __repr__(self) -> str:
        return f"Request(id={self.id!r}, door_id={self.door_id!r}, kind={self.kind!r})"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Say who is believed to stand at a door, and how that was learnt; `person_id` is None if nobody was recognised."""

    attempt: str
    door_id: str
    method: Method
    reader: Literal["in", "out"] = "in"
    person_id: str | None
    pass_id: str | None = None
    """The visitor's pass that was presented; then there is no person."""
    evidence: FaceEvidence | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the door may be opened for a claim."""

    claim: Claim


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a claim is refused, and why."""

    claim: Claim
    reason: DenialReason


def method_of(request: Request, door: Door) -> Method:
    """Return by what a request asks to be let in: what a door takes only with something else wants that too.

    On the way out a card or PIN is enough: nobody is kept inside for a face or a forgotten PIN.
    """
    if request.kind == "call":
        return "button"
    combined = _combined(request.kind, door)
    asks_more = request.kind not in door.factors and request.reader == "in"
    return combined if asks_more and combined is not None else request.kind


def _combined(kind: str, door: Door) -> Method | None:
    """Return as a part of what a door takes a card or PIN, if it takes it together with something else."""
    with_face = WITH_FACE.get(kind)
    if with_face is None or with_face in door.factors:
        return with_face
    return PAIR if PAIR in door.factors else None


def takes_faces(door: Door) -> bool:
    """Return whether a door takes faces in any way."""
    return any(factor.startswith("face") for factor in door.factors)


def _takes(door: Door, claim: Claim) -> bool:
    """Return whether a door takes the way in which a claim was made."""
    if claim.method in door.factors or claim.method == "remote":
        alone = claim.method != "face" and "+" not in claim.method
        return alone or claim.pass_id is None  # a visitor has no face here, and no card
    return claim.reader == "out" and _combined(claim.method, door) is not None


def can_call(door: Door, side: Literal["in", "out"]) -> bool:
    """Return whether a door has a station from which the desk can be called on this side."""
    return any("call" in reader.kinds for reader in door.readers if reader.side == side)


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


def decide(
    claim: Claim,
    *,
    door: Door,
    mode: str,
    rights: Rights,
    at: datetime,
    clock_trusted: bool = True,
    policy_ended: bool = False,
    used: int = 0,
    presented: DenialReason | None = None,
) -> Grant | Denial:
    """Decide a claim from the policy alone.

    Args:
        claim: who is believed to stand there.
        door: the door, with the factors that it takes.
        mode: the door's mode in force: normal, locked_down, evacuating or held_open.
        rights: the rights of the policy.
        at: aware time of the decision.
        clock_trusted: False while the clock may be wrong: rights limited in time then do not count.
        policy_ended: the policy's validity is over, or the clock cannot tell: nothing lets in where the door says so.
        used: how often the claimed pass has been used.
        presented: why what was presented does not count, whoever's it is: forged, or beyond its own validity.
    """
    reason = _refusal(claim, door=door, mode=mode, presented=presented)
    if reason is None and policy_ended and _ends_with_policy(claim, door):
        reason = "policy_expired"
    elif reason is None and claim.pass_id is not None:
        reason = rights.pass_refusal(claim.pass_id, door.id, at=at, used=used, clock_trusted=clock_trusted)
    elif reason is None and claim.person_id is not None:
        reason = rights.person_refusal(claim.person_id, door.id, at=at, clock_trusted=clock_trusted)
    return Grant(claim=claim) if reason is None else Denial(claim=claim, reason=reason)


def _ends_with_policy(claim: Claim, door: Door) -> bool:
    """Return whether a claim counts no longer than the policy: what lets in at such a door does, what lets out does not."""
    return door.when_policy_ends == "nothing" and claim.reader == "in" and claim.method != "remote"


def _refusal(claim: Claim, *, door: Door, mode: str, presented: DenialReason | None) -> DenialReason | None:
    """Return why nobody could pass by such a claim, whatever their rights."""
    if mode not in UNLOCKABLE_MODES:
        return "locked_down"
    if not _takes(door, claim):
        return "unsupported"
    if presented is not None:
        return presented
    if claim.person_id is None and claim.pass_id is None:
        return "not_recognised" if claim.method == "face" else "unknown_credential"
    return None
