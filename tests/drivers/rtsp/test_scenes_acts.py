"""Acts before the simulated camera: heads have depth, sheets have none, hands hold them, and every take differs."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.rtsp.scenes import SCENES, Look, Scene, Script, encode, paint
from drivers.rtsp.scenes_acts import ACTS, LIVE, Act, Swing, performer
from drivers.rtsp.scenes_figures import SIZE, cut, head, relief
from drivers.rtsp.scenes_relief import FACE_AT, FACE_PX, Pixels, Place, Pose, draw, figure_of
from models.errors import InvalidInput

NEAR = Place(x=320.0, y=150.0, face_px=120.0, far=4.6)
FLAT = np.zeros((SIZE[1], SIZE[0]), np.float32)
SHORT = Script(approach_s=0.3, stay_s=0.4, leave_s=0.1)


def _chessboard() -> Pixels:
    rows, columns = np.indices((SIZE[1], SIZE[0]))
    light = ((rows // 40 + columns // 40) % 2 * 180 + 40).astype(np.uint8)
    alpha = np.zeros_like(light)
    alpha[40:400, 80:400] = 255
    return np.dstack([light, light, light, alpha])


def _where_corners_should_be(
    pose: Pose, corners: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> list[list[float]]:
    """Project corners of a flat sheet by the camera's own formula."""
    seen = []
    for u, v in corners:
        p, q = (u - FACE_AT[0]) / FACE_PX, (v - FACE_AT[1]) / FACE_PX
        x, near = p * math.cos(pose.yaw), -p * math.sin(pose.yaw)
        y, near = (
            q * math.cos(pose.pitch) + near * math.sin(pose.pitch),
            near * math.cos(pose.pitch) - q * math.sin(pose.pitch),
        )
        grown = NEAR.far / (NEAR.far - near) * NEAR.face_px
        seen.append(
            [
                NEAR.x + (x * math.cos(pose.roll) - y * math.sin(pose.roll)) * grown,
                NEAR.y + (y * math.cos(pose.roll) + x * math.sin(pose.roll)) * grown,
            ]
        )
    return seen


@pytest.mark.parametrize(
    "pose", [Pose(), Pose(yaw=0.35), Pose(pitch=-0.25, roll=0.1), Pose(yaw=-0.3, pitch=0.2, roll=-0.15)]
)
def test_a_flat_sheet_is_seen_through_one_homography(pose: Pose) -> None:
    sheet = figure_of(_chessboard(), depth=FLAT, turns=FLAT + 1)
    frame = np.full((360, 640, 3), 128, np.uint8)
    draw(frame, sheet, pose=pose, place=NEAR)
    corners = np.array([(80, 40), (399, 40), (399, 399), (80, 399)], float)
    matrix = cv2.getPerspectiveTransform(
        corners.astype(np.float32), np.array(_where_corners_should_be(pose, corners), np.float32)
    )
    wanted = cv2.warpPerspective(_chessboard()[..., 0], matrix, (640, 360), flags=cv2.INTER_LINEAR)
    inside = cv2.erode(cv2.warpPerspective(_chessboard()[..., 3], matrix, (640, 360)), np.ones((9, 9), np.uint8)) > 250
    assert inside.sum() > 30_000
    shade = frame[..., 0][inside].mean() / wanted[inside].mean()
    assert np.abs(frame[..., 0][inside] / shade - wanted[inside]).mean() < 9


def test_the_nose_of_a_turned_head_moves_further_than_its_temples() -> None:
    depth = relief()
    nose, temple = depth[210, 240], depth[200, 150]
    assert nose - temple > 0.3
    assert depth[0, 0] == pytest.approx(0, abs=1e-3)
    steepest = max(
        np.abs(np.gradient(depth * FACE_PX, axis=1)).max(), np.abs(np.gradient(depth * FACE_PX, axis=0)).max()
    )
    assert steepest * math.tan(math.radians(20)) < 1, "a part of the head would hide another"


def test_only_the_head_of_a_figure_turns(astronaut: Path) -> None:
    figure = head(astronaut, None)
    still, turned = (np.full((360, 640, 3), 200, np.uint8) for _ in range(2))
    draw(still, figure, pose=Pose(), place=NEAR)
    draw(turned, figure, pose=Pose(yaw=0.3), place=NEAR)
    apart = np.abs(still.astype(int) - turned).mean(axis=2)
    assert apart[100:190, 270:370].mean() > 5
    assert apart[300:360, 200:440].mean() < 0.5


@pytest.mark.parametrize("act", ACTS)
def test_every_act_is_drawn_differs_by_its_seed_and_can_be_repeated(astronaut: Path, act: Act) -> None:
    empty = next(paint(Look(noise=0), Scene()))

    def taken(seed: int) -> Pixels:
        frame = empty.copy()
        performer(act, astronaut, face=None, seed=seed)(frame, NEAR, at_s=0.7)
        return frame

    first = taken(1)
    assert np.abs(first.astype(int) - empty).max(axis=2)[60:230, 260:380].mean() > 20
    assert np.array_equal(first, taken(1))
    assert not np.array_equal(first, taken(2))


def test_a_print_has_hands_and_a_white_edge_that_a_head_has_not(astronaut: Path) -> None:
    def white(act: Act) -> int:
        frame = np.full((360, 640, 3), 120, np.uint8)
        performer(act, astronaut, face=None, seed=1)(frame, NEAR, at_s=0.0)
        return int((frame.min(axis=2) > 195).sum())

    assert white("print") > white("head") + 2000


@pytest.mark.parametrize("act", ["head", "print_bent"])
def test_an_act_is_a_scene_with_its_near_time(astronaut: Path, act: Act) -> None:
    clip = encode(Look(), Scene(name=act, portrait=str(astronaut), script=SHORT, seed=4))
    assert clip.near_s == pytest.approx(0.3)
    assert not clip.loops
    assert act in SCENES


def test_a_swing_stays_within_its_angles_and_trembles() -> None:
    swing = Swing(yaw=0.3, pitch=0.1, roll=0.05, shift=0.1, tremor=0.004)
    poses = [swing.pose(tenth / 10) for tenth in range(60)]
    assert 0.28 < max(pose.yaw for pose in poses) <= 0.3
    assert max(abs(pose.pitch) for pose in poses) <= 0.1
    places = [swing.moved(NEAR, tenth / 10).x for tenth in range(60)]
    assert 0.05 * NEAR.face_px < max(places) - NEAR.x <= (0.1 + 2 * 0.004) * NEAR.face_px


def test_a_photograph_is_drawn_out_where_it_ends_and_no_face_may_lie_elsewhere(astronaut: Path) -> None:
    photo = cut(astronaut, None)
    assert photo.shape == (SIZE[1], SIZE[0], 3)
    assert (photo[:5] > 0).any()
    with pytest.raises(InvalidInput, match="is not in a photograph"):
        cut(astronaut, (100_000, 0, 90, 90))
    with pytest.raises(InvalidInput, match="above zero"):
        performer("print", astronaut, face=(0, 0, 0, 0), seed=1)


def test_the_far_is_small_and_whoever_is_outside_the_frame_is_not_drawn(astronaut: Path) -> None:
    frame = np.full((360, 640, 3), 120, np.uint8)
    for act in LIVE:
        performer(act, astronaut, face=None, seed=1)(frame, Place(x=-900.0, y=150.0, face_px=30.0, far=18.0), at_s=0.0)
    assert (frame == 120).all()
    performer("head", astronaut, face=None, seed=1)(frame, Place(x=320.0, y=100.0, face_px=25.0, far=22.0), at_s=0.0)
    changed = np.flatnonzero((frame != 120).any(axis=(0, 2)))
    assert 20 < np.ptp(changed) < 90
