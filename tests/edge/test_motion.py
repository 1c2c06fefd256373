"""The motion gate: what moves is found, noise and lamps are not, and an area is kept as long as it is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.motion import Luma, MotionGate, coarse, in_pixels, overlaps, scale_up, union

WIDTH, HEIGHT = 640, 360
RNG = np.random.default_rng(3)


def _picture(box: tuple[int, int, int, int] | None = None, *, level: int = 120, noise: float = 2.0) -> Luma:
    picture = level + RNG.normal(0, noise, (HEIGHT, WIDTH))
    if box:
        x, y, w, h = box
        picture[y : y + h, x : x + w] += 60
    return np.clip(picture, 0, 255).astype(np.uint8)


def _settled(gate: MotionGate) -> None:
    assert [gate.observe(_picture(), n / 10) for n in range(20)] == [None] * 20


def test_noise_is_no_motion_and_somebody_is() -> None:
    gate = MotionGate()
    _settled(gate)
    area = gate.observe(_picture((300, 100, 60, 80)), 2.0)
    assert area is not None
    x, y, w, h = area
    assert x <= 300 - 8
    assert y <= 100 - 8
    assert x + w >= 360 + 8
    assert y + h >= 180 + 8
    assert w * h < WIDTH * HEIGHT / 3


def test_a_lamp_that_is_switched_on_is_no_motion() -> None:
    gate = MotionGate()
    _settled(gate)
    assert gate.observe(_picture(level=170), 2.0) is None


def test_a_small_speck_is_no_motion() -> None:
    gate = MotionGate()
    _settled(gate)
    assert gate.observe(_picture((320, 180, 8, 8)), 2.0) is None


def test_an_area_stays_two_seconds_after_the_last_motion() -> None:
    gate = MotionGate()
    _settled(gate)
    moved = gate.observe(_picture((300, 100, 60, 80)), 2.0)
    assert gate.observe(_picture(), 3.5) == moved
    assert gate.observe(_picture(), 4.1) is None


def test_somebody_who_stands_still_is_seen_for_a_while_and_then_part_of_the_picture() -> None:
    gate = MotionGate()
    _settled(gate)
    person = (300, 100, 60, 80)
    seen = [gate.observe(_picture(person), 2 + n / 10) is not None for n in range(150)]
    assert all(seen[:40])
    assert not any(seen[-20:])


def test_a_quiet_picture_is_looked_at_a_few_times_a_second_and_a_moving_one_always() -> None:
    gate = MotionGate()
    assert gate.due(0.0)
    _settled(gate)
    assert [gate.due(1.9 + n / 10) for n in (1, 2, 3)] == [False, False, True]
    gate.watch(2.05, None)
    assert gate.due(2.0)
    gate.observe(_picture((300, 100, 60, 80)), 2.2)
    assert gate.due(2.25)


def test_motion_outside_the_zone_is_not_looked_at() -> None:
    gate = MotionGate((0.6, 0.0, 1.0, 1.0))
    _settled(gate)
    assert gate.observe(_picture((20, 100, 60, 80)), 2.0) is None
    assert gate.observe(_picture((500, 100, 60, 80)), 2.1) is not None


def test_while_watched_an_area_is_reported_without_motion() -> None:
    gate = MotionGate()
    _settled(gate)
    gate.watch(5.0, None)
    assert gate.observe(_picture(), 2.0) == (0, 0, WIDTH, HEIGHT)
    assert gate.observe(_picture(), 5.1) is None
    gate.watch(9.0, (0.25, 0.0, 0.75, 1.0))
    assert gate.observe(_picture(), 6.0) == (160, 0, 320, 360)
    assert gate.observe(_picture((20, 100, 60, 80)), 6.1) is not None
    late = gate.observe(_picture(), 8.9)
    assert late is not None
    assert late[0] < 20
    assert late[0] + late[2] == 480


def test_a_camera_that_changes_its_size_starts_anew() -> None:
    gate = MotionGate()
    _settled(gate)
    assert gate.observe(np.zeros((720, 1280), np.uint8), 2.0) is None


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080), (4096, 2304), (352, 288), (64, 48), (5, 5)])
def test_the_grid_is_coarse_for_every_size(width: int, height: int) -> None:
    grid = coarse(np.full((height, width), 77, np.uint8))
    assert grid.shape[1] <= 101
    assert np.allclose(grid, 77)


@given(
    st.tuples(st.integers(0, 79), st.integers(0, 44)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(640, 360), (1920, 1080), (200, 120)]),
)
def test_an_area_lies_in_the_frame_and_holds_its_cells(
    first: tuple[int, int], extent: tuple[int, int], size: tuple[int, int]
) -> None:
    cells = (first[0], first[1], min(80, first[0] + extent[0]), min(45, first[1] + extent[1]))
    x, y, w, h = scale_up(cells, grid=(80, 45), size=size)
    assert 0 <= x <= x + w <= size[0]
    assert 0 <= y <= y + h <= size[1]
    assert x <= cells[0] * size[0] / 80
    assert x + w >= cells[2] * size[0] / 80
    assert w >= min(158, size[0] - 2)
    assert overlaps((x, y, w, h), (0.0, 0.0, 1.0, 1.0), size=size)


def test_boxes_unite_and_zones_have_at_least_a_pixel() -> None:
    assert union([(0, 0, 10, 10), (50, 5, 10, 30)]) == (0, 0, 60, 35)
    assert in_pixels((0.5, 0.5, 0.5, 0.5), (640, 360)) == (320, 180, 2, 2)
    assert not overlaps((0, 0, 10, 10), (0.5, 0.5, 1.0, 1.0), size=(640, 360))


@given(st.integers(8, 1500), st.integers(8, 400), st.integers(0, 3))
def test_the_grid_is_the_mean_of_sixteen_samples_whatever_the_width(width: int, height: int, padding: int) -> None:
    whole = np.random.default_rng(width * height).integers(0, 256, (height, width + padding)).astype(np.uint8)
    picture = whole[:, :width]
    step = max(1, width // 320)
    side = 4 * step
    rows, columns = height // side, width // side
    slow = [
        [picture[r * side : (r + 1) * side : step, c * side : (c + 1) * side : step].mean() for c in range(columns)]
        for r in range(rows)
    ]
    assert np.array_equal(coarse(picture), np.array(slow, dtype=np.float32).reshape(rows, columns))
