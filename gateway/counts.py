"""Count the people whose faces a handler has enrolled, warn in time, and print what the filing must say (FRM 15, R29).

Filing is due within 30 working days after 100 000 people. Working days are Monday to Friday; public holidays are not known
here and only make the real term longer.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec

from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.filings import (
    Handler,
    Timer,
    assessments_for_faces,
    enrolled_people,
    handlers,
    notices_for_faces,
    set_timer,
    sites_named,
    timer_of,
)
from models.errors import NotFound
from models.notices import FIELDS

log = logging.getLogger("gatehouse.filings")
NEAR = 80_000
LIMIT = 100_000
WORKING_DAYS = 30
TITLES = {
    "handler": "个人信息处理者 Handler", "contact": "联系方式 Contact", "purpose": "处理目的 Purpose",
    "method": "处理方式 Method", "retention": "存储期限 Retention", "necessity": "必要性 Necessity",
    "impact": "对个人权益的影响 Impact", "rights_route": "行使权利的方式 Rights",
}  # fmt: skip
MEASURES = (
    "人脸模板仅以 AES-256-GCM 加密保存在本小区的边缘节点，每人一个密钥；网关不保存人脸信息。Templates are kept on the edges of the "
    "compound only, encrypted with AES-256-GCM under a key for each person; the gateway holds no face."
)


class Filing(msgspec.Struct, frozen=True, kw_only=True):
    """Show how many people a handler has enrolled, and when it must file."""

    handler_id: str
    name: str
    sites: tuple[str, ...]
    enrolled: int
    near: int = NEAR
    limit: int = LIMIT
    state: Literal["below", "near", "due"]
    reached_on: date | None = None
    due_on: date | None = None


def working_days_after(start: date, days: int) -> date:
    """Return the last of some working days (Monday to Friday) that begin the day after a day."""
    day = start
    while days:
        day += timedelta(days=1)
        days -= day.weekday() < 5
    return day


def note_counts(connection: Connection, *, at: datetime) -> list[Filing]:
    """Count each handler's enrolled people; start timers and write on record who came near or reached the limit."""
    return [_note(connection, handler, at=at) for handler in handlers(connection)]


def _note(connection: Connection, handler: Handler, *, at: datetime) -> Filing:
    count, before = enrolled_people(connection, handler.sites), timer_of(connection, handler.id)
    after = before
    if count >= NEAR and before.near_on is None:
        after = msgspec.structs.replace(after, near_on=at.date())
        _tell(connection, handler, action="filing.near", count=count, at=at)
    if count >= LIMIT and before.reached_on is None:
        due = working_days_after(at.date(), WORKING_DAYS)
        after = msgspec.structs.replace(after, reached_on=at.date(), due_on=due)
        _tell(connection, handler, action="filing.due", count=count, at=at)
    if after != before:
        set_timer(connection, handler.id, timer=after, at=at)
    return _filing(handler, count, after)


def _tell(connection: Connection, handler: Handler, *, action: str, count: int, at: datetime) -> None:
    log.warning("handler %s has enrolled %d people: %s (docs/privacy.md, R29)", handler.id, count, action)
    detail = {"enrolled": str(count)}
    append_audit(connection, AuditEntry(actor="system", action=action, subject=handler.id, detail=detail), at=at)


def _filing(handler: Handler, count: int, timer: Timer) -> Filing:
    state: Literal["below", "near", "due"] = "due" if timer.reached_on else "near" if count >= NEAR else "below"
    return Filing(
        handler_id=handler.id, name=handler.name, sites=handler.sites, enrolled=count, state=state,
        reached_on=timer.reached_on, due_on=timer.due_on,
    )  # fmt: skip


def filings_for(connection: Connection, *, caller: Caller) -> list[Filing]:
    """Return the filings of handlers all of whose sites are in the caller's scope."""
    own = [handler for handler in handlers(connection) if caller.sites.issuperset(handler.sites)]
    return [_filing(one, enrolled_people(connection, one.sites), timer_of(connection, one.id)) for one in own]


def pack(connection: Connection, handler_id: str, *, caller: Caller, at: datetime) -> str:
    """Return the printable pack of a handler's filing, as HTML.

    Raises:
        NotFound: there is no such handler, or one of its sites is not in the caller's scope.
    """
    found = [one for one in handlers(connection) if one.id == handler_id and caller.sites.issuperset(one.sites)]
    if not found:
        raise NotFound("handler", handler_id)
    note(connection, caller, action="filing.print", subject=handler_id, at=at)
    return "".join(_pages(connection, found[0], at=at))


def _pages(connection: Connection, handler: Handler, *, at: datetime) -> Iterator[str]:
    count, timer = enrolled_people(connection, handler.sites), timer_of(connection, handler.id)
    title = "人脸信息处理备案材料 Filing of face data (FRM 15)"
    yield f'<!doctype html><html lang="zh"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
    yield _list(
        [
            ("个人信息处理者 Handler", handler.name), ("联系方式 Contact", handler.contact),
            ("人数 People enrolled", str(count)), ("达到十万人 Reached", str(timer.reached_on or "")),
            ("备案期限 Due", str(timer.due_on or "")), ("日期 Printed", at.date().isoformat()),
            ("安全措施 Measures", MEASURES),
        ]
    )  # fmt: skip
    yield "<h2>小区 Sites</h2>"
    places = sites_named(connection, handler.sites)
    yield _list([(name, f"{address} · {faces} doors with face") for _, name, address, faces in places])
    for notice in notices_for_faces(connection, handler.sites):
        yield f"<h2>告知书 Notice {html.escape(notice.site_id)} {html.escape(notice.version)}</h2>"
        for text in (notice.zh, notice.en):
            yield _list([(TITLES[name], getattr(text, name)) for name in FIELDS])
    for one in assessments_for_faces(connection, handler.sites, at=at):
        yield f"<h2>个人信息保护影响评估 Impact assessment {html.escape(one.site_id)}</h2>"
        topics = msgspec.structs.asdict(one.topics)
        yield _list([(name.replace("_", " "), text) for name, text in topics.items()])


def _list(pairs: list[tuple[str, str]]) -> str:
    rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(text) or '—'}</dd>" for name, text in pairs)
    return f"<dl>{''.join(rows)}</dl>"
