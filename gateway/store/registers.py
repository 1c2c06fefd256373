"""What a site file seeds into the registers: approved assessments. Their life through the API is beside it."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from gateway.store.tables import assessments
from gateway.store.types import as_text
from models.assessments import Assessment
from models.errors import Conflict


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
