"""Facts: what happened at doors and cameras, in the past tense, as one tagged union with JSON in and out.

A fact is immutable and its id is a function of what it reports (see `fact_id`), so redelivery after any crash makes the
same id. Facts hold opaque ids only: no names, no card numbers, no PINs, no images.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

import msgspec

from models.liveness import Reading

NAMESPACE = uuid.UUID("6f0c2b4e-5d0e-5a53-9d7b-6f7a1f6f2c11")

Method = Literal["face", "card", "pin", "flat_pin", "qr", "button", "remote", "face+card", "face+pin", "card+pin"]
DenialReason = Literal[
    "unknown_credential",
    "no_permit",
    "not_permitted_now",
    "expired",
    "stale",
    "replayed",
    "locked_down",
    "not_recognised",
    "ambiguous",
    "face_unusable",
    "face_differs",
    "face_not_alone",
    "not_live",
    "liveness_unclear",
    "pressed_again",
    "consent_withdrawn",
    "policy_expired",
    "locked_out",
    "passback",
    "awaits_second_person",
    "awaits_pin",
    "awaits_card",
    "interlocked",
    "unsupported",
    "not_assessed",
    "forged",
    "used_up",
    "device_failed",
]
"""Of faces: `not_recognised` is nobody of the gallery, `ambiguous` two alike, `face_unusable` none good enough to look at,
`face_differs` not the one whose card or PIN came first, `face_not_alone` a door where a face needs a card or PIN,
`not_live` a picture of a face, `liveness_unclear` too little movement to tell. Of door rules: `passback` somebody who has not
left, `awaits_second_person` one of two who must come together, `interlocked` another door of the sluice is open, `awaits_pin` and
`awaits_card` the one without the other where a door takes both."""
Trouble = Literal["covered", "moved", "defocused", "frozen", "clock_skew", "tampered"]
"""What makes a camera's pictures useless: something before it, another view, a blur, one picture for ever; a clock that is
wrong; or the camera says itself that it is tampered with."""
OpeningCause = Literal["granted", "exit", "release", "unknown"]


def fact_id(edge_id: str, source_id: str, occurrence: str, kind: str) -> str:
    """Return the UUIDv5 of a fact: the same occurrence always gives the same id.

    Args:
        edge_id: the edge that observed it.
        source_id: door, camera or controller id.
        occurrence: sequence number or event id at the source; for what the edge derives, the id of what caused it.
        kind: the fact's tag.
    """
    return str(uuid.uuid5(NAMESPACE, f"{edge_id}\x1f{source_id}\x1f{occurrence}\x1f{kind}"))


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Hold what every fact has: its id, when the edge learnt of it, and the device's own time if it gave one."""

    id: str
    at: datetime
    device_at: datetime | None = None
    late: bool = False
    """True if it was reported long after it happened (the device or edge was cut off)."""
    exercise: bool = False


class DoorFact(Fact, frozen=True, kw_only=True):
    """Hold what every fact about a door has."""

    door_id: str


class FaceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Hold why a face was taken for a person: numbers only, never an image or an embedding.

    `identified` is one of `gallery_size` people; `verified` is the person whose card or PIN came first.
    """

    contract: str
    frames: int
    agreeing: int
    distance: float
    radius: float
    margin: float | None = None
    gallery_size: int
    mode: Literal["identified", "verified"] = "identified"
    liveness: Reading | None = None


class AccessGranted(DoorFact, frozen=True, kw_only=True, tag="access_granted"):
    """Report that a person was let in; `unlocked` says whether the lock confirmed it in time.

    `unlock_ms` runs to the door's confirmation: for a face from its first usable frame, else from the decision.
    """

    attempt: str
    method: Method
    reader: Literal["in", "out"] = "in"
    person_id: str | None = None
    pass_id: str | None = None
    """The visitor's pass that was used."""
    unlocked: bool
    unlock_ms: float | None = None
    evidence: FaceEvidence | None = None


class AccessDenied(DoorFact, frozen=True, kw_only=True, tag="access_denied"):
    """Report that an attempt at a door was refused; a stranger has no person id."""

    attempt: str
    method: Method
    reader: Literal["in", "out"] = "in"
    person_id: str | None = None
    pass_id: str | None = None
    reason: DenialReason


class DoorOpened(DoorFact, frozen=True, kw_only=True, tag="door_opened"):
    """Report an opening that was expected, or whose cause cannot be told (`unknown`)."""

    cause: OpeningCause
    attempt: str | None = None


class DoorClosed(DoorFact, frozen=True, kw_only=True, tag="door_closed"):
    """Report that the contact closed; ends forced and held-open conditions."""


class DoorForced(DoorFact, frozen=True, kw_only=True, tag="door_forced"):
    """Report an opening without a grant, exit request or release in force."""


class DoorHeldOpen(DoorFact, frozen=True, kw_only=True, tag="door_held_open"):
    """Report a door that stayed open longer than its limit."""

    open_s: float


class DoorTampered(DoorFact, frozen=True, kw_only=True, tag="door_tampered"):
    """Report an opened housing or a cut line."""


class DoorTamperCleared(DoorFact, frozen=True, kw_only=True, tag="door_tamper_cleared"):
    """Report the end of a tamper condition."""


class DoorFaulted(DoorFact, frozen=True, kw_only=True, tag="door_faulted"):
    """Report a fault that the controller names."""

    detail: str = ""


class DoorFaultCleared(DoorFact, frozen=True, kw_only=True, tag="door_fault_cleared"):
    """Report that the faults which the controller named are over."""


class MainsLost(DoorFact, frozen=True, kw_only=True, tag="mains_lost"):
    """Report that a door's controller runs on its battery."""


class MainsBack(DoorFact, frozen=True, kw_only=True, tag="mains_back"):
    """Report that a door's controller runs on mains again."""


class BatteryLow(DoorFact, frozen=True, kw_only=True, tag="battery_low"):
    """Report a battery that will not last long, at the door or in its controller."""


class BatteryGood(DoorFact, frozen=True, kw_only=True, tag="battery_good"):
    """Report a battery that is good again."""


class DuressReported(DoorFact, frozen=True, kw_only=True, tag="duress_reported"):
    """Report a silent duress alarm; the door behaved normally."""


class EmergencyReleased(DoorFact, frozen=True, kw_only=True, tag="emergency_released"):
    """Report that the emergency release at the door was used."""


class ExitRequested(DoorFact, frozen=True, kw_only=True, tag="exit_requested"):
    """Report a press of the exit button or the exit sensor."""


class DoorCalled(DoorFact, frozen=True, kw_only=True, tag="door_called"):
    """Report that somebody at a door station rings for the desk."""

    attempt: str
    reader: Literal["in", "out"] = "in"


class DoorCallEnded(DoorFact, frozen=True, kw_only=True, tag="door_call_ended"):
    """Report the end of a ring: answered by opening, refused, or nobody came."""

    attempt: str
    how: Literal["opened", "refused", "unanswered"]


class PassbackNoticed(DoorFact, frozen=True, kw_only=True, tag="passback_noticed"):
    """Report that somebody was let in again who had not left, at a door that only takes note of it."""

    attempt: str
    person_id: str


class DeviceLost(DoorFact, frozen=True, kw_only=True, tag="device_lost"):
    """Report that a door's controller is no longer reachable."""


class DeviceBack(DoorFact, frozen=True, kw_only=True, tag="device_back"):
    """Report that a door's controller is reachable again."""


class DeviceGap(DoorFact, frozen=True, kw_only=True, tag="device_gap"):
    """Report sequence numbers that never arrived: events of the door were lost."""

    first: int
    last: int


class CameraLost(Fact, frozen=True, kw_only=True, tag="camera_lost"):
    """Report a camera without a picture for longer than its hold-off."""

    camera_id: str
    reason: str


class CameraBack(Fact, frozen=True, kw_only=True, tag="camera_back"):
    """Report a camera that gives pictures again."""

    camera_id: str


class CameraTroubled(Fact, frozen=True, kw_only=True, tag="camera_troubled"):
    """Report a camera that gives pictures which are no use, or whose clock is wrong; lasting, not for a moment."""

    camera_id: str
    trouble: Trouble
    detail: str = ""


class CameraSettled(Fact, frozen=True, kw_only=True, tag="camera_settled"):
    """Report the end of a camera's trouble."""

    camera_id: str
    trouble: Trouble


class PowerCut(Fact, frozen=True, kw_only=True, tag="power_cut"):
    """Report that doors of an edge lost mains at about the same time: one cut, whatever their number."""

    edge_id: str
    doors: tuple[str, ...]


class PowerRestored(Fact, frozen=True, kw_only=True, tag="power_restored"):
    """Report that every door of a power cut runs on mains again."""

    edge_id: str


class ClockDoubted(Fact, frozen=True, kw_only=True, tag="clock_doubted"):
    """Report that an edge does not trust its clock: what is limited in time fails closed there, cards go on.

    `off_s` is how far the clock is ahead (behind, if negative) of the time that it started before or long after, or of
    the gateway's.
    """

    edge_id: str
    why: Literal["earlier", "later", "gateway"]
    off_s: float


class ClockTrusted(Fact, frozen=True, kw_only=True, tag="clock_trusted"):
    """Report that an edge trusts its clock again."""

    edge_id: str


AnyFact = (
    AccessGranted
    | AccessDenied
    | DoorOpened
    | DoorClosed
    | DoorForced
    | DoorHeldOpen
    | DoorTampered
    | DoorTamperCleared
    | DoorFaulted
    | DoorFaultCleared
    | MainsLost
    | MainsBack
    | BatteryLow
    | BatteryGood
    | DuressReported
    | EmergencyReleased
    | ExitRequested
    | DoorCalled
    | DoorCallEnded
    | PassbackNoticed
    | DeviceLost
    | DeviceBack
    | DeviceGap
    | CameraLost
    | CameraBack
    | CameraTroubled
    | CameraSettled
    | PowerCut
    | PowerRestored
    | ClockDoubted
    | ClockTrusted
)


def kind_of(fact: Fact) -> str:
    """Return the tag of a fact, for example `door_forced`."""
    return str(fact.__struct_config__.tag)


def source_of(fact: AnyFact) -> str:
    """Return the id of the door, camera or edge that a fact is about."""
    if isinstance(fact, CameraLost | CameraBack | CameraTroubled | CameraSettled):
        return fact.camera_id
    return fact.edge_id if isinstance(fact, ClockDoubted | ClockTrusted | PowerCut | PowerRestored) else fact.door_id
