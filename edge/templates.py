"""Templates as they lie in the key store, and as they travel inside a sealed envelope; which of them stand side by side.

A person has one template or several (light, glasses), all made under one consent, for the same doors, by one model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from models.errors import InvalidInput
from models.link import PICTURES_MOST


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one sealed template: whose, for which doors, made under which model contract and consent."""

    id: str
    person_id: str
    doors: tuple[str, ...]
    contract: str
    consent_id: str
    quality: float
    at: datetime
    sealed: bytes

    @property
    def digest(self) -> str:
        """Return the hex SHA-256 of the sealed bytes: what a receipt names."""
        return hashlib.sha256(self.sealed).hexdigest()


class Plain(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold a template with all that is known about it, as it travels inside a sealed envelope (copies, backups)."""

    person_id: str
    doors: tuple[str, ...]
    contract: str
    consent_id: str
    quality: float
    at: datetime
    embedding: bytes
    """Little-endian float32."""


def check_alike(templates: Sequence[Plain]) -> frozenset[str]:
    """Return whose the templates are.

    Raises:
        InvalidInput: a person has too many, or they were made under several consents or models.
    """
    of_person: dict[str, list[Plain]] = {}
    for plain in templates:
        of_person.setdefault(plain.person_id, []).append(plain)
    for own in of_person.values():
        if len(own) > PICTURES_MOST or not all(joins(one, own[0]) for one in own):
            raise InvalidInput("templates", f"a person has at most {PICTURES_MOST}, of one consent and model")
    return frozenset(of_person)


def joins(one: Sealed | Plain, other: Plain) -> bool:
    """Return whether two templates of a person can stand side by side."""
    return (one.consent_id, one.contract, set(one.doors)) == (other.consent_id, other.contract, set(other.doors))
