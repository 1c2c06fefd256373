"""What policies are made of: all that a site holds about doors, people and rights, read once for all of its edges.

Each part names the tables that it is read from, so that what did not change need not be read again
(gateway.store.policy_writes). Nothing here is narrowed to an edge or to a time: gateway.store.policy does that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, select

from gateway.store.calibrations import evidence_of
from gateway.store.card_formats import formats_of
from gateway.store.devices_found import for_edge
from gateway.store.door_secrets import whole_door
from gateway.store.modes import desired_of
from gateway.store.sealed import unwrapped
from gateway.store.tables import (
    assessments,
    calendars,
    cameras,
    doors,
    flats,
    permission_groups,
    schedules,
    sites,
)
from gateway.store.tables_people import consents, credentials, occupancies, people, permits, tombstones, visitor_passes
from gateway.store.ticket_keys import ticket_keys
from models.assessments import Assessment
from models.calibration import ImpostorEvidence
from models.cards import CardFormat
from models.people import Consent, Credential, Group, Permit, VisitorPass
from models.places import Camera, Door
from models.policy import DesiredMode, TicketKey
from models.schedules import Calendar, Schedule

_ids = msgspec.json.Decoder(tuple[str, ...])


class SiteKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a site's zone, the clear key of its credentials, and the public keys of its tickets."""

    timezone: str = "Asia/Shanghai"
    credential_key: str = ""
    ticket_keys: tuple[TicketKey, ...] = ()


class OwnedDoor(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a door with the mode that it shall be in."""

    door: Door
    mode: DesiredMode


class Resident(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Know of a person what a policy is made of: never the name."""

    id: str
    born_on: date | None
    under_14: bool


class Dwelling(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Say that a person belongs to a flat with a keypad code and groups."""

    id: str
    person_id: str
    keypad: str
    groups: tuple[str, ...]
    valid_from: datetime | None
    valid_until: datetime | None


class Erased(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Name an erased person."""

    person_id: str
    erased_at: datetime


class SiteRecords(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all parts of one site."""

    keys: SiteKeys
    doors: tuple[OwnedDoor, ...]
    cameras: tuple[Camera, ...]
    groups: tuple[Group, ...]
    schedules: tuple[Schedule, ...]
    calendars: tuple[Calendar, ...]
    residents: tuple[Resident, ...]
    dwellings: tuple[Dwelling, ...]
    permits: tuple[Permit, ...]
    passes: tuple[VisitorPass, ...]
    credentials: tuple[Credential, ...]
    consents: tuple[Consent, ...]
    erased: tuple[Erased, ...]
    assessments: tuple[Assessment, ...]
    calibrations: tuple[ImpostorEvidence, ...]
    card_formats: tuple[CardFormat, ...]


class _Lists:
    """Read JSON lists of ids; the same text gives the same tuple, since thousands of rows name the same doors."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, text: str) -> tuple[str, ...]:
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = _ids.decode(text)
        return found


def _site_keys(connection: Connection, site_id: str) -> SiteKeys:
    row = connection.execute(select(sites.c.timezone, sites.c.credential_key).where(sites.c.id == site_id)).first()
    if row is None:  # an edge may be enrolled before its site file is applied
        return SiteKeys()
    key = unwrapped(connection, row.credential_key, about=f"sites.credential_key {site_id}")
    return SiteKeys(timezone=row.timezone, credential_key=key, ticket_keys=ticket_keys(connection, site_id))


def _doors(connection: Connection, site_id: str) -> tuple[OwnedDoor, ...]:
    query = select(doors).where(doors.c.site_id == site_id).order_by(doors.c.id)
    return tuple(
        OwnedDoor(door=for_edge(connection, whole_door(connection, row)), mode=desired_of(row))
        for row in connection.execute(query)
    )


def _cameras(connection: Connection, site_id: str) -> tuple[Camera, ...]:
    rows = connection.execute(select(cameras).where(cameras.c.site_id == site_id).order_by(cameras.c.id))
    return tuple(
        msgspec.structs.replace(
            msgspec.json.decode(row.record, type=Camera),
            password=unwrapped(connection, row.password, about=f"cameras.password {row.id}"),
        )
        for row in rows
    )


def _groups(connection: Connection, site_id: str) -> tuple[Group, ...]:
    table, read = permission_groups, _Lists()
    query = select(table.c.id, table.c.doors, table.c.schedule_id).where(table.c.site_id == site_id)
    return tuple(
        Group(id=row.id, site_id=site_id, doors=read(row.doors), schedule_id=row.schedule_id)
        for row in connection.execute(query.order_by(table.c.id))
    )


def _schedules(connection: Connection, site_id: str) -> tuple[Schedule, ...]:
    return tuple(msgspec.json.decode(text, type=Schedule) for text in _records(connection, schedules, site_id))


def _calendars(connection: Connection, site_id: str) -> tuple[Calendar, ...]:
    return tuple(msgspec.json.decode(text, type=Calendar) for text in _records(connection, calendars, site_id))


def _records(connection: Connection, table: Table, site_id: str) -> list[str]:
    query = select(table.c.record).where(table.c.site_id == site_id).order_by(table.c.id)
    return list(connection.execute(query).scalars())


def _residents(connection: Connection, site_id: str) -> tuple[Resident, ...]:
    query = select(people.c.id, people.c.born_on, people.c.under_14).where(people.c.site_id == site_id)
    return tuple(
        Resident(id=row[0], born_on=row[1], under_14=row[2]) for row in connection.execute(query.order_by(people.c.id))
    )


def _dwellings(connection: Connection, site_id: str) -> tuple[Dwelling, ...]:
    read = _Lists()
    query = select(
        occupancies.c.id, occupancies.c.person_id, flats.c.keypad, flats.c.groups, occupancies.c.valid_from,
        occupancies.c.valid_until,
    ).join(flats, flats.c.id == occupancies.c.flat_id)  # fmt: skip
    return tuple(
        Dwelling(id=row[0], person_id=row[1], keypad=row[2], groups=read(row[3]), valid_from=row[4], valid_until=row[5])
        for row in connection.execute(query.where(flats.c.site_id == site_id).order_by(occupancies.c.id))
    )


def _permits(connection: Connection, site_id: str) -> tuple[Permit, ...]:
    read = _Lists()
    query = select(
        permits.c.id, permits.c.person_id, permits.c.group_id, permits.c.doors, permits.c.schedule_id,
        permits.c.valid_from, permits.c.valid_until,
    ).join(people, people.c.id == permits.c.person_id)  # fmt: skip
    return tuple(
        Permit(
            id=row[0], person_id=row[1], group_id=row[2], doors=read(row[3]), schedule_id=row[4], valid_from=row[5],
            valid_until=row[6],
        )
        for row in connection.execute(query.where(people.c.site_id == site_id).order_by(permits.c.id))
    )  # fmt: skip


def _passes(connection: Connection, site_id: str) -> tuple[VisitorPass, ...]:
    table, read = visitor_passes, _Lists()
    query = select(table).where(table.c.site_id == site_id, table.c.revoked_at.is_(None)).order_by(table.c.id)
    return tuple(
        VisitorPass(
            id=row.id, host_id=row.host_id, doors=read(row.doors), valid_from=row.valid_from,
            valid_until=row.valid_until, uses=row.uses, used=row.used, pin_digest=row.pin_digest,
        )
        for row in connection.execute(query)
    )  # fmt: skip


def _credentials(connection: Connection, site_id: str) -> tuple[Credential, ...]:
    """Return the credentials that work: a lost, blocked or replaced one is not in a policy."""
    table = credentials
    query = select(
        table.c.id, table.c.person_id, table.c.kind, table.c.digest, table.c.valid_from, table.c.valid_until,
        table.c.duress,
    ).where(table.c.site_id == site_id, table.c.state == "active")  # fmt: skip
    return tuple(
        Credential(
            id=row[0], person_id=row[1], kind=row[2], digest="" if row[2] == "qr" else row[3], valid_from=row[4],
            valid_until=row[5], duress=row[6],
        )
        for row in connection.execute(query.order_by(table.c.id))
    )  # fmt: skip


def _consents(connection: Connection, site_id: str) -> tuple[Consent, ...]:
    """Return consents to faces at doors, without how they were proved: an edge needs to know that they hold."""
    table, read = consents, _Lists()
    query = select(
        table.c.id, table.c.person_id, table.c.doors, table.c.given_at, table.c.channel, table.c.guardian,
        table.c.expires_at, table.c.withdrawn_at, table.c.superseded_at,
    ).join(people, people.c.id == table.c.person_id)  # fmt: skip
    query = query.where(people.c.site_id == site_id, table.c.purpose == "door_face").order_by(table.c.id)
    return tuple(
        Consent(
            id=row[0], person_id=row[1], doors=read(row[2]), text_version="", text_sha256="", given_at=row[3],
            channel=row[4], evidence="", guardian="yes" if row[5] else None, expires_at=row[6], withdrawn_at=row[7],
            superseded_at=row[8],
        )
        for row in connection.execute(query)
    )  # fmt: skip


def _erased(connection: Connection, site_id: str) -> tuple[Erased, ...]:
    query = select(tombstones.c.person_id, tombstones.c.erased_at).where(tombstones.c.site_id == site_id)
    return tuple(
        Erased(person_id=row[0], erased_at=row[1]) for row in connection.execute(query.order_by(tombstones.c.person_id))
    )


def _assessments(connection: Connection, site_id: str) -> tuple[Assessment, ...]:
    query = select(assessments.c.record).where(assessments.c.site_id == site_id, assessments.c.state == "approved")
    texts = connection.execute(query.order_by(assessments.c.id)).scalars()
    return tuple(msgspec.json.decode(text, type=Assessment) for text in texts)


PARTS: Final[dict[str, tuple[Callable[[Connection, str], Any], frozenset[str]]]] = {
    "keys": (_site_keys, frozenset({"sites"})),
    "doors": (_doors, frozenset({"doors"})),
    "cameras": (_cameras, frozenset({"cameras"})),
    "groups": (_groups, frozenset({"permission_groups"})),
    "schedules": (_schedules, frozenset({"schedules"})),
    "calendars": (_calendars, frozenset({"calendars"})),
    "residents": (_residents, frozenset({"people"})),
    "dwellings": (_dwellings, frozenset({"occupancies", "flats"})),
    "permits": (_permits, frozenset({"permits", "people"})),
    "passes": (_passes, frozenset({"visitor_passes"})),
    "credentials": (_credentials, frozenset({"credentials"})),
    "consents": (_consents, frozenset({"consents", "people"})),
    "erased": (_erased, frozenset({"tombstones"})),
    "assessments": (_assessments, frozenset({"assessments"})),
    "calibrations": (evidence_of, frozenset({"calibrations"})),
    "card_formats": (formats_of, frozenset({"card_formats"})),
}
"""Each part of `SiteRecords`: how it is read, and the tables that it depends on."""


def read_parts(connection: Connection, site_id: str, *, wanted: frozenset[str]) -> dict[str, Any]:
    """Return the wanted parts of a site, freshly read."""
    return {name: read(connection, site_id) for name, (read, _) in PARTS.items() if name in wanted}


def site_records(connection: Connection, site_id: str) -> SiteRecords:
    """Return all parts of a site, freshly read."""
    return SiteRecords(**read_parts(connection, site_id, wanted=frozenset(PARTS)))
