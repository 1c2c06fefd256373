"""Holidays and moved working days as iCalendar (RFC 5545), in and out: whole days, simple repetitions, nothing unbounded.

A working day is marked by `X-GATEHOUSE-KIND:WORKING`, by Apple's `X-APPLE-SPECIAL-DAY:ALTERNATE-WORKDAY`, by a category
WORKING, or by a summary that says so as Chinese calendars do (班). `X-GATEHOUSE-WEEKDAY:FR` says which weekday it counts as.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, Final

import icalendar

from models.errors import InvalidInput
from models.schedules import MAX_DAYS, Calendar, SpecialDay, check_calendar

MAX_STEPS: Final = 20_000
MAX_DEPTH: Final = 4
MAX_SPAN: Final = 366
NAME_CHARS: Final = 128
AHEAD: Final = timedelta(days=5 * 366)
BEHIND: Final = timedelta(days=366)
"""Repetitions are written out from a year before today until five years after."""
YEARS: Final = (1900, 2200)
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
WORKING_ENDINGS: Final = ("班", "（班）", "(班)", "补班", "上班")
PRODID: Final = "-//Gatehouse//Special days//EN"


def read_days(content: bytes, *, today: date) -> tuple[SpecialDay, ...]:
    """Return the special days of an iCalendar file, in its order.

    Args:
        content: the file, UTF-8.
        today: the day around which repetitions are written out.

    Raises:
        InvalidInput: it is no iCalendar, an entry has a time of day or repeats in a way that is not read, or there are
            too many days.
    """
    _check_depth(content)
    try:
        events = icalendar.Calendar.from_ical(content).walk("VEVENT")
        days = [day for event in events for day in _days_of(event, today=today)]
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        raise InvalidInput("calendar", f"this is no iCalendar file that can be read: {str(error)[:200]}") from error
    if len(days) > MAX_DAYS:
        raise InvalidInput("calendar", f"it has {len(days)} days: a calendar has at most {MAX_DAYS} entries")
    return check_calendar(Calendar(id="read", days=tuple(days))).days


def write_days(calendar: Calendar, *, at: datetime) -> bytes:
    """Return a calendar as iCalendar; `read_days` reads the same days from it."""
    made = icalendar.Calendar()
    made.add("prodid", PRODID)
    made.add("version", "2.0")
    made.add("name", calendar.name or calendar.id)
    for number, day in enumerate(calendar.days, 1):
        event = icalendar.Event()
        event.add("uid", f"{calendar.id}-{number}@gatehouse")
        event.add("dtstamp", at)
        event.add("dtstart", day.first)
        event.add("dtend", day.last + timedelta(days=1))
        event.add("summary", day.name)
        event.add("x-gatehouse-kind", day.kind.upper())
        if day.as_weekday is not None:
            event.add("x-gatehouse-weekday", WEEKDAYS[day.as_weekday])
        made.add_component(event)
    return bytes(made.to_ical())


def _check_depth(content: bytes) -> None:
    depth = 0
    for line in content.splitlines():
        word = line[:6].upper()
        depth += (word == b"BEGIN:") - (line[:4].upper() == b"END:")
        if depth > MAX_DEPTH:
            raise InvalidInput("calendar", "its parts are nested too deeply")


def _days_of(event: Any, *, today: date) -> Iterator[SpecialDay]:
    name = "".join(char for char in str(event.get("SUMMARY", "")) if char.isprintable()).strip()[:NAME_CHARS]
    if event.errors or "RDATE" in event:
        what = f"{event.errors[0][0]}: {event.errors[0][1]}" if event.errors else "RDATE: write these days as entries"
        raise InvalidInput("calendar", f"{name!r} cannot be read: {what[:200]}")
    first, last = _span(event, name=name)
    kind = "working" if _is_working(event, name) else "holiday"
    counts_as = str(event.get("X-GATEHOUSE-WEEKDAY", "")).upper()
    weekday = WEEKDAYS.index(counts_as) if kind == "working" and counts_as in WEEKDAYS else None
    without = _without(event)
    for start in _starts(event, first, name=name, today=today):
        if start in without:
            continue
        yield SpecialDay(
            first=start, last=start + (last - first), name=name, as_weekday=weekday,
            kind="working" if kind == "working" else "holiday",
        )  # fmt: skip


def _span(event: Any, *, name: str) -> tuple[date, date]:
    """Return the first and the last day of an entry; DTEND is the day after (RFC 5545 section 3.6.1)."""
    if "DTSTART" not in event:
        raise InvalidInput("calendar", f"{name!r} has no DTSTART")
    first = event["DTSTART"].dt
    if isinstance(first, datetime) or not isinstance(first, date):
        raise InvalidInput("calendar", f"{name!r} has a time of day: special days are whole days (VALUE=DATE)")
    last = first
    if "DTEND" in event:
        end = event["DTEND"].dt
        if isinstance(end, datetime) or not isinstance(end, date):
            raise InvalidInput("calendar", f"{name!r} ends at a time of day: special days are whole days")
        last = max(first, end - timedelta(days=1))
    elif "DURATION" in event:
        last = first + timedelta(days=max(0, event["DURATION"].dt.days - 1))
    if not (YEARS[0] <= first.year <= last.year <= YEARS[1]) or (last - first).days >= MAX_SPAN:
        raise InvalidInput(
            "calendar", f"{name!r} is out of bounds: days of {YEARS[0]} to {YEARS[1]}, at most a year long"
        )
    return first, last


def _is_working(event: Any, name: str) -> bool:
    told = str(event.get("X-GATEHOUSE-KIND", "")).upper()
    if told:
        return told == "WORKING"
    apple = str(event.get("X-APPLE-SPECIAL-DAY", "")).upper()
    if apple:
        return apple == "ALTERNATE-WORKDAY"
    held = event.get("CATEGORIES")
    categories = {
        str(word).upper() for group in (held if isinstance(held, list) else [held]) if group for word in group.cats
    }
    return bool(categories & {"WORKING", "WORKDAY"}) or name.endswith(WORKING_ENDINGS)


def _without(event: Any) -> frozenset[date]:
    held = event.get("EXDATE", [])
    lists = held if isinstance(held, list) else [held]
    return frozenset(value.dt for group in lists for value in group.dts if isinstance(value.dt, date))


def _starts(event: Any, first: date, *, name: str, today: date) -> Iterator[date]:
    """Yield the days on which an entry begins: its own, or those of its repetition around today."""
    rule = event.get("RRULE")
    if rule is None:
        yield first
        return
    if isinstance(rule, list):
        raise InvalidInput("calendar", f"{name!r} has several RRULE: give it one")
    frequency, step, count, until = _rule(rule, first, name=name)
    low, high = today - BEHIND, min(until or today + AHEAD, today + AHEAD)
    given = 0
    for number in range(MAX_STEPS):
        start = _nth(first, frequency, by=number * step)
        if start is None:  # 29 February of a year without one does not count
            if first.year + number * step > high.year:
                return
            continue
        if start > high or given == count:
            return
        given += 1
        if start >= low:
            yield start
    raise InvalidInput("calendar", f"{name!r} repeats too often: begin it later")


def _nth(first: date, frequency: str, *, by: int) -> date | None:
    if frequency == "YEARLY":
        try:
            return first.replace(year=first.year + by)
        except ValueError:
            return None
    return first + timedelta(days=by * (7 if frequency == "WEEKLY" else 1))


def _rule(rule: Any, first: date, *, name: str) -> tuple[str, int, int | None, date | None]:
    """Return frequency, interval, count and end of a repetition.

    Raises:
        InvalidInput: it repeats in a way that is not read.
    """
    own = {"BYMONTH": first.month, "BYMONTHDAY": first.day}
    told = {str(key).upper(): values for key, values in rule.items()}
    plain = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST"}
    odd = [key for key in told if key not in plain and [int(v) for v in _whole(told[key])] != [own.get(key)]]
    frequency = str(told.get("FREQ", [""])[0]).upper()
    if odd or frequency not in {"YEARLY", "WEEKLY", "DAILY"}:
        what = odd[0] if odd else f"FREQ={frequency}"
        raise InvalidInput(
            "calendar", f"{name!r} repeats by {what}: use YEARLY, WEEKLY or DAILY, or write the days out"
        )
    step = int(told.get("INTERVAL", [1])[0])
    count = int(told["COUNT"][0]) if "COUNT" in told else None
    until = told["UNTIL"][0] if "UNTIL" in told else None
    if not 1 <= step <= MAX_SPAN or (count is not None and count < 1):
        raise InvalidInput("calendar", f"{name!r} repeats with an interval or count out of bounds")
    return frequency, step, count, until.date() if isinstance(until, datetime) else until


def _whole(values: Any) -> list[Any]:
    return [value for value in values if str(value).lstrip("-").isdigit()] or [0]
