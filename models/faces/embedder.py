"""Turn aligned chips into embeddings by dlib's residual network, equal to dlib's own to 1e-5 in every component.

It compares nothing and remembers nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.faces.align import CHIP_PX
from models.faces.runtime import open_session
from models.faces.weights import EMBEDDER_FILE, load_weights
from models.recognition import EmbedderContract

DIMENSIONS: Final = 128
MODEL_ID: Final = "dlib-resnet-v1"
_BATCH: Final = 8


class Embedder:
    """dlib's `face_recognition_resnet_model_v1`, on a fixed number of threads."""

    side_px: Final = CHIP_PX

    def __init__(self, *, cache_dir: Path, threads: int = 1) -> None:
        """Load the network, converting it at first use.

        Raises:
            ModelFileError: The network file is missing or broken.
        """
        weights = load_weights(EMBEDDER_FILE, cache_dir=cache_dir)
        self._session = open_session(weights.onnx, threads=threads)
        self._contract = EmbedderContract(
            model=MODEL_ID, digest=weights.digest, dimensions=DIMENSIONS, metric="euclidean"
        )

    @property
    def contract(self) -> EmbedderContract:
        """What these embeddings are comparable with."""
        return self._contract

    def embed(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, 128) float32 for chips (N, 150, 150, 3) uint8, RGB; eight at a time, so that memory stays bounded.

        Raises:
            InvalidInput: The chips have another shape or type.
        """
        if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (CHIP_PX, CHIP_PX, 3):
            raise InvalidInput("chips", f"expected (N, {CHIP_PX}, {CHIP_PX}, 3) uint8, got {chips.shape} {chips.dtype}")
        batches = [
            self._session.run(["embeddings"], {"chips": chips[at : at + _BATCH]})[0]
            for at in range(0, len(chips), _BATCH)
        ]
        return np.concatenate(batches) if batches else np.empty((0, DIMENSIONS), np.float32)
