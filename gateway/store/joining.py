"""Queries about templates that an edge lacks: whose live consents name its doors, and which sibling holds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, func, select

from gateway.store.edges import ONLINE_FOR
from gateway.store.site_records import read_parts
from gateway.store.tables import commands, edges, policy_versions
from gateway.store.tables_people import face_receipts
from models.link import EdgeStatus
from models.people import Consent, Person, is_under_14

AGAIN_AFTER = timedelta(seconds=60)
TRIES_AN_HOUR = 5
"""How many exchanges an edge gets in an hour while it still lacks something; then one an hour."""
_CONSENTS = frozenset({"consents", "doors", "residents", "keys"})


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Name an edge that lacks templates and a sibling that holds some of them."""

    site_id: str
    from_edge: str
    to_edge: str
    people: int


def exchanges_wanted(connection: Connection, *, at: datetime) -> list[Wanted]:
    """Return which edges should be given templates by which siblings now; at most one exchange for each edge."""
    wanted = []
    for site_id, ready in _ready(connection, at=at).items():
        if len(ready) < 2:
            continue
        holds = _holders(connection, ready)
        for edge_id, lacking in _lacking(connection, site_id, holds=holds, at=at).items():
            best = max((other for other in ready if other != edge_id), key=lambda other: len(holds[other] & lacking))
            found = len(holds[best] & lacking)
            if found and edge_id in ready and _due(connection, edge_id, at=at):
                wanted.append(Wanted(site_id=site_id, from_edge=best, to_edge=edge_id, people=found))
    return wanted


def _ready(connection: Connection, *, at: datetime) -> dict[str, list[str]]:
    """Return, by site, the edges that are online, can be sealed to, and say that they follow their newest policy."""
    query = select(edges, policy_versions.c.epoch, policy_versions.c.n).join(
        policy_versions, policy_versions.c.edge_id == edges.c.id
    )
    query = query.where(edges.c.revoked_at.is_(None), edges.c.seal_key != "", edges.c.status.is_not(None))
    found: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(query.order_by(edges.c.id)):
        online = row.seen_at is not None and at - row.seen_at < ONLINE_FOR
        told = msgspec.json.decode(row.status, type=EdgeStatus)
        if online and told.policy == (row.epoch, row.n):
            found[row.site_id].append(row.id)
    return found


def _holders(connection: Connection, edge_ids: Iterable[str]) -> dict[str, set[str]]:
    query = select(face_receipts.c.edge_id, face_receipts.c.person_id).where(
        face_receipts.c.edge_id.in_(tuple(edge_ids)), face_receipts.c.erased_at.is_(None)
    )
    holds: dict[str, set[str]] = defaultdict(set)
    for row in connection.execute(query):
        holds[row.edge_id].add(row.person_id)
    return holds


def _lacking(connection: Connection, site_id: str, *, holds: dict[str, set[str]], at: datetime) -> dict[str, set[str]]:
    """Return, by edge, the people whose face it may match and whose template it has not."""
    lacking: dict[str, set[str]] = defaultdict(set)
    for edge_id, consent in allowed_faces(connection, site_id, at=at):
        if consent.person_id not in holds[edge_id]:
            lacking[edge_id].add(consent.person_id)
    return lacking


def allowed_faces(connection: Connection, site_id: str, *, at: datetime) -> list[tuple[str, Consent]]:
    """Return each live consent that allows a face, with each edge of a door that it names."""
    parts = read_parts(connection, site_id, wanted=_CONSENTS)
    edge_of = {one.door.id: one.door.edge_id for one in parts["doors"]}
    today = at.astimezone(ZoneInfo(parts["keys"].timezone)).date()
    young = {
        one.id
        for one in parts["residents"]
        if is_under_14(Person(id="", site_id="", name="", born_on=one.born_on, under_14=one.under_14), today)
    }
    return [
        (edge_id, consent)
        for consent in parts["consents"]
        if consent.live(at) and (consent.guardian or consent.person_id not in young)
        for edge_id in sorted({edge_of[door] for door in consent.doors if door in edge_of})
    ]


def _due(connection: Connection, edge_id: str, *, at: datetime) -> bool:
    """Return whether an edge may be given an exchange: not one on the heels of another."""
    tried = (commands.c.edge_id == edge_id) & (commands.c.kind == "adopt_templates")
    hour = timedelta(hours=1)
    count, last = connection.execute(
        select(func.count(), func.max(commands.c.created_at)).where(tried, commands.c.created_at > at - hour)
    ).one()
    return last is None or (count < TRIES_AN_HOUR and at - last >= AGAIN_AFTER)
