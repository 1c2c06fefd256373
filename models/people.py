"""People with consent: persons, consents, credentials, permits and schedules. No attributes of people beyond a name.

A template never appears here: it lives sealed on the edges. A consent is live or it is not; nothing else allows a face.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from models.errors import InvalidInput

CARD_LIMIT = 20
PIN_DIGITS = (4, 12)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Name one resident or worker of a site. `under_14` shuts out faces unless a guardian consents."""

    id: str
    site_id: str
    name: str
    flat_id: str | None = None
    under_14: bool = False


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """Record one separate consent: to what, for which doors, on which text, when, how, with what evidence."""

    id: str
    person_id: str
    purpose: Literal["door_face"] = "door_face"
    doors: tuple[str, ...]
    text_version: str
    text_sha256: str
    given_at: datetime
    channel: Literal["office", "phone_page", "paper", "demo"]
    evidence: str
    guardian: str | None = None
    expires_at: datetime | None = None
    withdrawn_at: datetime | None = None

    def live(self, at: datetime) -> bool:
        """Return whether the consent holds at a time."""
        given = self.given_at <= at and (self.expires_at is None or at < self.expires_at)
        return given and (self.withdrawn_at is None or at < self.withdrawn_at)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Say when a permit holds: weekdays (0 is Monday) and a daily window in the site's time zone; may pass midnight."""

    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    from_time: time = time(0, 0)
    until_time: time = time(0, 0)
    timezone: str = "Asia/Shanghai"

    def covers(self, at: datetime) -> bool:
        """Return whether the schedule covers an aware time; equal ends mean the whole day."""
        local = at.astimezone(ZoneInfo(self.timezone))
        now, start, end = local.time(), self.from_time, self.until_time
        if start == end:
            return local.weekday() in self.weekdays
        if start < end:
            return local.weekday() in self.weekdays and start <= now < end
        if now >= start:
            return local.weekday() in self.weekdays
        return now < end and (local.weekday() - 1) % 7 in self.weekdays


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """Let a person through doors, within a validity and on a schedule. No doors named means no door."""

    id: str
    person_id: str
    doors: tuple[str, ...]
    schedule: Schedule = Schedule()
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def holds(self, door_id: str, at: datetime) -> bool:
        """Return whether the permit opens the door at a time, schedule included."""
        return door_id in self.doors and not self.expired(at) and self.begun(at) and self.schedule.covers(at)

    def begun(self, at: datetime) -> bool:
        """Return whether the validity has begun."""
        return self.valid_from is None or self.valid_from <= at

    def expired(self, at: datetime) -> bool:
        """Return whether the validity is over."""
        return self.valid_until is not None and at >= self.valid_until


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a card or PIN as a keyed digest: an edge can check a presented value, and cannot list the values."""

    id: str
    person_id: str
    kind: Literal["card", "pin"]
    digest: str
    """Hex HMAC-SHA256 of the canonical value under the site's credential key (`credential_digest`)."""


class VisitorPass(msgspec.Struct, frozen=True, kw_only=True):
    """Let a visitor in for a while and a number of uses; issued by a resident or the desk."""

    id: str
    person_id: str
    doors: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime
    uses: int = 1


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


def face_allowed(person: Person, consents: tuple[Consent, ...], *, door_id: str, at: datetime) -> bool:
    """Return whether a face of this person may be matched at a door: a live consent names it, a guardian's under 14."""
    return any(
        consent.person_id == person.id
        and door_id in consent.doors
        and consent.live(at)
        and (not person.under_14 or bool(consent.guardian))
        for consent in consents
    )
