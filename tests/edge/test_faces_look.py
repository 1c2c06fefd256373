"""How small the faces are that are looked for in a crop."""

from __future__ import annotations

import pytest

from edge.faces_look import LEAST_FACE_PX, Look, Looker, Tally, View, built_in
from edge.tracks import Tracks
from tests.edge.faces_stage import Networks, attend, crop


@pytest.mark.parametrize(
    ("enrol", "min_eye_px", "least_px"), [(False, 30.0, 69), (True, 30.0, 60), (False, 10.0, LEAST_FACE_PX)]
)
def test_faces_too_small_for_the_door_are_not_looked_for(enrol: bool, min_eye_px: float, least_px: int) -> None:
    networks = Networks()
    looker = Looker(networks, tally=Tally(), watch=built_in)  # type: ignore[arg-type]
    asked = attend(enrol=enrol, min_eye_px=min_eye_px)
    looker.look_at([Look(crop=crop(), attend=asked, view=View(tracks=Tracks(new_id=lambda: "t")))], at=0.0)

    assert networks.least_px == [least_px]
