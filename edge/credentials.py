"""Whose a card, PIN, flat and PIN, or QR ticket is: a policy indexed so that the answer takes lookups only.

Values are compared by keyed digest, tickets by their signature. It decides nothing about doors (models.access), and
keeps, logs or repeats no value.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.access import Request
from models.cards import AS_IT_COMES, CardFormat, canonical_reading
from models.errors import InvalidInput
from models.events import DenialReason
from models.people import Credential, VisitorPass, canonical_pin, credential_digest
from models.policy import Policy
from models.rights import Rights, credential_refusal
from models.tickets import read_ticket

log = logging.getLogger("gatehouse.edge.credentials")

FLAT_MARK: Final = "#"
"""Stands between flat and PIN in what a keypad sends."""


@dataclass(frozen=True)
class Found:
    """Say whose a presented value is: a person's, or a visitor's pass; and why it does not count by itself, if so."""

    person_id: str | None = None
    pass_id: str | None = None
    refusal: DenialReason | None = None
    duress: bool = False
    """Whether the value says that its holder is under threat."""

    @property
    def somebody(self) -> bool:
        """True if the value is somebody's."""
        return self.person_id is not None or self.pass_id is not None


NOBODY: Final = Found()


@dataclass(frozen=True)
class Book:
    """Hold a policy so that a decision takes lookups only."""

    policy: Policy | None = None
    rights: Rights = field(default_factory=Rights)
    _key: bytes = b""
    _digests: dict[tuple[str, str], tuple[Credential, ...]] = field(default_factory=dict)
    _tickets: dict[str, Credential] = field(default_factory=dict)
    _passes: dict[str, tuple[VisitorPass, ...]] = field(default_factory=dict)
    _flats: dict[str, frozenset[str]] = field(default_factory=dict)
    _codes: frozenset[str] = frozenset()
    _signers: dict[str, Ed25519PublicKey] = field(default_factory=dict)
    _formats: dict[tuple[str, str], tuple[CardFormat, ...]] = field(default_factory=dict)

    @staticmethod
    def of(policy: Policy) -> Book:
        """Index a policy by digest, ticket and person. What cannot be read is left out: it opens nothing.

        Raises:
            ValueError: the credential key is not hexadecimal.
        """
        digests: dict[tuple[str, str], list[Credential]] = defaultdict(list)
        for credential in policy.credentials:
            digests[credential.kind, credential.digest].append(credential)
        passes: dict[str, list[VisitorPass]] = defaultdict(list)
        for one in policy.passes:
            passes[one.pin_digest].append(one)
        return Book(
            policy=policy,
            rights=Rights.of(policy),
            _key=bytes.fromhex(policy.credential_key),
            _digests={key: tuple(several) for key, several in digests.items()},
            _tickets={one.id: one for one in policy.credentials if one.kind == "qr"},
            _passes={digest: tuple(several) for digest, several in passes.items() if digest},
            _flats={person.id: frozenset(person.flats) for person in policy.people},
            _codes=frozenset(code for person in policy.people for code in person.flats),
            _signers={key.id: signer for key in policy.ticket_keys if (signer := _signer(key.public_key, key.id))},
            _formats=_formats(policy),
        )

    def time(self, at: datetime) -> datetime:
        """Return the time to decide at: never before the policy was made, though the clock here is a little behind."""
        return at if self.policy is None else max(at, self.policy.issued_at)

    def ended(self, at: datetime, *, clock_trusted: bool) -> bool:
        """Return whether the policy's validity is over, or cannot be told by this clock."""
        return self.policy is not None and (not clock_trusted or at >= self.policy.valid_until)

    def knows_flat(self, flat: str) -> bool:
        """Return whether somebody belongs to the flat with this keypad code."""
        return flat in self._codes

    def find(self, request: Request, *, at: datetime, clock_trusted: bool) -> tuple[Found, ...]:
        """Return everybody whose the presented value is, or one finding of nobody.

        Raises:
            InvalidInput: the value cannot be read as what it was presented as. It is not repeated.
        """
        if request.value is None:
            return (NOBODY,)
        if request.kind == "qr":
            return (self._ticket(request.value, at=at, clock_trusted=clock_trusted),)
        if not self._key:
            return (NOBODY,)
        if request.kind == "card":
            found = self._card_holders(request.value, request)
            passes: tuple[VisitorPass, ...] = ()
        else:
            flat, pin = flat_and_pin(request)
            digest = credential_digest("pin", canonical_pin(pin), self._key)
            found = tuple(one for one in self._digests.get(("pin", digest), ()) if self._lives(one.person_id, flat))
            passes = tuple(one for one in self._passes.get(digest, ()) if self._lives(one.host_id, flat))
        people = (
            Found(
                person_id=one.person_id, refusal=credential_refusal(one, at, clock_trusted=clock_trusted),
                duress=one.duress,
            )
            for one in found
        )  # fmt: skip
        return (*people, *(Found(pass_id=one.id) for one in passes)) or (NOBODY,)

    def _holders(self, kind: str, canonical: str) -> tuple[Credential, ...]:
        return self._digests.get((kind, credential_digest(kind, canonical, self._key)), ())

    def _card_holders(self, reading: str, request: Request) -> tuple[Credential, ...]:
        """Return whose card it is by the formats of the readers there; several on one side cannot be told apart.

        Raises:
            InvalidInput: no reader there could have read that.
        """
        canonicals, complaint = dict[str, None](), None
        for by in self._formats.get((request.door_id, request.reader), (AS_IT_COMES,)):
            try:
                canonicals[canonical_reading(reading, by)] = None
            except InvalidInput as error:
                complaint = error
        if complaint is not None and not canonicals:
            raise complaint
        return tuple(one for canonical in canonicals for one in self._holders("card", canonical))

    def _lives(self, person_id: str | None, flat: str | None) -> bool:
        """Return whether a person belongs to a flat; at a keypad that asks for no flat, everybody does."""
        return flat is None or flat in self._flats.get(person_id or "", ())

    def _ticket(self, text: str, *, at: datetime, clock_trusted: bool) -> Found:
        try:
            ticket = read_ticket(text, verify=self._verify)
        except InvalidInput as error:
            if error.where == "ticket.signature":
                return Found(refusal="forged")
            raise
        refusal: DenialReason | None = None
        if not clock_trusted or not ticket.begun(at):
            refusal = "not_permitted_now"
        elif not ticket.covers(at):
            refusal = "expired"
        if ticket.about == "pass":
            return Found(pass_id=ticket.id, refusal=refusal)
        credential = self._tickets.get(ticket.id)
        if credential is None:
            return NOBODY
        refusal = refusal or credential_refusal(credential, at, clock_trusted=clock_trusted)
        return Found(person_id=credential.person_id, refusal=refusal)

    def _verify(self, key_id: str, signature: bytes, signed: bytes) -> bool:
        signer = self._signers.get(key_id)
        if signer is None:
            return False
        try:
            signer.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def flat_and_pin(request: Request) -> tuple[str | None, str]:
    """Return the flat that a keypad sent, None if it asks for none, and the PIN."""
    value = request.value or ""
    if request.kind != "flat_pin":
        return None, value
    flat, _, pin = value.partition(FLAT_MARK)
    return flat, pin


def _formats(policy: Policy) -> dict[tuple[str, str], tuple[CardFormat, ...]]:
    """Return by which formats each side of each door reads cards; a format that is not known here reads as it comes."""
    known = {one.id: one for one in policy.card_formats}
    found: dict[tuple[str, str], dict[str, CardFormat]] = defaultdict(dict)
    for door in policy.doors:
        for reader in door.readers:
            by = known.get(reader.format, AS_IT_COMES)
            found[door.id, reader.side][by.id] = by
    return {key: tuple(several.values()) for key, several in found.items()}


def _signer(public_key: str, key_id: str) -> Ed25519PublicKey | None:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except (binascii.Error, ValueError):
        log.warning("the ticket key %s of the policy cannot be read: tickets that it signed open nothing", key_id)
        return None
