"""Queries for the filing of face data (FRM 15): how many people each handler has enrolled, and what the filing must say.

The handler is the property company of a site; a site without one is its own.
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from gateway.store.dialect import insert_into
from gateway.store.tables import assessments, companies, doors, marks, notices, sites
from gateway.store.tables_people import face_receipts, people
from gateway.store.types import as_text
from models.assessments import Assessment
from models.notices import Notice

ALONE = "site."
"""Stands before the id of a site that has no company."""


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """Name who answers for the face data of some sites."""

    id: str
    name: str
    contact: str
    sites: tuple[str, ...]


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """Remember when a handler came near the limit and when it reached it; a count that falls again changes nothing."""

    near_on: date | None = None
    reached_on: date | None = None
    due_on: date | None = None


def handlers(connection: Connection) -> list[Handler]:
    """Return all handlers by id, with their sites."""
    known = {row.id: row for row in connection.execute(select(companies))}
    named: dict[str, tuple[str, str]] = {}
    of: dict[str, list[str]] = {}
    for site in connection.execute(select(sites.c.id, sites.c.name, sites.c.company_id).order_by(sites.c.id)):
        company = known.get(site.company_id)
        key = site.company_id if company is not None else f"{ALONE}{site.id}"
        named[key] = (company.name, company.contact) if company is not None else (site.name, "")
        of.setdefault(key, []).append(site.id)
    return [Handler(id=key, name=named[key][0], contact=named[key][1], sites=tuple(of[key])) for key in sorted(of)]


def enrolled_people(connection: Connection, site_ids: tuple[str, ...]) -> int:
    """Return how many people have a template at some sites; who is on record at two of them counts once.

    The same name with the same telephone number or date of birth is one person; without either, each record is one.
    """
    held = select(face_receipts.c.person_id).where(face_receipts.c.erased_at.is_(None))
    query = select(people.c.id, people.c.name, people.c.phone, people.c.born_on)
    query = query.where(people.c.site_id.in_(site_ids), people.c.id.in_(held))
    seen: dict[tuple[Any, ...], str] = {}
    count = 0
    for row in connection.execute(query.order_by(people.c.id)):
        keys = [(row.name, word) for word in (row.phone, row.born_on) if word]
        if not any(key in seen for key in keys):
            count += 1
        seen |= dict.fromkeys(keys, row.id)
    return count


def timer_of(connection: Connection, handler_id: str) -> Timer:
    """Return what is remembered about a handler's filing."""
    text = connection.execute(select(marks.c.value).where(marks.c.name == _mark(handler_id))).scalar()
    return Timer() if text is None else msgspec.json.decode(text, type=Timer)


def set_timer(connection: Connection, handler_id: str, *, timer: Timer, at: datetime) -> None:
    """Remember when a handler came near the limit or reached it."""
    values = {"value": as_text(timer), "at": at}
    upsert = insert_into(connection, marks).values(name=_mark(handler_id), **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["name"], set_=values))


def _mark(handler_id: str) -> str:
    plain = f"filing:{handler_id}"
    return plain if len(plain) <= 64 else f"filing:{hashlib.sha256(handler_id.encode()).hexdigest()[:56]}"


def sites_named(connection: Connection, site_ids: tuple[str, ...]) -> list[tuple[str, str, str, int]]:
    """Return (id, name, address, doors that take faces) of some sites."""
    counts: dict[str, int] = {}
    for row in connection.execute(select(doors.c.site_id, doors.c.record).where(doors.c.site_id.in_(site_ids))):
        factors = msgspec.json.decode(row.record).get("factors", ())
        counts[row.site_id] = counts.get(row.site_id, 0) + any("face" in factor for factor in factors)
    query = select(sites).where(sites.c.id.in_(site_ids)).order_by(sites.c.id)
    return [(row.id, row.name, row.address, counts.get(row.id, 0)) for row in connection.execute(query)]


def notices_for_faces(connection: Connection, site_ids: tuple[str, ...]) -> list[Notice]:
    """Return the latest published notice about faces of each of some sites."""
    query = select(notices.c.site_id, notices.c.record).where(
        notices.c.site_id.in_(site_ids), notices.c.purpose == "door_face", notices.c.published_at.is_not(None)
    )
    rows = connection.execute(query.order_by(notices.c.published_at))
    latest = {row.site_id: msgspec.json.decode(row.record, type=Notice) for row in rows}
    return [latest[site_id] for site_id in sorted(latest)]


def assessments_for_faces(connection: Connection, site_ids: tuple[str, ...], *, at: datetime) -> list[Assessment]:
    """Return the impact assessments about faces that are in force at some sites."""
    query = select(assessments.c.record).where(assessments.c.site_id.in_(site_ids), assessments.c.subject == "face")
    found = [msgspec.json.decode(text, type=Assessment) for text in connection.execute(query).scalars()]
    return sorted((one for one in found if one.in_force(at)), key=lambda one: (one.site_id, one.id))
