"""Radii without evidence are refused."""

from __future__ import annotations

import pytest

from models.calibration import DEMO_MAX_PEOPLE, checked_radius, face_alone_radius
from models.errors import InvalidInput


@pytest.mark.parametrize("radius", [0.6, 0.46, 0.0, -0.1, float("nan"), float("inf")])
def test_a_radius_at_which_strangers_match_is_refused(radius: float) -> None:
    with pytest.raises(InvalidInput, match="radius"):
        checked_radius(radius)


def test_a_narrow_radius_is_taken() -> None:
    assert checked_radius(0.4) == 0.4


def test_the_demo_profile_carries_twelve_people() -> None:
    assert face_alone_radius(people=DEMO_MAX_PEOPLE, demo=True) == 0.40
    with pytest.raises(InvalidInput, match="13 people"):
        face_alone_radius(people=DEMO_MAX_PEOPLE + 1, demo=True)


def test_outside_the_demo_a_face_alone_opens_nothing() -> None:
    with pytest.raises(InvalidInput, match="face and card"):
        face_alone_radius(people=1, demo=False)
