"""People with consent: persons, flats they belong to, consents, credentials, permits, visitor passes. No attributes of people.

A template never appears here: it lives sealed on the edges. A consent is live or it is not; nothing else allows a face.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec

from models.errors import InvalidInput

CARD_LIMIT = 20
SUPERSEDED_FOR = timedelta(days=30)
"""How long a template is kept, unused, for a person who has not yet consented to the new notice."""
PIN_DIGITS = (4, 12)
Purpose = Literal["door_face", "enrolment_photo"]
"""What a consent is about: faces at doors, or keeping the enrolment photo, which is never implied (R27)."""
Relation = Literal["owner", "tenant", "family", "staff"]


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Name one resident or worker of a site. `under_14` shuts out faces unless a guardian consents."""

    id: str
    site_id: str
    name: str
    born_on: date | None = None
    under_14: bool = False
    """Declared by who enrols, where no date of birth is kept; see `is_under_14`."""
    phone: str | None = None
    external_id: str | None = None
    """The number under which another register (a spreadsheet) knows this person; unique within a site."""


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Know a person as an edge does: an opaque id, the keypad codes of their flats, and whether a guardian must consent."""

    id: str
    flats: tuple[str, ...] = ()
    under_14: bool = False


class Occupancy(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a person belongs to a flat for a while: rights follow the flat."""

    id: str
    person_id: str
    flat_id: str
    relation: Relation = "family"
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Return whether the person belongs to the flat at a time."""
        begun = self.valid_from is None or self.valid_from <= at
        return begun and (self.valid_until is None or at < self.valid_until)


class Consent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Record one separate consent: to what, for which doors, on which text, when, how, with what evidence."""

    id: str
    person_id: str
    purpose: Purpose = "door_face"
    doors: tuple[str, ...]
    text_version: str
    text_sha256: str
    given_at: datetime
    channel: Literal["office", "phone_page", "paper", "demo"]
    evidence: str
    guardian: str | None = None
    expires_at: datetime | None = None
    withdrawn_at: datetime | None = None
    superseded_at: datetime | None = None
    """When a notice with another purpose or method was published: nothing is matched until the person consents anew."""

    def live(self, at: datetime) -> bool:
        """Return whether the consent holds at a time."""
        return self.given_at <= at and not self.over(at) and (self.superseded_at is None or at < self.superseded_at)

    def over(self, at: datetime) -> bool:
        """Return whether the consent has ended for good, so that what was made under it must be destroyed."""
        forgotten = None if self.superseded_at is None else self.superseded_at + SUPERSEDED_FOR
        return any(end is not None and at >= end for end in (self.expires_at, self.withdrawn_at, forgotten))


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Name some doors and a schedule once, for all who are permitted by it. No schedule means always."""

    id: str
    site_id: str
    name: str = ""
    doors: tuple[str, ...]
    schedule_id: str | None = None


class Permit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a person through the doors of a group, or through named ones, within a validity and on a schedule.

    No doors named means no door; no schedule means always. A group's schedule and a permit's own must both cover.
    """

    id: str
    person_id: str
    group_id: str | None = None
    doors: tuple[str, ...] = ()
    schedule_id: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def begun(self, at: datetime) -> bool:
        """Return whether the validity has begun."""
        return self.valid_from is None or self.valid_from <= at

    def expired(self, at: datetime) -> bool:
        """Return whether the validity is over."""
        return self.valid_until is not None and at >= self.valid_until

    @property
    def timeless(self) -> bool:
        """True if it needs no clock: it may be used while the clock is not trusted."""
        return self.valid_from is None and self.valid_until is None and self.schedule_id is None


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold a card or PIN as a keyed digest: an edge can check a presented value, and cannot list the values.

    A `qr` credential has no digest: its signed ticket names the credential's id (models.tickets).
    """

    id: str
    person_id: str
    kind: Literal["card", "pin", "qr"]
    digest: str = ""
    """Hex HMAC-SHA256 of the canonical value under the site's credential key (`credential_digest`)."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    duress: bool = False
    """A PIN to be used under threat: the door does as always, and a silent alarm is raised."""


class VisitorPass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a visitor in for a while and a number of uses (0: any number); issued by a resident or the desk.

    It is presented as a signed ticket (QR) that names its id, or as a PIN. A pass with counted uses has doors of one
    edge only: the edge that owns them counts.
    """

    id: str
    host_id: str | None
    doors: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime
    uses: int = 1
    used: int = 0
    """How often it has been used as far as the gateway knows: the edge counts from there if it knows of fewer."""
    pin_digest: str = ""
    """Hex `credential_digest("pin", ...)`; empty if the pass has no PIN."""


def canonical_card(value: str, *, where: str = "value") -> str:
    """Return a card number in its canonical form: upper-case hexadecimal without separators or leading zeros.

    Raises:
        InvalidInput: the value is empty, too long or not hexadecimal.
    """
    digits = value.replace(":", "").replace("-", "").replace(" ", "").upper()
    if not 1 <= len(digits) <= CARD_LIMIT or any(char not in "0123456789ABCDEF" for char in digits):
        raise InvalidInput(where, f"a card number has 1 to {CARD_LIMIT} hexadecimal digits")
    return digits.lstrip("0") or "0"


def canonical_pin(value: str, *, where: str = "value") -> str:
    """Return a PIN if it has 4 to 12 ASCII digits; the value itself never enters a message.

    Raises:
        InvalidInput: the PIN has another length or another character.
    """
    low, high = PIN_DIGITS
    if not low <= len(value) <= high or not (value.isascii() and value.isdigit()):
        raise InvalidInput(where, f"a PIN has {low} to {high} digits")
    return value


def credential_digest(kind: str, canonical: str, key: bytes) -> str:
    """Return the hex HMAC-SHA256 of a canonical credential under the site's key (RFC 2104)."""
    return hmac.new(key, f"{kind}\x1f{canonical}".encode(), hashlib.sha256).hexdigest()


def is_under_14(person: Person, on: date) -> bool:
    """Return whether a person is under 14 on a day in the site's zone, by date of birth if there is one (PIPL 31).

    Somebody born on 29 February is 14 on 1 March of a year that has no such day.
    """
    if person.born_on is None:
        return person.under_14
    return (on.year - 14, on.month, on.day) < (person.born_on.year, person.born_on.month, person.born_on.day)


def face_allowed(person: Person | Member, consents: tuple[Consent, ...], *, door_id: str, at: datetime) -> bool:
    """Return whether a face of this person may be matched at a door: a live consent names it, a guardian's under 14."""
    return door_id in face_doors(person, consents, at=at)


def face_doors(person: Person | Member, consents: tuple[Consent, ...], *, at: datetime) -> frozenset[str]:
    """Return the doors where a face of this person may be matched: those of live consents, a guardian's under 14."""
    return frozenset().union(
        *(
            consent.doors
            for consent in consents
            if consent.person_id == person.id
            and consent.purpose == "door_face"
            and consent.live(at)
            and (not person.under_14 or bool(consent.guardian))
        )
    )
