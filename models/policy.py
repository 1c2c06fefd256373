"""What an edge is told: the policy from which it decides alone, and the difference between two of them. Pure.

Every collection holds records with an id of their own, so that a delta is what changed and what went, by id. A delta
carries the digest of the policy that it leads to: an edge that gets another one asks for the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, Literal, get_type_hints

import msgspec

from models.calibration import ImpostorEvidence
from models.cards import CardFormat
from models.errors import InvalidInput
from models.people import Consent, Credential, Group, Member, Permit, VisitorPass
from models.places import Camera, Door
from models.schedules import Calendar, Schedule

DoorMode = Literal["normal", "locked_down", "evacuating", "held_open"]
Assessed = Literal["face", "recording"]


class DesiredMode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Say which mode a door shall be in, and until when; versions grow per door, by two each time somebody sets it."""

    door_id: str
    version: int
    mode: DoorMode
    until: datetime | None = None
    """When the door is normal again by itself, with the version in between."""

    def now(self, at: datetime) -> DesiredMode:
        """Return the mode that holds at a time."""
        if self.until is None or at < self.until:
            return self
        return DesiredMode(door_id=self.door_id, version=self.version + 1, mode="normal")


class TicketKey(msgspec.Struct, frozen=True, kw_only=True):
    """Know one public key under which tickets (QR) of a site are valid: base64 Ed25519."""

    id: str
    public_key: str


class Sibling(msgspec.Struct, frozen=True, kw_only=True):
    """Know another edge of the site: its doors, and the base64 X25519 key to which templates for it are sealed."""

    edge_id: str
    seal_key: str
    doors: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold all that an edge needs to decide alone. (epoch, n) only grows; after `valid_until` faces fail closed."""

    edge_id: str
    site_id: str
    epoch: int
    n: int
    issued_at: datetime
    valid_until: datetime
    doors: tuple[Door, ...]
    cameras: tuple[Camera, ...]
    """Cameras with a complete register entry only: others stay off (R34)."""
    people: tuple[Member, ...] = ()
    """Persons known to these doors; an edge needs no names."""
    groups: tuple[Group, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    permits: tuple[Permit, ...] = ()
    """Permits of people, those that follow from their flats included."""
    passes: tuple[VisitorPass, ...] = ()
    credentials: tuple[Credential, ...] = ()
    credential_key: str = ""
    """Hex key of `credential_digest` for this site."""
    ticket_keys: tuple[TicketKey, ...] = ()
    consents: tuple[Consent, ...] = ()
    """Live and ended consents that name doors of this site: a withdrawal must reach the edge."""
    tombstones: tuple[str, ...] = ()
    """Ids of erased persons: whatever is held of them must go, after a restore too."""
    modes: tuple[DesiredMode, ...] = ()
    siblings: tuple[Sibling, ...] = ()
    calibrations: tuple[ImpostorEvidence, ...] = ()
    """Counted evidence of false matches that holds for this edge: labelled photos, and its own gallery's."""
    card_formats: tuple[CardFormat, ...] = ()
    """How the readers of these doors write the numbers of cards, where they do not give the canonical form."""
    assessed: tuple[Assessed, ...] = ()
    """What an approved impact assessment covers at this site (R33); faces are matched only with "face"."""


COLLECTIONS: Final = {
    "doors": "id", "cameras": "id", "people": "id", "groups": "id", "schedules": "id", "calendars": "id",
    "permits": "id", "passes": "id", "credentials": "id", "ticket_keys": "id", "consents": "id", "modes": "door_id",
    "siblings": "edge_id", "calibrations": "id", "card_formats": "id",
}  # fmt: skip
"""The collections of a policy, each with what names its records."""
_TYPES: Final = get_type_hints(Policy)
SCALARS: Final = ("epoch", "n", "issued_at", "valid_until", "credential_key", "tombstones", "assessed")


class PolicyDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what leads from one policy (`base`, as epoch and n) to the next."""

    edge_id: str
    base: tuple[int, int]
    digest: str
    """`policy_digest` of the policy that it leads to."""
    values: dict[str, Any]
    """New values of what is no collection."""
    changed: dict[str, list[Any]] = {}
    removed: dict[str, list[str]] = {}


def policy_digest(policy: Policy) -> str:
    """Return the hex SHA-256 of a policy's JSON, its collections sorted: however a database orders them."""
    parts: dict[str, Any] = {name: _sorted(getattr(policy, name), key) for name, key in COLLECTIONS.items()}
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(policy, **parts))).hexdigest()


def _sorted(records: Iterable[Any], key: str) -> tuple[Any, ...]:
    return tuple(sorted(records, key=attrgetter(key)))


def delta_between(old: Policy, new: Policy) -> PolicyDelta:
    """Return what leads from one policy of an edge to another.

    Raises:
        InvalidInput: the policies are not of one edge and site.
    """
    if (old.edge_id, old.site_id) != (new.edge_id, new.site_id):
        raise InvalidInput("policy", "a delta leads from one policy of an edge to another of the same edge and site")
    changed: dict[str, list[Any]] = {}
    removed: dict[str, list[str]] = {}
    for name, key in COLLECTIONS.items():
        if getattr(old, name) is getattr(new, name):
            continue
        before = {getattr(record, key): record for record in getattr(old, name)}
        after = {getattr(record, key): record for record in getattr(new, name)}
        fresh = [record for record_id, record in after.items() if before.get(record_id) != record]
        gone = [record_id for record_id in before if record_id not in after]
        if fresh:
            changed[name] = fresh
        if gone:
            removed[name] = gone
    values = {name: getattr(new, name) for name in SCALARS if getattr(new, name) != getattr(old, name)}
    return PolicyDelta(
        edge_id=new.edge_id, base=(old.epoch, old.n), digest=policy_digest(new), values=values, changed=changed,
        removed=removed,
    )  # fmt: skip


def apply_delta(policy: Policy, delta: PolicyDelta) -> Policy:
    """Return the policy to which a delta leads.

    Raises:
        InvalidInput: it starts from another policy, names what no policy has, or leads elsewhere than it says.
    """
    if delta.edge_id != policy.edge_id or delta.base != (policy.epoch, policy.n):
        raise InvalidInput("policy delta", "it starts from another policy: ask for the whole")
    unknown = (delta.changed.keys() | delta.removed.keys()) - COLLECTIONS.keys() | delta.values.keys() - set(SCALARS)
    if unknown:
        raise InvalidInput("policy delta", f"no policy has {min(unknown)[:40]!r}: update this edge")
    try:
        parts = {name: msgspec.convert(value, _TYPES[name]) for name, value in delta.values.items()}
        for name in delta.changed.keys() | delta.removed.keys():
            parts[name] = _merged(policy, name, delta=delta)
    except msgspec.ValidationError as error:
        raise InvalidInput("policy delta", str(error)) from error
    after = msgspec.structs.replace(policy, **parts)
    if policy_digest(after) != delta.digest:
        raise InvalidInput("policy delta", "it leads to another policy than it says: ask for the whole")
    return after


def _merged(policy: Policy, name: str, *, delta: PolicyDelta) -> tuple[Any, ...]:
    """Return a collection after a delta; only records that changed are read anew."""
    key = COLLECTIONS[name]
    records = {getattr(record, key): record for record in getattr(policy, name)}
    for record in msgspec.convert(msgspec.to_builtins(delta.changed.get(name, [])), _TYPES[name]):
        records[getattr(record, key)] = record
    for record_id in delta.removed.get(name, []):
        records.pop(record_id, None)
    return _sorted(records.values(), key)
