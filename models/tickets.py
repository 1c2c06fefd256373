"""Tickets: what a QR shows at a reader, signed so that an edge can check it offline, and short enough to scan.

A ticket says nothing about rights: it names a credential or a visitor's pass, whose rights are in the policy. It can be
copied like any picture; a short validity, a counted use and revocation in the policy bound what a copy is worth.
Form: `GH1.` payload `.` signature, both base64url without padding (RFC 4648 section 5); Ed25519 (RFC 8032) over
`GH1.` and payload.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from models.errors import InvalidInput

PREFIX: Final = "GH1"
MAX_CHARS: Final = 400
MAX_VALIDITY: Final = timedelta(hours=24)
"""A ticket is shown today; a pass that holds for longer gets a new one each day."""
CLOCKS_APART: Final = timedelta(minutes=5)
"""A ticket may be shown so long before it begins: the clock at the door may be behind the one that it was made by."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Name a credential or a pass, the key that signed, and from when until when (Unix seconds) it may be shown."""

    key_id: str
    about: Literal["credential", "pass"]
    id: str
    not_before: int
    not_after: int

    def begun(self, at: datetime) -> bool:
        """Return whether the ticket may be shown already, by a clock that may be a little behind."""
        return self.not_before - CLOCKS_APART.total_seconds() <= at.timestamp()

    def covers(self, at: datetime) -> bool:
        """Return whether the ticket may be shown at a time; one for longer than a day never may."""
        within = self.not_after - self.not_before <= MAX_VALIDITY.total_seconds()
        return within and self.begun(at) and at.timestamp() < self.not_after


_decoder = msgspec.json.Decoder(Ticket)


def ticket_text(ticket: Ticket, *, sign: Callable[[bytes], bytes]) -> str:
    """Return what the QR shows.

    Args:
        ticket: what to say.
        sign: makes the 64-byte Ed25519 signature under the key that `key_id` names.
    """
    signed = f"{PREFIX}.{_b64(msgspec.json.encode(ticket))}"
    return f"{signed}.{_b64(sign(signed.encode()))}"


def read_ticket(text: str, *, verify: Callable[[str, bytes, bytes], bool]) -> Ticket:
    """Return the ticket of a QR whose signature holds; its validity is the caller's to ask.

    Args:
        text: what the reader read.
        verify: given key id, signature and signed bytes, says whether the signature holds; False for an unknown key.

    Raises:
        InvalidInput: it is no ticket of ours (`where` is "ticket"), or was not signed by this site (`where` is
            "ticket.signature"). The text itself is not repeated.
    """
    parts = text.split(".")
    if len(text) > MAX_CHARS or not text.isascii() or len(parts) != 3 or parts[0] != PREFIX:
        raise InvalidInput("ticket", "this is no ticket of Gatehouse")
    try:
        ticket = _decoder.decode(_unb64(parts[1]))
        signature = _unb64(parts[2])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput("ticket", "this ticket cannot be read") from error
    if not verify(ticket.key_id, signature, f"{parts[0]}.{parts[1]}".encode()):
        raise InvalidInput("ticket.signature", "this ticket was not signed by this site")
    return ticket


def new_ticket(
    about: Literal["credential", "pass"], record_id: str, *, key_id: str, since: datetime, until: datetime
) -> Ticket:
    """Return a ticket that may be shown between two aware times, taken to whole seconds.

    Raises:
        InvalidInput: it would end before it begins, or hold for longer than a day.
    """
    not_before, not_after = int(since.timestamp()), int(until.timestamp())
    if not 0 < not_after - not_before <= MAX_VALIDITY.total_seconds():
        raise InvalidInput("until", "a ticket holds for a second up to 24 hours: mint a new one for the next day")
    return Ticket(key_id=key_id, about=about, id=record_id, not_before=not_before, not_after=not_after)


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
