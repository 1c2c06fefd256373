"""Impact assessments: drafted by one person, approved by another, reopened after a change or an incident (R33).

Without one in force no edge of the site matches a face or records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Moment, Shared, allowed, new_id, once
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.assessments import (
    AssessmentView,
    add_assessment,
    approve_assessment,
    assessment_for,
    assessments_of,
    change_assessment,
    check_version,
    drop_assessment,
    reopen_assessment,
)
from gateway.store.audit import AuditEntry, append_audit
from models.assessments import MAX_CHARS, Assessment, Subject, Topics
from models.errors import NotFound

router = APIRouter(prefix="/api/v1/assessments", tags=["assessments"])
Reader = Annotated[Caller, Depends(allowed("assessments:read"))]
Author = Annotated[Caller, Depends(allowed("assessments:write"))]
Approver = Annotated[Caller, Depends(allowed("assessments:approve", stated=True))]
Alarmed = Annotated[Caller, Depends(allowed("assessments:write", "assessments:approve", stated=True))]
IfMatch = Annotated[str | None, Header(max_length=64)]
Topic = Annotated[str, Field(max_length=MAX_CHARS, pattern=r"^[^\x00]*$")]


class TopicsBody(BaseModel):
    """Say something about each of the four topics of FRM article 9."""

    model_config = ConfigDict(extra="forbid")
    lawful_and_necessary: Topic
    impact_and_risk: Topic
    measures_fit: Topic
    leak_and_misuse: Topic


class AssessmentBody(BaseModel):
    """Draft an assessment of a site for faces or for recording."""

    model_config = ConfigDict(extra="forbid")
    site_id: Annotated[str, Field(min_length=1, max_length=64)]
    subject: Subject
    topics: TopicsBody


class AssessmentChange(BaseModel):
    """Give the topics of a draft."""

    model_config = ConfigDict(extra="forbid")
    topics: TopicsBody


class Approval(BaseModel):
    """Approve; `valid_until` is when it has to be done anew at the latest."""

    model_config = ConfigDict(extra="forbid")
    valid_until: Moment | None = None


def _record(connection: Connection, caller: Caller, *, act: str, subject: str, runtime: Runtime) -> None:
    entry = AuditEntry(actor=caller.id, action=f"assessment.{act}", subject=subject, reason=caller.reason)
    append_audit(connection, entry, at=runtime.clock())


def _topics(body: TopicsBody) -> Topics:
    return Topics(**body.model_dump())


async def _act(
    runtime: Runtime, caller: Caller, *, key: str, act: str, do: Callable[[Connection, AssessmentView], None]
) -> AssessmentView | None:
    """Do something with an assessment in scope, put it on record, and return what came of it; None if it is gone."""

    def write(connection: Connection) -> AssessmentView | None:
        at = runtime.clock()
        do(connection, assessment_for(connection, key, site_ids=caller.sites, at=at))
        _record(connection, caller, act=act, subject=key, runtime=runtime)
        return None if act == "delete" else assessment_for(connection, key, site_ids=caller.sites, at=at)

    view = await runtime.store.write(write)
    runtime.bells.policies_changed()
    return view


def _shown(view: AssessmentView | None) -> Response:
    return Response(status_code=204) if view is None else reply(view, headers=etag_of(view.etag))


@router.get("", **shows(Page[AssessmentView]))
async def list_assessments(
    caller: Reader, runtime: Shared, *, cursor: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List the assessments of the sites in scope, those that were replaced included."""
    at = runtime.clock()
    found = await runtime.store.read(assessments_of, caller.sites, after=cursor, limit=limit + 1, at=at)
    return reply(Page(items=found[:limit], next=found[limit - 1].assessment.id if len(found) > limit else None))


@router.post("", **shows(AssessmentView, 201))
async def create_assessment(
    body: AssessmentBody, request: Request, *, caller: Author, runtime: Shared, key: Key = None
) -> Response:
    """Draft an assessment; it allows nothing until somebody else approves it."""
    if body.site_id not in caller.sites:
        raise NotFound("site", body.site_id)
    at = runtime.clock()
    draft = Assessment(
        id=new_id("as"), site_id=body.site_id, subject=body.subject, topics=_topics(body.topics), drafted_by=caller.id,
        drafted_at=at,
    )  # fmt: skip

    def add(connection: Connection) -> AssessmentView:
        add_assessment(connection, draft)
        _record(connection, caller, act="draft", subject=draft.id, runtime=runtime)
        return assessment_for(connection, draft.id, site_ids=caller.sites, at=at)

    async def work() -> Response:
        return reply(await runtime.store.write(add), 201, headers=etag_of(1))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/{assessment_id}", **shows(AssessmentView))
async def show_assessment(assessment_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show an assessment."""
    return _shown(await runtime.store.read(assessment_for, assessment_id, site_ids=caller.sites, at=runtime.clock()))


@router.put("/{assessment_id}", **shows(AssessmentView))
async def put_assessment(
    assessment_id: str, body: AssessmentChange, *, caller: Author, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Write a draft anew; who writes it is its author, whom somebody else approves."""
    version = version_in(if_match)

    def do(connection: Connection, held: AssessmentView) -> None:
        changed = msgspec.structs.replace(
            held.assessment, topics=_topics(body.topics), drafted_by=caller.id, drafted_at=runtime.clock()
        )
        change_assessment(connection, held, changed=changed, version=version)

    return _shown(await _act(runtime, caller, key=assessment_id, act="change", do=do))


@router.post("/{assessment_id}/approve", **shows(AssessmentView))
async def approve(
    assessment_id: str, body: Approval, *, caller: Approver, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Approve somebody else's draft: its subject may go live at the site."""
    version = version_in(if_match)

    def do(connection: Connection, held: AssessmentView) -> None:
        check_version(held, version=version)
        at = runtime.clock()
        approve_assessment(connection, held, by=caller.id, at=at, valid_until=body.valid_until)

    return _shown(await _act(runtime, caller, key=assessment_id, act="approve", do=do))


@router.post("/{assessment_id}/reopen", **shows(AssessmentView))
async def reopen(assessment_id: str, *, caller: Alarmed, runtime: Shared) -> Response:
    """Reopen an approved assessment, because purpose or method changed or something happened: what it allowed stops."""
    return _shown(await _act(runtime, caller, key=assessment_id, act="reopen", do=reopen_assessment))


@router.delete("/{assessment_id}", status_code=204)
async def delete_assessment(
    assessment_id: str, *, caller: Author, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Delete a draft."""
    version = version_in(if_match)

    def do(connection: Connection, held: AssessmentView) -> None:
        drop_assessment(connection, held, version=version)

    return _shown(await _act(runtime, caller, key=assessment_id, act="delete", do=do))
