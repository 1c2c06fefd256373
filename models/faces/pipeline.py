"""The whole way from pixels to embeddings, as the face process uses it.

Put together here: detector, 5-point alignment, quality measurement, embedder and the decoding of enrolment photos.
It decides nothing about people (models.recognition), keeps no image and knows no camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ImageRejected
from models.faces.align import Aligner
from models.faces.detector import Detector
from models.faces.embedder import Embedder
from models.faces.images import decode_photo
from models.faces.liveness_model import LivenessModel
from models.faces.own_detector import OwnDetector
from models.faces.own_embedder import OwnEmbedder, upright
from models.faces.own_models import DLIB, OwnModels, checked
from models.faces.quality import measure
from models.faces.runtime import give_back_memory
from models.recognition import ADVICE, EmbedderContract, FaceQuality, QualityGates, unusable

Rgb = NDArray[np.uint8]
"""An image, (height, width, 3) uint8, RGB."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in px, inclusive."""

PHOTO_GATES: Final = QualityGates(min_eye_px=30.0, min_blur=20.0, max_yaw=0.5, max_roll_deg=30.0)
"""Enrolment is stricter than a door: a template is used for years."""
_PHOTO_SIDE_PX: Final = 800
_SMALL_SIDE_PX: Final = 400
_SMALLEST_PX: Final = 80
_SMALLEST_IN_SMALL_PX: Final = 40
_LARGEST_SHARE: Final = 0.95


class Face(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One face found in an image.

    Attributes:
        box: Left, top, right, bottom in pixels of the image it was found in (right and bottom inclusive, as dlib's);
            may reach over the border.
        landmarks: (5, 2) float32, x and y: outer and inner corner of one eye, outer and inner corner of the other,
            under the nose.
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

    def __init__(self, *, cache_dir: Path, threads: int = 1, own: OwnModels = DLIB) -> None:
        """Load the networks, converting them into `cache_dir` at first use; `own` names those that replace dlib's.

        Raises:
            ModelFileError: A model file is missing, truncated or not what it claims to be.
        """
        checked(own)
        self._detector: Detector | OwnDetector = (
            Detector(cache_dir=cache_dir, threads=threads)
            if own.detector is None
            else OwnDetector(own.detector, threads=threads)
        )
        self._embedder: Embedder | OwnEmbedder = (
            Embedder(cache_dir=cache_dir, threads=threads)
            if own.embedder is None
            else OwnEmbedder(own.embedder, threads=threads)
        )
        self._aligner = Aligner()
        self.liveness = None if own.liveness is None else LivenessModel(own.liveness, threads=threads)
        """The network that tells live faces, where the site brings one; each track has its `watcher()`."""

    @property
    def contract(self) -> EmbedderContract:
        """What embeddings of this pipeline are comparable with."""
        return self._embedder.contract

    @property
    def face_to_eyes(self) -> float:
        """How many times wider than its eyes are apart a face must be for `detect` to be sure to find it."""
        return self._detector.face_to_eyes

    def detect(
        self, rgb: Rgb, *, min_face_px: int, max_face_px: int | None = None, thorough: bool = False
    ) -> list[Face]:
        """Find the faces at least `min_face_px` wide (20 or more), best first; a crop is as good as a frame.

        Every other scale is looked at, in two thirds of the time; the same faces were found at 84 of 84 sizes, with
        embeddings as near to each other. `thorough` looks at every scale, as dlib does.

        Raises:
            InvalidInput: Not an image, or sizes that make no sense.
        """
        rgb = np.ascontiguousarray(rgb)
        found = self._detector.detect(
            rgb, min_face_px=min_face_px, max_face_px=max_face_px, stride=1 if thorough else 2
        )
        return [Face(box=one.box, landmarks=self._aligner.landmarks(rgb, one.box), score=one.score) for one in found]

    def follow(self, rgb: Rgb, *, near: Sequence[Box]) -> list[Face]:
        """Find again the faces that were at `near` (boxes in px of `rgb`, as `Face.box`), best first.

        Only a window around each box is looked at, at scales near its size: a fraction of `detect`'s time. Somebody who
        comes newly into the picture is not seen; look with `detect` every few frames.

        Raises:
            InvalidInput: Not an image.
        """
        rgb = np.ascontiguousarray(rgb)
        found = self._detector.follow(rgb, near=near)
        return [Face(box=one.box, landmarks=self._aligner.landmarks(rgb, one.box), score=one.score) for one in found]

    def quality(self, rgb: Rgb, face: Face) -> FaceQuality:
        """Measure one face of `rgb`; `models.recognition.unusable(quality, gates)` judges it."""
        chip = self._aligner.chip(np.ascontiguousarray(rgb), face.box, face.landmarks)
        return measure(chip, face.landmarks, box=face.box, size=(rgb.shape[0], rgb.shape[1]))

    def embed(self, rgb: Rgb, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Return (N, dimensions) float32 for the faces found in `rgb`, in their order."""
        return self.embed_all([(rgb, faces)])

    def embed_all(self, pictures: Sequence[tuple[Rgb, Sequence[Face]]]) -> NDArray[np.float32]:
        """Return (N, dimensions) float32 for the faces found in several pictures, in their order, by one call.

        Raises:
            ModelFileError: A network of one's own gives something else than embeddings.
        """
        chips = [self._chip(np.ascontiguousarray(rgb), face) for rgb, faces in pictures for face in faces]
        side = self._embedder.side_px
        return self._embedder.embed(np.array(chips, np.uint8).reshape(-1, side, side, 3))

    def _chip(self, rgb: Rgb, face: Face) -> Rgb:
        """Cut a face as the embedder was trained to see it."""
        if isinstance(self._embedder, OwnEmbedder):
            return upright(rgb, face.landmarks)
        return self._aligner.chip(rgb, face.box, face.landmarks)

    def photo(self, content: bytes, *, gates: QualityGates = PHOTO_GATES) -> PhotoFace:
        """Take the one face of an enrolment photo (JPEG or PNG, at most 4 MiB).

        Raises:
            ImageRejected: Not exactly one usable face; `reason` says why: those of `decode_photo`, no_face,
                two_faces, too_large, and those of `models.recognition.unusable`.
        """
        try:
            return self._photo_face(decode_photo(content, side_px=_PHOTO_SIDE_PX), gates)
        finally:
            give_back_memory()

    def _photo_face(self, rgb: Rgb, gates: QualityGates) -> PhotoFace:
        """Take the one face of a decoded photo."""
        smallest = _SMALLEST_IN_SMALL_PX if max(rgb.shape) <= _SMALL_SIDE_PX else _SMALLEST_PX
        faces = self.detect(rgb, min_face_px=smallest, thorough=True)
        if not faces:
            raise ImageRejected("no_face", ADVICE["no_face"])
        if len(faces) > 1:
            raise ImageRejected("two_faces", ADVICE["two_faces"])
        quality = self.quality(rgb, faces[0])
        if quality.face_px > _LARGEST_SHARE * min(rgb.shape[:2]):
            raise ImageRejected("too_large", ADVICE["too_large"])
        reason = unusable(quality, gates)
        if reason is not None:
            raise ImageRejected(reason, ADVICE[reason])
        return PhotoFace(embedding=self.embed(rgb, faces)[0], quality=quality, contract=self.contract)
