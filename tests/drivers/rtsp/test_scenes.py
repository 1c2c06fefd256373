"""The scenes: a person comes near, stays and leaves; clips start with a key picture and fit one session description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drivers.rtsp.rtp import Codec, parameter_sets
from drivers.rtsp.scenes import Look, Scene, Script, decoded, encode, near_after_s, paint, pass_by, walk
from drivers.rtsp.scenes_figures import KNOWN_FACES
from models.errors import InvalidInput

SHORT = Script(approach_s=1.0, stay_s=0.5, leave_s=0.5)


def test_a_person_grows_to_the_near_zone_stays_and_leaves() -> None:
    script = Script()
    spots = [walk(script, tenth / 10) for tenth in range(round(script.length_s * 10))]
    sizes = [spot.face_px for spot in spots if spot]
    assert len(sizes) == len(spots)
    assert sizes[0] < 30
    assert min(sizes[30:80]) > 110
    assert sizes[-1] < 30
    middle = spots[50]
    assert middle is not None
    assert abs(middle.x - 0.5) < 0.02
    assert walk(script, script.length_s) is None
    assert near_after_s(script, fps=10) == pytest.approx(2.9)
    assert near_after_s(Script(near_px=60), fps=10) is None


def test_who_walks_past_is_never_near() -> None:
    spots = [pass_by(Script(), tenth / 10) for tenth in range(110)]
    assert max(spot.face_px for spot in spots if spot) < 40
    assert pass_by(Script(), 11.0) is None


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_every_clip_starts_with_a_key_picture_and_shares_the_parameter_sets(astronaut: Path, codec: Codec) -> None:
    look = Look(gop_s=0.5, codec=codec)
    scenes = [Scene(name="approach", portrait=str(astronaut), script=SHORT), Scene(), Scene(name="black")]
    clips = [encode(look, scene) for scene in scenes]
    assert len({parameter_sets(clip.pictures[0].units, codec) for clip in clips}) == 1
    for clip in clips:
        assert [number for number, picture in enumerate(clip.pictures) if picture.key][:2] == [0, 5]
        assert len(list(decoded(clip))) == len(clip.pictures)
    assert [clip.loops for clip in clips] == [False, True, True]
    assert clips[0].near_s is not None
    assert clips[1].near_s is None


def test_the_face_of_the_portrait_is_where_the_script_says(astronaut: Path) -> None:
    script = Script(approach_s=0.1, stay_s=0.5, leave_s=0.1)
    frames = list(paint(Look(noise=0), Scene(name="approach", portrait=str(astronaut), script=script)))
    empty = next(paint(Look(noise=0), Scene()))
    changed = np.abs(frames[3].astype(int) - empty).sum(axis=2) > 30
    columns = np.flatnonzero(changed[130])
    assert 250 < columns.mean() < 390
    assert len(columns) > 100


def test_quiet_pictures_differ_only_by_their_noise() -> None:
    first, second = (next(paint(Look(seed=seed), Scene())) for seed in (1, 2))
    difference = np.abs(first.astype(int) - second)
    assert 0 < difference.mean() < 2
    moved = next(paint(Look(), Scene(name="moved")))
    assert np.abs(first.astype(int) - moved).mean() > 5
    assert next(paint(Look(), Scene(name="black"))).mean() < 10


@pytest.mark.parametrize(
    ("scene", "says"),
    [
        (Scene(name="approach"), "needs the path"),
        (Scene(name="approach", portrait="/nowhere.jpg"), "cannot be read"),
        (Scene(name="approach", portrait=__file__), "cannot be read"),
    ],
)
def test_a_scene_without_its_photograph_is_refused(scene: Scene, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        encode(Look(), scene)


def test_a_face_without_a_size_is_refused(astronaut: Path) -> None:
    with pytest.raises(InvalidInput, match="above zero"):
        encode(Look(), Scene(name="approach", portrait=str(astronaut), face=(0, 0, 0, 0)))


def test_an_unknown_photograph_has_its_face_where_portraits_do(astronaut: Path, tmp_path: Path) -> None:
    copy = tmp_path / "unknown.png"
    copy.write_bytes(astronaut.read_bytes())
    assert ("unknown.png", (512, 512)) not in KNOWN_FACES
    assert encode(Look(), Scene(name="pass", portrait=str(copy), script=SHORT)).loops is False
