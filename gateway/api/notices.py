"""Notices: drafted, then published for good; a version that changes purpose or method asks everybody anew (R1, R2)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, allowed, new_id, once
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.auth.roles import Caller
from gateway.notice_texts import shipped_notice
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.notices import (
    NoticeView,
    add_notice,
    change_notice,
    drop_notice,
    notice_for,
    notices_of,
    publish_notice,
)
from models.errors import NotFound
from models.notices import MAX_CHARS, Notice, NoticeText
from models.people import Purpose

router = APIRouter(prefix="/api/v1/notices", tags=["notices"])
Reader = Annotated[Caller, Depends(allowed("notices:read"))]
Writer = Annotated[Caller, Depends(allowed("notices:write"))]
IfMatch = Annotated[str | None, Header(max_length=64)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_CHARS, pattern=r"^[^\x00]*$")]
SiteId = Annotated[str, Field(min_length=1, max_length=64)]


class TextBody(BaseModel):
    """Give every field that the law asks for, in one language."""

    model_config = ConfigDict(extra="forbid")
    handler: Line
    contact: Line
    purpose: Line
    method: Line
    retention: Line
    necessity: Line
    impact: Line
    rights_route: Line


class NoticeChange(BaseModel):
    """Give the texts of a draft; `renews` says that purpose or method changed, so that everybody is asked anew."""

    model_config = ConfigDict(extra="forbid")
    zh: TextBody
    en: TextBody
    renews: bool = False


class NoticeBody(NoticeChange):
    """Draft a notice of a site for a purpose."""

    site_id: SiteId
    purpose_kind: Purpose = "door_face"
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """Show the texts that ship with Gatehouse, to start a draft from."""

    purpose_kind: Purpose
    zh: NoticeText
    en: NoticeText


def _text(body: TextBody) -> NoticeText:
    return NoticeText(**body.model_dump())


def _record(connection: Connection, caller: Caller, *, act: str, subject: str, runtime: Runtime, **detail: str) -> None:
    entry = AuditEntry(actor=caller.id, action=f"notice.{act}", subject=subject, detail=detail, reason=caller.reason)
    append_audit(connection, entry, at=runtime.clock())


@router.get("", **shows(Page[NoticeView]))
async def list_notices(
    caller: Reader, runtime: Shared, *, cursor: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List the notices of the sites in scope."""
    found = await runtime.store.read(notices_of, caller.sites, after=cursor, limit=limit + 1)
    return reply(Page(items=found[:limit], next=found[limit - 1].notice.id if len(found) > limit else None))


@router.get("/template", **shows(Template))
async def show_template(
    _caller: Reader, *, purpose: Purpose = "door_face", handler: Annotated[str, Query(max_length=200)] = "",
    contact: Annotated[str, Query(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Show the texts that ship with Gatehouse, with the handler's name and contact filled in."""
    zh, en = shipped_notice(purpose, handler=handler, contact=contact)
    return reply(Template(purpose_kind=purpose, zh=zh, en=en))


@router.post("", **shows(NoticeView, 201))
async def create_notice(
    body: NoticeBody, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Draft a notice; people are told nothing until it is published."""
    if body.site_id not in caller.sites:
        raise NotFound("site", body.site_id)
    notice = Notice(
        id=new_id("n"), site_id=body.site_id, purpose_kind=body.purpose_kind, version=body.version, renews=body.renews,
        zh=_text(body.zh), en=_text(body.en),
    )  # fmt: skip

    def add(connection: Connection) -> NoticeView:
        _record(connection, caller, act="draft", subject=notice.id, runtime=runtime, site=notice.site_id)
        return add_notice(connection, notice)

    async def work() -> Response:
        return reply(await runtime.store.write(add), 201, headers=etag_of(1))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/{notice_id}", **shows(NoticeView))
async def show_notice(notice_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a notice."""
    found = await runtime.store.read(notice_for, notice_id, site_ids=caller.sites)
    return reply(found, headers=etag_of(found.etag))


@router.put("/{notice_id}", **shows(NoticeView))
async def put_notice(
    notice_id: str, body: NoticeChange, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Write a draft anew."""
    version = version_in(if_match)

    def act(connection: Connection) -> NoticeView:
        held = notice_for(connection, notice_id, site_ids=caller.sites).notice
        changed = msgspec.structs.replace(held, renews=body.renews, zh=_text(body.zh), en=_text(body.en))
        _record(connection, caller, act="change", subject=notice_id, runtime=runtime)
        return change_notice(connection, changed, version=version)

    view = await runtime.store.write(act)
    return reply(view, headers=etag_of(view.etag))


@router.post("/{notice_id}/publish", **shows(NoticeView))
async def publish(notice_id: str, *, caller: Writer, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Publish a draft. If it renews, faces are matched no longer until people have consented to this version."""
    version, at = version_in(if_match), runtime.clock()

    def act(connection: Connection) -> NoticeView:
        notice_for(connection, notice_id, site_ids=caller.sites)
        view, ended = publish_notice(connection, notice_id, version=version, at=at)
        _record(
            connection,
            caller,
            act="publish",
            subject=notice_id,
            runtime=runtime,
            sha256=view.sha256,
            asked_anew=str(ended),
        )
        return view

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.etag))


@router.delete("/{notice_id}", status_code=204)
async def delete_notice(notice_id: str, *, caller: Writer, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a draft."""
    version = version_in(if_match)

    def act(connection: Connection) -> None:
        notice_for(connection, notice_id, site_ids=caller.sites)
        drop_notice(connection, notice_id, version=version)
        _record(connection, caller, act="delete", subject=notice_id, runtime=runtime)

    await runtime.store.write(act)
    return Response(status_code=204)
