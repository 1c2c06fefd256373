"""Find faces by a network of a site's own: YuNet, or any that gives boxes.

What it finds becomes a square of the same middle, as dlib's boxes are, so that dlib's five points are found in it. It
decides nothing about what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import InvalidInput
from models.faces.detector import Box, Detection, checked_picture, followed, suppressed
from models.faces.own_files import OwnNetwork
from models.faces.own_models import OwnModel

Rgb = NDArray[np.uint8]
Planes = NDArray[np.float32]

LEAST_SCORE: Final = 0.6
LEAST_PX: Final = 20
_NMS_IOU: Final = 0.3
_STRIDES: Final = (8, 16, 32)
_YUNET: Final = tuple(f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in _STRIDES)
_MULTIPLE: Final = 32
_MAX_SIDE: Final = 1280
_MAX_BOXES: Final = 100_000


class OwnDetector:
    """A network that finds faces: `yunet` by its own grid, `boxes` by rows of left, top, right, bottom, score in px."""

    window_px: Final = LEAST_PX
    face_to_eyes: Final = 2.0
    """How many eye distances a network's boxes may be wide: narrower ones it leaves out exactly."""

    def __init__(self, model: OwnModel, *, threads: int) -> None:
        """Open the file and try it.

        Raises:
            ModelFileError: The file cannot be used; it says why.
        """
        self._network = OwnNetwork(model, threads=threads)
        self._yunet = model.kind == "yunet"
        rows, cols = self._network.shape[2:]
        if (rows is None) != (cols is None) or not all(_MULTIPLE <= size <= _MAX_SIDE for size in (rows, cols) if size):
            raise self._network.unfit(
                f"takes pictures of {rows} x {cols} px; {_MULTIPLE} to {_MAX_SIDE} or any are taken"
            )
        self._size = None if rows is None or cols is None else (rows, cols)
        wanted = set(_YUNET) if self._yunet else set()
        if not wanted <= set(self._network.outputs) or (not self._yunet and len(self._network.outputs) != 1):
            names = ", ".join(_YUNET) if self._yunet else "one output of boxes"
            raise self._network.unfit(f"gives {', '.join(self._network.outputs)}; {names} are needed")
        self.detect(np.zeros((96, 128, 3), np.uint8))

    def detect(
        self, rgb: Rgb, *, min_face_px: int | None = None, max_face_px: int | None = None, stride: int = 1
    ) -> list[Detection]:
        """Find the faces in (height, width, 3) uint8, most certain first.

        Args:
            rgb: The image or any crop of one.
            min_face_px: Width of the smallest face wanted; None: 20.
            max_face_px: Width of the largest face wanted; None: any.
            stride: Without meaning here: there is no pyramid.

        Raises:
            InvalidInput: Not such an image.
            ModelFileError: The network gives something else than boxes.
        """
        del stride
        checked_picture(rgb)
        least = min_face_px or LEAST_PX
        if least < LEAST_PX or (max_face_px is not None and max_face_px < least):
            raise InvalidInput("min_face_px", f"{min_face_px} to {max_face_px} px; the smallest may be {LEAST_PX}")
        planes, scale = self._placed(rgb)
        outputs = dict(zip(self._network.outputs, self._network.run(planes), strict=True))
        boxes, scores = self._yunets(outputs, planes.shape[2:]) if self._yunet else self._rows(outputs)
        certain = scores >= LEAST_SCORE
        squares = _squares(boxes[certain] / scale)
        sizes = squares[:, 2] - squares[:, 0] + 1
        fitting = (sizes >= least) & (sizes <= (max_face_px or np.inf))
        return suppressed(squares[fitting], scores[certain][fitting], iou=_NMS_IOU)

    def follow(self, rgb: Rgb, *, near: Sequence[Box]) -> list[Detection]:
        """Find again the faces that were at `near`, most certain first.

        Raises:
            InvalidInput: Not such an image.
            ModelFileError: The network gives something else than boxes.
        """
        return followed(self.detect, rgb, near=near, least_px=LEAST_PX, iou=_NMS_IOU)

    def _placed(self, rgb: Rgb) -> tuple[Planes, float]:
        """Return (1, 3, rows, cols) as the network takes it, the picture in its left upper corner, and its scale there."""
        rows, cols = rgb.shape[:2]
        scale = min(1.0, _MAX_SIDE / max(rows, cols))
        if self._size is not None:
            scale = min(self._size[0] / rows, self._size[1] / cols)
        inner = (max(1, round(rows * scale)), max(1, round(cols * scale)))
        size = self._size or (inner[0] + -inner[0] % _MULTIPLE, inner[1] + -inner[1] % _MULTIPLE)
        with Image.fromarray(rgb) as image:
            small = np.asarray(image.resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
        planes = np.zeros((1, 3, *size), np.float32)
        ordered = small[:, :, ::-1] if self._yunet else small  # YuNet was trained on OpenCV's order of colours
        planes[0, :, : inner[0], : inner[1]] = ordered.transpose(2, 0, 1)
        return planes, scale

    def _rows(self, outputs: dict[str, Planes]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Read left, top, right, bottom and score from the one output."""
        (found,) = outputs.values()
        if found.shape[-1:] != (5,) or found.size > 5 * _MAX_BOXES or (found.ndim == 3 and found.shape[0] != 1):
            raise self._network.unfit(f"gives {found.shape}; rows of left, top, right, bottom and score are needed")
        rows = found.reshape(-1, 5).astype(np.float64)
        return rows[:, :4], rows[:, 4]

    def _yunets(
        self, outputs: dict[str, Planes], size: tuple[int, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Read YuNet's grids, as OpenCV's `FaceDetectorYN` does."""
        boxes, scores = [], []
        for stride in _STRIDES:
            rows, cols = size[0] // stride, size[1] // stride
            grids = [outputs[f"{name}_{stride}"] for name in ("cls", "obj", "bbox")]
            if [grid.size for grid in grids] != [rows * cols, rows * cols, 4 * rows * cols]:
                raise self._network.unfit(f"gives grids of {[grid.shape for grid in grids]} for {rows} x {cols} places")
            sure, there = (np.clip(grid.reshape(-1).astype(np.float64), 0, 1) for grid in grids[:2])
            offset = grids[2].reshape(-1, 4).astype(np.float64)
            y, x = np.divmod(np.arange(rows * cols), cols)
            middle = np.stack([x + offset[:, 0], y + offset[:, 1]], axis=1) * stride
            half = np.exp(np.clip(offset[:, 2:], -10, 10)) * stride / 2
            boxes.append(np.concatenate([middle - half, middle + half], axis=1))
            scores.append(np.sqrt(sure * there))
        return np.concatenate(boxes), np.concatenate(scores)


def _squares(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes as squares with the same middle, as wide as they are wide and high on average."""
    boxes = np.clip(boxes, -1e5, 1e5)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True) / 2
    return np.concatenate([middle - half, middle + half - 1], axis=1)
