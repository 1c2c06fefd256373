"""Queries about impact assessments (R33). What was approved once is kept: it is replaced or reopened, never deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.store.tables import assessments
from gateway.store.types import as_text
from models.assessments import Assessment, Subject, approve, check_topics, reopen
from models.errors import Conflict, NotFound


class AssessmentView(msgspec.Struct, frozen=True, kw_only=True):
    """Show an assessment, whether it lets its subject go live now, and its version for `If-Match`."""

    assessment: Assessment
    in_force: bool
    seeded: bool
    etag: int


def _view(row: Row[Any], *, at: datetime) -> AssessmentView:
    found = msgspec.json.decode(row.record, type=Assessment)
    return AssessmentView(assessment=found, in_force=found.in_force(at), seeded=row.seeded, etag=row.version)


def add_assessment(connection: Connection, assessment: Assessment) -> None:
    """Write a new draft.

    Raises:
        InvalidInput: a topic says nothing.
    """
    check_topics(assessment.topics)
    values = {"site_id": assessment.site_id, "subject": assessment.subject, "state": assessment.state}
    connection.execute(insert(assessments).values(id=assessment.id, **values, record=as_text(assessment)))


def assessment_for(
    connection: Connection, assessment_id: str, *, site_ids: frozenset[str], at: datetime
) -> AssessmentView:
    """Return an assessment of one of these sites.

    Raises:
        NotFound: there is none.
    """
    query = select(assessments).where(assessments.c.id == assessment_id, assessments.c.site_id.in_(site_ids))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("assessment", assessment_id)
    return _view(row, at=at)


def assessments_of(
    connection: Connection, site_ids: frozenset[str], *, after: str, limit: int, at: datetime
) -> list[AssessmentView]:
    """Return the assessments of these sites by id, after an id."""
    query = select(assessments).where(assessments.c.site_id.in_(site_ids), assessments.c.id > after)
    return [_view(row, at=at) for row in connection.execute(query.order_by(assessments.c.id).limit(limit))]


def assessed(connection: Connection, site_id: str, *, subject: Subject, at: datetime) -> bool:
    """Return whether an approved assessment of a subject is in force at a site."""
    mine = (assessments.c.site_id == site_id) & (assessments.c.subject == subject)
    approved = connection.execute(select(assessments.c.record).where(mine, assessments.c.state == "approved"))
    return any(msgspec.json.decode(text, type=Assessment).in_force(at) for text in approved.scalars())


def change_assessment(
    connection: Connection, held: AssessmentView, *, changed: Assessment, version: int | None
) -> None:
    """Write a draft anew.

    Raises:
        Conflict: it is no draft any more, or changed meanwhile.
        InvalidInput: a topic says nothing.
    """
    check_version(held, version=version)
    if held.assessment.state != "draft":
        raise Conflict(f"this assessment is {held.assessment.state}: draft a new one")
    check_topics(changed.topics)
    _keep(connection, changed)


def approve_assessment(
    connection: Connection, held: AssessmentView, *, by: str, at: datetime, valid_until: datetime | None
) -> None:
    """Approve a draft; the one in force for the same subject of the site is replaced by it.

    Raises:
        Conflict: it is no draft, or its author approves it.
        InvalidInput: it would be over already.
    """
    approved = approve(held.assessment, by=by, at=at, valid_until=valid_until)
    same = (assessments.c.site_id == approved.site_id) & (assessments.c.subject == approved.subject)
    kept = select(assessments.c.record).where(same, assessments.c.state.in_(("approved", "reopened")))
    for record in connection.execute(kept).scalars().all():
        older = msgspec.json.decode(record, type=Assessment)
        _keep(connection, msgspec.structs.replace(older, state="replaced"))
    _keep(connection, approved)


def reopen_assessment(connection: Connection, held: AssessmentView) -> None:
    """Reopen an approved assessment: what it allowed stops until a new one is approved.

    Raises:
        Conflict: it is not approved.
    """
    _keep(connection, reopen(held.assessment))


def drop_assessment(connection: Connection, held: AssessmentView, *, version: int | None) -> None:
    """Delete a draft.

    Raises:
        Conflict: it was approved once, or changed meanwhile.
    """
    check_version(held, version=version)
    if held.assessment.state != "draft":
        raise Conflict("what was approved is kept for three years at least; approve a new one to replace it")
    connection.execute(delete(assessments).where(assessments.c.id == held.assessment.id))


def check_version(held: AssessmentView, *, version: int | None) -> None:
    """Refuse if the assessment is no longer at the version that the caller saw; None is no expectation.

    Raises:
        Conflict: somebody changed it meanwhile.
    """
    if version is not None and held.etag != version:
        raise Conflict(f"the assessment changed meanwhile (version {held.etag}, you saw {version}): load it again")


def _keep(connection: Connection, assessment: Assessment) -> None:
    query = update(assessments).where(assessments.c.id == assessment.id)
    values = {"subject": assessment.subject, "state": assessment.state, "record": as_text(assessment)}
    connection.execute(query.values(**values, version=assessments.c.version + 1))
