"""Which face in one frame is which in the next, for one camera: by overlap and distance.

Who it is, nobody asks here; a face that is no longer like itself ends its track (edge.faces_look).

Ids are random and mean nothing after their track ended, within two seconds after it was last seen (R11). It reads no
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x, y, w, h in px of the full frame."""

LIFE_S = 1.5
"""Whoever keeps tracks looks at least twice a second for those that are over, so that nothing outlives 2 s (R11)."""
NEAR = 1.0
"""A face may have moved by this many of its own widths between two frames that belong together."""


@dataclass
class Track:
    """Hold one face over several frames."""

    id: str
    box: Box
    seen: float
    first_usable_at: float | None = None
    embedding: NDArray[np.float32] | None = None
    """Of its newest usable face, (d,) float32: only to see whether the next one is of somebody else."""


class Tracks:
    """Follow the faces of one camera."""

    def __init__(self, *, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._tracks: list[Track] = []

    def __len__(self) -> int:
        return len(self._tracks)

    def ids(self) -> frozenset[str]:
        """Return the ids of the tracks that are not over."""
        return frozenset(track.id for track in self._tracks)

    def follow(self, boxes: Sequence[Box], *, at: float) -> list[Track]:
        """Return the track of each box, old or new, in the boxes' order; nearest pairs first."""
        self.expire(at=at)
        pairs = sorted(
            ((_distance(track.box, box), t, b) for t, track in enumerate(self._tracks) for b, box in enumerate(boxes)),
        )
        found: dict[int, Track] = {}
        taken: set[int] = set()
        for distance, t, b in pairs:
            if distance <= NEAR and t not in taken and b not in found:
                taken.add(t)
                found[b] = self._tracks[t]
        for b, box in enumerate(boxes):
            track = found.get(b)
            if track is None:
                track = found[b] = Track(id=self._new_id(), box=box, seen=at)
                self._tracks.append(track)
            track.box, track.seen = box, at
        return [found[b] for b in range(len(boxes))]

    def anew(self, track: Track) -> Track:
        """End a track and return a new one in its place: another face stands where its face was."""
        new = Track(id=self._new_id(), box=track.box, seen=track.seen)
        self._tracks = [new if one is track else one for one in self._tracks]
        return new

    def expire(self, *, at: float) -> None:
        """Forget every track that was not seen for `LIFE_S`."""
        self._tracks = [track for track in self._tracks if at - track.seen <= LIFE_S]


def _distance(a: Box, b: Box) -> float:
    """Return the distance of two boxes' centres in widths of the larger; more if their sizes differ much."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    size = max(aw, bw, 1.0)
    shift = ((ax + aw / 2 - bx - bw / 2) ** 2 + (ay + ah / 2 - by - bh / 2) ** 2) ** 0.5 / size
    ratio = size / max(1.0, min(aw, bw))
    return float(shift + max(0.0, ratio - 1.5))
