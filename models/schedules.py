"""When a right holds: weekly windows in a time zone, and calendars of holidays and moved working days. Knows no clock.

Times of day are wall-clock times of the zone (RFC 5545 section 3.3.5, form 3): where a night has an hour twice or not
at all, a window covers what the wall clock shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from models.errors import InvalidInput

MAX_WINDOWS = 32
MAX_DAYS = 1000
MAX_CALENDARS = 8
EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Cover some weekdays (0 is Monday) from one time of day until another, of the next day if that is not later."""

    weekdays: tuple[int, ...] = EVERY_DAY
    from_time: time = time(0, 0)
    until_time: time = time(0, 0)


class SpecialDay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Make the days from `first` to `last` (both included) holidays, or working days that count as another weekday.

    China moves working days to weekends around long holidays: such a Sunday may count as a Friday.
    """

    first: date
    last: date
    name: str = ""
    kind: Literal["holiday", "working"] = "holiday"
    as_weekday: int | None = None
    """For a working day: the weekday that it counts as; None is its own."""


class Calendar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold the special days of a site; a later entry wins over an earlier one for the same day."""

    id: str
    site_id: str = ""
    name: str = ""
    days: tuple[SpecialDay, ...] = ()


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Say when a right holds: weekly windows in a zone; on holidays of its calendars other windows, or as usual."""

    id: str = ""
    site_id: str = ""
    name: str = ""
    timezone: str = "Asia/Shanghai"
    windows: tuple[Window, ...] = (Window(),)
    calendars: tuple[str, ...] = ()
    holiday_windows: tuple[Window, ...] | None = None
    """What holds on holidays (their weekdays do not count); None is as on any other day, () is nothing."""

    def covers(self, at: datetime, calendars: Mapping[str, Calendar] | None = None) -> bool:
        """Return whether the schedule covers an aware time. A calendar that is missing makes no holidays."""
        local = at.astimezone(ZoneInfo(self.timezone))
        used = [found for key in self.calendars if (found := (calendars or {}).get(key)) is not None]
        today, now = local.date(), local.time()
        return self._covers(today, now, used) or self._covers(today - timedelta(days=1), now, used, over=True)

    def _covers(self, day: date, now: time, calendars: Iterable[Calendar], *, over: bool = False) -> bool:
        """Return whether a window that begins on a day covers a time of that day, or (`over`) of the day after."""
        weekday, holiday = _standing(day, calendars)
        if holiday and self.holiday_windows is not None:
            return any(_holds(window, now, over=over) for window in self.holiday_windows)
        return any(weekday in window.weekdays and _holds(window, now, over=over) for window in self.windows)


def _standing(day: date, calendars: Iterable[Calendar]) -> tuple[int, bool]:
    """Return the weekday that a day counts as, and whether it is a holiday."""
    found = None
    for calendar in calendars:
        for special in calendar.days:
            if special.first <= day <= special.last:
                found = special
    if found is None:
        return day.weekday(), False
    if found.kind == "working":
        return (day.weekday() if found.as_weekday is None else found.as_weekday), False
    return day.weekday(), True


def _holds(window: Window, now: time, *, over: bool) -> bool:
    start, end = window.from_time, window.until_time
    if start < end:
        return not over and start <= now < end
    return now < end if over else now >= start


def named_by_content(schedule: Schedule) -> Schedule:
    """Return the schedule under an id that its content gives, so that the same one is kept once."""
    content = msgspec.json.encode(msgspec.structs.replace(schedule, id="", name=""))
    return msgspec.structs.replace(schedule, id=f"s-{hashlib.sha256(content).hexdigest()[:32]}")


def check_schedule(schedule: Schedule) -> Schedule:
    """Return the schedule if its zone exists and its windows are within bounds.

    Raises:
        InvalidInput: an unknown zone, a weekday beyond 0 to 6, too many windows or calendars, or a time of day with a
            zone.
    """
    try:
        ZoneInfo(schedule.timezone)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(
            "timezone", f"there is no time zone {schedule.timezone[:64]!r}: use one like Asia/Shanghai"
        ) from error
    windows = (*schedule.windows, *(schedule.holiday_windows or ()))
    if len(windows) > MAX_WINDOWS:
        raise InvalidInput("windows", f"a schedule has at most {MAX_WINDOWS} windows")
    if len(schedule.calendars) > MAX_CALENDARS:
        raise InvalidInput("calendars", f"a schedule has at most {MAX_CALENDARS} calendars")
    for window in windows:
        if any(not 0 <= weekday <= 6 for weekday in window.weekdays):
            raise InvalidInput("weekdays", "weekdays are 0 (Monday) to 6 (Sunday)")
        if window.from_time.tzinfo is not None or window.until_time.tzinfo is not None:
            raise InvalidInput("from_time", "a time of day has no zone of its own: the schedule has one")
    return schedule


def check_calendar(calendar: Calendar) -> Calendar:
    """Return the calendar if its days are in order and within bounds.

    Raises:
        InvalidInput: a day ends before it begins or counts as no weekday, or there are too many.
    """
    if len(calendar.days) > MAX_DAYS:
        raise InvalidInput("days", f"a calendar has at most {MAX_DAYS} entries")
    for special in calendar.days:
        if special.last < special.first:
            raise InvalidInput("days", f"{special.name or special.first.isoformat()!r} ends before it begins")
        if special.as_weekday is not None and not 0 <= special.as_weekday <= 6:
            raise InvalidInput("as_weekday", "weekdays are 0 (Monday) to 6 (Sunday)")
    return calendar
