"""Which pictures of a stream are decoded: all, key frames only, or a glance now and then. Pure."""

from __future__ import annotations

import math
from typing import Final

from drivers.camera import GLANCE_S, Rate

PICTURES: Final = 2
"""A glance takes the key picture and the one after it: a camera that is frozen shows the same twice."""
EARLY_S: Final = 0.5


class Pace:
    """Follow a stream from key frame to key frame."""

    def __init__(self) -> None:
        self.decoding = True
        self._left = math.inf
        self._glanced_s = -math.inf

    def at_key(self, rate: Rate, at_s: float) -> bool:
        """Decide at a key frame what is decoded from here on; say whether the decoder must forget what it had.

        Args:
            rate: what is wanted.
            at_s: the time now, monotonic.
        """
        if rate != "glance":
            forget, self.decoding, self._left = not self.decoding, True, math.inf
            return forget
        if self._left == math.inf:
            self.decoding, self._left = False, 0
        if self.decoding or at_s - self._glanced_s < GLANCE_S - EARLY_S:
            return False
        self.decoding, self._left, self._glanced_s = True, PICTURES, at_s
        return True

    def decoded(self) -> None:
        """Count one picture that was decoded."""
        self._left -= 1
        self.decoding = self._left > 0
