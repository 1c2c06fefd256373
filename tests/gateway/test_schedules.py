"""Schedules and calendars: edited with ETags, kept while used, holidays in and out as iCalendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime import Runtime
from gateway.special_days import read_days, write_days
from gateway.store.schedules import put_calendar, put_schedule
from models.errors import InvalidInput
from models.schedules import Calendar, Schedule, SpecialDay
from tests.gateway.households import add_flats, call, policy_of, refusal

TODAY = date(2026, 3, 1)
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
WORKDAYS: dict[str, Any] = {
    "id": "work", "name": "Working hours", "calendars": ["cn"], "holiday_windows": [],
    "windows": [{"weekdays": [0, 1, 2, 3, 4], "from_time": "08:00", "until_time": "18:00"}],
}  # fmt: skip


def ical(*lines: str, head: str = "BEGIN:VEVENT\nSUMMARY:Day\nUID:1\nDTSTART;VALUE=DATE:20261001") -> bytes:
    """Return an iCalendar file with one entry."""
    body = "\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", head, *lines, "END:VEVENT", "END:VCALENDAR", ""])
    return body.replace("\n", "\r\n").encode()


async def test_a_moved_working_day_and_a_holiday_reach_the_edge(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin"})
    await call(manager, "POST", "calendars", 201, json={"id": "cn", "name": "China"})
    await call(manager, "POST", "schedules", 201, json=WORKDAYS)
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"], "schedule_id": "work"})
    assert refusal(runtime, "lin") == "not_permitted_now", "a Sunday, 16 o'clock in Shanghai"
    moved = ical("X-APPLE-SPECIAL-DAY:ALTERNATE-WORKDAY", "X-GATEHOUSE-WEEKDAY:FR",
                 head="BEGIN:VEVENT\nSUMMARY:Moved\nDTSTART;VALUE=DATE:20260301")  # fmt: skip
    kind = {"Content-Type": "text/calendar"}
    put = await manager.put("/api/v1/calendars/cn/ical", content=moved, headers=kind | {"If-Match": '"1"'})
    assert (put.status_code, put.headers["etag"]) == (200, '"2"')
    assert put.json()["days"] == [
        {"first": "2026-03-01", "last": "2026-03-01", "name": "Moved", "kind": "working", "as_weekday": 4}
    ]
    assert refusal(runtime, "lin") is None
    holiday = {"name": "China", "days": [{"first": "2026-02-28", "last": "2026-03-02"}]}
    await call(manager, "PUT", "calendars/cn", json=holiday)
    assert refusal(runtime, "lin") == "not_permitted_now"
    assert [one.id for one in policy_of(runtime).calendars] == ["cn"]
    out = await manager.get("/api/v1/calendars/cn/ical")
    assert out.headers["content-type"].startswith("text/calendar")
    assert read_days(out.content, today=TODAY)[0].last == date(2026, 3, 2)


async def test_the_schedule_in_which_a_door_stands_unlocked_reaches_its_edge_and_stays(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await call(manager, "POST", "calendars", 201, json={"id": "cn", "name": "China"})
    await call(manager, "POST", "schedules", 201, json=WORKDAYS)
    unlocked = {"free_schedule_id": "work", "first_person": True}
    wrong = await manager.patch("/api/v1/doors/gate/settings", json=unlocked | {"free_schedule_id": "wrk"})
    assert (wrong.status_code, "no schedule 'wrk'" in wrong.text) == (422, True)
    await call(manager, "PATCH", "doors/gate/settings", json=unlocked)
    policy = policy_of(runtime)
    assert [one.id for one in policy.schedules] == ["work"]
    assert [one.id for one in policy.calendars] == ["cn"]
    kept = await manager.delete("/api/v1/schedules/work")
    assert (kept.status_code, "a door uses it" in kept.text) == (409, True)
    await call(manager, "PATCH", "doors/gate/settings", json={"free_schedule_id": None, "first_person": False})
    assert (await manager.delete("/api/v1/schedules/work")).status_code == 204


async def test_what_is_used_stays_and_what_changed_meanwhile_is_told(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    await call(manager, "POST", "calendars", 201, json={"id": "cn", "name": "China"})
    await call(manager, "POST", "schedules", 201, json=WORKDAYS)
    await call(manager, "POST", "schedules", 409, json=WORKDAYS)
    await call(manager, "POST", "calendars", 409, json={"id": "cn", "name": "China"})
    await call(manager, "POST", "groups", 201, json={"id": "g", "name": "G", "doors": "all", "schedule_id": "work"})
    await call(manager, "DELETE", "calendars/cn", 409)
    await call(manager, "DELETE", "schedules/work", 409)
    body = {key: WORKDAYS[key] for key in ("name", "windows")}
    changed = await call(manager, "PUT", "schedules/work", json=body, headers={"If-Match": '"1"'})
    assert (changed["version"], changed["timezone"], changed["calendars"]) == (2, "Asia/Shanghai", [])
    await call(manager, "PUT", "schedules/work", 409, json=body, headers={"If-Match": '"1"'})
    await call(manager, "DELETE", "calendars/cn", 204)
    await call(manager, "GET", "calendars/cn", 404)
    await call(manager, "DELETE", "groups/g", 204)
    await call(manager, "DELETE", "schedules/work", 204, headers={"If-Match": '"2"'})
    assert (await call(manager, "GET", "schedules"))["items"] == []
    runtime.store.write_now(put_schedule, Schedule(id="s", site_id="a", name="S"), seeded=True)
    runtime.store.write_now(put_calendar, Calendar(id="c", site_id="a", name="C"), seeded=True)
    for path in ("schedules/s", "calendars/c"):
        await call(manager, "DELETE", path, 409)
        await call(other, "GET", path, 404)
        await call(other, "DELETE", path, 404)
        assert (await call(manager, "GET", path))["seeded"]
    listed = await call(manager, "GET", "calendars", params={"limit": 1})
    assert ([one["id"] for one in listed["items"]], listed["next"]) == (["c"], None)


@pytest.mark.parametrize(
    "change",
    [
        {"timezone": "Mars/Olympus"}, {"windows": []}, {"windows": [{}] * 33}, {"windows": [{"weekdays": [7]}]},
        {"windows": [{"from_time": "08:00Z"}]}, {"calendars": ["none"]}, {"name": ""}, {"more": 1},
        {"windows": [{"weekdays": []}]},
    ],
)  # fmt: skip
async def test_what_is_no_schedule_is_refused(manager: httpx.AsyncClient, change: dict[str, Any]) -> None:
    status = 404 if "calendars" in change else 422
    await call(manager, "POST", "schedules", status, json=WORKDAYS | {"calendars": []} | change)


async def test_what_is_no_calendar_is_refused(manager: httpx.AsyncClient) -> None:
    listed: tuple[list[dict[str, Any]], ...] = (
        [{"first": "2026-03-02", "last": "2026-03-01"}], [{"first": "2026-03-01"}], [{}] * 1001,
        [{"first": "0001-01-01", "last": "9999-12-31"}],
        [{"first": "2026-03-01", "last": "2026-03-01", "kind": "working", "as_weekday": 7}],
    )  # fmt: skip
    for wrong in listed:
        await call(manager, "POST", "calendars", 422, json={"name": "C", "days": wrong})
    await call(manager, "POST", "calendars", 201, json={"id": "cn", "name": "C"})
    big = await manager.put("/api/v1/calendars/cn/ical", content=b"x" * (256 * 1024 + 1))
    assert big.status_code == 413
    none = await call(manager, "PUT", "calendars/cn/ical", 422, content=b"not a calendar")
    assert none["where"] == "calendar"


def days(*lines: str, **more: str) -> list[tuple[str, str]]:
    return [(day.first.isoformat(), day.last.isoformat()) for day in read_days(ical(*lines, **more), today=TODAY)]


def test_an_entry_ends_the_day_before_its_dtend() -> None:
    assert days("DTEND;VALUE=DATE:20261008") == [("2026-10-01", "2026-10-07")]
    assert days() == [("2026-10-01", "2026-10-01")]
    assert days("DURATION:P3D") == [("2026-10-01", "2026-10-03")]
    assert days("DTEND;VALUE=DATE:20261001") == [("2026-10-01", "2026-10-01")]


def test_repetitions_are_written_out_for_five_years_around_today() -> None:
    every = days("RRULE:FREQ=YEARLY")
    assert every[0][0] == "2026-10-01"
    assert [first[:4] for first, _ in every] == ["2026", "2027", "2028", "2029", "2030"]
    old = days("RRULE:FREQ=YEARLY", head="BEGIN:VEVENT\nDTSTART;VALUE=DATE:20000501")
    assert old[0][0] == "2025-05-01", "what is long past is left out"
    assert len(days("RRULE:FREQ=YEARLY;COUNT=2")) == 2
    assert len(days("RRULE:FREQ=WEEKLY;INTERVAL=2;UNTIL=20261101")) == 3
    assert len(days("RRULE:FREQ=DAILY;COUNT=3;BYMONTH=10", "EXDATE;VALUE=DATE:20261002")) == 2
    leap = days("RRULE:FREQ=YEARLY;COUNT=2", head="BEGIN:VEVENT\nDTSTART;VALUE=DATE:20240229")
    assert [first for first, _ in leap] == ["2028-02-29"], "2024 is long past and the first of two"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("X-GATEHOUSE-KIND:WORKING", "working"), ("X-GATEHOUSE-KIND:HOLIDAY", "holiday"),
        ("X-APPLE-SPECIAL-DAY:WORK-HOLIDAY", "holiday"), ("X-APPLE-SPECIAL-DAY:ALTERNATE-WORKDAY", "working"),
        ("CATEGORIES:X,WORKDAY", "working"), ("CATEGORIES:HOLIDAY", "holiday"), ("TRANSP:OPAQUE", "holiday"),
    ],
)  # fmt: skip
def test_working_days_are_told_from_holidays(line: str, kind: str) -> None:
    assert [day.kind for day in read_days(ical(line), today=TODAY)] == [kind]


def test_chinese_calendars_mark_working_days_in_the_summary() -> None:
    head = "BEGIN:VEVENT\nSUMMARY:国庆节（班）\nDTSTART;VALUE=DATE:20261010"
    (day,) = read_days(ical(head=head), today=TODAY)
    assert (day.kind, day.name) == ("working", "国庆节（班）")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no iCalendar"), (b"\xff\xfe\x00", "no iCalendar"), (b"BEGIN:VCALENDAR\r\n" * 5000, "nested"),
        (ical("RRULE:FREQ=SECONDLY"), "FREQ=SECONDLY"), (ical("RRULE:FREQ=MONTHLY"), "FREQ=MONTHLY"),
        (ical("RRULE:FREQ=YEARLY;BYDAY=1MO"), "BYDAY"), (ical("RRULE:FREQ=YEARLY;BYMONTH=2"), "BYMONTH"),
        (ical("RRULE:FREQ=YEARLY;BYMONTHDAY=1,2"), "BYMONTHDAY"), (ical("RRULE:FREQ=DAILY;INTERVAL=0"), "interval"),
        (ical("RRULE:FREQ=YEARLY", "RRULE:FREQ=DAILY"), "several"), (ical("RDATE;VALUE=DATE:20261003"), "RDATE"),
        (ical("RRULE:FREQ=DAILY", head="BEGIN:VEVENT\nDTSTART;VALUE=DATE:19000101"), "too often"),
        (ical("RRULE:FREQ=DAILY"), "at most 1000"), (ical("DTEND;VALUE=DATE:20281001"), "out of bounds"),
        (ical(head="BEGIN:VEVENT\nSUMMARY:X"), "DTSTART"), (ical("RRULE:FREQ=FOO"), "RRULE"),
        (ical(head="BEGIN:VEVENT\nDTSTART:20261001T080000Z"), "time of day"),
        (ical("DTEND:20261001T180000Z"), "time of day"), (ical(head="BEGIN:VEVENT\nDTSTART:nonsense"), "DTSTART"),
        (ical(head="BEGIN:VEVENT\nDTSTART;VALUE=DATE:00010101"), "out of bounds"),
    ],
)  # fmt: skip
def test_calendars_that_cannot_be_read_are_refused_with_the_reason(content: bytes, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        read_days(content, today=TODAY)


special = st.builds(
    lambda first, span, **more: SpecialDay(first=first, last=first + timedelta(days=span), **more),
    first=st.dates(date(1950, 1, 1), date(2100, 1, 1)), span=st.integers(0, 300),
    name=st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=40),
    kind=st.just("holiday"),
)  # fmt: skip
working = st.builds(
    lambda first, weekday: SpecialDay(first=first, last=first, kind="working", as_weekday=weekday),
    first=st.dates(date(1950, 1, 1), date(2100, 1, 1)), weekday=st.none() | st.integers(0, 6),
)  # fmt: skip


@given(st.lists(special | working, max_size=20))
def test_what_is_written_is_read_again(listed: list[SpecialDay]) -> None:
    calendar = Calendar(id="c", site_id="a", name="C", days=tuple(listed))
    assert read_days(write_days(calendar, at=AT), today=TODAY) == calendar.days
