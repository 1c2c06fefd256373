"""The benchmarks measure what they say; how fast anything is decides no test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.faces.bench import agreeing, mosaic, run
from models.faces.detector import Detection

Rgb = NDArray[np.uint8]


def test_a_box_agrees_from_nine_tenths_of_overlap() -> None:
    ours = [Detection(box=(0, 0, 99, 99), score=1.0)]

    assert agreeing([(0, 0, 99, 99), (0, 0, 94, 99), (0, 0, 79, 99), (300, 0, 399, 99)], ours) == 2
    assert agreeing([(0, 0, 9, 9)], []) == 0


def test_a_scene_is_the_same_for_the_same_seed(astronaut: Rgb) -> None:
    heads = [np.ascontiguousarray(astronaut[:260, 90:350])]

    assert np.array_equal(mosaic(heads, seed=3), mosaic(heads, seed=3))
    assert not np.array_equal(mosaic(heads, seed=3), mosaic(heads, seed=4))


@pytest.mark.timeout(240)
def test_every_figure_is_taken_beside_dlibs(photos: dict[str, Path], cache_dir: Path) -> None:
    rows = {row.name: row for row in run(photos["obama.jpg"].parent, cache_dir, boxes=4, rounds=1)}

    assert list(rows) == [
        "embed_one",
        "embed_batch",
        "embed_int8",
        "embed_difference",
        "detect_cnn",
        "detect_agreement",
        "detect_follow",
    ]
    for name in ("embed_one", "embed_batch", "detect_cnn"):
        row = rows[name]
        assert row.theirs is not None
        assert row.ratio is not None
        assert row.ratio == pytest.approx(row.theirs / row.ours)
        assert row.met == (row.ratio >= 15.0)
        assert row.peer.startswith("dlib")
    assert rows["embed_difference"].met
    assert rows["embed_int8"].theirs == rows["embed_one"].theirs
    assert "pairs of faces change sides" in rows["embed_int8"].detail
    assert rows["detect_follow"].met
    assert rows["detect_follow"].ours < (rows["detect_follow"].theirs or 0.0)
    assert rows["detect_agreement"].ours == 100.0
    assert all(row.detail and row.unit for row in rows.values())
