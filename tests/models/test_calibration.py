"""A door may use faces as far as counted evidence, its gallery's size and its liveness carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import (
    DEMO_MAX_PEOPLE,
    DEMO_RADIUS,
    DOUBTFUL_RADIUS,
    MAX_FPIR,
    MAX_VERIFY_FMR,
    STEPS,
    ImpostorEvidence,
    Profile,
    check_evidence,
    face_use,
    needed_fmr,
    rule_of_three,
    unrefuted_radius,
    upper_count,
    widest_radius,
)
from models.errors import InvalidInput
from models.places import Door

DOOR = Door(id="d", site_id="s", name="Gate", edge_id="e", factors=("face", "card"), camera_id="c")
DLIB = "dlib-resnet-v1/128/euclidean/sha256:00"
SAFE = msgspec.structs.replace(DOOR, liveness="model", liveness_covers=("print", "screen"), liveness_basis="report 7")


def counted(persons: int, *, first_at: float = 0.61, contract: str = DLIB, falls: int = 1) -> ImpostorEvidence:
    """Return evidence of so many persons, in which `falls` pairs match from a radius on."""
    pairs = persons * (persons - 1) // 2
    matched = tuple(falls if (step + 1) * 0.01 >= first_at - 1e-9 else 0 for step in range(STEPS))
    upper = tuple(min(1.0, max(upper_count(count) / pairs, rule_of_three(pairs))) for count in matched)
    return check_evidence(
        ImpostorEvidence(
            id=f"cal-{persons}", contract=contract, source="labelled", persons=persons, pairs=pairs, matched=matched,
            upper=upper, at=datetime(2026, 3, 1, tzinfo=UTC),
        )
    )  # fmt: skip


def use(people: int, *evidence: ImpostorEvidence, door: Door = SAFE) -> Any:
    return face_use(door, people=people, profile="calibrated", contract=DLIB, evidence=evidence)


def test_the_demo_profile_carries_twelve_people() -> None:
    assert face_use(DOOR, people=DEMO_MAX_PEOPLE, profile="demo").radius == DEMO_RADIUS
    refused = face_use(DOOR, people=DEMO_MAX_PEOPLE + 1, profile="demo")
    assert (refused.alone, refused.radius, refused.why_not) == (False, 0.0, ("gallery_too_large",))


def test_without_evidence_a_face_alone_opens_nothing() -> None:
    refused = face_use(DOOR, people=1, profile="calibrated", contract="x")
    assert not refused.alone
    assert refused.why_not == ("no_liveness", "no_evidence")


@pytest.mark.parametrize(("people", "fmr"), [(60, 1.7e-5), (200, 5.1e-6), (5_000, 2.1e-7)])
def test_the_false_match_rate_follows_from_the_size_of_the_gallery(people: int, fmr: float) -> None:
    assert needed_fmr(people) <= fmr


@pytest.mark.parametrize(("people", "persons"), [(60, 610), (200, 1100), (5_000, 5_500)])
def test_a_gallery_asks_for_as_much_evidence_as_its_size(people: int, persons: int) -> None:
    assert use(people, counted(persons)).radius == DOUBTFUL_RADIUS
    refused = use(people, counted(persons // 2))
    assert (refused.alone, refused.why_not) == (False, ("too_little_evidence",))
    assert refused.needed_pairs > counted(persons // 2).pairs


def test_a_growing_gallery_tightens_the_radius_and_at_last_ends_it() -> None:
    evidence = counted(1100, first_at=0.38, falls=3)
    radii = [use(people, evidence).radius for people in (10, 60, 200, 300)]
    assert radii == [DOUBTFUL_RADIUS, DOUBTFUL_RADIUS, 0.37, 0.0]


SOME = st.builds(counted, st.integers(2, 6_000), first_at=st.sampled_from((0.2, 0.38, 0.41, 0.61)), falls=st.just(1))


@settings(max_examples=40, deadline=None)
@given(people=st.integers(1, 20_000), more=st.integers(1, 20_000), evidence=st.lists(SOME, max_size=3))
def test_more_people_never_widen_a_radius(people: int, more: int, evidence: list[ImpostorEvidence]) -> None:
    assert use(people + more, *evidence).radius <= use(people, *evidence).radius
    assert needed_fmr(people + more) < needed_fmr(people)


@given(st.integers(1, 100_000))
def test_the_rate_that_is_asked_for_keeps_the_promise_of_one_in_a_thousand(people: int) -> None:
    assert 1 - (1 - needed_fmr(people)) ** people == pytest.approx(MAX_FPIR, rel=1e-6)


def test_evidence_of_another_contract_says_nothing() -> None:
    assert use(60, counted(610, contract="other")).why_not == ("no_evidence",)


def test_evidence_that_shows_false_matches_narrows_what_other_evidence_carries() -> None:
    narrow = counted(900, first_at=0.36, falls=40)
    assert use(60, counted(900), narrow).radius == 0.35


def test_two_residents_who_look_alike_narrow_the_radius_whatever_others_counted() -> None:
    site = counted(20, first_at=0.33)
    assert widest_radius(site, needed_fmr(60)) == 0.0, "190 pairs carry nothing"
    assert use(60, counted(900), site).radius == 0.32
    assert use(60, counted(900), site).verify_radius == DOUBTFUL_RADIUS, "one in 190 refutes no one in a thousand"
    assert use(60, counted(900), counted(20, first_at=0.01)).why_not == ("too_little_evidence",)


def test_many_matches_refute_a_radius_for_verification_too() -> None:
    crowd = counted(100, first_at=0.30, falls=60)
    assert unrefuted_radius(crowd, MAX_VERIFY_FMR) == 0.29
    assert use(60, crowd).verify_radius == 0.29
    assert unrefuted_radius(counted(100, first_at=0.30, falls=6), MAX_VERIFY_FMR) == DOUBTFUL_RADIUS


def test_without_evidence_a_face_beside_a_card_keeps_the_cautious_radius() -> None:
    assert use(5_000).verify_radius == DEMO_RADIUS


@pytest.mark.parametrize("profile", ["demo", "calibrated"])
def test_the_cautious_radius_is_of_one_network_and_holds_for_no_other(profile: Profile) -> None:
    other = face_use(SAFE, people=1, profile=profile, contract="own/512/euclidean/sha256:00")
    assert (other.alone, other.radius, other.verify_radius) == (False, 0.0, 0.0)
    assert other.why_not == ("no_evidence",)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"factors": ("card", "face+card")}, "not_asked"),
        ({"high_security": True}, "high_security"),
        ({"liveness": "none", "liveness_covers": ()}, "no_liveness"),
        ({"liveness": "parallax", "liveness_covers": ()}, "liveness_incomplete"),
        ({"liveness_covers": ("print",)}, "liveness_incomplete"),
        ({"liveness": "device"}, "liveness_incomplete"),
    ],
)
def test_a_door_that_lacks_something_takes_no_bare_face(change: dict[str, Any], why: str) -> None:
    refused = use(60, counted(900), door=msgspec.structs.replace(SAFE, **change))
    assert (refused.alone, refused.radius, refused.why_not) == (False, 0.0, (why,))
    assert refused.verify_radius > 0


def test_where_faces_are_off_nobody_is_matched_at_all() -> None:
    off = face_use(SAFE, people=3, profile="off", evidence=(counted(900),))
    assert (off.radius, off.verify_radius, off.why_not) == (0.0, 0.0, ("off",))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"persons": 1}, "pairs"),
        ({"pairs": 0}, "pairs"),
        ({"pairs": 191}, "pairs"),
        ({"matched": (0,) * 59}, "matched"),
        ({"upper": (0.5,) * 61}, "matched"),
        ({"matched": (1,) + (0,) * 59}, "matched"),
        ({"matched": (191,) * 60}, "matched"),
        ({"matched": (-1,) * 60}, "matched"),
        ({"upper": (0.5,) * 59 + (0.4,)}, "upper"),
        ({"upper": (0.001,) * 60}, "upper"),
        ({"upper": (1.5,) * 60}, "upper"),
        ({"upper": (0.5,) * 59 + (float("inf"),)}, "upper"),
        ({"matched": (190,) * 60}, "upper"),
        ({"matched": (0,) * 39 + (3,) * 21}, "upper"),
        ({"matched": (0,) * 39 + (3,) * 21, "upper": (7.7 / 190,) * 60}, "upper"),
    ],
)
def test_counts_that_cannot_be_true_are_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_evidence(msgspec.structs.replace(counted(20), **change))
    assert refused.value.where == where
