"""The records that cross the edge link, and what a signature covers. Transport and keys are elsewhere."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

import msgspec

from models.people import Consent, Credential, Permit, Person
from models.places import Camera, Door

DoorMode = Literal["normal", "locked_down", "evacuating", "held_open"]
MAX_FACTS = 500
MAX_BODY_BYTES = 1024 * 1024
MAX_PHOTO_BYTES = 4 * 1024 * 1024
CLOCK_WINDOW_S = 300
HEADER_EDGE = "Gatehouse-Edge"
HEADER_TIME = "Gatehouse-Time"
HEADER_NONCE = "Gatehouse-Nonce"
HEADER_SIGNATURE = "Gatehouse-Signature"


class DesiredMode(msgspec.Struct, frozen=True, kw_only=True):
    """Say which mode a door shall be in; versions grow per door."""

    door_id: str
    version: int
    mode: DoorMode


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that an edge needs to decide alone. (epoch, n) only grows; after `valid_until` faces fail closed."""

    edge_id: str
    site_id: str
    epoch: int
    n: int
    issued_at: datetime
    valid_until: datetime
    doors: tuple[Door, ...]
    cameras: tuple[Camera, ...]
    permits: tuple[Permit, ...] = ()
    credentials: tuple[Credential, ...] = ()
    credential_key: str = ""
    """Hex key of `credential_digest` for this site."""
    people: tuple[Person, ...] = ()
    """Persons known to these doors, with `name` empty: an edge needs no names."""
    consents: tuple[Consent, ...] = ()
    """Live and withdrawn consents that name these doors: a withdrawal must reach the edge."""
    modes: tuple[DesiredMode, ...] = ()


class Unlock(msgspec.Struct, frozen=True, kw_only=True, tag="unlock"):
    """Ask an edge to unlock a door once, before a deadline."""

    id: str
    door_id: str
    reason: str
    requested_by: str
    deadline: datetime


class EnrolFace(msgspec.Struct, frozen=True, kw_only=True, tag="enrol_face"):
    """Ask an edge to make a template from the photo behind a one-time relay ticket."""

    id: str
    person_id: str
    consent_id: str
    relay_ticket: str
    deadline: datetime


class EraseFace(msgspec.Struct, frozen=True, kw_only=True, tag="erase_face"):
    """Ask an edge to destroy a person's template and key."""

    id: str
    person_id: str
    deadline: datetime


Command = Unlock | EnrolFace | EraseFace


class FaceReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Prove that a template exists on an edge without revealing it; `digest` is of the sealed bytes."""

    id: str
    person_id: str
    edge_id: str
    contract: str
    quality: float
    digest: str
    at: datetime


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a command ended: confirmed by the device, refused or failed (with a stable reason), or expired."""

    command_id: str
    state: Literal["confirmed", "failed", "refused", "expired"]
    reason: str | None = None
    detail: str = ""
    at: datetime
    receipt: FaceReceipt | None = None


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


class CameraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how a camera stands now, for the console."""

    camera_id: str
    state: Literal["starting", "live", "lost", "refused"]
    detail: str = ""
    at: datetime


class EdgeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Report how an edge stands: doors, cameras, backlog and counters since its start."""

    edge_id: str
    at: datetime
    backlog: int
    doors: tuple[DoorStatus, ...]
    cameras: tuple[CameraStatus, ...]
    counters: dict[str, int]
    policy: tuple[int, int]


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """Answer a batch of facts: every id here is durable at the gateway; rejected ones are kept in its quarantine."""

    committed: tuple[str, ...]
    rejected: tuple[str, ...] = ()


def signing_input(method: str, target: str, *, body: bytes, time_s: str, nonce: str) -> bytes:
    """Return the bytes that an edge signs with Ed25519: method, path with query, body's SHA-256, time and nonce."""
    return "\n".join((method.upper(), target, hashlib.sha256(body).hexdigest(), time_s, nonce)).encode()
