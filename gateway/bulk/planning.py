"""Decide what a batch of residents changes, from what the database knows of them. Pure: reads and writes nothing.

An import adds and corrects. It never ends a tenancy that the file does not mention, and a blank cell changes nothing.
"""

from __future__ import annotations

import unicodedata
import uuid
from datetime import datetime
from typing import Any

import msgspec

from gateway.bulk.rows import Fault, Resident
from models.people import Credential, Occupancy, Person, credential_digest


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the database knows about the rows of a batch."""

    flats: dict[Any, str]
    """Ids of flats, by id and by (building, unit, room)."""
    people: dict[str, tuple[Person, bool]]
    """Persons by external id, and whether `gatehouse apply` wrote them."""
    occupancies: dict[str, tuple[Occupancy, ...]]
    cards: dict[str, tuple[str, str]]
    """Person and state, by digest."""


class Batch(msgspec.Struct, kw_only=True):
    """Collect what a batch writes, in the order in which it must be written, and the rows that it rejects."""

    people: list[Person] = []
    people_set: list[tuple[Person, Person]] = []
    occupancies: list[Occupancy] = []
    occupancies_set: list[tuple[Occupancy, Occupancy]] = []
    cards: list[Credential] = []
    faults: list[Fault] = []
    added: int = 0
    changed: int = 0
    unchanged: int = 0


class _Rejected(Exception):  # noqa: N818 - never seen outside
    def __init__(self, column: str, what: str) -> None:
        super().__init__(what)
        self.column = column


def digest_of(resident: Resident, key: bytes) -> str | None:
    """Return the keyed digest of a resident's card, or None without one."""
    return credential_digest("card", resident.card, key) if resident.card else None


def plan(residents: tuple[Resident, ...], known: Known, *, site_id: str, key: bytes, at: datetime) -> Batch:
    """Return what some residents change.

    Args:
        residents: rows with numbers and cards that no other row has.
        known: what the database knows about them.
        site_id: the site that they belong to.
        key: the key under which cards are digested.
        at: now; tenancies that are over are no reason to leave out a new one.
    """
    batch = Batch()
    for resident in residents:
        try:
            _plan_one(resident, known, batch=batch, site_id=site_id, key=key, at=at)
        except _Rejected as rejected:
            batch.faults.append(Fault(line=resident.line, column=rejected.column, what=str(rejected)))
    return batch


def _plan_one(resident: Resident, known: Known, *, batch: Batch, site_id: str, key: bytes, at: datetime) -> None:
    before, seeded = known.people.get(resident.external_id, (None, False))
    if seeded:
        raise _Rejected("external_id", "this person comes from site.yaml: change it there")
    person = _person(resident, before, site_id=site_id)
    occupancy, held = _occupancy(resident, known, person_id=person.id, at=at)
    card = _card(resident, known, person_id=person.id, key=key)
    if before is None:
        batch.people.append(person)
    elif before != person:
        batch.people_set.append((before, person))
    if occupancy is not None and held is None:
        batch.occupancies.append(occupancy)
    elif occupancy is not None and held is not None and held != occupancy:
        batch.occupancies_set.append((held, occupancy))
    if card is not None:
        batch.cards.append(card)
    if before is None:
        batch.added += 1
    elif before != person or card is not None or (occupancy is not None and occupancy != held):
        batch.changed += 1
    else:
        batch.unchanged += 1


def _person(resident: Resident, before: Person | None, *, site_id: str) -> Person:
    given = {name: getattr(resident, name) for name in ("phone", "born_on", "under_14")}
    told = {name: value for name, value in given.items() if value is not None}
    if before is None:
        new = f"p-{uuid.uuid4().hex}"
        return Person(id=new, site_id=site_id, name=resident.name, external_id=resident.external_id, **told)
    return msgspec.structs.replace(before, name=resident.name, **told)


def _occupancy(
    resident: Resident, known: Known, *, person_id: str, at: datetime
) -> tuple[Occupancy | None, Occupancy | None]:
    """Return how a person belongs to the flat of the row, and how they did before; None without."""
    if resident.flat is None:
        return None, None
    flat_id = known.flats.get(resident.flat)
    if flat_id is None:
        column = "flat" if isinstance(resident.flat, str) else "room"
        raise _Rejected(column, "this site has no such flat: add it first, or mend the row")
    given = {name: getattr(resident, name) for name in ("relation", "valid_from", "valid_until")}
    told = {name: value for name, value in given.items() if value is not None}
    earlier = [one for one in known.occupancies.get(person_id, ()) if one.flat_id == flat_id]
    held = next((one for one in earlier if one.valid_until is None or one.valid_until > at), None)
    if held is not None:
        after = msgspec.structs.replace(held, **told)
        if after.valid_from is not None and after.valid_until is not None and after.valid_until <= after.valid_from:
            raise _Rejected("valid_until", "it is before the day on which the person moved in")
        return after, held
    if resident.valid_until is not None and resident.valid_until <= at:
        ended = next((one for one in earlier if one.valid_until == resident.valid_until), None)
        if ended is None:
            raise _Rejected("valid_until", "it is over already: leave the row out")
        return ended, ended
    return Occupancy(id=f"o-{uuid.uuid4().hex}", person_id=person_id, flat_id=flat_id, **told), None


def _card(resident: Resident, known: Known, *, person_id: str, key: bytes) -> Credential | None:
    digest = digest_of(resident, key)
    if digest is None:
        return None
    holder, state = known.cards.get(digest, ("", ""))
    if not holder:
        return Credential(id=f"k-{uuid.uuid4().hex}", person_id=person_id, kind="card", digest=digest)
    if holder != person_id:
        raise _Rejected("card", "this card belongs to somebody else: withdraw it there, or give another")
    if state != "active":
        raise _Rejected("card", f"this card was reported {state}: give another")
    return None


def flat_key(place: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return how building, unit and room are spelled to look a flat up: full-width digits and letters are the plain ones."""
    building, unit, room = (unicodedata.normalize("NFKC", part).strip() for part in place)
    return building, unit, room
