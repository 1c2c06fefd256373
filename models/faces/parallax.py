"""Tell a head from a flat picture of one by its parallax: what is near moves further when a head turns.

Points on the face are followed over a short movement (Lucas-Kanade, forwards and backwards). Whatever a flat sheet does
before a camera, two of its pictures differ by one homography (Hartley and Zisserman, Multiple View Geometry, 2nd ed.,
§13.1); what is left of a head grows with its depth, in one direction per picture (plane and parallax, §13.3), and looks
like the depth of a face. Nothing here names anybody.

It refuses flat prints held still or moved. It does not see what a screen plays: a replay of a turning head has that
head's parallax. A strongly bent print comes near to a head. So it covers no species of attack whole, and a person who
does not turn the head at all is told nothing about (`undecided`).
"""

from __future__ import annotations

from collections import deque
from typing import Final, cast

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.faces.pipeline import Face, Rgb
from models.liveness import Reading, Verdict

WINDOW_S: Final = 2.0
"""What is older is forgotten; of pixels only the newest patch is kept at all (R11)."""
PATCH_PX: Final = 160
PATCH_FACES: Final = 1.5
"""Side of the patch in widths of the face."""
LEAST_FACE_PX: Final = 70
"""A narrower face is not looked at: its points are not exact enough."""
MIN_POINTS: Final = 24
MAX_POINTS: Final = 90
MIN_FRAMES: Final = 5
RELIEF: Final = 0.025
"""Movement beyond any homography that shows a head, in widths of the face: 3 px of a face 120 px wide."""
LIKE_FACE: Final = 0.55
"""Least correlation of that movement with the depth of a face."""
ATTACK_FRAMES: Final = 10
TILT: Final = 0.010
"""Movement beyond a similarity that shows a sheet tilting, in widths of the face."""
FLAT: Final = 0.015
FLATTER: Final = 0.9
"""A sheet's movement is mostly explained by a homography: so much of it may be left over, what is not followed well."""
UNLIKE_FACE: Final = 0.3
_BACK_PX: Final = 0.6
_BREAK: Final = 0.5
_SAME: Final = 1e-9

Points = NDArray[np.float64]
"""(N, 2) float64: x, y."""
Grey = NDArray[np.uint8]


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """What a movement of points shows, lengths in widths of the face.

    Attributes:
        tilt: Greatest root mean square of what no similarity explains: a turn of any kind.
        relief: Extent of what no homography explains, along its main direction.
        like_face: Correlation of that with the depth of a face, 0 to 1.
    """

    tilt: float
    relief: float
    like_face: float


class Parallax:
    """Watch one track; see `models.faces.liveness.Watcher`."""

    def __init__(self) -> None:
        self._patch: Grey | None = None
        self._points: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        self._depths: Points = np.zeros(0)
        self._past: deque[tuple[float, Points]] = deque()
        self._live_at = -np.inf
        self._reading = Reading(provider="parallax", verdict="undecided")

    def observe(self, rgb: Rgb, *, origin: tuple[float, float], scale: float, face: Face, at_s: float) -> Reading:
        """Follow the face's points into the next crop and judge the last two seconds; see `Watcher.observe`."""
        if self._past and at_s <= self._past[-1][0]:
            return self._reading
        left, top, right, bottom = face.box
        centre, width = ((left + right) / 2, (top + bottom) / 2), float(right - left + 1)
        if width * scale < LEAST_FACE_PX:
            return self._reading
        zoom = PATCH_PX / (PATCH_FACES * width)
        patch = _patch(rgb, centre, zoom=zoom)
        self._follow(patch)
        self._patch = patch
        in_crop = (self._points.astype(np.float64) - PATCH_PX / 2) / zoom + np.array(centre)
        self._past.append((at_s, in_crop * scale + np.array(origin)))
        while self._past[0][0] < at_s - WINDOW_S:
            self._past.popleft()
        self._reading = self._judged(at_s, width * scale)
        return self._reading

    def _follow(self, patch: Grey) -> None:
        """Find the points again in the next patch; begin with new ones where too few are left."""
        before = len(self._points)
        if self._patch is not None and before:
            found, kept = _tracked(self._patch, patch, points=self._points)
            self._points, self._depths = found[kept], self._depths[kept]
            self._past = deque((at, points[kept]) for at, points in self._past)
            if len(self._points) < _BREAK * before:
                self._live_at = -np.inf  # torn off at once: whoever is there now may be another one
        if len(self._points) < MIN_POINTS:
            self._live_at = -np.inf  # lost one by one: the new points say nothing of those that were live
            self._points = _new_points(patch)
            self._depths = face_depth((self._points.astype(np.float64) - PATCH_PX / 2) * (PATCH_FACES / PATCH_PX))
            self._past.clear()

    def _judged(self, at_s: float, width: float) -> Reading:
        frames, count = len(self._past), len(self._points)
        if frames < MIN_FRAMES or count < MIN_POINTS:
            verdict: Verdict = "live" if at_s - self._live_at <= WINDOW_S else "undecided"
            return Reading(provider="parallax", verdict=verdict, frames=frames)
        seen = movement(np.array([points for _, points in self._past]) / width, self._depths)
        if seen.relief >= RELIEF and seen.like_face >= LIKE_FACE:
            self._live_at = at_s
        verdict = "live" if at_s - self._live_at <= WINDOW_S else "undecided"
        flat = seen.relief <= min(FLAT, FLATTER * seen.tilt) and seen.like_face <= UNLIKE_FACE
        if verdict != "live" and flat and seen.tilt >= TILT and frames >= ATTACK_FRAMES:
            verdict = "attack"
        score = min(1.0, seen.relief / RELIEF) * seen.like_face
        return Reading(provider="parallax", verdict=verdict, score=round(float(score), 3), frames=frames)


def movement(paths: NDArray[np.float64], depths: Points) -> Movement:
    """Say what a movement shows.

    Args:
        paths: (frames, N, 2), x and y of each point in each picture, in widths of the face.
        depths: (N,) the depth that a face has at each point.
    """
    paths = paths - paths.mean(axis=(0, 1))
    mean = paths[len(paths) // 2]
    for _ in range(2):  # the mean shape: every picture laid over one, then over their mean
        mean = _laid_over(paths, np.broadcast_to(mean, paths.shape), perspective=True).mean(axis=0)
    shapes = np.broadcast_to(mean, paths.shape)
    tilts = paths - _laid_over(shapes, paths, perspective=False)
    left_over = paths - _laid_over(shapes, paths, perspective=True)
    frames, count = left_over.shape[:2]
    directions, sizes, depth = np.linalg.svd(left_over.transpose(0, 2, 1).reshape(2 * frames, count), False)
    along = (directions[:, 0] * sizes[0]).reshape(frames, 2)
    main = np.linalg.svd(along, False)[2][0]
    return Movement(
        tilt=float(np.sqrt((tilts**2).sum(axis=2).mean(axis=1)).max()),
        relief=float(np.ptp(along @ main) / np.sqrt(count)),
        like_face=_alike(depth[0], depths, shape=mean),
    )


def face_depth(points: Points) -> Points:
    """Return the depth of a face, (N,) in its widths, at points x, y from its centre: an egg with a nose."""
    x, y = points[:, 0], points[:, 1]
    away = np.clip(np.hypot(x / 0.6, (y + 0.08) / 0.8), 0, 1)
    egg: Points = 0.55 * np.cos(away * np.pi / 2)
    return egg + 0.13 * np.exp(-((x / 0.1) ** 2) - ((y - 0.06) / 0.15) ** 2)


def _alike(found: Points, depths: Points, *, shape: Points) -> float:
    """Correlate two depths after taking from both what a plane explains, which parallax cannot tell."""
    plane = np.column_stack([np.ones(len(shape)), shape])
    pair = np.column_stack([found, depths])
    rest = pair - plane @ np.linalg.lstsq(plane, pair, rcond=None)[0]
    sizes = np.linalg.norm(rest, axis=0)
    return float(abs(rest[:, 0] @ rest[:, 1]) / max(sizes[0] * sizes[1], _SAME))


def _laid_over(sources: NDArray[np.float64], targets: NDArray[np.float64], *, perspective: bool) -> NDArray[np.float64]:
    """Move each picture's points (frames, N, 2) over its target's by the best homography, or the best similarity."""
    x, y = sources[..., 0], sources[..., 1]
    one, nil = np.ones_like(x), np.zeros_like(x)
    u, v = targets[..., 0], targets[..., 1]
    if perspective:
        across = np.stack([x, y, one, nil, nil, nil, -u * x, -u * y], axis=-1)
        down = np.stack([nil, nil, nil, x, y, one, -v * x, -v * y], axis=-1)
    else:
        across, down = np.stack([x, -y, one, nil], axis=-1), np.stack([y, x, nil, one], axis=-1)
    rows = np.concatenate([across, down], axis=1)
    turned = rows.transpose(0, 2, 1)
    square = turned @ rows + _SAME * np.eye(rows.shape[2])
    found = np.linalg.solve(square, turned @ np.concatenate([u, v], axis=1)[..., None])[..., 0]
    if not perspective:
        return np.stack([np.einsum("fnk,fk->fn", part, found) for part in (across, down)], axis=-1)
    h = found[:, :, None]
    under = h[:, 6] * x + h[:, 7] * y + 1
    return np.stack(
        [(h[:, 0] * x + h[:, 1] * y + h[:, 2]) / under, (h[:, 3] * x + h[:, 4] * y + h[:, 5]) / under], axis=-1
    )


def _patch(rgb: Rgb, centre: tuple[float, float], *, zoom: float) -> Grey:
    """Cut the face and what is around it, grey, always of one size."""
    shift = PATCH_PX / 2 - zoom * centre[0], PATCH_PX / 2 - zoom * centre[1]
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    cut = cv2.warpAffine(rgb, matrix, (PATCH_PX, PATCH_PX), borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _new_points(patch: Grey) -> NDArray[np.float32]:
    """Choose points to follow on the face, away from its outline, which slides over the head as it turns."""
    face_px = PATCH_PX / PATCH_FACES
    mask = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    axes = (int(0.42 * face_px), int(0.52 * face_px))
    cv2.ellipse(mask, (PATCH_PX // 2, PATCH_PX // 2), axes, 0, 0, 360, 255, -1)
    corners = cv2.goodFeaturesToTrack(patch, MAX_POINTS, 0.01, 4, mask=mask, blockSize=5)
    found = cast("NDArray[np.float32] | None", corners)  # OpenCV's stub leaves out that there may be none
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2).astype(np.float32)


def _tracked(old: Grey, new: Grey, *, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return where points are in the next patch, and which of them come back to where they were."""
    found, ahead, _ = cv2.calcOpticalFlowPyrLK(old, new, points, np.empty_like(points), winSize=(17, 17), maxLevel=3)
    back, behind, _ = cv2.calcOpticalFlowPyrLK(new, old, found, np.empty_like(points), winSize=(17, 17), maxLevel=3)
    kept = (ahead[:, 0] > 0) & (behind[:, 0] > 0) & (np.abs(back - points).max(axis=1) < _BACK_PX)
    return found.astype(np.float32, copy=False), kept
