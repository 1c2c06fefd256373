"""Who may pass: tables of one decision each, and that nothing is granted without a permit that holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.access import UNLOCKABLE_MODES, Claim, Denial, Grant, Request, decide, fresh, method_of, takes_faces
from models.people import Permit
from models.places import Door
from models.rights import Rights
from models.schedules import Schedule, Window

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOOR = Door(id="d", site_id="s", name="Gate", edge_id="e", factors=("face", "card"), camera_id="c")
PERMIT = Permit(id="m", person_id="p", doors=("d",))
SCHEDULES = {
    "small hours": Schedule(id="small hours", timezone="UTC", windows=(Window(from_time=time(1), until_time=time(2)),)),
    "never": Schedule(id="never", windows=()),
    "noon": Schedule(id="noon", timezone="UTC", windows=(Window(from_time=time(12), until_time=time(13)),)),
}


def rights(permits: Iterable[Permit]) -> Rights:
    return Rights(permits=permits, schedules=SCHEDULES.values())


def claim(**more: Any) -> Claim:
    return Claim(**{"attempt": "a", "door_id": "d", "method": "card", "person_id": "p"} | more)


def permit(**more: Any) -> Permit:
    return msgspec.structs.replace(PERMIT, **more)


@pytest.mark.parametrize(
    ("one", "mode", "permits", "reason"),
    [
        pytest.param(claim(), "normal", (PERMIT,), None, id="a permit that holds lets in"),
        pytest.param(claim(method="face"), "normal", (PERMIT,), None, id="by face, where the door takes faces"),
        pytest.param(claim(method="remote"), "normal", (PERMIT,), None, id="from afar, whatever the door takes"),
        pytest.param(claim(), "evacuating", (PERMIT,), None, id="while evacuating"),
        pytest.param(claim(), "held_open", (PERMIT,), None, id="while held open"),
        pytest.param(claim(), "locked_down", (PERMIT,), "locked_down", id="a lock-down refuses everybody"),
        pytest.param(claim(), "unheard of", (PERMIT,), "locked_down", id="an unknown mode refuses everybody"),
        pytest.param(
            claim(method="pin"), "normal", (PERMIT,), "unsupported", id="a factor that the door does not take"
        ),
        pytest.param(claim(person_id=None), "normal", (PERMIT,), "unknown_credential", id="a card of nobody"),
        pytest.param(claim(person_id=None, method="face"), "normal", (PERMIT,), "not_recognised", id="a stranger"),
        pytest.param(claim(), "normal", (), "no_permit", id="no permit"),
        pytest.param(claim(), "normal", (permit(person_id="q"),), "no_permit", id="somebody else's permit"),
        pytest.param(claim(), "normal", (permit(doors=("x",)),), "no_permit", id="a permit for another door"),
        pytest.param(claim(), "normal", (permit(valid_until=T0),), "expired", id="an expired permit"),
        pytest.param(
            claim(), "normal", (permit(valid_from=T0 + timedelta(1)),), "not_permitted_now", id="one that has not begun"
        ),
        pytest.param(
            claim(),
            "normal",
            (permit(schedule_id="small hours"),),
            "not_permitted_now",
            id="one at another hour",
        ),
        pytest.param(
            claim(),
            "normal",
            (permit(valid_until=T0), permit(id="n", schedule_id="never")),
            "not_permitted_now",
            id="one expired and one at another hour",
        ),
        pytest.param(claim(), "normal", (permit(valid_until=T0), PERMIT), None, id="one expired and one that holds"),
    ],
)
def test_a_claim_is_decided(one: Claim, mode: str, permits: tuple[Permit, ...], reason: str | None) -> None:
    decision = decide(one, door=DOOR, mode=mode, rights=rights(permits), at=T0)
    assert decision.claim == one
    assert (decision.reason if isinstance(decision, Denial) else None) == reason


@pytest.mark.parametrize(
    ("one", "mode", "reason"),
    [
        pytest.param(claim(), "normal", "forged", id="whoever's it is"),
        pytest.param(claim(person_id=None), "normal", "forged", id="nobody's"),
        pytest.param(claim(), "locked_down", "locked_down", id="a lock-down is said first"),
        pytest.param(claim(method="qr"), "normal", "unsupported", id="so is a factor that the door does not take"),
    ],
)
def test_what_does_not_count_by_itself_opens_nothing(one: Claim, mode: str, reason: str) -> None:
    decision = decide(one, door=DOOR, mode=mode, rights=rights((PERMIT,)), at=T0, presented="forged")
    assert decision == Denial(claim=one, reason=reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("door", "one", "ended", "reason"),
    [
        pytest.param({}, claim(), True, None, id="cards go on where the door says nothing else"),
        pytest.param({"when_policy_ends": "nothing"}, claim(), False, None, id="while the policy is valid"),
        pytest.param({"when_policy_ends": "nothing"}, claim(), True, "policy_expired", id="a card"),
        pytest.param({"when_policy_ends": "nothing"}, claim(method="face"), True, "policy_expired", id="a face"),
        pytest.param(
            {"when_policy_ends": "nothing"},
            claim(person_id="q"),
            True,
            "policy_expired",
            id="before any right is asked",
        ),
        pytest.param(
            {"when_policy_ends": "nothing"},
            claim(person_id=None),
            True,
            "unknown_credential",
            id="a guess stays a guess",
        ),
        pytest.param({"when_policy_ends": "nothing"}, claim(method="remote"), True, None, id="not an unlock by hand"),
        pytest.param({"when_policy_ends": "nothing"}, claim(reader="out"), True, None, id="the way out is never shut"),
    ],
)
def test_after_the_policys_end_the_door_says_what_lets_in(
    door: dict[str, Any], one: Claim, ended: bool, reason: str | None
) -> None:
    chosen = msgspec.structs.replace(DOOR, **door)
    decision = decide(one, door=chosen, mode="normal", rights=rights((PERMIT,)), at=T0, policy_ended=ended)
    assert (decision.reason if isinstance(decision, Denial) else None) == reason


COMBINED = msgspec.structs.replace(DOOR, factors=("face+card", "face+pin", "qr"))


@pytest.mark.parametrize(
    ("kind", "reader", "factors", "method"),
    [
        ("card", "in", COMBINED.factors, "face+card"),
        ("pin", "in", COMBINED.factors, "face+pin"),
        ("flat_pin", "in", COMBINED.factors, "face+pin"),
        ("qr", "in", COMBINED.factors, "qr"),
        ("call", "in", COMBINED.factors, "button"),
        ("button", "in", COMBINED.factors, "button"),
        ("card", "out", COMBINED.factors, "card"),
        ("card", "in", ("face+card", "card"), "card"),
        ("flat_pin", "in", ("face+pin", "flat_pin"), "flat_pin"),
        ("pin", "in", ("face+card", "qr"), "pin"),
    ],
)
def test_a_card_or_pin_wants_the_face_where_the_door_takes_it_only_so(
    kind: Any, reader: Any, factors: Any, method: str
) -> None:
    door = msgspec.structs.replace(COMBINED, factors=factors)
    assert method_of(Request(id="r", door_id="d", kind=kind, reader=reader), door) == method


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(claim(method="face+card"), None, id="card and face"),
        pytest.param(claim(), "unsupported", id="the card without the face"),
        pytest.param(claim(method="face"), "unsupported", id="the face without the card"),
        pytest.param(claim(reader="out"), None, id="out by the card alone"),
        pytest.param(claim(method="flat_pin", reader="out"), None, id="out by flat and PIN"),
        pytest.param(claim(method="button", reader="out"), "unsupported", id="out by nothing"),
        pytest.param(claim(method="face+pin", person_id=None, pass_id="v"), "unsupported", id="a visitor has no face"),
    ],
)
def test_a_door_that_wants_face_and_card_takes_neither_alone(one: Claim, reason: str | None) -> None:
    decision = decide(one, door=COMBINED, mode="normal", rights=rights((PERMIT,)), at=T0)
    assert (decision.reason if isinstance(decision, Denial) else None) == reason


PAIRED = msgspec.structs.replace(DOOR, factors=("card+pin", "qr"))


@pytest.mark.parametrize(
    ("kind", "reader", "method"),
    [
        ("card", "in", "card+pin"),
        ("pin", "in", "card+pin"),
        ("flat_pin", "in", "card+pin"),
        ("qr", "in", "qr"),
        ("card", "out", "card"),
        ("flat_pin", "out", "flat_pin"),
    ],
)
def test_a_card_or_pin_wants_the_other_one_where_the_door_takes_both_only(kind: Any, reader: Any, method: str) -> None:
    assert method_of(Request(id="r", door_id="d", kind=kind, reader=reader), PAIRED) == method


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(claim(method="card+pin"), None, id="card and PIN"),
        pytest.param(claim(), "unsupported", id="the card without the PIN"),
        pytest.param(claim(method="pin"), "unsupported", id="the PIN without the card"),
        pytest.param(claim(reader="out"), None, id="out by the card alone"),
        pytest.param(claim(method="pin", reader="out"), None, id="out by the PIN alone"),
        pytest.param(claim(method="face", reader="out"), "unsupported", id="out by what it does not take at all"),
        pytest.param(claim(method="card+pin", person_id=None, pass_id="v"), "unsupported", id="a visitor has no card"),
    ],
)
def test_a_door_that_wants_card_and_pin_takes_neither_alone(one: Claim, reason: str | None) -> None:
    decision = decide(one, door=PAIRED, mode="normal", rights=rights((PERMIT,)), at=T0)
    assert (decision.reason if isinstance(decision, Denial) else None) == reason


def test_a_door_takes_faces_in_any_way_that_names_them() -> None:
    assert takes_faces(DOOR)
    assert takes_faces(COMBINED)
    assert not takes_faces(msgspec.structs.replace(DOOR, factors=("card", "qr")))


moments = st.none() | st.integers(-100, 100).map(lambda hours: T0 + timedelta(hours=hours))
permits = st.builds(
    Permit,
    id=st.just("m"),
    person_id=st.sampled_from("pq"),
    doors=st.sampled_from([(), ("d",), ("x",), ("d", "x")]),
    schedule_id=st.sampled_from([None, "small hours", "never", "noon", "unknown"]),
    valid_from=moments,
    valid_until=moments,
)
claims = st.builds(
    Claim,
    attempt=st.just("a"),
    door_id=st.just("d"),
    method=st.sampled_from(["face", "card", "pin", "qr", "button", "remote"]),
    person_id=st.sampled_from([None, "p", "q", "r"]),
)


@given(claims, st.sampled_from(["normal", "locked_down", "evacuating", "held_open"]), st.lists(permits, max_size=4))
def test_nobody_is_let_in_without_a_permit_of_their_own_that_holds(one: Claim, mode: str, held: list[Permit]) -> None:
    decision = decide(one, door=DOOR, mode=mode, rights=rights(held), at=T0)
    holding = [p for p in held if p.person_id == one.person_id and "d" in p.doors and _in_force(p)]
    taken = one.method == "remote" or one.method in DOOR.factors
    assert isinstance(decision, Grant) is bool(holding and taken and mode in UNLOCKABLE_MODES)
    assert decide(one, door=DOOR, mode=mode, rights=rights(reversed(held)), at=T0) == decision, "order does not matter"


def _in_force(one: Permit) -> bool:
    return one.begun(T0) and not one.expired(T0) and one.schedule_id in (None, "noon")


@pytest.mark.parametrize(
    ("device_s", "redelivered", "about_now"),
    [
        (None, False, True),
        (None, True, False),
        (3600, False, True),
        (3597, False, True),
        (3603, False, True),
        (3596.9, False, False),
        (3603.1, False, False),
        (3600, True, False),
    ],
)
def test_a_request_is_about_now_within_three_seconds(
    device_s: float | None, redelivered: bool, about_now: bool
) -> None:
    device_at = None if device_s is None else T0 + timedelta(seconds=device_s)
    assert fresh(device_at, offset=timedelta(hours=-1), redelivered=redelivered, at=T0) is about_now


def test_what_was_presented_does_not_show() -> None:
    request = Request(id="r", door_id="d", kind="pin", value="483920")
    assert "483920" not in repr(request)
    assert "483920" not in f"{request} {[request]}"
