"""Queries about people: consents, credentials, permits and face receipts. Every caller checks rights before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from gateway.store.dialect import insert_into
from gateway.store.tables import schedules
from gateway.store.tables_people import consents, credentials, face_receipts, occupancies, people, permits
from gateway.store.types import as_text, doors_of
from gateway.views import ConsentView, CredentialView, FaceReceiptView, PermitView, PersonView
from models.errors import Conflict, NotFound
from models.link import FaceReceipt
from models.people import Consent, Credential, Occupancy, Permit, Person
from models.schedules import Schedule


def add_person(connection: Connection, person: Person, *, at: datetime, seeded: bool = False) -> None:
    """Write a new person.

    Raises:
        Conflict: the id is taken.
    """
    if connection.execute(select(people.c.id).where(people.c.id == person.id)).first() is not None:
        raise Conflict(f"a person with id {person.id!r} exists already")
    connection.execute(insert(people).values(**msgspec.structs.asdict(person), created_at=at, seeded=seeded))


def put_person(connection: Connection, person: Person, *, at: datetime, seeded: bool = False) -> None:
    """Write a person under its id, new or not."""
    values = msgspec.structs.asdict(person)
    upsert = insert_into(connection, people).values(**values, created_at=at, seeded=seeded)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={**values, "seeded": seeded}))


def person_by_id(connection: Connection, person_id: str, *, site_ids: frozenset[str]) -> Person:
    """Return a person of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(people).where(people.c.id == person_id, people.c.site_id.in_(site_ids))).first()
    if row is None:
        raise NotFound("person", person_id)
    return _person(row)


def _person(row: Row[Any]) -> Person:
    return Person(**{name: getattr(row, name) for name in Person.__struct_fields__})


def people_of(
    connection: Connection, *, site_ids: frozenset[str], after: str = "", limit: int = 100
) -> list[PersonView]:
    """Return people of some sites by id, after an id, without what belongs to them."""
    query = select(people).where(people.c.site_id.in_(site_ids), people.c.id > after).order_by(people.c.id).limit(limit)
    return [
        PersonView(**msgspec.structs.asdict(_person(row)), created_at=row.created_at)
        for row in connection.execute(query)
    ]


def person_view(connection: Connection, person_id: str, *, site_ids: frozenset[str], at: datetime) -> PersonView:
    """Return a person with all that belongs to them.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    person = person_by_id(connection, person_id, site_ids=site_ids)
    created_at = connection.execute(select(people.c.created_at).where(people.c.id == person_id)).scalar_one()
    kept = connection.execute(
        select(credentials).where(credentials.c.person_id == person_id).order_by(credentials.c.id)
    )
    proofs = face_receipts_of(connection, person_id)
    return PersonView(
        **msgspec.structs.asdict(person),
        created_at=created_at,
        flats=tuple(occupancies_of(connection, person_id)),
        consents=tuple(consent_view(consent, at=at) for consent in consents_of(connection, person_id)),
        faces=tuple(proof for proof in proofs if proof.erased_at is None),
        erased_faces=tuple(proof for proof in proofs if proof.erased_at is not None),
        credentials=tuple(CredentialView(id=row.id, kind=row.kind, created_at=row.created_at) for row in kept),
        permits=tuple(permit_view(permit) for permit in permits_of(connection, [person_id])),
    )


def put_occupancy(connection: Connection, occupancy: Occupancy, *, at: datetime, seeded: bool = False) -> None:
    """Write that a person belongs to a flat, under its id, new or not."""
    values = msgspec.structs.asdict(occupancy)
    upsert = insert_into(connection, occupancies).values(**values, created_at=at, seeded=seeded)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=values))


def occupancies_of(connection: Connection, person_id: str) -> list[Occupancy]:
    """Return the flats that a person belongs or belonged to."""
    query = select(occupancies).where(occupancies.c.person_id == person_id).order_by(occupancies.c.id)
    return [
        Occupancy(**{name: getattr(row, name) for name in Occupancy.__struct_fields__})
        for row in connection.execute(query)
    ]


def put_schedule(connection: Connection, schedule: Schedule, *, seeded: bool = False) -> None:
    """Write a schedule under its id, new or not."""
    values = {"site_id": schedule.site_id, "name": schedule.name, "record": as_text(schedule)}
    upsert = insert_into(connection, schedules).values(id=schedule.id, **values, seeded=seeded)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=values))


def add_consent(connection: Connection, consent: Consent) -> None:
    """Write a consent."""
    values = msgspec.structs.asdict(consent)
    connection.execute(insert(consents).values(**{**values, "doors": as_text(consent.doors)}))


def withdraw_consent(connection: Connection, consent_id: str, *, person_id: str, at: datetime) -> Consent:
    """Withdraw a consent and return it as it was; withdrawing again keeps the first time.

    Raises:
        NotFound: this person has no such consent.
    """
    found = [consent for consent in consents_of(connection, person_id) if consent.id == consent_id]
    if not found:
        raise NotFound("consent", consent_id)
    query = update(consents).where(consents.c.id == consent_id, consents.c.withdrawn_at.is_(None))
    connection.execute(query.values(withdrawn_at=at))
    return found[0]


def consents_of(connection: Connection, person_id: str) -> list[Consent]:
    """Return all consents that a person ever gave, oldest first."""
    query = select(consents).where(consents.c.person_id == person_id).order_by(consents.c.given_at, consents.c.id)
    return [consent_from(row) for row in connection.execute(query)]


def consent_from(row: Row[Any]) -> Consent:
    """Return the record of a row of `consents`."""
    values = {name: getattr(row, name) for name in Consent.__struct_fields__}
    return Consent(**{**values, "doors": doors_of(row.doors)})


def consent_view(consent: Consent, *, at: datetime) -> ConsentView:
    """Return how a consent is shown at a time."""
    values = {name: getattr(consent, name) for name in Consent.__struct_fields__ if name != "person_id"}
    return ConsentView(**values, live=consent.live(at))


def add_credential(connection: Connection, credential: Credential, *, site_id: str, at: datetime) -> None:
    """Write a card or PIN digest.

    Raises:
        Conflict: the card belongs to somebody already (or the PIN to the same person).
    """
    row = select(credentials.c.id).where(
        credentials.c.site_id == site_id,
        credentials.c.kind == credential.kind,
        credentials.c.digest == credential.digest,
    )
    if connection.execute(row).first() is not None:
        raise Conflict(f"this {credential.kind} is in use at this site: withdraw it there, or choose another")
    connection.execute(insert(credentials).values(**msgspec.structs.asdict(credential), site_id=site_id, created_at=at))


def remove_credential(connection: Connection, credential_id: str, *, person_id: str) -> None:
    """Delete a card or PIN.

    Raises:
        NotFound: this person has no such credential.
    """
    own = (credentials.c.id == credential_id) & (credentials.c.person_id == person_id)
    if connection.execute(credentials.delete().where(own)).rowcount == 0:
        raise NotFound("credential", credential_id)


def add_permit(connection: Connection, permit: Permit, *, at: datetime) -> None:
    """Write a permit."""
    connection.execute(
        insert(permits).values(
            id=permit.id, person_id=permit.person_id, group_id=permit.group_id, doors=as_text(permit.doors),
            schedule_id=permit.schedule_id,
            valid_from=permit.valid_from, valid_until=permit.valid_until, created_at=at,
        )
    )  # fmt: skip


def remove_permit(connection: Connection, permit_id: str, *, person_id: str) -> None:
    """Delete a permit.

    Raises:
        NotFound: this person has no such permit.
    """
    own = (permits.c.id == permit_id) & (permits.c.person_id == person_id)
    if connection.execute(permits.delete().where(own)).rowcount == 0:
        raise NotFound("permit", permit_id)


def permits_of(connection: Connection, person_ids: Iterable[str]) -> list[Permit]:
    """Return the permits of some people."""
    query = select(permits).where(permits.c.person_id.in_(tuple(person_ids))).order_by(permits.c.id)
    return [permit_from(row) for row in connection.execute(query)]


def permit_from(row: Row[Any]) -> Permit:
    """Return the record of a row of `permits`."""
    return Permit(
        id=row.id, person_id=row.person_id, group_id=row.group_id, doors=doors_of(row.doors),
        schedule_id=row.schedule_id, valid_from=row.valid_from, valid_until=row.valid_until,
    )  # fmt: skip


def permit_view(permit: Permit) -> PermitView:
    """Return how a permit is shown."""
    return PermitView(
        id=permit.id, doors=permit.doors, group_id=permit.group_id, schedule_id=permit.schedule_id,
        valid_from=permit.valid_from, valid_until=permit.valid_until,
    )  # fmt: skip


def keep_face_receipt(connection: Connection, receipt: FaceReceipt, *, consent_id: str) -> None:
    """Keep the proof of a template; a repeated one changes nothing, a new one of the edge replaces the person's old."""
    older = (face_receipts.c.person_id == receipt.person_id) & (face_receipts.c.edge_id == receipt.edge_id)
    still = (face_receipts.c.id != receipt.id) & face_receipts.c.erased_at.is_(None)
    connection.execute(update(face_receipts).where(older, still).values(erased_at=receipt.at))
    values = msgspec.structs.asdict(receipt)
    keep = insert_into(connection, face_receipts).values(**values, consent_id=consent_id)
    connection.execute(keep.on_conflict_do_nothing(index_elements=["id"]))


def mark_face_erased(connection: Connection, person_id: str, *, edge_id: str, at: datetime) -> None:
    """Note that an edge has destroyed its templates of a person."""
    held = (face_receipts.c.person_id == person_id) & (face_receipts.c.edge_id == edge_id)
    connection.execute(update(face_receipts).where(held, face_receipts.c.erased_at.is_(None)).values(erased_at=at))


def face_receipts_of(connection: Connection, person_id: str) -> list[FaceReceiptView]:
    """Return the proofs of a person's templates, oldest first."""
    query = select(face_receipts).where(face_receipts.c.person_id == person_id).order_by(face_receipts.c.at)
    return [
        FaceReceiptView(**{name: getattr(row, name) for name in FaceReceiptView.__struct_fields__})
        for row in connection.execute(query)
    ]


def credentials_of(connection: Connection, person_id: str) -> list[str]:
    """Return the ids of a person's cards and PINs."""
    query = select(credentials.c.id).where(credentials.c.person_id == person_id).order_by(credentials.c.id)
    return list(connection.execute(query).scalars())


def put_credential(connection: Connection, credential: Credential, *, site_id: str, at: datetime) -> None:
    """Write a card or PIN digest unless it is there under its id.

    Raises:
        Conflict: it is somebody else's.
    """
    if connection.execute(select(credentials.c.id).where(credentials.c.id == credential.id)).first() is None:
        add_credential(connection, credential, site_id=site_id, at=at)


def seed_consent(connection: Connection, consent: Consent) -> None:
    """Write a consent unless its id is known: what was withdrawn since stays withdrawn."""
    if connection.execute(select(consents.c.id).where(consents.c.id == consent.id)).first() is None:
        add_consent(connection, consent)


def seed_permit(connection: Connection, permit: Permit, *, at: datetime) -> None:
    """Write a permit in place of the one with its id."""
    connection.execute(permits.delete().where(permits.c.id == permit.id))
    add_permit(connection, permit, at=at)
