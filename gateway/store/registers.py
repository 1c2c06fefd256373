"""What a site file seeds into the registers: published notices, approved assessments. Their life through the API is elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Table, insert, select, update

from gateway.store.consents import supersede_consents
from gateway.store.notices import add_notice
from gateway.store.tables import (
    assessments,
    calendars,
    cameras,
    controllers,
    doors,
    flats,
    notices,
    permission_groups,
    readers,
    schedules,
)
from gateway.store.tables_people import people
from gateway.store.types import as_text
from models.assessments import Assessment
from models.errors import Conflict
from models.notices import Notice, notice_digest


def seed_assessment(connection: Connection, assessment: Assessment) -> None:
    """Write an approved assessment unless its id is known: what was reopened or replaced since stays so.

    An assessment in force of the same subject is replaced by a new one.

    Raises:
        Conflict: the id stands for another assessment.
    """
    row = connection.execute(select(assessments).where(assessments.c.id == assessment.id)).first()
    if row is not None:
        known = msgspec.json.decode(row.record, type=Assessment)
        if msgspec.structs.replace(known, state=assessment.state) != assessment:
            raise Conflict(f"assessment {assessment.id!r} was approved with other words: give the new one a new id")
        return
    same = (assessments.c.site_id == assessment.site_id) & (assessments.c.subject == assessment.subject)
    for older in connection.execute(select(assessments).where(same, assessments.c.state == "approved")).all():
        record = msgspec.json.decode(older.record, type=Assessment)
        values = {"state": "replaced", "record": as_text(msgspec.structs.replace(record, state="replaced"))}
        connection.execute(
            update(assessments).where(assessments.c.id == older.id).values(**values, version=assessments.c.version + 1)
        )
    values = {"site_id": assessment.site_id, "subject": assessment.subject, "state": assessment.state}
    connection.execute(insert(assessments).values(id=assessment.id, **values, record=as_text(assessment), seeded=True))


def seed_notice(connection: Connection, notice: Notice, *, at: datetime) -> None:
    """Write a published notice unless its id is known; where it renews, earlier consents hold no longer (R1).

    Raises:
        Conflict: the id stands for other words, or the site has that version for the purpose already.
        InvalidInput: a legal field is blank.
    """
    row = connection.execute(select(notices.c.sha256, notices.c.site_id).where(notices.c.id == notice.id)).first()
    if row is not None:
        if (row.sha256, row.site_id) != (notice_digest(notice), notice.site_id):
            raise Conflict(
                f"notice {notice.id!r} was published with other words: give the new one a new id and version"
            )
        return
    add_notice(connection, notice, seeded=True)
    if notice.renews:
        supersede_consents(connection, notice.site_id, purpose=notice.purpose_kind, at=at)


SEEDED: dict[str, Table] = {
    "flats": flats, "controllers": controllers, "doors": doors, "cameras": cameras, "calendars": calendars,
    "schedules": schedules, "groups": permission_groups, "people": people,
}  # fmt: skip


def release(connection: Connection, kind: str, *, site_id: str, named: Iterable[str]) -> int:
    """Let go what a site file described before and names no longer: it stays, and is changed through the API from now on."""
    table, still = SEEDED[kind], set(named)
    held = select(table.c.id).where(table.c.site_id == site_id, table.c.seeded)
    gone = [key for key in connection.execute(held).scalars() if key not in still]
    for key in gone:
        connection.execute(update(table).where(table.c.id == key).values(seeded=False, version=table.c.version + 1))
        if table is doors:
            connection.execute(update(readers).where(readers.c.door_id == key).values(seeded=False))
    return len(gone)
