"""Queries about erased people: the rows that go, the tombstones that stay, and the proofs that edges sign.

A tombstone is an opaque id with a site and a time. Whoever restores an old backup erases again what has one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from gateway.store.dialect import insert_into
from gateway.store.edges import add_command
from gateway.store.tables import commands, edges
from gateway.store.tables_access import idempotency
from gateway.store.tables_people import (
    consents,
    credentials,
    erasures,
    face_receipts,
    guardianships,
    import_changes,
    occupancies,
    people,
    permits,
    refusals,
    tombstones,
    visitor_passes,
)
from gateway.store.types import as_text
from models.errors import NotFound
from models.link import Command, EraseFace, ErasureReceipt

KEEP_TOMBSTONES = timedelta(days=400)
"""How long every policy repeats a tombstone: longer than any backup should be kept."""
ERASE_WITHIN = timedelta(days=30)
"""How long an erasure waits for an edge that is away; the policy tells it besides."""
EXPECTED = ""
"""Stands in `erasures` for a receipt that has not come."""
OWNED = (consents, refusals, credentials, permits, occupancies, face_receipts)
"""The tables whose rows belong to one person by `person_id`; an order in which no row is left dangling."""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a person was erased: an opaque id, the site and the time, and nothing else."""

    person_id: str
    site_id: str
    erased_at: datetime


class HeldBy(msgspec.Struct, frozen=True, kw_only=True):
    """Name an edge that may hold or have held a person's template, with the key that its receipts are checked with."""

    edge_id: str
    public_key: str
    protection: str
    revoked: bool


def record_tombstone(connection: Connection, person_id: str, *, site_id: str, at: datetime) -> bool:
    """Write that a person was erased, the first time only; return whether it was new."""
    row = insert_into(connection, tombstones).values(person_id=person_id, site_id=site_id, erased_at=at)
    kept = row.on_conflict_do_nothing(index_elements=["person_id"]).returning(tombstones.c.person_id)
    return connection.execute(kept).first() is not None


def tombstones_of(connection: Connection, site_ids: Sequence[str] | None = None, *, since: datetime) -> list[Tombstone]:
    """Return the tombstones of some sites (None: all) since a time, oldest first."""
    query = select(tombstones).where(tombstones.c.erased_at >= since)
    if site_ids is not None:
        query = query.where(tombstones.c.site_id.in_(tuple(site_ids)))
    rows = connection.execute(query.order_by(tombstones.c.erased_at, tombstones.c.person_id))
    return [Tombstone(person_id=row.person_id, site_id=row.site_id, erased_at=row.erased_at) for row in rows]


def tombstone_of(connection: Connection, person_id: str, *, site_ids: frozenset[str]) -> Tombstone:
    """Return the tombstone of a person of one of these sites.

    Raises:
        NotFound: nobody of that id was erased, or nobody that the caller may know of.
    """
    named = (tombstones.c.person_id == person_id) & tombstones.c.site_id.in_(site_ids)
    row = connection.execute(select(tombstones).where(named)).first()
    if row is None:
        raise NotFound("erasure", person_id)
    return Tombstone(person_id=row.person_id, site_id=row.site_id, erased_at=row.erased_at)


def people_back(connection: Connection) -> list[tuple[str, str]]:
    """Return (person, site) of everybody who has a tombstone and a row in `people`: an old backup was restored."""
    query = select(people.c.id, people.c.site_id).join(tombstones, tombstones.c.person_id == people.c.id)
    return [(row.id, row.site_id) for row in connection.execute(query.order_by(people.c.id))]


def delete_person(connection: Connection, person_id: str) -> dict[str, int]:
    """Delete every row that says something about a person; return how many went from each table.

    What stays: audit rows and facts, which know an opaque id, the tombstone, and the edges' signed receipts.
    """
    gone: dict[str, int] = {}
    owned = _ids_of(connection, person_id)
    gone["import_changes"] = connection.execute(
        delete(import_changes).where(import_changes.c.object_id.in_((person_id, *owned)))
    ).rowcount
    passes = connection.execute(select(visitor_passes.c.id).where(visitor_passes.c.host_id == person_id)).scalars()
    gone["idempotency"] = _forget_answers(connection, {person_id, *owned, *passes})
    either = or_(guardianships.c.child_id == person_id, guardianships.c.guardian_id == person_id)
    gone["guardianships"] = connection.execute(delete(guardianships).where(either)).rowcount
    hosted = visitor_passes.c.host_id == person_id
    gone["visitor_passes"] = connection.execute(delete(visitor_passes).where(hosted)).rowcount
    for table in OWNED:
        gone[table.name] = connection.execute(delete(table).where(table.c.person_id == person_id)).rowcount
    gone["people"] = connection.execute(delete(people).where(people.c.id == person_id)).rowcount
    return {name: count for name, count in gone.items() if count}


def _forget_answers(connection: Connection, ids: set[str]) -> int:
    """Delete answers kept for repetitions that name a person or anything of theirs, such as a card with a label."""
    naming = (idempotency.c.body.contains(one, autoescape=True) for one in sorted(ids))
    return sum(connection.execute(delete(idempotency).where(which)).rowcount for which in naming)


def _ids_of(connection: Connection, person_id: str) -> list[str]:
    rows = select(occupancies.c.id).where(occupancies.c.person_id == person_id)
    cards = select(credentials.c.id).where(credentials.c.person_id == person_id)
    given = select(permits.c.id).where(permits.c.person_id == person_id)
    return list(connection.execute(rows.union(cards, given)).scalars())


def wards_of(connection: Connection, guardian_id: str) -> list[str]:
    """Return the children for whom a person may consent."""
    query = select(guardianships.c.child_id).where(guardianships.c.guardian_id == guardian_id)
    return sorted(connection.execute(query).scalars())


def edges_with_face(connection: Connection, person_id: str, *, site_id: str) -> list[HeldBy]:
    """Return the edges that may hold a person's template: all of the site once a face was consented to, enrolled or not.

    An enrolment may have reached an edge whose answer was lost, and an edge that joined later may have got a copy.
    """
    proofs = select(face_receipts.c.edge_id).where(face_receipts.c.person_id == person_id)
    named = set(connection.execute(proofs).scalars())
    asked = select(consents.c.id).where(consents.c.person_id == person_id, consents.c.purpose == "door_face")
    if connection.execute(asked.limit(1)).first() is not None:
        active = select(edges.c.id).where(edges.c.site_id == site_id, edges.c.revoked_at.is_(None))
        named |= set(connection.execute(active).scalars())
    rows = connection.execute(select(edges).where(edges.c.id.in_(named)).order_by(edges.c.id))
    return [_held_by(row) for row in rows]


def _held_by(row: Row[Any]) -> HeldBy:
    return HeldBy(
        edge_id=row.id, public_key=row.public_key, protection=row.protection, revoked=row.revoked_at is not None
    )


def edges_named(connection: Connection, edge_ids: Sequence[str]) -> list[HeldBy]:
    """Return edges by id, those that are known."""
    rows = connection.execute(select(edges).where(edges.c.id.in_(tuple(edge_ids))).order_by(edges.c.id))
    return [_held_by(row) for row in rows]


def order_erasures(connection: Connection, person_id: str, *, edge_ids: Sequence[str], at: datetime) -> list[str]:
    """Order edges to destroy a person's template, unless the same order waits; return the edges that got a new one."""
    waiting = set(waiting_erasures(connection, person_id, at=at))
    fresh = [edge_id for edge_id in edge_ids if edge_id not in waiting]
    for edge_id in fresh:
        command = EraseFace(id=str(uuid.uuid4()), person_id=person_id, deadline=at + ERASE_WITHIN)
        add_command(connection, command, edge_id=edge_id, at=at)
    return fresh


def waiting_erasures(connection: Connection, person_id: str, *, at: datetime) -> list[str]:
    """Return the edges that were told to erase a person and have not answered."""
    query = select(commands.c.edge_id, commands.c.body).where(
        commands.c.kind == "erase_face", commands.c.ended_at.is_(None), commands.c.deadline > at,
        commands.c.body.contains(person_id, autoescape=True),
    )  # fmt: skip
    found = [(row.edge_id, msgspec.json.decode(row.body, type=Command)) for row in connection.execute(query)]
    return sorted(edge_id for edge_id, command in found if getattr(command, "person_id", None) == person_id)


def expect_erasures(connection: Connection, person_id: str, *, edge_ids: Sequence[str], at: datetime) -> None:
    """Remember from which edges a signed receipt is to come; orders are forgotten after a while, this is not."""
    for edge_id in edge_ids:
        key = hashlib.sha256(f"{person_id}\x1f{edge_id}".encode()).hexdigest()
        row = insert_into(connection, erasures).values(
            id=key, person_id=person_id, edge_id=edge_id, receipt=EXPECTED, at=at
        )
        connection.execute(row.on_conflict_do_nothing(index_elements=["id"]))


def edges_expected(connection: Connection, person_id: str) -> list[str]:
    """Return the edges from which receipts of a person's erasure came or are to come."""
    query = select(erasures.c.edge_id).where(erasures.c.person_id == person_id)
    return sorted(set(connection.execute(query).scalars()))


def keep_erasure(connection: Connection, receipt: ErasureReceipt, *, at: datetime) -> bool:
    """Keep what an edge signed about an erasure; return False if this receipt was kept before.

    An edge that had nothing left to destroy sends its last receipt again: then it counts for the new order too. It is kept
    under a key of this edge's, so that no edge can take the place of another's receipt, or of one that is expected.
    """
    key = hashlib.sha256(f"receipt\x1f{receipt.edge_id}\x1f{receipt.id}".encode()).hexdigest()
    fresh = connection.execute(select(erasures.c.id).where(erasures.c.id == key)).first() is None
    row = insert_into(connection, erasures).values(
        id=key, person_id=receipt.person_id, edge_id=receipt.edge_id, receipt=as_text(receipt), at=at
    )
    same = (erasures.c.person_id == receipt.person_id) & (erasures.c.edge_id == receipt.edge_id)
    connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"at": at}, where=same))
    own = (face_receipts.c.person_id == receipt.person_id) & (face_receipts.c.edge_id == receipt.edge_id)
    still = own & face_receipts.c.erased_at.is_(None) & (face_receipts.c.at <= receipt.erased_at)
    connection.execute(update(face_receipts).where(still).values(erased_at=receipt.erased_at))
    return fresh


def erasures_of(connection: Connection, person_id: str, *, since: datetime | None = None) -> list[ErasureReceipt]:
    """Return the receipts that edges signed about a person and that came since a time, oldest first."""
    query = select(erasures.c.receipt).where(erasures.c.person_id == person_id, erasures.c.receipt != EXPECTED)
    if since is not None:
        query = query.where(erasures.c.at >= since)
    rows = connection.execute(query.order_by(erasures.c.at, erasures.c.id)).scalars()
    return [msgspec.json.decode(text, type=ErasureReceipt) for text in rows]


def restore_tombstones(connection: Connection, found: Sequence[Tombstone]) -> int:
    """Write tombstones that the database lacks; return how many it lacked."""
    if not found:
        return 0
    known = set(connection.execute(select(tombstones.c.person_id)).scalars())
    lacking = {tombstone.person_id: tombstone for tombstone in found if tombstone.person_id not in known}
    if lacking:
        connection.execute(insert(tombstones), [msgspec.structs.asdict(one) for one in lacking.values()])
    return len(lacking)
