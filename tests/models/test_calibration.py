"""A door may use faces as far as counted evidence, its gallery's size and its liveness carry."""

from __future__ import annotations

import pytest

from models.calibration import DEMO_MAX_PEOPLE, DEMO_RADIUS, face_use, needed_fmr
from models.places import Door

DOOR = Door(id="d", site_id="s", name="Gate", edge_id="e", factors=("face", "card"), camera_id="c")


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
