"""Rights: permits, groups, schedules and calendars against a second opinion; passes; and faces that change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.access import Claim, Denial, decide
from models.people import Consent, Credential, Group, Member, Permit, VisitorPass
from models.places import Door
from models.policy import Policy
from models.rights import Rights, credential_refusal
from models.schedules import Calendar, Schedule, Window
from tests.models import oracle
from tests.models.households import DOORS, PERSONS, calendars, consents, groups, moments, permits, schedules

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NOON = Schedule(id="noon", timezone="UTC", windows=(Window(from_time=time(12), until_time=time(13)),))
NIGHT = Schedule(id="night", timezone="UTC", windows=(Window(from_time=time(22), until_time=time(6)),))
GATES = Group(id="gates", site_id="s", doors=("d", "e"))
BY_DAY = Group(id="by day", site_id="s", doors=("d",), schedule_id="noon")
BY_NIGHT = Group(id="by night", site_id="s", doors=("d",), schedule_id="night")


def permit(**more: Any) -> Permit:
    return Permit(**{"id": "m", "person_id": "p"} | more)


def refusal(*held: Permit, door_id: str = "d", clock_trusted: bool = True, **more: Any) -> str | None:
    rights = Rights(permits=held, groups=(GATES, BY_DAY, BY_NIGHT), schedules=(NOON, NIGHT), **more)
    return rights.person_refusal("p", door_id, at=T0, clock_trusted=clock_trusted)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        pytest.param(permit(doors=("d",)), None, id="a door that is named"),
        pytest.param(permit(group_id="gates"), None, id="a door of the group"),
        pytest.param(permit(group_id="gates", doors=("x",)), None, id="a door of the group, and another"),
        pytest.param(permit(group_id="by day", doors=("x",)), None, id="within the group's schedule"),
        pytest.param(permit(group_id="by day", schedule_id="noon"), None, id="within both schedules"),
        pytest.param(permit(group_id="by day", schedule_id="night"), "not_permitted_now", id="within one of two"),
        pytest.param(permit(group_id="by night", schedule_id="noon"), "not_permitted_now", id="within the other"),
        pytest.param(permit(group_id="gates", schedule_id="night"), "not_permitted_now", id="outside its own"),
        pytest.param(permit(doors=("d",), schedule_id="lost"), "not_permitted_now", id="on a schedule that is missing"),
        pytest.param(permit(group_id="lost"), "no_permit", id="a group that is missing"),
        pytest.param(permit(group_id="lost", doors=("d",)), "no_permit", id="a door, but whose group is missing"),
        pytest.param(permit(), "no_permit", id="no door"),
    ],
)
def test_a_permit_opens_by_its_doors_its_group_and_their_schedules(held: Permit, reason: str | None) -> None:
    assert refusal(held) == reason


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        pytest.param((permit(doors=("d",)),), None, id="one without limits counts"),
        pytest.param((permit(group_id="gates"),), None, id="so does one by a group without a schedule"),
        pytest.param((permit(group_id="by day"),), "not_permitted_now", id="not one by a group with a schedule"),
        pytest.param((permit(doors=("d",), valid_until=T0),), "not_permitted_now", id="nor is one said to be expired"),
        pytest.param((permit(doors=("d",), valid_from=T0), permit(doors=("d",))), None, id="one of two is enough"),
        pytest.param((), "no_permit", id="none is none"),
    ],
)
def test_while_the_clock_is_not_trusted_only_what_needs_none_counts(
    held: tuple[Permit, ...], reason: str | None
) -> None:
    assert refusal(*held, clock_trusted=False) == reason


def test_a_schedule_in_an_unknown_zone_covers_nothing_and_harms_nobody_else() -> None:
    lost = Schedule(id="lost", timezone="Mars/Olympus")
    rights = Rights(permits=(permit(doors=("d",), schedule_id="lost"), permit(doors=("e",))), schedules=(lost,))
    assert rights.person_refusal("p", "d", at=T0, clock_trusted=True) == "not_permitted_now"
    assert rights.person_refusal("p", "e", at=T0, clock_trusted=True) is None


def test_the_doors_of_a_person_are_those_of_all_their_permits() -> None:
    held = (permit(group_id="by day", doors=("x",)), permit(doors=("y",)), permit(group_id="lost", doors=("z",)))
    rights = Rights(permits=(*held, permit(person_id="q", doors=("w",))), groups=(GATES, BY_DAY))
    assert rights.doors_of("p") == {"d", "x", "y"}
    assert rights.doors_of("nobody") == frozenset()


# ---- the second opinion ---------------------------------------------------------------------------------------------


@given(st.data(), moments)
@settings(max_examples=400, deadline=None)
def test_a_schedule_covers_what_a_second_opinion_says(data: st.DataObject, at: datetime) -> None:
    schedule = data.draw(schedules("a"))
    known = {key: data.draw(calendars(key)) for key in ("a", "b")}
    assert schedule.covers(at, known) is oracle.covers(schedule, at, known)


@given(
    st.tuples(groups("a"), groups("b")), st.tuples(schedules("a"), schedules("b")),
    st.tuples(calendars("a"), calendars("b")), st.lists(permits, max_size=5), moments, st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_rights_are_what_a_second_opinion_says(
    named: tuple[Group, ...],
    hours: tuple[Schedule, ...],
    special: tuple[Calendar, ...],
    held: list[Permit],
    at: datetime,
    clock_trusted: bool,
) -> None:
    rights = Rights(permits=held, groups=named, schedules=hours, calendars=special)
    for person_id in PERSONS:
        for door_id in DOORS:
            ours = rights.person_refusal(person_id, door_id, at=at, clock_trusted=clock_trusted)
            assert ours == oracle.refusal(
                person_id, door_id, at, permits=held, groups=named, schedules=hours, calendars=special,
                clock_trusted=clock_trusted,
            )  # fmt: skip


# ---- faces change nothing (R3) --------------------------------------------------------------------------------------


def policy(**more: Any) -> Policy:
    door: dict[str, Any] = {
        "site_id": "s",
        "name": "",
        "edge_id": "e",
        "factors": ("face", "card", "pin", "qr"),
        "camera_id": "c",
    }
    return Policy(
        edge_id="e", site_id="s", epoch=1, n=1, issued_at=T0, valid_until=T0 + timedelta(days=7),
        doors=tuple(Door(id=key, **door) for key in DOORS), cameras=(), **more,
    )  # fmt: skip


@given(st.lists(permits, max_size=4), st.lists(consents, max_size=4), st.lists(consents, max_size=4), moments)
@settings(deadline=None)
def test_the_same_doors_at_the_same_hours_whatever_somebody_consents_to(
    held: list[Permit], ours: list[Consent], theirs: list[Consent], at: datetime
) -> None:
    people = tuple(Member(id=key) for key in PERSONS)
    one, other = (
        policy(permits=tuple(held), people=people, consents=tuple(agreed), assessed=assessed)
        for agreed, assessed in ((ours, ("face",)), (theirs, ()))
    )
    for door in one.doors:
        for person_id in PERSONS:
            for method in ("card", "pin", "qr"):
                claim = Claim(attempt="a", door_id=door.id, method=method, person_id=person_id)
                first, second = (
                    decide(claim, door=door, mode="normal", rights=Rights.of(given_policy), at=at)
                    for given_policy in (one, other)
                )
                assert first == second


def test_an_erased_person_has_no_rights_even_if_a_policy_still_names_them() -> None:
    held = (permit(doors=("d",)), permit(person_id="q", doors=("d",)))
    rights = Rights.of(policy(permits=held, tombstones=("p",)))
    assert rights.person_refusal("p", "d", at=T0, clock_trusted=True) == "no_permit"
    assert rights.person_refusal("q", "d", at=T0, clock_trusted=True) is None


# ---- visitors -------------------------------------------------------------------------------------------------------

PASS = VisitorPass(id="v", host_id="p", doors=("d",), valid_from=T0, valid_until=T0 + timedelta(hours=2), uses=2)


@pytest.mark.parametrize(
    ("changes", "asked", "reason"),
    [
        pytest.param({}, {}, None, id="from its beginning"),
        pytest.param({}, {"at": T0 - timedelta(seconds=1)}, "not_permitted_now", id="not before"),
        pytest.param({}, {"at": T0 + timedelta(hours=2)}, "expired", id="not at its end"),
        pytest.param({}, {"door_id": "e"}, "no_permit", id="not at another door"),
        pytest.param({}, {"pass_id": "w"}, "unknown_credential", id="not one that was revoked"),
        pytest.param({}, {"used": 1}, None, id="a second time"),
        pytest.param({}, {"used": 2}, "used_up", id="not a third time"),
        pytest.param({"uses": 0}, {"used": 99}, None, id="any number of times if none is counted"),
        pytest.param({}, {"clock_trusted": False}, "not_permitted_now", id="not by a clock that may be wrong"),
        pytest.param({"valid_until": T0 + timedelta(days=9)}, {"at": T0 + timedelta(days=7)}, "policy_expired",
                     id="not once the policy is over: it may have been revoked"),
    ],
)  # fmt: skip
def test_a_pass_opens(changes: dict[str, Any], asked: dict[str, Any], reason: str | None) -> None:
    rights = Rights.of(policy(passes=(msgspec.structs.replace(PASS, **changes),)))
    given_values: dict[str, Any] = {"pass_id": "v", "door_id": "d", "at": T0, "used": 0, "clock_trusted": True} | asked
    pass_id, door_id, at = (given_values.pop(name) for name in ("pass_id", "door_id", "at"))
    assert rights.pass_refusal(pass_id, door_id, at=at, **given_values) == reason
    claim = Claim(attempt="a", door_id=door_id, method="qr", person_id=None, pass_id=pass_id)
    decision = decide(claim, door=policy().doors[0 if door_id == "d" else 1], mode="normal", rights=rights, at=at,
                      **given_values)  # fmt: skip
    assert (decision.reason if isinstance(decision, Denial) else None) == reason


def test_passes_are_found_by_their_id() -> None:
    rights = Rights(passes=(PASS,))
    assert rights.passes() == (PASS,)
    assert rights.visitor_pass("v") == PASS
    assert rights.visitor_pass("w") is None


def test_a_pass_without_a_policy_has_only_its_own_end() -> None:
    far = msgspec.structs.replace(PASS, valid_until=T0 + timedelta(days=99))
    rights = Rights(passes=(far,))
    assert rights.pass_refusal("v", "d", at=T0 + timedelta(days=98), used=0, clock_trusted=True) is None


# ---- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "seconds", "trusted", "reason"),
    [
        pytest.param({}, 0, False, None, id="without limits always"),
        pytest.param({"valid_from": T0}, 0, True, None, id="from its beginning"),
        pytest.param({"valid_from": T0}, -1, True, "not_permitted_now", id="not before"),
        pytest.param({"valid_until": T0}, -1, True, None, id="until its end"),
        pytest.param({"valid_until": T0}, 0, True, "expired", id="not at its end"),
        pytest.param({"valid_from": T0}, 1, False, "not_permitted_now", id="a beginning needs a clock"),
        pytest.param({"valid_until": T0}, -1, False, "not_permitted_now", id="an end needs a clock"),
    ],
)
def test_a_credential_counts(limits: dict[str, Any], seconds: float, trusted: bool, reason: str | None) -> None:
    one = Credential(id="c", person_id="p", kind="card", digest="00", **limits)
    assert credential_refusal(one, T0 + timedelta(seconds=seconds), clock_trusted=trusted) == reason
