"""Schedules and calendars: when rights hold, and which days are holidays or moved working days. Calendars also as iCalendar."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, new_id, once
from gateway.api.groups import Reader, Writer
from gateway.api.people import Cursor, Day, Id, IfMatch, Limit, Line
from gateway.api.places import site_of
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.api.rights import Label
from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.person_views import CalendarView, ScheduleView
from gateway.runtime import Runtime
from gateway.special_days import read_days, write_days
from gateway.store import Connection
from gateway.store.people import local_day
from gateway.store.places import site_by_id
from gateway.store.schedules import (
    calendar_by_id,
    calendars_of,
    check_free,
    check_unchanged,
    put_calendar,
    put_schedule,
    remove_calendar,
    remove_schedule,
    schedule_by_id,
    schedules_of,
)
from models.schedules import (
    EVERY_DAY,
    MAX_CALENDARS,
    MAX_DAYS,
    MAX_WINDOWS,
    Calendar,
    Schedule,
    SpecialDay,
    Window,
    check_calendar,
    check_schedule,
)

router = APIRouter(prefix="/api/v1", tags=["schedules"])
Weekday = Annotated[int, Field(ge=0, le=6)]


class WindowBody(BaseModel):
    """Cover weekdays (0 is Monday) from one time of day until another, of the next day if that is not later."""

    model_config = ConfigDict(extra="forbid")
    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = list(EVERY_DAY)
    from_time: time = time(0, 0)
    until_time: time = time(0, 0)

    def window(self) -> Window:
        """Return the window."""
        return Window(weekdays=tuple(sorted(set(self.weekdays))), from_time=self.from_time, until_time=self.until_time)


Windows = Annotated[list[WindowBody], Field(max_length=MAX_WINDOWS)]


class ScheduleIn(BaseModel):
    """Say when a right holds; on holidays of the calendars `holiday_windows` instead (null: as usual, empty: never)."""

    model_config = ConfigDict(extra="forbid")
    name: Line
    timezone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]{1,64}$")] | None = None
    windows: Annotated[Windows, Field(min_length=1)]
    calendars: Annotated[list[Id], Field(max_length=MAX_CALENDARS)] = []
    holiday_windows: Windows | None = None


class NewSchedule(ScheduleIn):
    """Make a schedule; `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None


class SpecialDayBody(BaseModel):
    """Make days holidays, or working days that may count as another weekday."""

    model_config = ConfigDict(extra="forbid")
    first: Day
    last: Day
    name: Label = ""
    kind: Literal["holiday", "working"] = "holiday"
    as_weekday: Weekday | None = None


class CalendarIn(BaseModel):
    """Name special days; a later entry wins over an earlier one for the same day."""

    model_config = ConfigDict(extra="forbid")
    name: Line
    days: Annotated[list[SpecialDayBody], Field(max_length=MAX_DAYS)] = []


class NewCalendar(CalendarIn):
    """Make a calendar; `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None


@router.get("/schedules", **shows(Page[ScheduleView]))
async def list_schedules(caller: Reader, runtime: Shared, *, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List the schedules in scope by id."""
    found = await runtime.store.read(schedules_of, site_ids=caller.sites, after=cursor, limit=limit + 1)
    return reply(Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None))


@router.get("/schedules/{schedule_id}", **shows(ScheduleView))
async def show_schedule(schedule_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a schedule."""
    view = await runtime.store.read(schedule_by_id, schedule_id, site_ids=caller.sites)
    return reply(view, headers=etag_of(view.version))


@router.post("/schedules", **shows(ScheduleView, 201))
async def create_schedule(
    body: NewSchedule, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Make a schedule."""
    site_id, schedule_id = site_of(caller, body.site_id), body.id or new_id("sch")

    def act(connection: Connection) -> ScheduleView:
        check_free(connection, schedule_id, kind="schedule")
        return _write_schedule(connection, schedule_id, body=body, site_id=site_id, caller=caller, runtime=runtime)

    async def work() -> Response:
        view = await runtime.store.write(act)
        return reply(view, 201, headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.put("/schedules/{schedule_id}", **shows(ScheduleView))
async def update_schedule(
    schedule_id: str, body: ScheduleIn, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Write a schedule anew: what depends on it holds by it from now on."""
    version = version_in(if_match)

    def act(connection: Connection) -> ScheduleView:
        held = schedule_by_id(connection, schedule_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        return _write_schedule(connection, schedule_id, body=body, site_id=held.site_id, caller=caller, runtime=runtime)

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


def _write_schedule(
    connection: Connection, schedule_id: str, *, body: ScheduleIn, site_id: str, caller: Caller, runtime: Runtime
) -> ScheduleView:
    here = frozenset({site_id})
    for calendar_id in body.calendars:
        calendar_by_id(connection, calendar_id, site_ids=here)
    schedule = Schedule(
        id=schedule_id, site_id=site_id, name=body.name,
        timezone=body.timezone or site_by_id(connection, site_id).timezone,
        windows=tuple(window.window() for window in body.windows),
        calendars=tuple(dict.fromkeys(body.calendars)),
        holiday_windows=None if body.holiday_windows is None else tuple(w.window() for w in body.holiday_windows),
    )  # fmt: skip
    put_schedule(connection, check_schedule(schedule))
    note(connection, caller, action="schedule.write", subject=schedule_id, at=runtime.clock())
    return schedule_by_id(connection, schedule_id, site_ids=here)


@router.delete("/schedules/{schedule_id}", status_code=204)
async def delete_schedule(schedule_id: str, *, caller: Writer, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a schedule that no group and no permit names."""
    version = version_in(if_match)

    def act(connection: Connection) -> None:
        check_unchanged(schedule_by_id(connection, schedule_id, site_ids=caller.sites, lock=True), version=version)
        remove_schedule(connection, schedule_id)
        note(connection, caller, action="schedule.delete", subject=schedule_id, at=runtime.clock())

    await runtime.store.write(act)
    runtime.bells.policies_changed()
    return Response(status_code=204)


@router.get("/calendars", **shows(Page[CalendarView]))
async def list_calendars(caller: Reader, runtime: Shared, *, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List the calendars in scope by id."""
    found = await runtime.store.read(calendars_of, site_ids=caller.sites, after=cursor, limit=limit + 1)
    return reply(Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None))


@router.get("/calendars/{calendar_id}", **shows(CalendarView))
async def show_calendar(calendar_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a calendar."""
    view = await runtime.store.read(calendar_by_id, calendar_id, site_ids=caller.sites)
    return reply(view, headers=etag_of(view.version))


@router.post("/calendars", **shows(CalendarView, 201))
async def create_calendar(
    body: NewCalendar, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Make a calendar; its days may follow as iCalendar."""
    site_id, calendar_id = site_of(caller, body.site_id), body.id or new_id("cal")

    def act(connection: Connection) -> CalendarView:
        check_free(connection, calendar_id, kind="calendar")
        made = Calendar(id=calendar_id, site_id=site_id, name=body.name, days=_days(body))
        return _write_calendar(connection, made, caller=caller, runtime=runtime)

    async def work() -> Response:
        view = await runtime.store.write(act)
        return reply(view, 201, headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.put("/calendars/{calendar_id}", **shows(CalendarView))
async def update_calendar(
    calendar_id: str, body: CalendarIn, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Write a calendar anew."""
    version = version_in(if_match)

    def act(connection: Connection) -> CalendarView:
        held = calendar_by_id(connection, calendar_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        made = Calendar(id=calendar_id, site_id=held.site_id, name=body.name, days=_days(body))
        return _write_calendar(connection, made, caller=caller, runtime=runtime)

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


def _days(body: CalendarIn) -> tuple[SpecialDay, ...]:
    return tuple(msgspec.convert(day.model_dump(), SpecialDay) for day in body.days)


def _write_calendar(connection: Connection, made: Calendar, *, caller: Caller, runtime: Runtime) -> CalendarView:
    put_calendar(connection, check_calendar(made))
    note(connection, caller, action="calendar.write", subject=made.id, at=runtime.clock(), days=str(len(made.days)))
    return calendar_by_id(connection, made.id, site_ids=frozenset({made.site_id}))


@router.delete("/calendars/{calendar_id}", status_code=204)
async def delete_calendar(calendar_id: str, *, caller: Writer, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a calendar that no schedule names."""
    version = version_in(if_match)

    def act(connection: Connection) -> None:
        held = calendar_by_id(connection, calendar_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        remove_calendar(connection, calendar_id, site_id=held.site_id)
        note(connection, caller, action="calendar.delete", subject=calendar_id, at=runtime.clock())

    await runtime.store.write(act)
    runtime.bells.policies_changed()
    return Response(status_code=204)


@router.put(
    "/calendars/{calendar_id}/ical",
    openapi_extra={"requestBody": {"required": True, "content": {"text/calendar": {}}}},
    **shows(CalendarView),
)
async def import_days(
    calendar_id: str, request: Request, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Take the days of a calendar from an iCalendar file (whole days; at most 256 KiB), in place of those it has."""
    version, content = version_in(if_match), await request.body()

    def act(connection: Connection) -> CalendarView:
        held = calendar_by_id(connection, calendar_id, site_ids=caller.sites, lock=True)
        check_unchanged(held, version=version)
        days = read_days(content, today=local_day(connection, held.site_id, at=runtime.clock()))
        made = Calendar(id=calendar_id, site_id=held.site_id, name=held.name, days=days)
        return _write_calendar(connection, made, caller=caller, runtime=runtime)

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


@router.get("/calendars/{calendar_id}/ical", responses={200: {"content": {"text/calendar": {}}}})
async def export_days(calendar_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Return a calendar as iCalendar."""
    view = await runtime.store.read(calendar_by_id, calendar_id, site_ids=caller.sites)
    return Response(write_days(view, at=runtime.clock()), media_type="text/calendar", headers=etag_of(view.version))
