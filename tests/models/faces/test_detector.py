"""The detector against dlib's own, box by box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import InvalidInput
from models.faces.detector import Detector, overlap, tiled
from models.faces.weights import DETECTOR_FILE, model_path

Rgb = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def detector(cache_dir: Path) -> Detector:
    return Detector(cache_dir=cache_dir)


@pytest.fixture(scope="module")
def dlibs() -> Any:
    return dlib.cnn_face_detection_model_v1(str(model_path(DETECTOR_FILE)))


def boxes(found: Any) -> list[Box]:
    return [(one.rect.left(), one.rect.top(), one.rect.right(), one.rect.bottom()) for one in found]


def test_the_boxes_are_dlibs(detector: Detector, dlibs: Any, mosaics: list[Rgb], astronaut: Rgb) -> None:
    counted = 0
    pictures = [*mosaics, astronaut, np.ascontiguousarray(astronaut[40:250, 100:330])]
    for rgb in pictures:
        theirs, ours = dlibs(rgb, 0), detector.detect(rgb)
        assert [one.box for one in ours] == boxes(theirs)
        assert [one.score for one in ours] == pytest.approx([one.confidence for one in theirs], abs=1e-3)
        counted += len(ours)
    assert counted >= 20


def test_small_faces_are_found_as_dlib_finds_them_enlarged(detector: Detector, dlibs: Any, astronaut: Rgb) -> None:
    small = np.asarray(Image.fromarray(astronaut).resize((256, 256)))
    theirs, ours = boxes(dlibs(small, 1)), detector.detect(small, min_face_px=40)

    assert len(theirs) == len(ours) == 1
    assert overlap(theirs[0], ours[0].box) >= 0.8
    assert detector.detect(small) == []


def test_a_crop_is_as_good_as_the_frame(detector: Detector, astronaut: Rgb) -> None:
    whole = detector.detect(astronaut)[0]
    crop = np.ascontiguousarray(astronaut[20:260, 110:330])
    part = detector.detect(crop)[0]

    assert overlap(whole.box, (part.box[0] + 110, part.box[1] + 20, part.box[2] + 110, part.box[3] + 20)) >= 0.8


def test_sizes_out_of_range_are_left_out(detector: Detector, astronaut: Rgb) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((1024, 1024)))

    assert len(detector.detect(large, min_face_px=150)) == 1
    assert len(detector.detect(large, min_face_px=150, max_face_px=220)) == 1
    assert detector.detect(large, min_face_px=300) == []
    assert detector.detect(large, min_face_px=40, max_face_px=80) == []


@pytest.mark.parametrize("side", [260, 300, 350, 400])
def test_every_other_scale_finds_the_same_face(detector: Detector, astronaut: Rgb, side: int) -> None:
    head = Image.fromarray(astronaut).crop((90, 0, 350, 260)).resize((side, side))
    fine, coarse = detector.detect(np.asarray(head)), detector.detect(np.asarray(head), stride=2)

    assert len(fine) == len(coarse) == 1
    assert overlap(fine[0].box, coarse[0].box) > 0.55


@pytest.mark.parametrize("side", [90, 130, 200])
def test_a_face_that_moves_and_grows_is_followed(detector: Detector, astronaut: Rgb, side: int) -> None:
    """The picture is taken from elsewhere, a tenth larger, so that the face moves by a third of itself."""
    scale = side / 100
    first = Image.fromarray(astronaut).resize((round(512 * scale), round(512 * scale)))
    then = first.resize((round(first.width * 1.1), round(first.height * 1.1)))
    (known,) = detector.detect(np.asarray(first), min_face_px=60)
    (whole,) = detector.detect(np.asarray(then), min_face_px=60)

    (again,) = detector.follow(np.asarray(then), near=[known.box])

    assert overlap(again.box, whole.box) > 0.5


def test_following_sees_nobody_where_nobody_is(detector: Detector, astronaut: Rgb) -> None:
    (face,) = detector.detect(astronaut)
    width = face.box[2] - face.box[0]
    elsewhere = (5, 400, 5 + width, 400 + width)

    assert detector.follow(astronaut, near=[elsewhere]) == []
    assert detector.follow(astronaut, near=[]) == []
    assert detector.follow(astronaut, near=[(5000, 5000, 5100, 5100), (-300, -300, -200, -200)]) == []
    with pytest.raises(InvalidInput, match="image"):
        detector.follow(np.zeros((8, 8), np.uint8), near=[elsewhere])


def test_two_windows_around_one_face_give_it_once(detector: Detector, astronaut: Rgb) -> None:
    (face,) = detector.detect(astronaut)
    left, top, right, bottom = face.box

    assert len(detector.follow(astronaut, near=[face.box, (left + 9, top + 9, right + 9, bottom + 9)])) == 1


def test_a_picture_without_a_face_has_none(detector: Detector) -> None:
    assert detector.detect(np.full((240, 320, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (20, 20)])
def test_the_smallest_pictures_are_looked_at_too(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8, 3))],
)
def test_what_is_no_picture_is_refused(detector: Detector, rgb: Any) -> None:
    with pytest.raises(InvalidInput, match="image"):
        detector.detect(rgb)


@pytest.mark.parametrize(("low", "high"), [(10, None), (100, 90)])
def test_sizes_that_make_no_sense_are_refused(detector: Detector, low: int, high: int | None) -> None:
    with pytest.raises(InvalidInput, match="min_face_px"):
        detector.detect(np.zeros((90, 90, 3), np.uint8), min_face_px=low, max_face_px=high)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (90, 700), (5, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_levels_of_the_pyramid_never_overlap(size: tuple[int, int], stride: int) -> None:
    levels, rows, cols = tiled(*size, stride=stride)
    taken = np.zeros((rows, cols), bool)
    for level in levels:
        place = (slice(level.top, level.top + level.rows), slice(level.left, level.left + level.cols))
        assert taken[place].shape == (level.rows, level.cols)
        assert not taken[place].any()
        taken[place] = True


def test_boxes_that_do_not_meet_do_not_overlap() -> None:
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0.0
    assert overlap((0, 0, 9, 9), (0, 0, 9, 9)) == 1.0
