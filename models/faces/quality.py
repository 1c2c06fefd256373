"""Measure whether a face can be used: size, sharpness, light, pose, and whether all of it is in the picture.

Measurements only; `models.recognition.unusable` judges them by the gates of a door or of enrolment.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.recognition import FaceQuality

_CENTRE = slice(30, 120)
"""Rows and columns of the chip that hold eyes, nose and mouth, without hair and background."""


def measure(
    chip: NDArray[np.uint8], landmarks: NDArray[np.float32], *, box: tuple[int, int, int, int], size: tuple[int, int]
) -> FaceQuality:
    """Measure one face by its chip (150, 150, 3), its five points and its box in an image of (height, width)."""
    luma = (chip[_CENTRE, _CENTRE] @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.float32)
    right, left, nose = landmarks[:2].mean(axis=0), landmarks[2:4].mean(axis=0), landmarks[4]
    across = right - left
    eye_px = float(math.hypot(*across))
    turn = float((nose - (right + left) / 2) @ across) / max(eye_px * eye_px / 2, 1e-6)
    return FaceQuality(
        face_px=box[2] - box[0] + 1,
        eye_px=eye_px,
        blur=sharpness(luma),
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
        yaw=turn,
        roll_deg=math.degrees(math.atan2(float(across[1]), float(across[0]))),
        inside=_inside(box, size),
    )


def sharpness(luma: NDArray[np.float32]) -> float:
    """Return the variance of the four-neighbour Laplacian."""
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    return float(laplacian.var())


def _inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> float:
    """Return the share of a box that lies in the image."""
    left, top, right, bottom = box
    width = min(right, size[1] - 1) - max(left, 0) + 1
    height = min(bottom, size[0] - 1) - max(top, 0) + 1
    return max(width, 0) * max(height, 0) / ((right - left + 1) * (bottom - top + 1))
