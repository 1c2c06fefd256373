"""A network of a site's own that watches tracks for life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces.liveness_model import LivenessModel
from models.faces.own_models import OwnModels
from models.faces.pipeline import Face, FacePipeline
from tests.models.faces.networks import ANY, constant, green_is_live, saved

Rgb = NDArray[np.uint8]
FACE = Face(box=(40, 40, 79, 79), landmarks=np.zeros((5, 2), np.float32), score=1.0)


def painted(colour: tuple[int, int, int]) -> Rgb:
    return np.full((120, 120, 3), colour, np.uint8)


def test_an_own_liveness_network_tells_after_some_frames(tmp_path: Path) -> None:
    model = LivenessModel(saved(green_is_live(), tmp_path, kind="liveness"), threads=1)
    watcher, other = model.watcher(), model.watcher()

    def shown(colour: tuple[int, int, int], at_s: float) -> str:
        return watcher.observe(painted(colour), origin=(0.0, 0.0), scale=1.0, face=FACE, at_s=at_s).verdict

    assert [shown((0, 250, 0), at / 10) for at in range(3)] == ["undecided", "undecided", "live"]
    reading = watcher.observe(painted((250, 0, 0)), origin=(0.0, 0.0), scale=1.0, face=FACE, at_s=0.2)
    assert (reading.provider, reading.verdict, reading.frames) == ("model", "live", 3)  # no later frame: not looked at
    assert [shown((250, 0, 0), 1 + at / 10) for at in range(9)][-1] == "attack"
    red = [other.observe(painted((250, 0, 0)), origin=(0, 0), scale=1, face=FACE, at_s=at) for at in range(3)]
    assert red[-1].verdict == "attack"


@pytest.mark.parametrize(
    ("numbers", "live"),
    [([3.0], 0.953), ([0.2, 0.8], 0.8), ([1.0, 1.0], 0.5), ([0.1, 0.7, 0.2], 0.7), ([5, 5, -9], 0.5)],
)
def test_one_two_or_three_numbers_are_read_as_odds_or_shares(tmp_path: Path, numbers: list[float], live: float) -> None:
    given = constant({"y": np.array([numbers], np.float32)}, takes=(1, 3, 80, 80))
    model = LivenessModel(saved(given, tmp_path, kind="liveness"), threads=1)

    assert model.live(np.zeros((80, 80, 3), np.uint8)) == pytest.approx(live, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (constant({"y": np.zeros((1, 7), np.float32)}, takes=(1, 3, 80, 80)), "one, two or three"),
        (constant({"y": np.full((1, 2), np.nan, np.float32)}, takes=(1, 3, 80, 80)), "no finite"),
        (green_is_live(1024), "squares of 32 to 512"),
        (constant({"y": np.zeros((1, 2), np.float32)}, takes=ANY), "squares of 32 to 512"),
    ],
)
def test_a_liveness_network_that_tells_nothing_is_refused_when_it_is_opened(
    tmp_path: Path, model: Any, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        LivenessModel(saved(model, tmp_path, kind="liveness"), threads=1)


def test_a_pipeline_hands_out_the_liveness_network_it_was_given(tmp_path: Path, cache_dir: Path) -> None:
    record = saved(green_is_live(), tmp_path, kind="liveness")

    assert isinstance(FacePipeline(cache_dir=cache_dir, own=OwnModels(liveness=record)).liveness, LivenessModel)
    assert FacePipeline(cache_dir=cache_dir).liveness is None


def test_live_frames_speak_for_no_picture_that_is_held_before_them(tmp_path: Path) -> None:
    watcher = LivenessModel(saved(green_is_live(), tmp_path, kind="liveness"), threads=1).watcher()
    colours = [(0, 250, 0)] * 10 + [(250, 0, 0)] * 3
    told = [
        watcher.observe(painted(colour), origin=(0.0, 0.0), scale=1.0, face=FACE, at_s=at).verdict
        for at, colour in enumerate(colours)
    ]
    assert told[9] == "live"
    assert "live" not in told[10:]
