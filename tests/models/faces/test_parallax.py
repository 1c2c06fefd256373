"""Parallax tells a turning head from a flat sheet, condemns no head that keeps still, and forgets what it looked at."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.rtsp.scenes import Look, Scene, Script, paint, walk
from drivers.rtsp.scenes_acts import Act, Swing, performer
from drivers.rtsp.scenes_relief import Place
from models.faces.parallax import LIKE_FACE, RELIEF, TILT, WINDOW_S, Parallax, face_depth, movement
from models.faces.pipeline import Face
from models.liveness import Reading

Rgb = NDArray[np.uint8]
Points = NDArray[np.float64]

FAR = 4.6
SPOTS = np.random.default_rng(5).uniform((-0.38, -0.45), (0.38, 0.45), (60, 2))
NOISE = np.random.default_rng(6).normal(0, 0.002, (40, 60, 2))
CENTRE, WIDTH = (320.0, 150.0), 120.0


def _seen(depths: Points, swing: Swing, *, frames: int = 15) -> Points:
    """Project points with depths, moved as a swing moves a figure: what an exact tracker would see."""
    paths = []
    for number in range(frames):
        pose = swing.pose(number / 10)
        x, z = (
            SPOTS[:, 0] * math.cos(pose.yaw) + depths * math.sin(pose.yaw),
            depths * math.cos(pose.yaw) - SPOTS[:, 0] * math.sin(pose.yaw),
        )
        y, z = (
            SPOTS[:, 1] * math.cos(pose.pitch) + z * math.sin(pose.pitch),
            z * math.cos(pose.pitch) - SPOTS[:, 1] * math.sin(pose.pitch),
        )
        place = swing.moved(Place(x=0.0, y=0.0, face_px=1.0, far=FAR), number / 10)
        turned = np.column_stack([x, y]) @ np.array(
            [[math.cos(pose.roll), math.sin(pose.roll)], [-math.sin(pose.roll), math.cos(pose.roll)]]
        )
        paths.append(turned * (FAR / (FAR - z))[:, None] + (place.x, place.y))
    return np.array(paths) + NOISE[:frames]


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-0.4, 0.4), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0, 0.3), st.floats(1.2, 3.5),
    st.floats(0, 6.2),
)  # fmt: skip
def test_whatever_a_flat_sheet_does_leaves_no_relief(
    yaw: float, pitch: float, roll: float, shift: float, period_s: float, phase: float
) -> None:
    swing = Swing(yaw=yaw, pitch=pitch, roll=roll, shift=shift, period_s=period_s, phase=phase)
    seen = movement(_seen(np.zeros(len(SPOTS)), swing), face_depth(SPOTS))
    assert seen.relief < RELIEF / 3


@pytest.mark.parametrize("degrees", [10, 15, 20, -18])
def test_a_turning_head_leaves_its_depth(degrees: float) -> None:
    swing = Swing(yaw=math.radians(degrees), pitch=math.radians(3), shift=0.03)
    seen = movement(_seen(face_depth(SPOTS), swing), face_depth(SPOTS))
    assert seen.relief > RELIEF
    assert seen.like_face > LIKE_FACE
    assert seen.tilt > TILT


def test_a_tilting_sheet_is_told_from_one_that_is_carried() -> None:
    tilting = movement(_seen(np.zeros(len(SPOTS)), Swing(yaw=0.4, pitch=0.2)), face_depth(SPOTS))
    carried = movement(_seen(np.zeros(len(SPOTS)), Swing(shift=0.3, roll=0.1)), face_depth(SPOTS))
    assert tilting.tilt > TILT
    assert carried.tilt < TILT / 2


@functools.cache
def _pictures(act: Act, portrait: Path, *, seed: int) -> list[tuple[float, Rgb]]:
    """Draw somebody who stands near and performs, ten pictures a second for two seconds."""
    perform = performer(act, portrait, face=None, seed=seed)
    empty = next(paint(Look(), Scene()))
    pictures = []
    for number in range(20):
        picture = empty.copy()
        perform(picture, Place(x=CENTRE[0], y=CENTRE[1], face_px=WIDTH, far=FAR), at_s=number / 10)
        pictures.append((number / 10, picture))
    return pictures


def _face(centre: tuple[float, float] = CENTRE, width: float = WIDTH) -> Face:
    left, top = round(centre[0] - width / 2), round(centre[1] - width / 2)
    box = (left, top, left + round(width) - 1, top + round(width) - 1)
    return Face(box=box, landmarks=np.zeros((5, 2), np.float32), score=1.0)


def _watched(act: Act, portrait: Path, *, seed: int) -> list[Reading]:
    watcher = Parallax()
    return [
        watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=at_s)
        for at_s, rgb in _pictures(act, portrait, seed=seed)
    ]


@pytest.mark.parametrize(("name", "seed"), [("obama2.jpg", 31), ("biden.jpg", 32)])
def test_a_head_that_turns_is_believed(photos: dict[str, Path], name: str, seed: int) -> None:
    readings = _watched("head", photos[name], seed=seed)
    assert "live" in {reading.verdict for reading in readings}
    assert "attack" not in {reading.verdict for reading in readings}
    assert readings[0].verdict == "undecided"
    assert all(0 <= reading.score <= 1 and reading.provider == "parallax" for reading in readings)


@pytest.mark.parametrize(("name", "act"), [("obama2.jpg", "print_moved"), ("biden.jpg", "print")])
def test_a_flat_print_is_never_believed(photos: dict[str, Path], name: str, act: Act) -> None:
    verdicts = {reading.verdict for reading in _watched(act, photos[name], seed=33)}
    assert "live" not in verdicts
    if act == "print_moved":
        assert "attack" in verdicts


def test_a_head_that_keeps_still_is_not_condemned(photos: dict[str, Path]) -> None:
    assert {reading.verdict for reading in _watched("head_still", photos["obama.jpg"], seed=34)} == {"undecided"}


def test_a_crop_scaled_down_says_the_same_as_its_frame(photos: dict[str, Path]) -> None:
    whole, crops = Parallax(), Parallax()
    for at_s, rgb in _pictures("head", photos["obama2.jpg"], seed=31)[:15]:
        first = whole.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=at_s)
        x, y = 120 + 7 * (round(at_s * 10) % 5), 10
        part = np.ascontiguousarray(rgb[y:340, x:560])
        moved = _face((CENTRE[0] - x, CENTRE[1] - y))
        second = crops.observe(part, origin=(float(x), float(y)), scale=1.0, face=moved, at_s=at_s)
        assert second.verdict == first.verdict


def test_what_comes_after_a_cut_has_to_show_life_anew(photos: dict[str, Path]) -> None:
    watcher = Parallax()
    for at_s, rgb in _pictures("head", photos["obama2.jpg"], seed=31):
        reading = watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=at_s)
    assert reading.verdict == "live"
    other = [rgb for _, rgb in _pictures("print", photos["biden.jpg"], seed=33)[:3]]
    for number, rgb in enumerate(other):
        reading = watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=2.0 + number / 10)
    assert reading.verdict == "undecided"


def test_whoever_takes_a_live_face_s_place_little_by_little_has_to_show_life_anew(photos: dict[str, Path]) -> None:
    """Points are lost few at a time, as a print is raised before the face: never half of them between two frames."""
    watcher, head = Parallax(), _pictures("head", photos["obama2.jpg"], seed=31)
    before = [watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=at_s).verdict for at_s, rgb in head]
    print_of_another = _pictures("print", photos["biden.jpg"], seed=33)[0][1]
    readings = []
    for number in range(14):
        rgb = head[-1][1].copy()
        edge = 190 - 6 * number
        rgb[edge:] = print_of_another[edge:]
        readings.append(watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=2.0 + number / 10))
    anew = next(number for number, reading in enumerate(readings) if reading.frames == 1)
    assert before[-1] == "live"
    assert {reading.verdict for reading in readings[:anew]} == {"live"}
    assert {reading.verdict for reading in readings[anew:]} == {"undecided"}, "the life of whoever stood there before"


def test_a_narrow_face_a_blank_one_and_a_frame_from_the_past_say_nothing(photos: dict[str, Path]) -> None:
    rgb = _pictures("head", photos["obama2.jpg"], seed=31)[0][1]
    narrow = Parallax().observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(width=60), at_s=0.0)
    assert (narrow.verdict, narrow.frames) == ("undecided", 0)
    blank, watcher = np.full((360, 640, 3), 90, np.uint8), Parallax()
    for number in range(6):
        reading = watcher.observe(blank, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=number / 10)
    assert reading.verdict == "undecided"
    assert watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=0.1) is reading


def test_of_pictures_only_two_seconds_are_kept(photos: dict[str, Path]) -> None:
    watcher = Parallax()
    pictures = _pictures("head_still", photos["obama.jpg"], seed=34)
    for again in range(3):
        for at_s, rgb in pictures:
            reading = watcher.observe(rgb, origin=(0.0, 0.0), scale=1.0, face=_face(), at_s=at_s + 2 * again)
    assert 5 < reading.frames <= round(WINDOW_S * 10) + 1


def test_the_script_of_the_tests_stands_where_a_visitor_does() -> None:
    spot = walk(Script(), 4.0)
    assert spot is not None
    assert abs(spot.face_px - WIDTH) < 3
