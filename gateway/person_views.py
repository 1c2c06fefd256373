"""What the gateway shows of people and their rights: the JSON of the HTTP API, for callers with the right to see people.

No value of a card, PIN or template is in any of these: the gateway does not have them.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from models.people import Group, Occupancy
from models.schedules import Calendar, Schedule


class ConsentView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one consent and whether it is live."""

    id: str
    purpose: str
    doors: tuple[str, ...]
    text_version: str
    text_sha256: str
    given_at: datetime
    channel: str
    evidence: str
    guardian: str | None
    expires_at: datetime | None
    withdrawn_at: datetime | None
    superseded_at: datetime | None = None
    live: bool


class FaceReceiptView(msgspec.Struct, frozen=True, kw_only=True):
    """Show the proof that a template exists on an edge, or when it was destroyed."""

    id: str
    person_id: str
    consent_id: str
    edge_id: str
    contract: str
    quality: float
    digest: str
    at: datetime
    erased_at: datetime | None = None


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """Show that a card, PIN or QR exists and how it stands; its value is known to nobody."""

    id: str
    kind: str
    label: str = ""
    state: str = "active"
    """active, lost, blocked or replaced; only what is active opens doors."""
    digits: int | None = None
    """How long a PIN is."""
    duress: bool = False
    """A PIN that opens as always and raises a silent alarm."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    created_at: datetime
    ended_at: datetime | None = None
    replaces: str | None = None
    """The credential that this one stands in for."""
    version: int = 1
    pin: str | None = None
    """A PIN that Gatehouse has just made up: shown in this answer and never again."""


class PermitView(msgspec.Struct, frozen=True, kw_only=True):
    """Show which doors a person may pass and when."""

    id: str
    doors: tuple[str, ...]
    group_id: str | None = None
    schedule_id: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class PersonRow(msgspec.Struct, frozen=True, kw_only=True):
    """Show one person in a list, without what belongs to them: ask for the person to see that."""

    id: str
    site_id: str
    name: str
    born_on: date | None = None
    under_14: bool
    phone: str | None = None
    external_id: str | None = None
    created_at: datetime
    seeded: bool = False
    version: int = 1


class PersonView(PersonRow, frozen=True, kw_only=True):
    """Show one person with flats, consents, receipts, credentials and permits."""

    flats: tuple[Occupancy, ...] = ()
    guardians: tuple[str, ...] = ()
    """Who may consent for a child under 14, by id."""
    may_be_asked: tuple[str, ...] = ()
    """Purposes that the person may be asked to consent to: none that they refused or withdrew (R3)."""
    consents: tuple[ConsentView, ...] = ()
    faces: tuple[FaceReceiptView, ...] = ()
    """Templates that edges hold now."""
    erased_faces: tuple[FaceReceiptView, ...] = ()
    credentials: tuple[CredentialView, ...] = ()
    permits: tuple[PermitView, ...] = ()
    permits_by_flat: tuple[PermitView, ...] = ()
    """What follows from the flats: it comes and goes with them."""


class GroupView(Group, frozen=True, kw_only=True, omit_defaults=False):
    """Show a permission group; what the site file describes is seeded and cannot be changed here."""

    seeded: bool = False
    version: int = 1


class ScheduleView(Schedule, frozen=True, kw_only=True, omit_defaults=False):
    """Show a schedule."""

    seeded: bool = False
    version: int = 1


class CalendarView(Calendar, frozen=True, kw_only=True, omit_defaults=False):
    """Show a calendar."""

    seeded: bool = False
    version: int = 1


class VisitorView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a visitor's pass and how often its edge has reported its use."""

    id: str
    site_id: str
    host_id: str | None
    visitor: str
    doors: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime
    uses: int
    used: int
    has_pin: bool
    created_at: datetime
    revoked_at: datetime | None = None
    version: int = 1
    pin: str | None = None
    """The PIN that was just made up: shown in this answer and never again."""


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    """Show what a QR says, and from when until when a reader takes it."""

    ticket: str
    credential_id: str | None = None
    pass_id: str | None = None
    valid_from: datetime
    valid_until: datetime
