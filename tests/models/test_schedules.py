"""Schedules: windows on the wall clock of a zone, nights, holidays and moved working days."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.schedules import Schedule, Window

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
