"""People with consent: consents that live and end, permits that begin and expire, credentials that never show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.people import (
    Consent,
    Occupancy,
    Permit,
    Person,
    VisitorPass,
    canonical_card,
    canonical_pin,
    credential_digest,
    face_allowed,
    is_under_14,
)

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


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
        pytest.param({"superseded_at": T0 + timedelta(seconds=10)}, 9, True, id="until another notice is published"),
        pytest.param({"superseded_at": T0 + timedelta(seconds=10)}, 10, False, id="not under another notice"),
    ],
)
def test_a_consent_is_live(changes: dict[str, Any], seconds: float, live: bool) -> None:
    assert consent(**changes).live(T0 + timedelta(seconds=seconds)) is live


@pytest.mark.parametrize(
    ("changes", "days", "over"),
    [
        pytest.param({}, 1000, False, id="not by itself"),
        pytest.param({"expires_at": T0}, 0, True, id="once it expired"),
        pytest.param({"withdrawn_at": T0}, 0, True, id="once it is withdrawn"),
        pytest.param({"superseded_at": T0}, 29, False, id="not while the person may still consent anew"),
        pytest.param({"superseded_at": T0}, 30, True, id="thirty days after another notice"),
    ],
)
def test_a_consent_is_over_and_its_template_goes(changes: dict[str, Any], days: int, over: bool) -> None:
    assert consent(**changes).over(T0 + timedelta(days=days)) is over


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


def permit(**more: Any) -> Permit:
    return Permit(**{"id": "m", "person_id": "p", "doors": ("d",)} | more)


@pytest.mark.parametrize(
    ("changes", "seconds", "begun", "expired"),
    [
        pytest.param({}, 0, True, False, id="without a validity always"),
        pytest.param({"valid_from": T0}, -1, False, False, id="not before it begins"),
        pytest.param({"valid_from": T0}, 0, True, False, id="from its beginning"),
        pytest.param({"valid_until": T0}, -1, True, False, id="before its end"),
        pytest.param({"valid_until": T0}, 0, True, True, id="not at its end"),
    ],
)
def test_a_permit_begins_and_expires(changes: dict[str, Any], seconds: float, begun: bool, expired: bool) -> None:
    one, at = permit(**changes), T0 + timedelta(seconds=seconds)
    assert (one.begun(at), one.expired(at)) == (begun, expired)


@pytest.mark.parametrize("limit", [{"valid_from": T0}, {"valid_until": T0}, {"schedule_id": "nights"}])
def test_a_permit_that_is_limited_in_time_needs_a_clock(limit: dict[str, Any]) -> None:
    assert permit().timeless
    assert not permit(**limit).timeless


@pytest.mark.parametrize(
    ("changes", "seconds", "holds"),
    [
        pytest.param({}, 0, True, id="without a validity always"),
        pytest.param({"valid_from": T0}, -1, False, id="not before it begins"),
        pytest.param({"valid_from": T0}, 0, True, id="from its beginning"),
        pytest.param({"valid_until": T0}, -1, True, id="before its end"),
        pytest.param({"valid_until": T0}, 0, False, id="not at its end"),
    ],
)
def test_a_person_belongs_to_a_flat(changes: dict[str, Any], seconds: float, holds: bool) -> None:
    one = Occupancy(id="o", person_id="p", flat_id="f", **changes)
    assert one.holds(T0 + timedelta(seconds=seconds)) is holds


@pytest.mark.parametrize(
    ("born_on", "declared", "on", "child"),
    [
        pytest.param(date(2012, 5, 2), False, date(2026, 5, 1), True, id="at 13 years and 364 days"),
        pytest.param(date(2012, 5, 1), True, date(2026, 5, 1), False, id="not at 14, whatever was declared"),
        pytest.param(date(2012, 2, 29), False, date(2026, 2, 28), True, id="born on a leap day, on 28 February"),
        pytest.param(date(2012, 2, 29), False, date(2026, 3, 1), False, id="born on a leap day, on 1 March"),
        pytest.param(None, True, date(2026, 5, 1), True, id="without a date of birth as declared"),
        pytest.param(None, False, date(2026, 5, 1), False, id="without a date of birth as declared not"),
    ],
)
def test_a_person_is_under_14(born_on: date | None, declared: bool, on: date, child: bool) -> None:
    assert is_under_14(Person(id="p", site_id="s", name="", born_on=born_on, under_14=declared), on) is child


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
    visitor = VisitorPass(id="v", host_id="p", doors=("d",), valid_from=T0, valid_until=T0 + timedelta(hours=1))
    for record in (consent(guardian="g"), permit(schedule_id="nights"), visitor):
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
