"""The whole way from pixels to embeddings, as the face process uses it.

Put together here: detector, 5-point alignment, quality measurement, embedder and the decoding of enrolment photos.
It decides nothing about people (models.recognition), keeps no image and knows no camera.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.recognition import EmbedderContract, FaceQuality

Rgb = NDArray[np.uint8]
"""An image, (height, width, 3) uint8, RGB."""


class Face(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One face found in an image.

    Attributes:
        box: Left, top, right, bottom in pixels of the image it was found in (right and bottom inclusive, as dlib's); may reach over the border.
        landmarks: (5, 2) float32, x and y: outer and inner corner of one eye, outer and inner corner of the other, under the nose.
        score: The detector's confidence, ≥ 0 (dlib's scale).
    """

    box: tuple[int, int, int, int]
    landmarks: NDArray[np.float32]
    score: float


class PhotoFace(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What an enrolment photo gives: the embedding (128,) float32, its quality, and the contract it was made under."""

    embedding: NDArray[np.float32]
    quality: FaceQuality
    contract: EmbedderContract


class FacePipeline:
    """Detection, alignment, quality and embedding, on a fixed number of threads."""

    def __init__(self, *, cache_dir: Path, threads: int = 1) -> None:
        """Load the networks, converting them into `cache_dir` at first use.

        Raises:
            ModelFileError: A model file is missing, truncated or not what it claims to be.
        """
        raise NotImplementedError

    @property
    def contract(self) -> EmbedderContract:
        """What embeddings of this pipeline are comparable with."""
        raise NotImplementedError

    def detect(self, rgb: Rgb, *, min_face_px: int, max_face_px: int | None = None) -> list[Face]:
        """Find the faces at least `min_face_px` wide, best first; a crop is as good as a frame."""
        raise NotImplementedError

    def quality(self, rgb: Rgb, face: Face) -> FaceQuality:
        """Measure one face of `rgb`; `models.recognition.unusable(quality, gates)` judges it."""
        raise NotImplementedError

    def embed(self, rgb: Rgb, faces: list[Face]) -> NDArray[np.float32]:
        """Return (N, 128) float32 for the faces found in `rgb`, in their order."""
        raise NotImplementedError

    def photo(self, content: bytes) -> PhotoFace:
        """Take the one face of an enrolment photo (JPEG or PNG).

        Raises:
            ImageRejected: Not exactly one usable face; `reason` says why.
        """
        raise NotImplementedError
