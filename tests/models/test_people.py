"""People with consent: consents that live and end, permits on schedules, credentials that never show."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.people import (
    Consent,
    Permit,
    Person,
    Schedule,
    VisitorPass,
    canonical_card,
    canonical_pin,
    credential_digest,
    face_allowed,
)

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
times = st.times().map(lambda t: t.replace(microsecond=0))


def consent(**more: Any) -> Consent:
    fields: dict[str, Any] = {
        "id": "c",
        "person_id": "p",
        "doors": ("d",),
        "text_version": "1",
        "text_sha256": "0" * 64,
        "given_at": T0,
        "channel": "office",
        "evidence": "signed",
    }
    return Consent(**fields | more)


@pytest.mark.parametrize(
    ("changes", "seconds", "live"),
    [
        pytest.param({}, -1, False, id="before it was given"),
        pytest.param({}, 0, True, id="from the moment it is given"),
        pytest.param({"expires_at": T0 + timedelta(seconds=10)}, 9, True, id="until it expires"),
        pytest.param({"expires_at": T0 + timedelta(seconds=10)}, 10, False, id="not once it expired"),
        pytest.param({"withdrawn_at": T0 + timedelta(seconds=10)}, 9, True, id="until it is withdrawn"),
        pytest.param({"withdrawn_at": T0 + timedelta(seconds=10)}, 10, False, id="not once it is withdrawn"),
    ],
)
def test_a_consent_is_live(changes: dict[str, Any], seconds: float, live: bool) -> None:
    assert consent(**changes).live(T0 + timedelta(seconds=seconds)) is live


@given(moments, moments, st.none() | moments, st.none() | moments)
def test_a_consent_that_ended_never_lives_again(
    given_at: datetime, at: datetime, expires_at: datetime | None, withdrawn_at: datetime | None
) -> None:
    one = consent(given_at=given_at, expires_at=expires_at, withdrawn_at=withdrawn_at)
    ends = [end for end in (expires_at, withdrawn_at) if end is not None]
    assert one.live(at) is (given_at <= at and all(at < end for end in ends))


@pytest.mark.parametrize(
    ("person", "consents", "allowed"),
    [
        pytest.param({}, (consent(),), True, id="with a live consent that names the door"),
        pytest.param({}, (), False, id="not without a consent"),
        pytest.param({}, (consent(doors=("other",)),), False, id="not at another door"),
        pytest.param({}, (consent(doors=()),), False, id="not where no door is named"),
        pytest.param({}, (consent(person_id="q"),), False, id="not with somebody else's consent"),
        pytest.param({}, (consent(withdrawn_at=T0),), False, id="not with a withdrawn consent"),
        pytest.param(
            {}, (consent(withdrawn_at=T0), consent(id="c2")), True, id="with a new consent after a withdrawal"
        ),
        pytest.param({"under_14": True}, (consent(),), False, id="not a child without a guardian"),
        pytest.param({"under_14": True}, (consent(guardian=""),), False, id="not a child with nobody as guardian"),
        pytest.param({"under_14": True}, (consent(guardian="g"),), True, id="a child with a guardian"),
    ],
)
def test_a_face_may_be_matched(person: dict[str, Any], consents: tuple[Consent, ...], allowed: bool) -> None:
    one = Person(id="p", site_id="s", name="", **person)
    assert face_allowed(one, consents, door_id="d", at=T0) is allowed


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
    one = Schedule(**{"timezone": "Europe/Berlin"} | schedule)
    assert one.covers(at) is covered
    assert one.covers(at.astimezone(UTC)) is covered, "the zone of the time does not matter"


@given(moments, times, times)
def test_a_daily_window_and_its_complement_share_no_moment_and_miss_none(at: datetime, start: time, end: time) -> None:
    if start != end:
        one = Schedule(from_time=start, until_time=end, timezone="Europe/Berlin")
        other = Schedule(from_time=end, until_time=start, timezone="Europe/Berlin")
        assert one.covers(at) is not other.covers(at)


@given(moments, times, times, st.sets(st.integers(0, 6)))
def test_every_moment_belongs_to_the_window_of_exactly_one_weekday(
    at: datetime, start: time, end: time, days: set[int]
) -> None:
    zone = "Europe/Berlin"
    alone = [Schedule(weekdays=(d,), from_time=start, until_time=end, timezone=zone).covers(at) for d in range(7)]
    whole = Schedule(weekdays=tuple(sorted(days)), from_time=start, until_time=end, timezone=zone)
    assert sum(alone) <= 1
    assert whole.covers(at) is any(alone[day] for day in days)


@given(st.integers(0, 370 * 24 * 60))
def test_a_night_shift_is_decided_by_the_clock_on_the_wall_in_summer_and_winter(minutes: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    wall = at.astimezone(BERLIN)
    night = Schedule(from_time=time(22), until_time=time(6), timezone="Europe/Berlin")
    assert night.covers(at) is (wall.hour >= 22 or wall.hour < 6)


def permit(**more: Any) -> Permit:
    return Permit(**{"id": "m", "person_id": "p", "doors": ("d",)} | more)


@pytest.mark.parametrize(
    ("changes", "door_id", "seconds", "holds"),
    [
        pytest.param({}, "d", 0, True, id="at its door"),
        pytest.param({}, "e", 0, False, id="not at another"),
        pytest.param({"doors": ()}, "d", 0, False, id="not where no door is named"),
        pytest.param({"valid_from": T0}, "d", -1, False, id="not before it begins"),
        pytest.param({"valid_from": T0}, "d", 0, True, id="from its beginning"),
        pytest.param({"valid_until": T0}, "d", -1, True, id="before its end"),
        pytest.param({"valid_until": T0}, "d", 0, False, id="not at its end"),
        pytest.param({"schedule": Schedule(weekdays=())}, "d", 0, False, id="not outside its schedule"),
    ],
)
def test_a_permit_holds(changes: dict[str, Any], door_id: str, seconds: float, holds: bool) -> None:
    assert permit(**changes).holds(door_id, T0 + timedelta(seconds=seconds)) is holds


@pytest.mark.parametrize(
    ("value", "canonical"),
    [("7186a61e", "7186A61E"), ("71:86-a6 1E", "7186A61E"), ("000012", "12"), ("0000", "0"), ("F" * 20, "F" * 20)],
)
def test_a_card_number_has_one_form(value: str, canonical: str) -> None:
    assert canonical_card(value) == canonical
    assert canonical_card(canonical) == canonical


@pytest.mark.parametrize("value", ["", ":::", "G1", "1" * 21, "12\n", "１２"])
def test_what_is_no_card_number_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(InvalidInput, match="card: a card number has 1 to 20") as refused:
        canonical_card(value, where="card")
    assert value == "" or value not in str(refused.value)


@pytest.mark.parametrize("value", ["1234", "123456789012"])
def test_a_pin_is_kept_as_it_is(value: str) -> None:
    assert canonical_pin(value) == value


@pytest.mark.parametrize("value", ["", "123", "1" * 13, "12a4", "١٢٣٤", "12 34", "²²²²"])
def test_what_is_no_pin_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(InvalidInput, match="pin: a PIN has 4 to 12 digits") as refused:
        canonical_pin(value, where="pin")
    assert value == "" or value not in str(refused.value)


def test_a_digest_depends_on_kind_value_and_key() -> None:
    digests = {
        credential_digest(kind, value, key)
        for kind in ("card", "pin")
        for value in ("1234", "1235")
        for key in (b"a" * 32, b"b" * 32)
    }
    assert len(digests) == 8
    assert all(len(digest) == 64 for digest in digests)
    # printf 'pin\x1f1234' | openssl dgst -sha256 -hmac key
    assert credential_digest("pin", "1234", b"key") == (
        "30e443123d9c954f79aac3137dca1e19a68645d5b303db909178bf27981de1f3"
    )


def test_records_survive_json() -> None:
    visitor = VisitorPass(id="v", person_id="p", doors=("d",), valid_from=T0, valid_until=T0 + timedelta(hours=1))
    for record in (consent(guardian="g"), permit(schedule=Schedule(from_time=time(22))), visitor):
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
