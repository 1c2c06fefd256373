"""Queries about persons, the flats they belong to and who answers for a child. Every caller checks rights before.

What persons may is in rights.py, what they agreed to in consents.py, whom they invite in visitors.py.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from gateway.person_views import PersonRow, PersonView
from gateway.store.consents import consent_view, consents_of, face_receipts_of, may_be_asked
from gateway.store.dialect import insert_into
from gateway.store.policy_writes import IN_NO_POLICY
from gateway.store.rights import credential_views, derived_permits, permit_view, permits_of
from gateway.store.tables import flats, sites
from gateway.store.tables_people import guardianships, occupancies, people, tombstones
from models.errors import Conflict, InvalidInput, NotFound
from models.people import Occupancy, Person, is_under_14

ACTIVITY_STEP = timedelta(days=1)
"""How coarsely activity is kept: for expiry, not for following anybody."""


def add_person(connection: Connection, person: Person, *, at: datetime, seeded: bool = False) -> None:
    """Write a new person.

    Raises:
        Conflict: the id is taken or was an erased person's, or the external id is somebody else's at this site.
    """
    _check_not_erased(connection, person.id)
    if connection.execute(select(people.c.id).where(people.c.id == person.id)).first() is not None:
        raise Conflict(f"a person with id {person.id!r} exists already")
    _check_external_id(connection, person)
    connection.execute(insert(people).values(**msgspec.structs.asdict(person), created_at=at, seeded=seeded))


def _check_not_erased(connection: Connection, person_id: str) -> None:
    """Refuse an id that has a tombstone: policies and restores would erase its new bearer."""
    query = select(tombstones.c.person_id).where(tombstones.c.person_id == person_id)
    if connection.execute(query).first() is not None:
        raise Conflict(f"person {person_id!r} was erased: use another id, and take them out of the site file")


def put_person(connection: Connection, person: Person, *, at: datetime, seeded: bool = False) -> None:
    """Write a person under its id, new or not.

    Raises:
        Conflict: the person was erased.
    """
    _check_not_erased(connection, person.id)
    values = msgspec.structs.asdict(person)
    upsert = insert_into(connection, people).values(**values, created_at=at, seeded=seeded)
    changes = {**values, "seeded": seeded, "version": people.c.version + 1}
    different = or_(*(people.c[name].is_distinct_from(value) for name, value in {**values, "seeded": seeded}.items()))
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=changes, where=different))


def change_person(connection: Connection, person: Person, *, version: int | None) -> int:
    """Write a person's new name, date of birth, phone or external id; return the new version.

    Args:
        connection: a writing transaction.
        person: what to write; its id and site stay.
        version: the version that the caller saw, or None.

    Raises:
        Conflict: somebody changed the person meanwhile, the site file describes them, or the external id is taken.
    """
    row = connection.execute(select(people.c.version, people.c.seeded).where(people.c.id == person.id)).one()
    if version is not None and version != row.version:
        raise Conflict(f"the person was changed meanwhile (version {row.version}): read it again")
    if row.seeded:
        raise Conflict("this person comes from the site file: change it there and run `gatehouse apply`")
    _check_external_id(connection, person)
    values = {name: getattr(person, name) for name in ("name", "born_on", "under_14", "phone", "external_id")}
    same = (people.c.id == person.id) & (people.c.version == row.version)
    if connection.execute(update(people).where(same).values(**values, version=row.version + 1)).rowcount == 0:
        raise Conflict("the person was changed meanwhile: read it again")
    return int(row.version) + 1


def _check_external_id(connection: Connection, person: Person) -> None:
    if person.external_id is None:
        return
    same = (people.c.site_id == person.site_id) & (people.c.external_id == person.external_id)
    if connection.execute(select(people.c.id).where(same, people.c.id != person.id)).first() is not None:
        raise Conflict("this external_id belongs to another person of the site: use theirs, or give another")


def person_by_id(connection: Connection, person_id: str, *, site_ids: frozenset[str]) -> Person:
    """Return a person of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(people).where(people.c.id == person_id, people.c.site_id.in_(site_ids))).first()
    if row is None:
        raise NotFound("person", person_id)
    return person_from(row)


def site_of_flat(connection: Connection, flat_id: str, *, site_ids: frozenset[str]) -> str:
    """Return the site of a flat that the caller may see.

    Raises:
        NotFound: there is none.
    """
    here = (flats.c.id == flat_id) & flats.c.site_id.in_(site_ids)
    site_id = connection.execute(select(flats.c.site_id).where(here)).scalar()
    if site_id is None:
        raise NotFound("flat", flat_id)
    return str(site_id)


def local_day(connection: Connection, site_id: str, *, at: datetime) -> date:
    """Return the day that a time falls on in the zone of a site."""
    name = connection.execute(select(sites.c.timezone).where(sites.c.id == site_id)).scalar_one()
    return at.astimezone(ZoneInfo(name)).date()


def known_on(person: Person, on: date) -> Person:
    """Return a person with `under_14` as it is on a day, by date of birth if there is one."""
    return msgspec.structs.replace(person, under_14=is_under_14(person, on))


def person_exists(connection: Connection, person_id: str) -> bool:
    """Return whether a person is on record at all, for the gateway's own use."""
    return connection.execute(select(people.c.id).where(people.c.id == person_id)).first() is not None


def added_at(connection: Connection, person_id: str) -> datetime:
    """Return when a person who is on record was added."""
    added: datetime = connection.execute(select(people.c.created_at).where(people.c.id == person_id)).scalar_one()
    return added


def person_from(row: Row[Any]) -> Person:
    """Return the record of a row of `people`."""
    return Person(**{name: getattr(row, name) for name in Person.__struct_fields__})


def note_activity(connection: Connection, person_id: str, *, site_id: str, at: datetime) -> None:
    """Note the day on which a person of a site used a door, so that the inactive can be told from the active."""
    older = or_(people.c.active_at.is_(None), people.c.active_at <= at - ACTIVITY_STEP)
    here = (people.c.id == person_id) & (people.c.site_id == site_id)
    noting = update(people).where(here, older).values(active_at=at)
    connection.execute(noting.execution_options(**IN_NO_POLICY))  # every grant comes here: no policy is read anew


def people_of(
    connection: Connection, *, site_ids: frozenset[str], at: datetime, after: str = "", limit: int = 100,
    flat_id: str | None = None, name: str | None = None, external_id: str | None = None,
) -> list[PersonRow]:  # fmt: skip
    """Return people of some sites by id, after an id, without what belongs to them.

    Args:
        connection: a transaction.
        site_ids: the sites.
        at: when it is; who is under 14 follows from it.
        after: the id after which to begin.
        limit: how many at most.
        flat_id: only who belongs or belonged to this flat.
        name: only whose name holds this text, whatever its case.
        external_id: only whom another register knows under this number.
    """
    query = select(people).where(people.c.site_id.in_(site_ids), people.c.id > after).order_by(people.c.id).limit(limit)
    if flat_id is not None:
        query = query.where(people.c.id.in_(select(occupancies.c.person_id).where(occupancies.c.flat_id == flat_id)))
    if name is not None:
        query = query.where(people.c.name.icontains(name, autoescape=True))
    if external_id is not None:
        query = query.where(people.c.external_id == external_id)
    rows = connection.execute(query).all()
    days = {site_id: local_day(connection, site_id, at=at) for site_id in {row.site_id for row in rows}}
    return [_listed(row, on=days[row.site_id]) for row in rows]


def _listed(row: Row[Any], *, on: date) -> PersonRow:
    person = msgspec.structs.asdict(known_on(person_from(row), on))
    return PersonRow(**person, created_at=row.created_at, seeded=row.seeded, version=row.version)


def person_view(connection: Connection, person_id: str, *, site_ids: frozenset[str], at: datetime) -> PersonView:
    """Return a person with all that belongs to them.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(people).where(people.c.id == person_id, people.c.site_id.in_(site_ids))).first()
    if row is None:
        raise NotFound("person", person_id)
    proofs = face_receipts_of(connection, person_id)
    agreed = consents_of(connection, person_id)
    return PersonView(
        **msgspec.structs.asdict(_listed(row, on=local_day(connection, row.site_id, at=at))),
        flats=tuple(occupancies_of(connection, person_id)),
        guardians=tuple(guardians_of(connection, person_id)),
        consents=tuple(consent_view(consent, at=at) for consent in agreed),
        may_be_asked=("door_face",) if may_be_asked(connection, person_id, at=at) else (),
        faces=tuple(proof for proof in proofs if proof.erased_at is None),
        erased_faces=tuple(proof for proof in proofs if proof.erased_at is not None),
        credentials=tuple(credential_views(connection, person_id)),
        permits=tuple(permit_view(permit) for permit in permits_of(connection, [person_id])),
        permits_by_flat=tuple(permit_view(permit) for permit in derived_permits(connection, person_id)),
    )


def put_occupancy(connection: Connection, occupancy: Occupancy, *, at: datetime, seeded: bool = False) -> None:
    """Write that a person belongs to a flat, under its id, new or not.

    Raises:
        InvalidInput: it would end before it begins, or person and flat are of different sites.
    """
    since, until = occupancy.valid_from, occupancy.valid_until
    if since is not None and until is not None and since >= until:
        raise InvalidInput("valid_until", "it must be after valid_from")
    both = select(people.c.id).join(flats, flats.c.site_id == people.c.site_id)
    here = both.where(people.c.id == occupancy.person_id, flats.c.id == occupancy.flat_id)
    if connection.execute(here).first() is None:
        raise InvalidInput("flat", f"there is no flat {occupancy.flat_id[:64]!r} at this site")
    values = msgspec.structs.asdict(occupancy)
    upsert = insert_into(connection, occupancies).values(**values, created_at=at, seeded=seeded)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={**values, "seeded": seeded}))


def end_occupancy(connection: Connection, occupancy_id: str, *, person_id: str, at: datetime) -> Occupancy:
    """Let an occupancy end at a time, unless it ends earlier anyway; return it as it is now.

    Raises:
        NotFound: this person has no such occupancy.
    """
    own = (occupancies.c.id == occupancy_id) & (occupancies.c.person_id == person_id)
    row = connection.execute(select(occupancies).where(own)).first()
    if row is None:
        raise NotFound("occupancy", occupancy_id)
    held = occupancy_from(row)
    if held.valid_until is not None and held.valid_until <= at:
        return held
    if held.valid_from is not None and held.valid_from >= at:  # it never began: an empty validity says so
        connection.execute(update(occupancies).where(own).values(valid_from=at, valid_until=at))
        return msgspec.structs.replace(held, valid_from=at, valid_until=at)
    connection.execute(update(occupancies).where(own).values(valid_until=at))
    return msgspec.structs.replace(held, valid_until=at)


def occupancies_of(connection: Connection, person_id: str) -> list[Occupancy]:
    """Return the flats that a person belongs or belonged to."""
    query = select(occupancies).where(occupancies.c.person_id == person_id).order_by(occupancies.c.id)
    return [occupancy_from(row) for row in connection.execute(query)]


def residents_of(connection: Connection, flat_id: str, *, at: datetime) -> list[Occupancy]:
    """Return who belongs to a flat at a time, or will later."""
    query = select(occupancies).where(
        occupancies.c.flat_id == flat_id, or_(occupancies.c.valid_until.is_(None), occupancies.c.valid_until > at)
    )
    return [occupancy_from(row) for row in connection.execute(query.order_by(occupancies.c.id))]


def occupancy_from(row: Row[Any]) -> Occupancy:
    """Return the record of a row of `occupancies`."""
    return Occupancy(**{name: getattr(row, name) for name in Occupancy.__struct_fields__})


def add_guardian(connection: Connection, child: Person, *, guardian: Person, on: date, at: datetime) -> None:
    """Write who may consent for a child; writing it again changes nothing.

    Raises:
        InvalidInput: the child is 14 or older, the guardian is not, they are one person or of two sites.
    """
    if child.id == guardian.id or child.site_id != guardian.site_id:
        raise InvalidInput("guardian", "name another person of the same site")
    if not is_under_14(child, on):
        raise InvalidInput("child", "who is 14 or older consents for themselves")
    if not _is_adult(guardian, on):
        raise InvalidInput("guardian", "a guardian is an adult: correct the date of birth, or name somebody else")
    link = insert_into(connection, guardianships).values(child_id=child.id, guardian_id=guardian.id, created_at=at)
    connection.execute(link.on_conflict_do_nothing(index_elements=["child_id", "guardian_id"]))


def _is_adult(person: Person, on: date) -> bool:
    if person.born_on is None:
        return not person.under_14
    return (on.year - 18, on.month, on.day) >= (person.born_on.year, person.born_on.month, person.born_on.day)


def remove_guardian(connection: Connection, child_id: str, *, guardian_id: str) -> None:
    """Delete who may consent for a child; consents that they gave stay until somebody withdraws them.

    Raises:
        NotFound: this child has no such guardian.
    """
    own = (guardianships.c.child_id == child_id) & (guardianships.c.guardian_id == guardian_id)
    if connection.execute(delete(guardianships).where(own)).rowcount == 0:
        raise NotFound("guardian", guardian_id)


def guardians_of(connection: Connection, child_id: str) -> list[str]:
    """Return the ids of those who may consent for a child."""
    query = select(guardianships.c.guardian_id).where(guardianships.c.child_id == child_id)
    return list(connection.execute(query.order_by(guardianships.c.guardian_id)).scalars())
