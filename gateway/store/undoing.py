"""Queries of an undo: what stands now, and taking back only what nobody has built upon."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_, select, update

from gateway.store.tables_people import (
    consents,
    credentials,
    face_receipts,
    guardianships,
    occupancies,
    people,
    permits,
    refusals,
    visitor_passes,
)
from models.people import Occupancy, Person

BUILT_UPON = (
    ("consents", consents, consents.c.person_id),
    ("a refusal", refusals, refusals.c.person_id),
    ("faces", face_receipts, face_receipts.c.person_id),
    ("credentials", credentials, credentials.c.person_id),
    ("permits", permits, permits.c.person_id),
    ("flats", occupancies, occupancies.c.person_id),
    ("visitor passes", visitor_passes, visitor_passes.c.host_id),
)


def person_now(connection: Connection, person_id: str) -> Person | None:
    """Return a person as they stand, or None."""
    row = connection.execute(select(people).where(people.c.id == person_id)).first()
    return None if row is None else Person(**{name: getattr(row, name) for name in Person.__struct_fields__})


def occupancy_now(connection: Connection, occupancy_id: str) -> Occupancy | None:
    """Return how a person belongs to a flat as it stands, or None."""
    row = connection.execute(select(occupancies).where(occupancies.c.id == occupancy_id)).first()
    return None if row is None else Occupancy(**{name: getattr(row, name) for name in Occupancy.__struct_fields__})


def delete_person_alone(connection: Connection, person_id: str) -> str | None:
    """Delete a person to whom nothing belongs; return what does, if anything."""
    for word, table, owner in BUILT_UPON:
        if connection.execute(select(table).where(owner == person_id).limit(1)).first() is not None:
            return word
    either = or_(guardianships.c.child_id == person_id, guardianships.c.guardian_id == person_id)
    if connection.execute(select(guardianships).where(either).limit(1)).first() is not None:
        return "a guardian or a child"
    connection.execute(delete(people).where(people.c.id == person_id))
    return None


def delete_occupancy(connection: Connection, occupancy_id: str) -> None:
    """Delete that a person belongs to a flat."""
    connection.execute(delete(occupancies).where(occupancies.c.id == occupancy_id))


def delete_card(connection: Connection, card_id: str, *, person_id: str) -> bool:
    """Delete a card that is as an import left it; return False if somebody did something with it since."""
    own = (credentials.c.id == card_id) & (credentials.c.person_id == person_id) & (credentials.c.state == "active")
    plain = credentials.c.ended_at.is_(None) & credentials.c.valid_until.is_(None) & (credentials.c.label == "")
    unsaid = credentials.c.valid_from.is_(None) & (credentials.c.version == 1)
    return connection.execute(delete(credentials).where(own, plain, unsaid)).rowcount == 1


def restore_person(connection: Connection, person: Person) -> None:
    """Write a person as they were."""
    values = {name: getattr(person, name) for name in Person.__struct_fields__ if name != "id"}
    query = update(people).where(people.c.id == person.id).values(**values, version=people.c.version + 1)
    connection.execute(query)


def restore_occupancy(connection: Connection, occupancy: Occupancy) -> None:
    """Write how a person belonged to a flat as it was."""
    values = {name: getattr(occupancy, name) for name in Occupancy.__struct_fields__ if name != "id"}
    connection.execute(update(occupancies).where(occupancies.c.id == occupancy.id).values(**values))
