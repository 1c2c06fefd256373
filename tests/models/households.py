"""What Hypothesis builds households from: a few persons, doors, groups, schedules and calendars that often meet."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from hypothesis import strategies as st

from models.people import Consent, Group, Permit
from models.schedules import Calendar, Schedule, SpecialDay, Window
from tests.models.oracle import OFFSETS

PERSONS = ("p", "q")
DOORS = ("d", "e")
KEYS = ("a", "b", "missing")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TURNS = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
)

some_days = st.sets(st.integers(0, 6)).map(lambda days: tuple(sorted(days)))
times = st.one_of(st.sampled_from([time(0), time(2), time(2, 30), time(3), time(8), time(22)]), st.times())
moments = st.one_of(
    st.integers(0, 366 * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes)),
    st.builds(
        lambda turn, seconds: turn + timedelta(seconds=seconds), st.sampled_from(TURNS), st.integers(-8000, 8000)
    ),
)
windows = st.builds(Window, weekdays=some_days, from_time=times, until_time=times)


@st.composite
def special_days(draw: st.DrawFn) -> SpecialDay:
    """Build a holiday or a working day, of one to nine days."""
    first = date(2026, 1, 1) + timedelta(days=draw(st.integers(-2, 367)))
    kind = draw(st.sampled_from(["holiday", "working"]))
    return SpecialDay(
        first=first,
        last=first + timedelta(days=draw(st.integers(0, 8))),
        kind=kind,  # type: ignore[arg-type]
        as_weekday=draw(st.none() | st.integers(0, 6)),
    )


def calendars(key: str) -> st.SearchStrategy[Calendar]:
    """Build a calendar with a few special days."""
    return st.builds(Calendar, id=st.just(key), days=st.lists(special_days(), max_size=8).map(tuple))


def schedules(key: str) -> st.SearchStrategy[Schedule]:
    """Build a schedule in some zone."""
    return st.builds(
        Schedule,
        id=st.just(key),
        timezone=st.sampled_from(sorted(OFFSETS)),
        windows=st.just((Window(),)) | st.lists(windows, max_size=3).map(tuple),
        calendars=st.lists(st.sampled_from(KEYS), max_size=2).map(tuple),
        holiday_windows=st.none() | st.lists(windows, max_size=2).map(tuple),
    )


def groups(key: str) -> st.SearchStrategy[Group]:
    """Build a group of doors, perhaps on a schedule."""
    doors = st.lists(st.sampled_from(DOORS), max_size=2, unique=True).map(tuple)
    return st.builds(Group, id=st.just(key), site_id=st.just("s"), doors=doors, schedule_id=key_or_none)


key_or_none = st.none() | st.sampled_from(KEYS)
permits = st.builds(
    Permit,
    id=st.uuids().map(str),
    person_id=st.sampled_from(PERSONS),
    group_id=key_or_none,
    doors=st.lists(st.sampled_from(DOORS), max_size=2, unique=True).map(tuple),
    schedule_id=key_or_none,
    valid_from=st.none() | moments,
    valid_until=st.none() | moments,
)
consents = st.builds(
    Consent,
    id=st.uuids().map(str),
    person_id=st.sampled_from(PERSONS),
    purpose=st.sampled_from(["door_face", "enrolment_photo"]),
    doors=st.lists(st.sampled_from(DOORS), max_size=2, unique=True).map(tuple),
    text_version=st.just("1"),
    text_sha256=st.just("0" * 64),
    given_at=moments,
    channel=st.just("office"),
    evidence=st.just(""),
    guardian=st.none() | st.just("g"),
    withdrawn_at=st.none() | moments,
    superseded_at=st.none() | moments,
)
