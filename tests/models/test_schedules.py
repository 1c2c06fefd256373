"""Schedules: windows on the wall clock of a zone, nights, holidays and moved working days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.schedules import (
    MAX_CALENDARS,
    MAX_DAYS,
    MAX_WINDOWS,
    Calendar,
    Schedule,
    SpecialDay,
    Window,
    check_calendar,
    check_schedule,
    named_by_content,
)

BERLIN = ZoneInfo("Europe/Berlin")
moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
times = st.times().map(lambda t: t.replace(microsecond=0))


def in_berlin(**window: Any) -> Schedule:
    return Schedule(timezone="Europe/Berlin", windows=(Window(**window),))


def local(day: int, hour: int, minute: int = 0, month: int = 5) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("schedule", "at", "covered"),
    [
        pytest.param({}, local(1, 3), True, id="always by default"),
        pytest.param({"weekdays": (4,)}, local(1, 3), True, id="all of a weekday"),
        pytest.param({"weekdays": (5,)}, local(1, 23, 59), False, id="not on another weekday"),
        pytest.param({"weekdays": ()}, local(1, 12), False, id="never without weekdays"),
        pytest.param({"from_time": time(8), "until_time": time(18)}, local(1, 8), True, id="from its start"),
        pytest.param({"from_time": time(8), "until_time": time(18)}, local(1, 7, 59), False, id="not before"),
        pytest.param({"from_time": time(8), "until_time": time(18)}, local(1, 18), False, id="not at its end"),
        pytest.param(
            {"weekdays": (4,), "from_time": time(22), "until_time": time(6)}, local(1, 23), True, id="before midnight"
        ),
        pytest.param(
            {"weekdays": (4,), "from_time": time(22), "until_time": time(6)}, local(2, 5, 59), True, id="after midnight"
        ),
        pytest.param(
            {"weekdays": (4,), "from_time": time(22), "until_time": time(6)}, local(1, 5), False, id="of its own night"
        ),
        pytest.param(
            {"weekdays": (4,), "from_time": time(22), "until_time": time(6)}, local(2, 6), False, id="not past its end"
        ),
        pytest.param(
            {"weekdays": (6,), "from_time": time(22), "until_time": time(6)}, local(4, 1), True, id="Sunday to Monday"
        ),
        pytest.param(
            {"from_time": time(2), "until_time": time(3)}, local(29, 3, 0, month=3), False, id="an hour that is skipped"
        ),
        pytest.param(
            {"from_time": time(2), "until_time": time(3)},
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
            True,
            id="an hour that comes twice, the second time",
        ),
    ],
)
def test_a_schedule_covers(schedule: dict[str, Any], at: datetime, covered: bool) -> None:
    one = in_berlin(**schedule)
    assert one.covers(at) is covered
    assert one.covers(at.astimezone(UTC)) is covered, "the zone of the time does not matter"


@given(moments, times, times)
def test_a_daily_window_and_its_complement_share_no_moment_and_miss_none(at: datetime, start: time, end: time) -> None:
    if start != end:
        one = in_berlin(from_time=start, until_time=end)
        other = in_berlin(from_time=end, until_time=start)
        assert one.covers(at) is not other.covers(at)


@given(moments, times, times, st.sets(st.integers(0, 6)))
def test_every_moment_belongs_to_the_window_of_exactly_one_weekday(
    at: datetime, start: time, end: time, days: set[int]
) -> None:
    alone = [in_berlin(weekdays=(d,), from_time=start, until_time=end).covers(at) for d in range(7)]
    whole = in_berlin(weekdays=tuple(sorted(days)), from_time=start, until_time=end)
    assert sum(alone) <= 1
    assert whole.covers(at) is any(alone[day] for day in days)


@given(st.integers(0, 370 * 24 * 60))
def test_a_night_shift_is_decided_by_the_clock_on_the_wall_in_summer_and_winter(minutes: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    wall = at.astimezone(BERLIN)
    night = in_berlin(from_time=time(22), until_time=time(6))
    assert night.covers(at) is (wall.hour >= 22 or wall.hour < 6)


# ---- holidays -------------------------------------------------------------------------------------------------------

OFFICE = Window(weekdays=(0, 1, 2, 3, 4), from_time=time(8), until_time=time(18))
MAY = Calendar(
    id="cn",
    days=(
        SpecialDay(first=date(2026, 5, 1), last=date(2026, 5, 5), name="劳动节"),
        SpecialDay(first=date(2026, 5, 9), last=date(2026, 5, 9), kind="working", as_weekday=4),
        SpecialDay(first=date(2026, 5, 10), last=date(2026, 5, 10), kind="working"),
        SpecialDay(first=date(2026, 5, 5), last=date(2026, 5, 5), kind="working"),
    ),
)


def shanghai(day: int, hour: int) -> datetime:
    return datetime(2026, 5, day, hour, tzinfo=ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("changes", "at", "covered"),
    [
        pytest.param({"holiday_windows": ()}, shanghai(1, 12), False, id="nothing on a holiday"),
        pytest.param({"holiday_windows": ()}, shanghai(6, 12), True, id="as usual on the day after"),
        pytest.param({"holiday_windows": None}, shanghai(1, 12), True, id="on holidays as usual if nothing is said"),
        pytest.param({"holiday_windows": (Window(weekdays=()),)}, shanghai(2, 3), True, id="whatever weekday it is"),
        pytest.param({"holiday_windows": ()}, shanghai(5, 12), True, id="a later entry wins for the same day"),
        pytest.param({"holiday_windows": ()}, shanghai(9, 12), True, id="on a Saturday that counts as a Friday"),
        pytest.param({"holiday_windows": ()}, shanghai(10, 12), False, id="not on a Sunday that counts as itself"),
        pytest.param({"calendars": ("lost",), "holiday_windows": ()}, shanghai(1, 12), True, id="a missing calendar"),
        pytest.param(
            {"windows": (Window(from_time=time(22), until_time=time(6)),), "holiday_windows": ()},
            shanghai(1, 3), True, id="the night before a holiday lasts until its own end",
        ),
        pytest.param(
            {"windows": (Window(from_time=time(22), until_time=time(6)),), "holiday_windows": ()},
            shanghai(6, 3), True, id="a working day's night too",
        ),
        pytest.param(
            {"windows": (Window(from_time=time(22), until_time=time(6)),), "holiday_windows": ()},
            shanghai(5, 3), False, id="a holiday has no night",
        ),
    ],
)  # fmt: skip
def test_holidays_and_moved_working_days(changes: dict[str, Any], at: datetime, covered: bool) -> None:
    one = Schedule(**{"windows": (OFFICE,), "calendars": ("cn",)} | changes)
    assert one.covers(at, {"cn": MAY}) is covered


def test_without_calendars_there_are_no_holidays() -> None:
    assert Schedule(windows=(OFFICE,), calendars=("cn",), holiday_windows=()).covers(shanghai(1, 12))


def test_a_window_with_equal_ends_is_a_day_from_its_start() -> None:
    one = in_berlin(weekdays=(4,), from_time=time(8), until_time=time(8))
    assert [one.covers(at) for at in (local(1, 7), local(1, 8), local(2, 7), local(2, 8))] == [False, True, True, False]


# ---- what may be written down ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        (Schedule(timezone="Mars/Olympus"), "timezone: there is no time zone 'Mars/Olympus'"),
        (Schedule(timezone="../etc/passwd"), "timezone: there is no time zone"),
        (Schedule(timezone=""), "timezone: there is no time zone"),
        (Schedule(windows=(Window(),) * (MAX_WINDOWS + 1)), "windows: a schedule has at most"),
        (Schedule(windows=(), holiday_windows=(Window(),) * (MAX_WINDOWS + 1)), "windows: a schedule has at most"),
        (Schedule(calendars=("c",) * (MAX_CALENDARS + 1)), "calendars: a schedule has at most"),
        (Schedule(windows=(Window(weekdays=(7,)),)), "weekdays: weekdays are 0"),
        (Schedule(holiday_windows=(Window(weekdays=(-1,)),)), "weekdays: weekdays are 0"),
        (Schedule(windows=(Window(from_time=time(8, tzinfo=UTC)),)), "from_time: a time of day has no zone"),
        (Schedule(windows=(Window(until_time=time(8, tzinfo=UTC)),)), "from_time: a time of day has no zone"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused_with_what_to_do(schedule: Schedule, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_schedule(schedule)


@pytest.mark.parametrize(
    ("days", "why"),
    [
        ((SpecialDay(first=date(2026, 5, 2), last=date(2026, 5, 1), name="May"),), "'May' ends before it begins"),
        ((SpecialDay(first=date(2026, 5, 2), last=date(2026, 5, 1)),), "'2026-05-02' ends before it begins"),
        ((SpecialDay(first=date(2026, 5, 1), last=date(2026, 5, 1), as_weekday=7),), "as_weekday: weekdays are 0"),
        ((SpecialDay(first=date(2026, 5, 1), last=date(2026, 5, 1)),) * (MAX_DAYS + 1), "at most 1000 entries"),
    ],
)
def test_a_calendar_that_cannot_be_kept_is_refused_with_what_to_do(days: tuple[SpecialDay, ...], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_calendar(Calendar(id="c", days=days))


def test_what_can_be_kept_is_returned_as_it_is() -> None:
    full = Schedule(windows=(OFFICE,) * MAX_WINDOWS, calendars=("cn",))
    assert check_schedule(full) is full
    assert check_calendar(MAY) is MAY


def test_the_same_hours_have_the_same_name_whatever_they_were_called() -> None:
    one, other = (named_by_content(Schedule(id=name, name=name, windows=(OFFICE,))) for name in ("one", "other"))
    assert one.id == other.id
    assert one.name == "one"
    assert named_by_content(Schedule(windows=(Window(),))).id != one.id
