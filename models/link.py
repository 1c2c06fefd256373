"""The records that cross the edge link besides the policy, and what a signature covers. Transport and keys are elsewhere."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from models.calibration import FaceUse, ImpostorEvidence
from models.card_lessons import LearnCards
from models.device_orders import Discover, InstallKey, ProbeDevice, TryPart
from models.devices import Candidate, Note
from models.liveness import Provider

MAX_FACTS = 500
MAX_BODY_BYTES = 1024 * 1024
MAX_PHOTO_BYTES = 4 * 1024 * 1024
MAX_VIDEO_BYTES = 64 * 1024 * 1024
CLOCK_WINDOW_S = 300
HEADER_EDGE = "Gatehouse-Edge"
HEADER_TIME = "Gatehouse-Time"
HEADER_NONCE = "Gatehouse-Nonce"
HEADER_SIGNATURE = "Gatehouse-Signature"
HEADER_POLICY = "Gatehouse-Policy"
"""`full` or `delta`: what the body of a policy answer is."""
HEADER_POLICY_SIGNATURE = "Gatehouse-Policy-Signature"
HEADER_CHECKPOINT = "Gatehouse-Checkpoint"
"""JSON of the newest `Checkpoint`, beside every policy answer."""
HEADER_DIGEST = "Gatehouse-Digest"
"""Hex SHA-256 of an upload's body, so that its signature is judged before the body is read."""
RELAY_MESSAGE_BYTES = 64 * 1024
"""A relay's binary messages are at most so long; an empty one says that all has come, and then the sender closes."""
MAX_SHARED_BYTES = 16 * 1024 * 1024
"""What a sibling may send through a relay at once: sealed templates of some ten thousand people."""
PICTURES_MOST = 5
"""Templates of one person: several pictures bear light and glasses; more bear nothing."""

Protection = Literal["file", "tpm", "external"]
"""What keeps an edge's master key: a 0600 file, a TPM, or a key from elsewhere."""


class Introduction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Introduce an edge with the one-time token of its site; keys are base64: Ed25519, and X25519 for templates."""

    token: str
    edge_id: str
    name: str
    public_key: str
    seal_key: str = ""
    protection: Protection = "file"


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """Answer an introduction; the edge pins `gateway_key` (base64 Ed25519), which signs its policies."""

    edge_id: str
    site_id: str
    gateway_key: str = ""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how far the gateway's audit log was, signed, so that an edge can witness it."""

    seq: int
    digest: str
    at: datetime
    signature: str


class Unlock(msgspec.Struct, frozen=True, kw_only=True, tag="unlock"):
    """Ask an edge to unlock a door once, before a deadline."""

    id: str
    door_id: str
    reason: str
    requested_by: str
    deadline: datetime


class RefuseCall(msgspec.Struct, frozen=True, kw_only=True, tag="refuse_call"):
    """Ask an edge to send whoever calls at a door station away."""

    id: str
    door_id: str
    reason: str
    requested_by: str
    deadline: datetime


class EnrolFace(msgspec.Struct, frozen=True, kw_only=True, tag="enrol_face"):
    """Ask an edge to make a template from the photo behind a one-time relay ticket.

    With `add` it joins the person's templates under the same consent; else it replaces all of them, and must show the
    person whom they show unless it is `anew`.
    """

    id: str
    person_id: str
    consent_id: str
    relay_ticket: str
    deadline: datetime
    add: bool = False
    anew: bool = False
    """What is enrolled was somebody else's, or the person changed much."""


class EnrolAtDoor(msgspec.Struct, frozen=True, kw_only=True, tag="enrol_at_door"):
    """Ask an edge to make templates of the one person who stands before a door's camera now.

    It takes `pictures` good ones, which replace the person's templates, and must show the person whom they show unless it
    is `anew`; `Progress` says meanwhile what is missing.
    """

    id: str
    person_id: str
    consent_id: str
    door_id: str
    pictures: int = 3
    deadline: datetime
    anew: bool = False
    """What is enrolled was somebody else's, or the person changed much."""


class CountImpostors(msgspec.Struct, frozen=True, kw_only=True, tag="count_impostors"):
    """Ask an edge to count how near the different persons of its own consented gallery come to each other."""

    id: str
    deadline: datetime


class TakeStill(msgspec.Struct, frozen=True, kw_only=True, tag="take_still"):
    """Ask an edge for one picture of a camera, every face in it made unrecognisable, as media: to draw a near zone on."""

    id: str
    camera_id: str
    deadline: datetime


class EraseFace(msgspec.Struct, frozen=True, kw_only=True, tag="erase_face"):
    """Ask an edge to destroy a person's template and key."""

    id: str
    person_id: str
    deadline: datetime


class ShareTemplates(msgspec.Struct, frozen=True, kw_only=True, tag="share_templates"):
    """Ask an edge to seal the templates that a sibling's doors may use to the sibling's key, and to send them through the relay.

    The edge trusts the siblings of its signed policy, not this command, for the key and the doors.
    """

    id: str
    to_edge: str
    relay_ticket: str
    deadline: datetime


class AdoptTemplates(msgspec.Struct, frozen=True, kw_only=True, tag="adopt_templates"):
    """Ask an edge to take the templates that a sibling sealed to it, from the relay."""

    id: str
    from_edge: str
    relay_ticket: str
    deadline: datetime


Command = (
    Unlock | RefuseCall | EnrolFace | EnrolAtDoor | LearnCards | EraseFace | ShareTemplates | AdoptTemplates
    | CountImpostors | TakeStill | Discover | ProbeDevice | TryPart | InstallKey
)  # fmt: skip


Hint = Literal[
    "", "come_closer", "step_back", "look_straight", "turn_slightly", "more_light", "less_light", "hold_still",
    "one_person_only", "taken",
]  # fmt: skip
"""What the person before the camera should do now; `taken` says that a picture was good."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Say how far a command is that takes its time, and what the person should do."""

    command_id: str
    at: datetime
    done: int
    wanted: int
    hint: Hint = ""
    since: datetime | None = None
    """When the edge began to gather cards: another time means that it was restarted in between."""
    readings: tuple[str, ...] = ()
    """What a reader read of different cards, in order (`learn_cards`): personal data, for the memory of who asked alone."""
    again: int = 0
    """How often a card was presented that read like one before."""

    def __repr__(self) -> str:
        return f"Progress(command_id={self.command_id!r}, done={self.done}, wanted={self.wanted})"


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Answer a `Progress`: `wanted` is False where the command was called off or is over, so that the edge ends it."""

    wanted: bool


class FaceReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Prove that a template exists on an edge without revealing it; `digest` is of the sealed bytes."""

    id: str
    person_id: str
    edge_id: str
    contract: str
    quality: float
    digest: str
    at: datetime


class ErasureReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """State that an edge destroyed a person's key and templates; `signature` is base64 Ed25519 by the edge's key.

    Without a TPM or an external key around the store, a copy of the whole disk from before could still be read:
    `protection` says which it was.
    """

    id: str
    person_id: str
    edge_id: str
    templates: int
    protection: Protection
    erased_at: datetime
    signature: str = ""


def erasure_statement(receipt: ErasureReceipt) -> bytes:
    """Return the bytes that an edge signs to confirm an erasure."""
    parts = ("gatehouse-erasure-1", receipt.id, receipt.person_id, receipt.edge_id, str(receipt.templates))
    return "\n".join((*parts, receipt.protection, receipt.erased_at.isoformat())).encode()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a command ended: confirmed by the device, refused or failed (with a stable reason), or expired."""

    command_id: str
    state: Literal["confirmed", "failed", "refused", "expired"]
    reason: str | None = None
    detail: str = ""
    at: datetime
    receipt: FaceReceipt | None = None
    receipts: tuple[FaceReceipt, ...] = ()
    """Of adopted templates, and of those made at a door, one each."""
    erasure: ErasureReceipt | None = None
    evidence: ImpostorEvidence | None = None
    """Counts of `count_impostors`."""
    media_id: str | None = None
    """The picture of `take_still`, uploaded before."""
    candidates: tuple[Candidate, ...] = ()
    """What `discover` or `probe_device` found."""
    notes: tuple[Note, ...] = ()
    """Of `discover`: which wires were not searched to their end, and why."""
    similar_to: str | None = None
    """Another enrolled person who looks so much alike that one of them should use a card; for who enrols, nobody else."""


class FaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a door uses faces, as its edge decides it: see `models.calibration.FaceUse`."""

    use: FaceUse
    contract: str = ""
    provider: Provider = "none"


TROUBLE_CHARS = 200
Trouble = Annotated[str, msgspec.Meta(max_length=TROUBLE_CHARS)]
"""Why an edge cannot serve a device, in words for people; no secret is in it."""


class DoorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a door stands now, for the console."""

    door_id: str
    online: bool
    contact: Literal["open", "closed", "unknown"]
    lock: Literal["locked", "unlocked", "unknown"]
    mode: str
    tamper: bool
    alarm: Literal["none", "forced", "held"]
    at: datetime
    face: FaceStatus | None = None
    """None where the door takes no face in any way."""
    trouble: Trouble | None = None
    """Why the edge cannot serve it; None while it can."""


class CameraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a camera stands now, for the console."""

    camera_id: str
    state: Literal["starting", "live", "lost", "refused"]
    detail: str = ""
    at: datetime
    trouble: Trouble | None = None
    """Why the edge cannot serve it, or the device around it; None while it can."""


class EdgeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how an edge stands: doors, cameras, backlog and counters since its start."""

    edge_id: str
    at: datetime
    backlog: int
    doors: tuple[DoorStatus, ...]
    cameras: tuple[CameraStatus, ...]
    counters: dict[str, int]
    policy: tuple[int, int]
    templates: int = 0
    """How many templates the edge holds."""
    contract: str = ""
    """Under which contract it compares faces: evidence of others says nothing to it. Empty while it cannot tell."""
    protection: Protection = "file"
    checkpoint: Checkpoint | None = None
    """The newest checkpoint of the gateway's audit log that this edge keeps."""
    tombstones: tuple[str, ...] = ()
    """Erased persons whom this edge knows and its policy does not: the gateway was restored from before."""
    restored_at: datetime | None = None
    """When this edge was restored from a backup, while it waits for a policy that was issued after that."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """Answer a batch of facts: every id here is durable at the gateway; rejected ones are kept in its quarantine."""

    committed: tuple[str, ...]
    rejected: tuple[str, ...] = ()


def signing_input(method: str, target: str, *, body: bytes, time_s: str, nonce: str) -> bytes:
    """Return the bytes that an edge signs with Ed25519: method, path with query, body's SHA-256, time and nonce."""
    return signing_lines(method, target, digest=hashlib.sha256(body).hexdigest(), time_s=time_s, nonce=nonce)


def signing_lines(method: str, target: str, *, digest: str, time_s: str, nonce: str) -> bytes:
    """Return what `signing_input` does, for a body that is known by its hex SHA-256 only."""
    return "\n".join((method.upper(), target, digest, time_s, nonce)).encode()


def policy_statement(edge_id: str, body: bytes) -> bytes:
    """Return the bytes that the gateway signs with Ed25519 under a policy answer to one edge."""
    return b"policy\n" + edge_id.encode() + b"\n" + body


def command_statement(edge_id: str, data: bytes) -> bytes:
    """Return the bytes that the gateway signs with Ed25519 under an event of one edge's command stream."""
    return b"command\n" + edge_id.encode() + b"\n" + data
