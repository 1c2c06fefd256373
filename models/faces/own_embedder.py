"""Embed faces by a network of a site's own: ArcFace's and SFace's 112 x 112, upright by eyes and nose.

Embeddings are put on a sphere of radius 1/3, so that distances between faces lie where dlib's lie, within the radii that
evidence is counted for. They are comparable only with their own kind (the contract names file, digest and kind).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import InvalidInput
from models.faces.own_files import OwnNetwork
from models.faces.own_models import OwnModel
from models.recognition import OWN_LENGTH, EmbedderContract

Rgb = NDArray[np.uint8]

SIDE_PX: Final = 112
_BATCH: Final = 8
_LEAST_DIMENSIONS: Final = 32
_MOST_DIMENSIONS: Final = 2048
_EYES_AND_NOSE: Final = np.array([[73.5318, 51.5014], [38.2946, 51.6963], [56.0, 78.9]])
"""Where the networks were trained to see the middle of the eye on the right, the left, and the place under the nose.

The eyes are those of ArcFace's template; the place under the nose follows from the mean face of dlib's chips, at the same
distance between the eyes.
"""


class OwnEmbedder:
    """A network that turns (N, 3, 112, 112) into one embedding each."""

    side_px: Final = SIDE_PX

    def __init__(self, model: OwnModel, *, threads: int) -> None:
        """Open the file and try it.

        Raises:
            ModelFileError: The file cannot be used; it says why.
        """
        self._network = OwnNetwork(model, threads=threads)
        self._plain = model.kind == "sface"
        shape = self._network.shape
        if shape[2:] != (SIDE_PX, SIDE_PX) or len(self._network.outputs) != 1:
            raise self._network.unfit(f"an embedder takes (N, 3, {SIDE_PX}, {SIDE_PX}) and gives one output")
        noise = np.random.default_rng(0).integers(0, 256, (2, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        dimensions = self.embed(noise).shape[1]
        self._contract = EmbedderContract(
            model=f"{model.id}.{model.kind}", digest=model.sha256, dimensions=dimensions, metric="euclidean"
        )

    @property
    def contract(self) -> EmbedderContract:
        """What these embeddings are comparable with."""
        return self._contract

    def embed(self, chips: Rgb) -> NDArray[np.float32]:
        """Return (N, dimensions) float32 for chips (N, 112, 112, 3) uint8, RGB.

        Raises:
            InvalidInput: The chips have another shape or type.
            ModelFileError: The network gives something else than directions.
        """
        if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (SIDE_PX, SIDE_PX, 3):
            raise InvalidInput("chips", f"expected (N, {SIDE_PX}, {SIDE_PX}, 3) uint8, got {chips.shape} {chips.dtype}")
        if not len(chips):
            return np.empty((0, self._contract.dimensions), np.float32)
        parts = [self._directions(chips[at : at + _BATCH]) for at in range(0, len(chips), _BATCH)]
        return np.concatenate(parts)

    def _directions(self, chips: Rgb) -> NDArray[np.float32]:
        planes = chips.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        given = self._network.run(planes if self._plain else (planes - 127.5) / 127.5)[0]
        if len(given) != len(chips) or not _LEAST_DIMENSIONS <= given.size // len(chips) <= _MOST_DIMENSIONS:
            raise self._network.unfit(
                f"gives {given.shape} for {len(chips)} faces; {_LEAST_DIMENSIONS} to {_MOST_DIMENSIONS} numbers are taken"
            )
        flat = given.reshape(len(chips), -1)
        lengths = np.linalg.norm(flat, axis=1, keepdims=True)
        if not (lengths > 1e-6).all():
            raise self._network.unfit("gives an embedding without a direction")
        return np.asarray(flat / lengths * OWN_LENGTH, np.float32)


def upright(rgb: Rgb, landmarks: NDArray[np.float32]) -> Rgb:
    """Cut the chip (112, 112, 3) of a face by its five points, as dlib's predictor gives them.

    By the similarity that brings eyes and nose nearest to their places (Umeyama 1991, least squares).
    """
    points = np.array([landmarks[:2].mean(axis=0), landmarks[2:4].mean(axis=0), landmarks[4]], np.float64)
    have = points[:, 0] + 1j * points[:, 1]
    wanted = _EYES_AND_NOSE[:, 0] + 1j * _EYES_AND_NOSE[:, 1]
    spread = have - have.mean()
    turn = (np.conj(spread) * (wanted - wanted.mean())).sum() / max(float((np.abs(spread) ** 2).sum()), 1e-9)
    back = 1 / turn if abs(turn) > 1e-9 else 1.0
    shift = have.mean() - back * wanted.mean()
    matrix = (back.real, -back.imag, shift.real, back.imag, back.real, shift.imag)
    with Image.fromarray(rgb) as image:
        chip = image.transform((SIDE_PX, SIDE_PX), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return np.asarray(chip)
