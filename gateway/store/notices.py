"""Queries about notices: drafts, and what was published. What people were told is never changed; a new version replaces it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.store.consents import supersede_consents
from gateway.store.tables import notices
from gateway.store.types import as_text
from models.errors import Conflict, NotFound
from models.notices import Notice, check_notice, notice_digest


class NoticeView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a notice with the digest of what people read, and its version for `If-Match`."""

    notice: Notice
    sha256: str
    seeded: bool
    etag: int


def _view(row: Row[Any]) -> NoticeView:
    notice = msgspec.json.decode(row.record, type=Notice)
    return NoticeView(notice=notice, sha256=row.sha256, seeded=row.seeded, etag=row.version)


def _columns(notice: Notice) -> dict[str, Any]:
    return {
        "site_id": notice.site_id, "purpose": notice.purpose_kind, "name": notice.version, "record": as_text(notice),
        "sha256": notice_digest(notice), "published_at": notice.published_at,
    }  # fmt: skip


def add_notice(connection: Connection, notice: Notice, *, seeded: bool = False) -> NoticeView:
    """Write a new notice.

    Raises:
        Conflict: the site has that version for the purpose already.
        InvalidInput: a legal field is blank.
    """
    same = (notices.c.site_id == notice.site_id) & (notices.c.purpose == notice.purpose_kind)
    if connection.execute(select(notices.c.id).where(same, notices.c.name == notice.version)).first() is not None:
        raise Conflict(f"version {notice.version!r} of this notice exists: name the new one differently")
    values = _columns(check_notice(notice))
    connection.execute(insert(notices).values(id=notice.id, **values, seeded=seeded))
    return notice_for(connection, notice.id, site_ids=frozenset({notice.site_id}))


def notice_for(connection: Connection, notice_id: str, *, site_ids: frozenset[str]) -> NoticeView:
    """Return a notice of one of these sites.

    Raises:
        NotFound: there is none.
    """
    query = select(notices).where(notices.c.id == notice_id, notices.c.site_id.in_(site_ids))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("notice", notice_id)
    return _view(row)


def notices_of(connection: Connection, site_ids: frozenset[str], *, after: str, limit: int) -> list[NoticeView]:
    """Return the notices of these sites by id, after an id."""
    query = select(notices).where(notices.c.site_id.in_(site_ids), notices.c.id > after).order_by(notices.c.id)
    return [_view(row) for row in connection.execute(query.limit(limit))]


def change_notice(connection: Connection, notice: Notice, *, version: int | None) -> NoticeView:
    """Write a draft anew.

    Raises:
        Conflict: it is published, seeded, or changed meanwhile.
        InvalidInput: a legal field is blank.
    """
    _check_draft(_held(connection, notice.id), version=version)
    values = _columns(check_notice(notice))
    query = update(notices).where(notices.c.id == notice.id)
    connection.execute(query.values(**values, version=notices.c.version + 1))
    return _held(connection, notice.id)


def publish_notice(
    connection: Connection, notice_id: str, *, version: int | None, at: datetime
) -> tuple[NoticeView, int]:
    """Publish a draft; return it and how many consents hold no longer because purpose or method changed (R1).

    Raises:
        Conflict: it is published, seeded, or changed meanwhile.
    """
    held = _held(connection, notice_id)
    _check_draft(held, version=version)
    notice = msgspec.structs.replace(held.notice, published_at=at)
    query = update(notices).where(notices.c.id == notice_id)
    connection.execute(query.values(**_columns(notice), version=notices.c.version + 1))
    ended = supersede_consents(connection, notice.site_id, purpose=notice.purpose_kind, at=at) if notice.renews else 0
    return _held(connection, notice_id), ended


def drop_notice(connection: Connection, notice_id: str, *, version: int | None) -> None:
    """Delete a draft.

    Raises:
        Conflict: it is published, seeded, or changed meanwhile.
    """
    _check_draft(_held(connection, notice_id), version=version)
    connection.execute(delete(notices).where(notices.c.id == notice_id))


def _held(connection: Connection, notice_id: str) -> NoticeView:
    return _view(connection.execute(select(notices).where(notices.c.id == notice_id)).one())


def _check_draft(held: NoticeView, *, version: int | None) -> None:
    if held.notice.published_at is not None or held.seeded:
        raise Conflict("people were told this: publish a new version instead")
    if version is not None and held.etag != version:
        raise Conflict(f"the notice changed meanwhile (version {held.etag}, you saw {version}): load it again")
