"""The policy of an edge: exactly what its doors need, numbered whenever that changes.

`content_of` is pure: it narrows a site's records (gateway.store.site_records) to one edge and one time. Permits that follow
from flats are made here, so that moving in or out is one row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, select, update

from gateway.store.dialect import insert_into
from gateway.store.edges import contract_of
from gateway.store.site_records import OwnedDoor, SiteRecords, site_records
from gateway.store.tables import doors, edges, marks, policy_versions
from gateway.store.tables_events import counters
from models.calibration import ImpostorEvidence
from models.cards import CardFormat
from models.errors import InvalidInput
from models.people import Consent, Credential, Group, Member, Permit, Person, VisitorPass, is_under_14
from models.places import Camera, check_register
from models.policy import Policy, Sibling
from models.schedules import Schedule

VALID_FOR = timedelta(days=7)
RENEW_AFTER = timedelta(hours=12)
KEEP_ENDED = timedelta(days=400)
"""How long policies repeat what has ended for good: tombstones and ended consents."""
EPOCH_MARK = "epoch"
"""The mark that a restore raises: every edge then takes the restored gateway's policy for newer."""
NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
T = TypeVar("T", Permit, Consent, VisitorPass, Group)
R = TypeVar("R")


def current_policy(connection: Connection, edge_id: str, *, site_id: str, at: datetime) -> Policy:
    """Return the edge's policy, read and numbered in one transaction; gateway.policies does the same with a cache."""
    others = siblings_of(connection, edge_id, site_id=site_id)
    content = content_of(
        site_records(connection, site_id), edge_id, site_id=site_id, siblings=others, at=at,
        contract=contract_of(connection, edge_id),
    )  # fmt: skip
    return number(connection, content, digest=content_digest(content), at=at)


def content_digest(content: Policy, again: Memo | None = None) -> str:
    """Return the hex SHA-256 of what a policy says, whatever its number; made of a digest of each of its parts."""
    kept = again or Memo()
    parts = [
        kept(f"digest of {name}", (value,), partial(_digest, value))
        for name, value in msgspec.structs.asdict(content).items()
    ]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


def number_of(connection: Connection, content: Policy, *, digest: str, at: datetime) -> Policy | None:
    """Return the content under the number that it has, or None if it needs a new one."""
    row = connection.execute(select(policy_versions).where(policy_versions.c.edge_id == content.edge_id)).first()
    if row is None or row.digest != digest or at - row.issued_at >= RENEW_AFTER or row.epoch < _epoch(connection):
        return None
    return _numbered(content, epoch=row.epoch, n=row.n, issued_at=row.issued_at)


def number(connection: Connection, content: Policy, *, digest: str, at: datetime) -> Policy:
    """Return the content under its number: a new one if it changed, half a day has passed, or the epoch was raised."""
    edge_id = content.edge_id
    query = select(policy_versions).where(policy_versions.c.edge_id == edge_id).with_for_update()
    row = connection.execute(query).first()  # replicas number one after the other
    known = number_of(connection, content, digest=digest, at=at)
    if known is not None:
        return known
    epoch = max(_epoch(connection), row.epoch if row else 1)
    n = row.n + 1 if row is not None and row.epoch == epoch else 1
    values = {"epoch": epoch, "n": n, "digest": digest, "issued_at": at}
    upsert = insert_into(connection, policy_versions).values(edge_id=edge_id, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["edge_id"], set_=values))
    return _numbered(content, epoch=epoch, n=n, issued_at=at)


def renew_policy(connection: Connection, edge_id: str, *, since: datetime) -> None:
    """Have an edge's policy issued anew if it was issued before a time: a restored edge believes no older one."""
    older = (policy_versions.c.edge_id == edge_id) & (policy_versions.c.issued_at < since)
    connection.execute(update(policy_versions).where(older).values(issued_at=since - RENEW_AFTER))


def _numbered(content: Policy, *, epoch: int, n: int, issued_at: datetime) -> Policy:
    return msgspec.structs.replace(content, epoch=epoch, n=n, issued_at=issued_at, valid_until=issued_at + VALID_FOR)


def _epoch(connection: Connection) -> int:
    value = connection.execute(select(marks.c.value).where(marks.c.name == EPOCH_MARK)).scalar()
    return int(value) if value and value.isdigit() else 1


def epoch_raised_at(connection: Connection) -> datetime | None:
    """Return when a restore raised the epoch last; None if this database was never restored."""
    return connection.execute(select(marks.c.at).where(marks.c.name == EPOCH_MARK)).scalar()


def audit_number(connection: Connection) -> int:
    """Return how many audit rows there are: every change of configuration or people comes with one."""
    return connection.execute(select(counters.c.value).where(counters.c.name == "audit")).scalar() or 0


def siblings_of(connection: Connection, edge_id: str, *, site_id: str) -> tuple[Sibling, ...]:
    """Return the other enrolled edges of a site that have doors and a key to which templates can be sealed."""
    of_edge: dict[str, list[str]] = {}
    query = select(doors.c.edge_id, doors.c.id).where(doors.c.site_id == site_id, doors.c.edge_id != edge_id)
    for row in connection.execute(query.order_by(doors.c.id)):
        of_edge.setdefault(row.edge_id, []).append(row.id)
    known = select(edges.c.id, edges.c.seal_key).where(
        edges.c.site_id == site_id, edges.c.revoked_at.is_(None), edges.c.seal_key != ""
    )
    return tuple(
        Sibling(edge_id=row.id, seal_key=row.seal_key, doors=tuple(of_edge[row.id]))
        for row in connection.execute(known.order_by(edges.c.id))
        if row.id in of_edge
    )


class Memo:
    """Remember what was made from which inputs, so that the same inputs give the same object again."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def __call__(self, name: str, inputs: tuple[Any, ...], make: Callable[[], R]) -> R:
        """Return what was made under this name, made anew if an input is another one."""
        known = self._made.get(name)
        if known is None or known[0] != inputs:
            known = self._made[name] = (inputs, make())
        result: R = known[1]
        return result


def content_of(
    records: SiteRecords,
    edge_id: str,
    *,
    site_id: str,
    siblings: tuple[Sibling, ...],
    at: datetime,
    contract: str = "",
    again: Memo | None = None,
) -> Policy:
    """Return an edge's policy without its number; its times are fixed, so that equal contents have equal digests.

    Args:
        records: all of the site.
        edge_id: the edge.
        site_id: its site.
        siblings: the other edges of the site.
        at: aware time of the making.
        contract: under which the edge compares faces: evidence of others stays here; empty if it did not say.
        again: what was made a short while before, of which unchanged parts are taken.
    """
    kept = again or Memo()
    owned = kept("owned", (records.doors,), lambda: tuple(one for one in records.doors if one.door.edge_id == edge_id))
    own = frozenset(one.door.id for one in owned)
    given, groups = kept(
        "rights", (records.permits, records.groups, records.dwellings, own), lambda: _rights(records, own, at=at)
    )
    consents = kept("consents", (records.consents, own), lambda: _consents(records, own, at=at))
    known = {permit.person_id for permit in given} | {consent.person_id for consent in consents}
    free = {one.door.free_schedule_id for one in owned}
    schedules = _schedules(records, groups, given, free=free)
    calendars = {key for schedule in schedules for key in schedule.calendars}
    return Policy(
        edge_id=edge_id, site_id=site_id, epoch=0, n=0, issued_at=NEVER, valid_until=NEVER,
        doors=kept("doors", (owned,), lambda: tuple(one.door for one in owned)),
        cameras=_cameras(records, edge_id),
        people=kept("people", (records.residents, records.dwellings, known), partial(_members, records, known, at=at)),
        groups=groups, schedules=schedules,
        calendars=tuple(calendar for calendar in records.calendars if calendar.id in calendars),
        permits=given,
        passes=kept("passes", (records.passes, own), lambda: tuple(_narrowed(_fresh(records.passes, at=at), own))),
        credentials=kept(
            "credentials", (records.credentials, known),
            lambda: tuple(one for one in _fresh(records.credentials, at=at) if one.person_id in known),
        ),
        credential_key=records.keys.credential_key, ticket_keys=records.keys.ticket_keys, consents=consents,
        tombstones=tuple(one.person_id for one in records.erased if one.erased_at > at - KEEP_ENDED),
        modes=kept("modes", (owned,), lambda: tuple(one.mode for one in owned)), siblings=siblings,
        card_formats=_card_formats(records, owned), calibrations=_evidence(records, edge_id, contract=contract),
        assessed=tuple(sorted({one.subject for one in records.assessments if one.in_force(at)})),
    )  # fmt: skip


def _card_formats(records: SiteRecords, owned: Iterable[OwnedDoor]) -> tuple[CardFormat, ...]:
    named = {reader.format for one in owned for reader in one.door.readers}
    return tuple(one for one in records.card_formats if one.id in named)


def _evidence(records: SiteRecords, edge_id: str, *, contract: str) -> tuple[ImpostorEvidence, ...]:
    own = (one for one in records.calibrations if one.edge_id in ("", edge_id))
    return tuple(one for one in own if contract in ("", one.contract))


def _cameras(records: SiteRecords, edge_id: str) -> tuple[Camera, ...]:
    return tuple(camera for camera in records.cameras if camera.edge_id == edge_id and registered(camera))


def registered(camera: Camera) -> bool:
    """Return whether a camera may be on: its register entry is complete (R34)."""
    try:
        return camera.register is not None and bool(check_register(camera.register, f"cameras.{camera.id}"))
    except InvalidInput:
        return False


F = TypeVar("F", Permit, Credential, VisitorPass)


def _fresh(records: Iterable[F], *, at: datetime) -> Iterator[F]:
    """Yield what is not over for longer than a policy is valid: until then an edge can say that it is over."""
    limit = at - VALID_FOR
    return (record for record in records if not _over(record.valid_until, limit))


def _over(valid_until: datetime | None, limit: datetime) -> bool:
    return valid_until is not None and valid_until <= limit


def _narrowed(records: Iterable[T], own: frozenset[str]) -> Iterator[T]:
    """Yield the records that name one of the doors, without the other doors."""
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    for record in records:
        doors_here = kept.get(record.doors)
        if doors_here is None:
            doors_here = kept[record.doors] = tuple(sorted(own.intersection(record.doors)))
        if doors_here == record.doors:
            if doors_here:
                yield record
        elif doors_here:
            yield msgspec.structs.replace(record, doors=doors_here)


def _rights(records: SiteRecords, own: frozenset[str], *, at: datetime) -> tuple[tuple[Permit, ...], tuple[Group, ...]]:
    """Return the permits that open one of the doors, those from flats included, and the groups that they name."""
    here = {group.id: group for group in _narrowed(records.groups, own)}
    every = {group.id: group for group in records.groups}
    given, named = [], set()
    for permit in _fresh(records.permits, at=at):
        kept = tuple(door for door in permit.doors if door in own) if permit.doors else ()
        if kept or permit.group_id in here:
            given.append(permit if kept == permit.doors else msgspec.structs.replace(permit, doors=kept))
            named.add(permit.group_id)
    limit = at - VALID_FOR
    for stay in records.dwellings:
        for group_id in () if _over(stay.valid_until, limit) else stay.groups:
            if group_id in here:
                named.add(group_id)
                given.append(
                    Permit(
                        id=f"of-{stay.id}-{group_id}", person_id=stay.person_id, group_id=group_id,
                        valid_from=None if stay.valid_from is None or stay.valid_from <= at else stay.valid_from,
                        valid_until=stay.valid_until,
                    )
                )  # fmt: skip
    given.sort(key=lambda permit: permit.id)
    # A permit with doors of its own keeps its group's schedule, though the group has no door here.
    groups = (here.get(key, msgspec.structs.replace(every[key], doors=())) for key in named if key in every)
    return tuple(given), tuple(sorted(groups, key=lambda group: group.id))


def _schedules(
    records: SiteRecords, groups: Sequence[Group], given: Sequence[Permit], *, free: set[str | None]
) -> tuple[Schedule, ...]:
    """Return the schedules of groups and permits, and those in which doors stand unlocked."""
    used = {group.schedule_id for group in groups} | {permit.schedule_id for permit in given} | free
    return tuple(schedule for schedule in records.schedules if schedule.id in used)


def _consents(records: SiteRecords, own: frozenset[str], *, at: datetime) -> tuple[Consent, ...]:
    """Return the consents of everybody who consented to a face at one of the doors, with all doors that they name.

    The doors of siblings count too: what may be shared with a sibling is what its doors were consented to.
    """
    limit = at - KEEP_ENDED
    agreed = {one.person_id for one in records.consents if not own.isdisjoint(one.doors)}
    return tuple(one for one in records.consents if one.person_id in agreed and not one.over(limit))


def _members(records: SiteRecords, known: set[str], *, at: datetime) -> tuple[Member, ...]:
    codes: dict[str, list[str]] = {}
    for stay in records.dwellings:
        begun = stay.valid_from is None or stay.valid_from <= at
        if begun and stay.keypad and not _over(stay.valid_until, at):
            codes.setdefault(stay.person_id, []).append(stay.keypad)
    today = at.astimezone(ZoneInfo(records.keys.timezone)).date()
    members = []
    for one in records.residents:
        if one.id in known:
            person = Person(id=one.id, site_id="", name="", born_on=one.born_on, under_14=one.under_14)
            flats = tuple(sorted(set(codes.get(one.id, ()))))
            members.append(Member(id=one.id, flats=flats, under_14=is_under_14(person, today)))
    return tuple(members)
