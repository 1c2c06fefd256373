"""Queries about facts: written once by id, unreadable ones kept aside, read back by those who may."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, select

from gateway.store.dialect import insert_into, inserted
from gateway.store.newest import Wanted, earlier, newest
from gateway.store.tables_events import facts, quarantine
from gateway.store.types import as_text
from models.events import AnyFact, kind_of, source_of

QUARANTINE_BODY_LIMIT = 16 * 1024


def write_fact(connection: Connection, fact: AnyFact, *, edge_id: str, site_id: str, at: datetime) -> bool:
    """Write a fact; return False if its id was written before, in which case nothing may follow from it again."""
    insertion = insert_into(connection, facts).values(
        id=fact.id, edge_id=edge_id, site_id=site_id, source_id=source_of(fact), kind=kind_of(fact), at=fact.at,
        received_at=at, person_id=getattr(fact, "person_id", None), body=as_text(fact),
    )  # fmt: skip
    return inserted(connection, insertion.on_conflict_do_nothing(index_elements=["id"]), key=facts.c.id)


def set_aside(
    connection: Connection, body: bytes, *, key: str, edge_id: str, fact_id: str | None, error: str, at: datetime
) -> None:
    """Keep an unreadable fact for a person to look at (at most 16 kB of it); the same bytes are kept once."""
    text = body[:QUARANTINE_BODY_LIMIT].decode("utf-8", "replace").replace("\x00", "�")
    insertion = insert_into(connection, quarantine).values(
        id=key, edge_id=edge_id, fact_id=fact_id, error=error[:500], body=text, received_at=at
    )
    connection.execute(insertion.on_conflict_do_nothing(index_elements=["id"]))


def facts_of(
    connection: Connection,
    *,
    site_ids: frozenset[str],
    source_id: str | None = None,
    kind: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> list[tuple[datetime, str, msgspec.Raw]]:
    """Return (time, id, JSON) of facts of some sites, newest first, before a place in that order."""  # fmt: skip
    equal = {"kind": kind} if kind is not None else {}
    if source_id is None:
        wanted = Wanted(sites=sorted(site_ids), equal=equal, before=before, limit=limit)
        rows = newest(connection, facts, at=facts.c.at, wanted=wanted)
    else:  # a place has an index of its own, the shortest way however many the caller's sites are
        query = select(facts).where(facts.c.source_id == source_id, facts.c.site_id.in_(site_ids))
        if kind is not None:
            query = query.where(facts.c.kind == kind)
        query = query.where(*earlier(facts.c.at, facts.c.id, before=before))
        rows = connection.execute(query.order_by(facts.c.at.desc(), facts.c.id.desc()).limit(limit)).all()
    return [(row.at, row.id, msgspec.Raw(row.body.encode())) for row in rows]


def newest_kind(connection: Connection, source_id: str, *, kinds: Collection[str], since: datetime) -> str | None:
    """Return the kind of the newest fact of some kinds that a place told since a time."""
    told = (facts.c.source_id == source_id) & (facts.c.at >= since) & facts.c.kind.in_(kinds)
    query = select(facts.c.kind).where(told).order_by(facts.c.at.desc(), facts.c.id.desc()).limit(1)
    return connection.execute(query).scalar()


def drop_old_facts(connection: Connection, *, before: datetime, limit: int = 5000) -> int:
    """Delete the oldest facts of before a time, and what was set aside before it, some at once; return how many went."""
    old = select(facts.c.id).where(facts.c.at < before).order_by(facts.c.at).limit(limit).scalar_subquery()
    unread = select(quarantine.c.id).where(quarantine.c.received_at < before).limit(limit).scalar_subquery()
    return (
        connection.execute(delete(facts).where(facts.c.id.in_(old))).rowcount
        + connection.execute(delete(quarantine).where(quarantine.c.id.in_(unread))).rowcount
    )
