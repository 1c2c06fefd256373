"""Build an edge's policy from the database and number it: (epoch, n) grows exactly when the content changes."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, or_, select

from gateway.store.consents import consent_from
from gateway.store.dialect import insert_into
from gateway.store.modes import desired_of
from gateway.store.places import credential_key
from gateway.store.rights import permit_from
from gateway.store.sealed import unwrapped
from gateway.store.tables import cameras, doors, flats, policy_versions, schedules, sites
from gateway.store.tables_people import consents, credentials, occupancies, people, permits
from models.people import Consent, Credential, Member, Permit
from models.places import Camera, Door
from models.policy import Policy
from models.schedules import Schedule

VALID_FOR = timedelta(days=7)
RENEW_AFTER = timedelta(hours=12)


def current_policy(connection: Connection, edge_id: str, *, site_id: str, at: datetime) -> Policy:
    """Return the edge's policy, numbered anew if its content changed or half a day has passed since it was issued."""
    content = _content(connection, edge_id, site_id=site_id, at=at)
    digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
    row = connection.execute(select(policy_versions).where(policy_versions.c.edge_id == edge_id)).first()
    epoch, n, issued_at = (row.epoch, row.n, row.issued_at) if row else (1, 0, at)
    if row is None or row.digest != digest or at - row.issued_at >= RENEW_AFTER:
        n, issued_at = n + 1, at
        values = {"epoch": epoch, "n": n, "digest": digest, "issued_at": at}
        upsert = insert_into(connection, policy_versions).values(edge_id=edge_id, **values)
        connection.execute(upsert.on_conflict_do_update(index_elements=["edge_id"], set_=values))
    return msgspec.structs.replace(content, epoch=epoch, n=n, issued_at=issued_at, valid_until=issued_at + VALID_FOR)


def _content(connection: Connection, edge_id: str, *, site_id: str, at: datetime) -> Policy:
    """Return the policy without its number; times are fixed, so that equal contents have equal digests."""
    rows = connection.execute(select(doors).where(doors.c.edge_id == edge_id).order_by(doors.c.id)).all()
    own = frozenset(row.id for row in rows)
    site_ids = {row.site_id for row in rows} | {site_id}
    given = _permits(connection, own, site_ids=site_ids, at=at)
    agreed = _consents(connection, own, site_ids=site_ids)
    known = sorted({permit.person_id for permit in given} | {consent.person_id for consent in agreed})
    key_exists = connection.execute(select(sites.c.id).where(sites.c.id == site_id)).first() is not None
    never = datetime.fromtimestamp(0, tz=at.tzinfo)
    return Policy(
        edge_id=edge_id, site_id=site_id, epoch=0, n=0, issued_at=never, valid_until=never,
        doors=tuple(msgspec.json.decode(row.record, type=Door) for row in rows),
        cameras=_cameras(connection, edge_id),
        permits=given,
        schedules=_schedules(connection, site_ids),
        credentials=_credentials(connection, known, site_id=site_id),
        credential_key=credential_key(connection, site_id) if key_exists else "",
        people=_people(connection, known),
        consents=agreed,
        modes=tuple(desired_of(row) for row in rows),
    )  # fmt: skip


def _cameras(connection: Connection, edge_id: str) -> tuple[Camera, ...]:
    rows = connection.execute(select(cameras).where(cameras.c.edge_id == edge_id).order_by(cameras.c.id))
    return tuple(
        msgspec.structs.replace(
            msgspec.json.decode(row.record, type=Camera),
            password=unwrapped(connection, row.password, about=f"cameras.password {row.id}"),
        )
        for row in rows
    )


def _permits(connection: Connection, own: frozenset[str], *, site_ids: set[str], at: datetime) -> tuple[Permit, ...]:
    query = select(permits).join(people, people.c.id == permits.c.person_id).where(people.c.site_id.in_(site_ids))
    query = query.where(or_(permits.c.valid_until.is_(None), permits.c.valid_until > at - VALID_FOR))
    found = [permit_from(row) for row in connection.execute(query.order_by(permits.c.id))]
    return tuple(narrowed for permit in found if (narrowed := _narrowed(permit, own)).doors)


def _consents(connection: Connection, own: frozenset[str], *, site_ids: set[str]) -> tuple[Consent, ...]:
    query = select(consents).join(people, people.c.id == consents.c.person_id).where(people.c.site_id.in_(site_ids))
    found = [consent_from(row) for row in connection.execute(query.order_by(consents.c.id))]
    kept = (narrowed for consent in found if (narrowed := _narrowed(consent, own)).doors)
    # The edge needs to know that a consent holds, not how it was proved.
    return tuple(msgspec.structs.replace(consent, evidence="") for consent in kept)


def _narrowed(record: Any, own: frozenset[str]) -> Any:
    return msgspec.structs.replace(record, doors=tuple(sorted(door for door in record.doors if door in own)))


def _people(connection: Connection, known: list[str]) -> tuple[Member, ...]:
    codes: dict[str, list[str]] = {}
    query = select(occupancies.c.person_id, flats.c.keypad).join(flats, flats.c.id == occupancies.c.flat_id)
    for row in connection.execute(query.where(occupancies.c.person_id.in_(known)).order_by(flats.c.keypad)):
        codes.setdefault(row.person_id, []).append(row.keypad)
    rows = connection.execute(select(people).where(people.c.id.in_(known)).order_by(people.c.id))
    return tuple(
        Member(id=row.id, flats=tuple(code for code in codes.get(row.id, ()) if code), under_14=row.under_14)
        for row in rows
    )


def _schedules(connection: Connection, site_ids: set[str]) -> tuple[Schedule, ...]:
    query = select(schedules.c.record).where(schedules.c.site_id.in_(site_ids)).order_by(schedules.c.id)
    return tuple(msgspec.json.decode(record, type=Schedule) for record in connection.execute(query).scalars())


def _credentials(connection: Connection, known: list[str], *, site_id: str) -> tuple[Credential, ...]:
    query = select(credentials).where(credentials.c.person_id.in_(known), credentials.c.site_id == site_id)
    return tuple(
        Credential(id=row.id, person_id=row.person_id, kind=row.kind, digest=row.digest)
        for row in connection.execute(query.order_by(credentials.c.id))
    )
