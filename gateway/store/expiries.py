"""Queries about what has had its time: tenancies that ended, consents that are over, faces that nobody uses any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from gateway.store.tables_people import (
    consents,
    credentials,
    face_receipts,
    guardianships,
    occupancies,
    people,
    permits,
    visitor_passes,
)

MOST = 200
"""How many persons one run settles; the next run goes on."""


def _lasting(at: datetime) -> Any:
    """Return the condition that somebody belongs to a flat now or later."""
    mine = occupancies.c.person_id == people.c.id
    return exists().where(mine, or_(occupancies.c.valid_until.is_(None), occupancies.c.valid_until > at))


def _last_end() -> Any:
    return select(func.max(occupancies.c.valid_until)).where(occupancies.c.person_id == people.c.id).scalar_subquery()


def _live_permit(at: datetime) -> Any:
    mine = permits.c.person_id == people.c.id
    return exists().where(mine, or_(permits.c.valid_until.is_(None), permits.c.valid_until > at))


def leavers(connection: Connection, *, at: datetime) -> list[str]:
    """Return persons who belong to no flat any more and still hold something from then: a card, a consent, a visitor.

    What somebody was given after their last tenancy is another matter (a former tenant who became a caretaker).
    """
    then = _last_end()
    card = exists().where(
        credentials.c.person_id == people.c.id, credentials.c.state == "active", credentials.c.created_at <= then
    )
    consent = exists().where(
        consents.c.person_id == people.c.id, consents.c.withdrawn_at.is_(None), consents.c.given_at <= then,
        or_(consents.c.expires_at.is_(None), consents.c.expires_at > at),
    )  # fmt: skip
    visitors = exists().where(
        visitor_passes.c.host_id == people.c.id, visitor_passes.c.revoked_at.is_(None),
        visitor_passes.c.created_at <= then, visitor_passes.c.valid_until > at,
    )  # fmt: skip
    permit = exists().where(
        permits.c.person_id == people.c.id, permits.c.created_at <= then,
        or_(permits.c.valid_until.is_(None), permits.c.valid_until > at),
    )  # fmt: skip
    query = select(people.c.id).where(then <= at, ~_lasting(at), or_(card, consent, visitors, permit))
    return list(connection.execute(query.order_by(people.c.id).limit(MOST)).scalars())


def long_gone(connection: Connection, *, at: datetime, before: datetime) -> list[tuple[str, str]]:
    """Return (person, site) of those whose last tenancy ended before a time and who have nothing to do here any more.

    Who stands in the site file stays (it would only come back), and so does the guardian of a child who lives here.
    """
    ward = occupancies.alias("ward")
    child_lives_here = exists().where(
        guardianships.c.guardian_id == people.c.id, ward.c.person_id == guardianships.c.child_id,
        or_(ward.c.valid_until.is_(None), ward.c.valid_until > at),
    )  # fmt: skip
    card = exists().where(credentials.c.person_id == people.c.id, credentials.c.state == "active")
    gone = and_(_last_end() <= before, ~_lasting(at), ~_live_permit(at), ~card, ~child_lives_here)
    query = select(people.c.id, people.c.site_id).where(gone, people.c.seeded.is_(False))
    return [(row.id, row.site_id) for row in connection.execute(query.order_by(people.c.id).limit(MOST))]


def unconsented_faces(connection: Connection, *, at: datetime) -> list[str]:
    """Return persons of whom an edge holds a template and whose consents to faces at doors are all over."""
    over = or_(consents.c.withdrawn_at <= at, consents.c.expires_at <= at)
    lasting = exists().where(
        consents.c.person_id == face_receipts.c.person_id, consents.c.purpose == "door_face", or_(
            over.is_(None), ~over,
        ),
    )  # fmt: skip
    query = select(face_receipts.c.person_id).where(face_receipts.c.erased_at.is_(None), ~lasting).distinct()
    return list(connection.execute(query.order_by(face_receipts.c.person_id).limit(MOST)).scalars())


def _open_consent(at: datetime) -> Any:
    unended = or_(consents.c.expires_at.is_(None), consents.c.expires_at > at)
    return and_(consents.c.purpose == "door_face", consents.c.withdrawn_at.is_(None), unended)


def stale_consents(connection: Connection, *, at: datetime, before: datetime) -> list[tuple[str, str]]:
    """Return (consent, person) of consents that a new notice superseded before a time and nobody renewed."""
    query = select(consents.c.id, consents.c.person_id).where(_open_consent(at), consents.c.superseded_at <= before)
    return [(row.id, row.person_id) for row in connection.execute(query.order_by(consents.c.id).limit(MOST))]


def idle_consents(connection: Connection, *, at: datetime, before: datetime) -> list[tuple[str, str]]:
    """Return (consent, person) of consents to faces that are older than a time, as is the person's last use of a door."""
    used = func.coalesce(people.c.active_at, people.c.created_at)
    query = select(consents.c.id, consents.c.person_id).join(people, people.c.id == consents.c.person_id)
    query = query.where(_open_consent(at), consents.c.given_at <= before, used <= before)
    return [(row.id, row.person_id) for row in connection.execute(query.order_by(consents.c.id).limit(MOST))]


def expire_consents(connection: Connection, consent_ids: Sequence[str], *, at: datetime) -> None:
    """Let consents be over from now on; they were not withdrawn, and say so."""
    connection.execute(update(consents).where(consents.c.id.in_(tuple(consent_ids))).values(expires_at=at))
