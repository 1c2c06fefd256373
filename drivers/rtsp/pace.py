"""Which pictures of a stream are decoded, and when the reader may rest while the next ones gather. Pure."""

from __future__ import annotations

import math
from typing import Final

from drivers.camera import GLANCE_S, Rate

PICTURES: Final = 2
"""A glance takes the key picture and the one after it: a camera that is frozen shows the same twice."""
EARLY_S: Final = 0.5
WAITED_S: Final = 0.005
WAIT_EVERY_S: Final = 20.0
"""How often a packet is waited for whatever its age says: the age is reckoned from the last one that was."""


class Pace:
    """Follow a stream from key frame to key frame."""

    def __init__(self) -> None:
        self._decoding = True
        self._keys_only = False
        self._left = math.inf
        self._glanced_s = -math.inf

    def at_key(self, rate: Rate, at_s: float) -> bool:
        """Decide at a key frame what is decoded from here on; say whether the decoder must forget what it had.

        Args:
            rate: what is wanted.
            at_s: the time now, monotonic.
        """
        self._keys_only = rate == "key"
        if rate != "glance":
            forget, self._decoding, self._left = not self._decoding, True, math.inf
            return forget
        if self._left == math.inf:
            self._decoding, self._left = False, 0
        if self._decoding or at_s - self._glanced_s < GLANCE_S - EARLY_S:
            return False
        self._decoding, self._left, self._glanced_s = True, PICTURES, at_s
        return True

    def wants(self, *, key: bool) -> bool:
        """Say whether a picture is to be decoded, after `at_key` if it is a key picture."""
        return self._decoding and (key or not self._keys_only)

    def decoded(self) -> None:
        """Count one picture that was decoded."""
        self._left -= 1
        self._decoding = self._left > 0


class Gathering:
    """Tell whether a packet that was just read is the newest there is: then the reader may rest while others gather.

    To wake up for each picture costs more than to decode it: caches are cold and the stream is read in small pieces.
    """

    def __init__(self) -> None:
        self._stamp_s = math.inf
        self._waited_at_s = -math.inf

    def newest(self, stamp_s: float | None, *, age_s: float, arrived_s: float, waited_s: float) -> bool:
        """Take a packet; say whether the next one can hardly be here yet.

        Args:
            stamp_s: its time on the stream's clock; None where it has none.
            age_s: how long ago it came, as far as that clock tells.
            arrived_s: when it was read, monotonic.
            waited_s: how long the reader waited for it.
        """
        interval_s = 0.0
        if stamp_s is not None:
            interval_s, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        if waited_s > WAITED_S:
            self._waited_at_s = arrived_s
            return True
        return age_s < interval_s and arrived_s - self._waited_at_s < WAIT_EVERY_S
