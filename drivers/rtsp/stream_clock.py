"""What a stream's clocks tell: how late a picture is, and by how much the camera's time of day is wrong. Pure."""

from __future__ import annotations

import struct
from typing import Final

CLOCK_DRIFT: Final = 2e-4
CLOCK_JUMP_S: Final = 2.0
TELLS_FROM_S: Final = 1_000_000_000
"""Unix time before which a camera's clock is no time of day: it was never set, or counts from when it was switched on."""
_PRODUCED: Final = struct.Struct("=q")


class StreamAge:
    """Tell how late a picture is, from the stream's own clock against the smallest offset seen.

    A stalled connection that delivers a burst is not fresh: each picture in it is as old as the stall. The smallest
    offset may rise by 200 ppm, so that a camera whose clock runs slow does not age for ever.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self._base_s: float | None = None
        self._pts_s = 0.0
        self._now_s = 0.0

    def age_s(self, pts_s: float, now_s: float) -> float:
        """Return the age in s of a picture stamped `pts_s` that arrived at `now_s` (monotonic)."""
        offset = now_s - pts_s
        if self._base_s is None:
            base = offset
        elif pts_s < self._pts_s - 0.5:
            self.jumps += 1
            base = offset
        else:
            self.jumps += offset < self._base_s - CLOCK_JUMP_S
            base = min(offset, self._base_s + (now_s - self._now_s) * CLOCK_DRIFT)
        self._base_s, self._pts_s, self._now_s = base, pts_s, now_s
        return offset - base


def clock_off_s(reference: bytes, unix_s: float) -> float | None:
    """Return by how much the camera's clock is ahead of ours, in s; None where it does not tell the time of day.

    Args:
        reference: FFmpeg's AVProducerReferenceTime, made of the RTCP sender report (RFC 3550 section 6.4.1).
        unix_s: our time when the picture arrived.
    """
    if len(reference) < _PRODUCED.size:
        return None
    produced_s = float(_PRODUCED.unpack_from(reference)[0]) / 1e6
    return produced_s - unix_s if produced_s >= TELLS_FROM_S else None
