"""Find faces with dlib's CNN detector (max-margin object detection) in ONNX Runtime.

The same image pyramid (6 to 5), tiling, box mapping and non-max suppression as dlib's `input_image_pyramid` and
`loss_mmod_`, so that the boxes are dlib's; but only the scales between the smallest and the largest face asked for
are computed. It decides nothing about what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.faces.runtime import open_session
from models.faces.weights import DETECTOR_FILE, load_weights

Rgb = NDArray[np.uint8]
Planes = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in px, inclusive."""

_MEAN: Final = np.array([122.782, 117.001, 104.298], np.float32)
_PADDING: Final = 10
_OUTER_PADDING: Final = 11
_MIN_ROWS: Final = 5
_STRIDE: Final = 8
"""Pixels of the tile between two neighbouring scores: three convolutions of stride 2."""
_OFFSET: Final = 14
"""Tile position of the first score: each unpadded 5x5 convolution adds 2 px of its own input, 2 + 4 + 8."""
_MAX_ENLARGEMENT: Final = 4.0
_MAX_PIXELS: Final = 25_000_000
_ROOM: Final = 0.5
"""Of a face's side, how much is looked at around where it was."""
_RESIZE: Final = 1.25
"""How much a face may have grown or shrunk since it was last seen."""


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """One face: left, top, right, bottom in px (inclusive, as dlib's rectangles), and the detector's confidence."""

    box: tuple[int, int, int, int]
    score: float


class _Level(msgspec.Struct, frozen=True, kw_only=True):
    """One scale of the pyramid: its size, its place in the tile, and how often 6 became 5."""

    rows: int
    cols: int
    left: int
    top: int
    depth: int


class Detector:
    """dlib's `mmod_human_face_detector`, on a fixed number of threads."""

    face_to_eyes: Final = 2.3
    """So many eye distances wide are faces at least, as it sees them; those a little narrower it finds all the same."""

    def __init__(self, *, cache_dir: Path, threads: int = 1) -> None:
        """Load the network, converting it at first use.

        Raises:
            ModelFileError: The network file is missing or broken.
        """
        weights = load_weights(DETECTOR_FILE, cache_dir=cache_dir)
        self._session = open_session(weights.onnx, threads=threads)
        self._window = weights.window
        self._nms_iou = weights.nms_iou

    @property
    def window_px(self) -> int:
        """Width of the smallest face found without enlarging the image."""
        return self._window[0]

    def detect(
        self, rgb: Rgb, *, min_face_px: int | None = None, max_face_px: int | None = None, stride: int = 1
    ) -> list[Detection]:
        """Find the faces in (height, width, 3) uint8, most certain first.

        Args:
            rgb: The image or any crop of one.
            min_face_px: Width of the smallest face wanted; under 80 the image is enlarged, above it scales are left
                out. None: 80, as dlib.
            max_face_px: Width of the largest face wanted; None: as large as the image allows, as dlib.
            stride: 1: every scale, as dlib; 2: every other one, in little more than half the time, with boxes up to a
                fifth off in size.

        Raises:
            InvalidInput: Not such an image, or sizes that make no sense.
        """
        smallest = min_face_px or self.window_px
        _check(rgb, smallest, max_face_px, self.window_px)
        planes = _normalised(rgb)
        if smallest < self.window_px:
            scale = self.window_px / smallest
            planes = resized(planes, rows=round(planes.shape[1] * scale), cols=round(planes.shape[2] * scale))
        skipped = _steps(smallest / self.window_px)
        last = None if max_face_px is None else _steps(max_face_px / min(smallest, self.window_px)) + 1
        boxes, scores = self._candidates(planes, skipped=skipped, last=last, stride=stride)
        boxes[:, 0::2] *= (rgb.shape[1] - 1) / max(planes.shape[2] - 1, 1)
        boxes[:, 1::2] *= (rgb.shape[0] - 1) / max(planes.shape[1] - 1, 1)
        return suppressed(boxes, scores, iou=self._nms_iou)

    def follow(self, rgb: Rgb, *, near: Sequence[Box]) -> list[Detection]:
        """Find again the faces that were at `near`, most certain first: in a window around each, at scales near its size.

        Raises:
            InvalidInput: Not such an image.
        """
        least = math.ceil(self.window_px / _MAX_ENLARGEMENT)
        return followed(self.detect, rgb, near=near, least_px=least, iou=self._nms_iou)

    def _candidates(
        self, planes: Planes, *, skipped: int, last: int | None, stride: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (N, 4) boxes in px of `planes` and (N,) scores above 0, before suppression."""
        for _ in range(skipped):
            planes = resized(planes, rows=planes.shape[1] * 5 // 6, cols=planes.shape[2] * 5 // 6)
        count = None if last is None else max(last - skipped, 1)
        levels, rows, cols = tiled(planes.shape[1], planes.shape[2], count=count, stride=stride)
        tile = _painted(planes, levels, rows, cols)
        smallest_input = self._window[0] // 2
        if min(tile.shape[2:]) < smallest_input:
            tile = np.pad(
                tile, ((0, 0), (0, 0), (0, max(0, smallest_input - rows)), (0, max(0, smallest_input - cols)))
            )
        scores = self._session.run(["scores"], {"tile": tile})[0][0, 0]
        r, c = np.nonzero(scores > 0)
        if not len(r):
            return np.empty((0, 4)), np.empty(0)
        boxes = np.array([self._mapped(int(x), int(y), levels, skipped) for x, y in zip(c, r, strict=True)])
        return boxes, scores[r, c].astype(np.float64)

    def _mapped(self, x: int, y: int, levels: Sequence[_Level], skipped: int) -> tuple[float, float, float, float]:
        """Return the window at one score, mapped from the tile to the image (dlib's `tensor_space_to_image_space`)."""
        across, down = x * _STRIDE + _OFFSET, y * _STRIDE + _OFFSET
        level = min(levels, key=lambda level: _distance(level, across, down))
        width, height = self._window
        left, top = across - (width - 1) / 2 - level.left, down - (height - 1) / 2 - level.top
        corners = (left, top, left + width - 1, top + height - 1)
        for _ in range(level.depth + skipped):
            corners = tuple(at * 1.2 + 0.3 for at in corners)  # type: ignore[assignment]
        return corners


def suppressed(boxes: NDArray[np.float64], scores: NDArray[np.float64], *, iou: float) -> list[Detection]:
    """Keep the most certain of (N, 4) boxes that overlap more than `iou`, as dlib's `to_label`."""
    whole = np.floor(boxes + 0.5).astype(np.int64)
    found = [
        Detection(box=(int(left), int(top), int(right), int(bottom)), score=float(score))
        for (left, top, right, bottom), score in zip(whole, scores, strict=True)
    ]
    return _distinct(found, iou)


def _distinct(found: Sequence[Detection], iou: float) -> list[Detection]:
    """Keep the most certain of detections that overlap."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -one.score):
        if all(overlap(one.box, other.box) <= iou for other in kept):
            kept.append(one)
    return kept


def followed(
    detect: Callable[..., list[Detection]], rgb: Rgb, *, near: Sequence[Box], least_px: int, iou: float
) -> list[Detection]:
    """Find again by `detect` the faces that were at `near`: in a window around each, at scales near its size.

    Raises:
        InvalidInput: Not an image.
    """
    checked_picture(rgb)
    found: list[Detection] = []
    for box in near:
        left, top, right, bottom = _window_around(box, rgb.shape)
        if right - left < _MIN_ROWS or bottom - top < _MIN_ROWS:
            continue  # it left the picture
        side = box[2] - box[0] + 1
        least = max(least_px, round(side / _RESIZE))
        part = np.ascontiguousarray(rgb[top:bottom, left:right])
        for one in detect(part, min_face_px=least, max_face_px=max(least, round(side * _RESIZE))):
            moved = (one.box[0] + left, one.box[1] + top, one.box[2] + left, one.box[3] + top)
            found.append(Detection(box=moved, score=one.score))
    return _distinct(found, iou)


def _window_around(box: Box, shape: tuple[int, ...]) -> Box:
    """Return left, top, right, bottom (exclusive) of what is looked at around a box, within an image of that shape."""
    more = round((box[2] - box[0] + 1) * _ROOM)
    return (
        max(box[0] - more, 0),
        max(box[1] - more, 0),
        min(box[2] + more + 1, shape[1]),
        min(box[3] + more + 1, shape[0]),
    )


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return intersection over union of two boxes with inclusive corners."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return both / (areas - both)


def tiled(rows: int, cols: int, *, count: int | None = None, stride: int = 1) -> tuple[list[_Level], int, int]:
    """Lay out the pyramid as dlib's `compute_tiled_image_pyramid_details`: levels, rows and cols of the tile.

    With `count`, only the first so many levels; with `stride`, only every so many.
    """
    sizes = [(rows, cols)]
    while count is None or len(sizes) < count:
        rows, cols = rows * 5 // 6, cols * 5 // 6
        if cols == 0 or rows < _MIN_ROWS:
            break
        sizes.append((rows, cols))
    sizes = sizes[::stride]
    column = _first_column_rows(sizes)
    levels: list[_Level] = []
    y = _OUTER_PADDING
    for height, width in sizes:
        if y >= column + _OUTER_PADDING:
            break
        levels.append(_Level(rows=height, cols=width, left=_OUTER_PADDING, top=y, depth=len(levels) * stride))
        y += height + _PADDING
    y -= _PADDING
    for height, width in sizes[len(levels) :]:
        left, top = _OUTER_PADDING + sizes[0][1] - width, y - height
        if top < _OUTER_PADDING + sizes[0][0]:
            break
        levels.append(_Level(rows=height, cols=width, left=left, top=top, depth=len(levels) * stride))
        y -= height + _PADDING
    return levels, column + 2 * _OUTER_PADDING, sizes[0][1] + 2 * _OUTER_PADDING


def _first_column_rows(sizes: Sequence[tuple[int, int]]) -> int:
    """Return how far the first column of levels goes before they double back beside it."""
    total = sum(rows + _PADDING for rows, _ in sizes) - 2 * _PADDING
    height, before = 0, 0
    first_rows, first_cols = sizes[0]
    for rows, cols in sizes:
        if cols <= first_cols - before - _PADDING and (height - first_rows) * 2 >= total - first_rows:
            break
        height += rows + _PADDING
        before = cols
    return height - _PADDING


def _painted(planes: Planes, levels: Sequence[_Level], rows: int, cols: int) -> NDArray[np.float32]:
    """Return the tile (1, 3, rows, cols): every level made from the one before it, on the mean colour."""
    tile = np.zeros((1, 3, rows, cols), np.float32)
    for level in levels:
        if planes.shape[1:] != (level.rows, level.cols):
            planes = resized(planes, rows=level.rows, cols=level.cols)
        tile[0, :, level.top : level.top + level.rows, level.left : level.left + level.cols] = planes
    return tile


def _normalised(rgb: Rgb) -> Planes:
    """Return (3, height, width) float32, reduced by the mean colour, divided by 256."""
    return np.ascontiguousarray(((rgb - _MEAN) * np.float32(1 / 256)).transpose(2, 0, 1))


def resized(planes: Planes, *, rows: int, cols: int) -> Planes:
    """Scale (3, height, width) float32 bilinearly, corner to corner, as dlib's `tt::resize_bilinear`."""
    above, weight = _taps(planes.shape[1], rows)
    lines = planes[:, above]
    lines += (planes[:, np.minimum(above + 1, planes.shape[1] - 1)] - lines) * weight[:, None]
    before, weight = _taps(planes.shape[2], cols)
    result = lines.take(before, axis=2)
    result += (lines.take(np.minimum(before + 1, planes.shape[2] - 1), axis=2) - result) * weight
    return result


def _taps(have: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return for each of `wanted` places the index before it among `have`, and the weight of the next one."""
    at = np.arange(wanted, dtype=np.float64) * ((have - 1) / max(wanted - 1, 1))
    before = np.floor(at).astype(np.int64)
    return before, (at - before).astype(np.float32)


def _steps(ratio: float) -> int:
    """Return how many times 6 becomes 5 before `ratio` is used up."""
    return max(0, int(np.floor(np.log(ratio) / np.log(1.2) + 1e-9)))


def _distance(level: _Level, x: int, y: int) -> int:
    """Return the squared distance from a point of the tile to a level; 0 inside."""
    dx = max(level.left - x, 0, x - (level.left + level.cols - 1))
    dy = max(level.top - y, 0, y - (level.top + level.rows - 1))
    return dx * dx + dy * dy


def checked_picture(rgb: Rgb) -> Rgb:
    """Return what is a picture.

    Raises:
        InvalidInput: It is none, or too large.
    """
    if (
        rgb.dtype != np.uint8
        or rgb.ndim != 3
        or rgb.shape[2] != 3
        or not 0 < rgb.shape[0] * rgb.shape[1] <= _MAX_PIXELS
    ):
        raise InvalidInput(
            "image", f"expected (height, width, 3) uint8 of at most {_MAX_PIXELS} px, got {rgb.shape} {rgb.dtype}"
        )
    return rgb


def _check(rgb: Rgb, min_face_px: int, max_face_px: int | None, window_px: int) -> None:
    checked_picture(rgb)
    if min_face_px * _MAX_ENLARGEMENT < window_px or (max_face_px is not None and max_face_px < min_face_px):
        raise InvalidInput(
            "min_face_px", f"{min_face_px} to {max_face_px} px; the smallest may be {window_px / _MAX_ENLARGEMENT:.0f}"
        )
