"""Queries of an undo, for many rows at once: what stands now, and taking back only what nobody has built upon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, bindparam, delete, select, update

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

BUILT_UPON: tuple[tuple[str, Column[Any]], ...] = (
    ("consents", consents.c.person_id),
    ("a refusal", refusals.c.person_id),
    ("faces", face_receipts.c.person_id),
    ("credentials", credentials.c.person_id),
    ("permits", permits.c.person_id),
    ("flats", occupancies.c.person_id),
    ("visitor passes", visitor_passes.c.host_id),
    ("a guardian", guardianships.c.child_id),
    ("a child", guardianships.c.guardian_id),
)


def people_now(connection: Connection, ids: Sequence[str]) -> dict[str, Person]:
    """Return persons as they stand, by id."""
    rows = connection.execute(select(people).where(people.c.id.in_(ids)))
    return {row.id: Person(**{name: getattr(row, name) for name in Person.__struct_fields__}) for row in rows}


def occupancies_now(connection: Connection, ids: Sequence[str]) -> dict[str, Occupancy]:
    """Return how persons belong to flats as it stands, by id."""
    rows = connection.execute(select(occupancies).where(occupancies.c.id.in_(ids)))
    return {row.id: Occupancy(**{name: getattr(row, name) for name in Occupancy.__struct_fields__}) for row in rows}


def built_upon(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return for each of some persons to whom something belongs one word for it."""
    found: dict[str, str] = {}
    for word, owner in BUILT_UPON:
        found |= dict.fromkeys(connection.execute(select(owner).where(owner.in_(ids)).distinct()).scalars(), word)
    return found


def delete_people(connection: Connection, ids: Sequence[str]) -> None:
    """Delete persons to whom nothing belongs."""
    connection.execute(delete(people).where(people.c.id.in_(ids)))


def delete_occupancies(connection: Connection, ids: Sequence[str]) -> None:
    """Delete that persons belong to flats."""
    connection.execute(delete(occupancies).where(occupancies.c.id.in_(ids)))


def delete_cards(connection: Connection, owners: dict[str, str]) -> set[str]:
    """Delete cards that are as an import left them, with the persons that it gave them to; return those deleted."""
    card = credentials.c
    plain = card.ended_at.is_(None) & card.valid_until.is_(None) & card.valid_from.is_(None) & (card.label == "")
    unchanged = plain & (card.state == "active") & (card.version == 1)
    rows = connection.execute(select(card.id, card.person_id).where(card.id.in_(tuple(owners)), unchanged))
    own = {row.id for row in rows if owners[row.id] == row.person_id}
    connection.execute(delete(credentials).where(card.id.in_(own)))
    return own


def restore_rows(connection: Connection, records: Sequence[Person | Occupancy]) -> None:
    """Write persons, or how they belong to flats, as they were."""
    if not records:
        return
    table = people if isinstance(records[0], Person) else occupancies
    names = [name for name in records[0].__struct_fields__ if name != "id"]
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    if table is people:
        values["version"] = people.c.version + 1
    query = update(table).where(table.c.id == bindparam("own")).values(values)
    connection.execute(
        query, [{"own": one.id} | {f"new_{name}": getattr(one, name) for name in names} for one in records]
    )
