"""The benchmarks of a door's frame and of a face process measure what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.portraits import portraits
from edge.bench_faces import arrival, run
from models.faces.bench import head, picture
from models.faces.pipeline import FacePipeline


@pytest.mark.timeout(120)
def test_a_face_goes_the_whole_way_and_a_real_process_stays_small(tmp_path: Path) -> None:
    folder = portraits()["obama.jpg"].parent

    rows = {row.name: row for row in run(folder, tmp_path, frames=7, crops=12, photos=2)}

    assert list(rows) == ["door_frame", "door_follow", "face_process_memory"]
    assert "6 faces embedded in 6 frames" in rows["door_frame"].detail
    assert len(rows["door_frame"].samples) == len(rows["door_follow"].samples) == 3
    assert len(rows["face_process_memory"].samples) == 2
    assert 50 < rows["face_process_memory"].ours <= 350


def test_the_place_stands_still_and_the_person_does_not(tmp_path: Path) -> None:
    pipeline = FacePipeline(cache_dir=tmp_path)
    face = head(pipeline, picture(portraits()["obama2.jpg"]))

    empty, first, second = arrival(face, frames=3)

    assert empty.shape == (360, 640, 3)
    assert np.array_equal(first[:, :200], empty[:, :200])
    assert not np.array_equal(first, second)
