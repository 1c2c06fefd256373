"""A second, slow and naive opinion on schedules and rights, written from the rules and not from the code.

It has its own daylight-saving rules for a few zones, expands calendars day by day, and writes every window down as an
interval of wall-clock time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from models.people import Group, Permit
from models.schedules import Calendar, Schedule, Window


def _sunday(year: int, month: int, *, nth: int) -> date:
    """Return the n-th Sunday of a month; -1 is the last."""
    days = [date(year, month, 1) + timedelta(days=n) for n in range(31)]
    sundays = [day for day in days if day.month == month and day.isoweekday() == 7]
    return sundays[nth - 1] if nth > 0 else sundays[nth]


def _instant(day: date, hour_utc: float) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC) + timedelta(hours=hour_utc)


def _berlin(at: datetime) -> float:
    summer = _instant(_sunday(at.year, 3, nth=-1), 1) <= at < _instant(_sunday(at.year, 10, nth=-1), 1)
    return 2.0 if summer else 1.0


def _new_york(at: datetime) -> float:
    summer = _instant(_sunday(at.year, 3, nth=2), 7) <= at < _instant(_sunday(at.year, 11, nth=1), 6)
    return -4.0 if summer else -5.0


def _lord_howe(at: datetime) -> float:
    """Half an hour of summer time: from the first Sunday of October, 2:00 of +10:30, to that of April, 2:00 of +11."""
    winter = _instant(_sunday(at.year, 4, nth=1), -9) <= at < _instant(_sunday(at.year, 10, nth=1), -8.5)
    return 10.5 if winter else 11.0


OFFSETS: dict[str, Callable[[datetime], float]] = {
    "Asia/Shanghai": lambda _at: 8.0,
    "Asia/Kathmandu": lambda _at: 5.75,
    "UTC": lambda _at: 0.0,
    "Europe/Berlin": _berlin,
    "America/New_York": _new_york,
    "Australia/Lord_Howe": _lord_howe,
}
"""Hours ahead of UTC, by the rules of each zone as they have been since 2008."""


def wall(at: datetime, zone: str) -> datetime:
    """Return what a clock on the wall shows, without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None) + timedelta(hours=OFFSETS[zone](at.astimezone(UTC)))


def standings(calendars: Iterable[Calendar]) -> dict[date, tuple[int, bool]]:
    """Return for each special day the weekday that it counts as, and whether it is a holiday."""
    days: dict[date, tuple[int, bool]] = {}
    for calendar in calendars:
        for special in calendar.days:
            day = special.first
            while day <= special.last:
                counts_as = day.isoweekday() - 1
                if special.kind == "working" and special.as_weekday is not None:
                    counts_as = special.as_weekday
                days[day] = (counts_as, special.kind == "holiday")
                day += timedelta(days=1)
    return days


def covers(schedule: Schedule, at: datetime, calendars: dict[str, Calendar]) -> bool:
    """Return whether a schedule covers a time."""
    now = wall(at, schedule.timezone)
    special = standings(calendars[key] for key in schedule.calendars if key in calendars)
    for day in (now.date() - timedelta(days=1), now.date()):
        weekday, holiday = special.get(day, (day.isoweekday() - 1, False))
        on_holidays = holiday and schedule.holiday_windows is not None
        windows = schedule.holiday_windows or () if on_holidays else schedule.windows
        for window in windows:
            if not on_holidays and weekday not in window.weekdays:
                continue
            begin, end = _interval(window, day)
            if begin <= now < end:
                return True
    return False


def _interval(window: Window, day: date) -> tuple[datetime, datetime]:
    begin, end = datetime.combine(day, window.from_time), datetime.combine(day, window.until_time)
    return begin, end if end > begin else end + timedelta(days=1)


def refusal(
    person_id: str,
    door_id: str,
    at: datetime,
    *,
    permits: Sequence[Permit],
    groups: Sequence[Group],
    schedules: Sequence[Schedule],
    calendars: Sequence[Calendar],
    clock_trusted: bool,
) -> str | None:
    """Return why a person may not pass, or None."""
    verdicts = set()
    for permit in permits:
        group = next((one for one in groups if one.id == permit.group_id), None)
        if permit.person_id != person_id or (permit.group_id is not None and group is None):
            continue
        if door_id not in (*permit.doors, *(group.doors if group else ())):
            continue
        names = [name for name in (permit.schedule_id, group.schedule_id if group else None) if name]
        limited = bool(names) or permit.valid_from is not None or permit.valid_until is not None
        found = [next((one for one in schedules if one.id == name), None) for name in names]
        if limited and not clock_trusted:
            verdicts.add("not now")
        elif permit.valid_until is not None and at >= permit.valid_until:
            verdicts.add("over")
        elif permit.valid_from is not None and at < permit.valid_from:
            verdicts.add("not now")
        elif all(one is not None and covers(one, at, {c.id: c for c in calendars}) for one in found):
            verdicts.add("yes")
        else:
            verdicts.add("not now")
    if not verdicts:
        return "no_permit"
    if "yes" in verdicts:
        return None
    return "expired" if verdicts == {"over"} else "not_permitted_now"
