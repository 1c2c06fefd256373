"""Watch a track for life by a network of a site's own.

The network sees the face with what is around it, 2.7 times as wide as the face (the usual cut of silent liveness), RGB
from 0 to 1, and gives one number (live, as a logit), two (attack, live) or three (attack, live, attack). What it is
declared to cover is a setting of the door; nothing is declared here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.faces.own_files import OwnNetwork
from models.faces.own_models import OwnModel
from models.liveness import Reading, Verdict

if TYPE_CHECKING:
    from models.faces.pipeline import Face

Rgb = NDArray[np.uint8]

ROOM: Final = 2.7
FRAMES: Final = 3
"""Frames before anything is said; the newest so many must each be live, whatever those before them were."""
_KEPT: Final = 10
_LIVE: Final = 0.7
_ATTACK: Final = 0.3


class LivenessModel:
    """A network that tells a face from a picture of one, by single frames."""

    def __init__(self, model: OwnModel, *, threads: int) -> None:
        """Open the file and try it.

        Raises:
            ModelFileError: The file cannot be used; it says why.
        """
        self._network = OwnNetwork(model, threads=threads)
        rows, cols = self._network.shape[2:]
        if rows is None or rows != cols or not 32 <= rows <= 512 or len(self._network.outputs) != 1:
            raise self._network.unfit("a liveness network takes squares of 32 to 512 px and gives one output")
        self._side = rows
        self.live(np.zeros((rows, rows, 3), np.uint8))

    def live(self, chip: NDArray[np.uint8]) -> float:
        """Return how much speaks for a live face, 0 to 1, of what `around` has cut.

        Raises:
            ModelFileError: The network gives something else.
        """
        planes = (chip.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
        given = self._network.run(planes)[0]
        if given.size not in (1, 2, 3):
            raise self._network.unfit(f"gives {given.shape}; one, two or three numbers are needed")
        logits = given.reshape(-1).astype(np.float64)
        if logits.size == 1:
            logits = np.array([0.0, logits[0]])
        if (logits >= 0).all() and abs(logits.sum() - 1) < 1e-3:
            return float(logits[1])
        odds = np.exp(logits - logits.max())
        return float(odds[1] / odds.sum())

    def around(self, rgb: Rgb, face: Face) -> Rgb:
        """Cut the face with what is around it; beyond the border of the picture it is black."""
        left, top, right, bottom = face.box
        half = (right - left + 1) * ROOM / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        with Image.fromarray(rgb) as image:
            cut = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
            return np.asarray(cut.resize((self._side, self._side), Image.Resampling.BILINEAR))

    def watcher(self) -> LivenessWatcher:
        """Return who watches one track."""
        return LivenessWatcher(self)


class LivenessWatcher:
    """Watch one track by what single frames say; it keeps numbers, no pixels (models.faces.liveness).

    Their mean tells, but live frames speak for themselves only: a picture held before a live face is not live with it.
    """

    def __init__(self, model: LivenessModel) -> None:
        self._model = model
        self._scores: deque[float] = deque(maxlen=_KEPT)
        self._newest = float("-inf")

    def observe(self, rgb: Rgb, *, origin: tuple[float, float], scale: float, face: Face, at_s: float) -> Reading:
        """Look at the next crop of the track; a frame that is not later is not looked at.

        Raises:
            ModelFileError: The network gives something else than it did at first.
        """
        del origin, scale  # a single frame tells
        if at_s > self._newest:
            self._newest = at_s
            self._scores.append(self._model.live(self._model.around(np.ascontiguousarray(rgb), face)))
        score = sum(self._scores) / max(1, len(self._scores))
        return Reading(provider="model", verdict=self._verdict(score), score=score, frames=len(self._scores))

    def _verdict(self, score: float) -> Verdict:
        if len(self._scores) < FRAMES or _ATTACK < score < _LIVE:
            return "undecided"
        if score <= _ATTACK:
            return "attack"
        return "live" if min(list(self._scores)[-FRAMES:]) >= _LIVE else "undecided"
