"""Search by pruning: exact, and most of a large matrix is never read.

Seen along their principal axes distances stay. The front of a row, 19 coordinates, bounds its distance from below; its
back, 10 more and the length of the rest, bounds it better and is read only for rows that the front lets pass
(|q - x|² ≥ |q1 - x1|² + (|q2| - |x2|)², by the triangle inequality). Rows lie in leaves, split at medians, and a leaf
whose box is too far away is not read at all. Products are taken in float32 and every bound has slack for what they may
be wrong by, so that no row is missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.gallery_search import CHUNK, LEAF, ROUNDING, TINY, Doubles, Floats, Rows, lowest

FRONT: Final = 19
"""Coordinates that are compared for every row of a leaf; with their square they are 80 bytes a row."""
BACK: Final = 10
"""Coordinates that are compared for rows that the front lets pass; with two lengths they are 48 bytes a row."""
_NEAREST_LEAVES: Final = 4
_SAMPLE_ROWS: Final = 20_000
_MIN_SHARE: Final = 0.55
"""Share of the variance that front and back must hold; with less, pruning keeps too many rows to win."""


class Axes:
    """The principal axes of a sample, from its mean, by falling variance; `share` of its variance lies in them."""

    def __init__(self, matrix: Floats) -> None:
        sample = matrix[:: max(1, len(matrix) // _SAMPLE_ROWS)].astype(np.float64)
        self.mean: Doubles = sample.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
        self.vectors: Doubles = np.ascontiguousarray(vectors[:, : -(FRONT + BACK) - 1 : -1])
        total = float(values.sum())
        self.share = float(values[-(FRONT + BACK) :].sum()) / total if total > 0 else 0.0

    def along(self, rows: Floats) -> tuple[Doubles, Doubles]:
        """Return the coordinates of rows along the axes (N, 29), and the squared lengths of what is left (N,)."""
        centred = rows.astype(np.float64) - self.mean
        coordinates = centred @ self.vectors
        left = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", coordinates, coordinates)
        return coordinates, np.maximum(left, 0.0)

    def halves(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return fronts (N, 20), the last column their squares; and backs (N, 12), the last two |rest| and square."""
        fronts, backs = np.empty((len(rows), FRONT + 1), np.float32), np.empty((len(rows), BACK + 2), np.float32)
        for start in range(0, len(rows), CHUNK):
            own = slice(start, start + CHUNK)
            coordinates, left = self.along(rows[own])
            front, back = coordinates[:, :FRONT], coordinates[:, FRONT:]
            fronts[own, :FRONT], fronts[own, FRONT] = front, np.einsum("ij,ij->i", front, front)
            backs[own, :BACK], backs[own, BACK] = back, np.sqrt(left)
            backs[own, BACK + 1] = np.einsum("ij,ij->i", back, back) + left
        return fronts, backs


class Asked:
    """Queries as `Pruned` compares them, one in each row: factors of the two products, and what each leaves out."""

    def __init__(self, vectors: Floats, axes: Axes, longest: float) -> None:
        coordinates, left = axes.along(vectors)
        ones = np.ones((len(vectors), 1))
        self.boxes: Floats = coordinates.astype(np.float32)
        self.fronts: Floats = np.hstack([-2 * coordinates[:, :FRONT], ones]).astype(np.float32)
        self.backs: Floats = np.hstack([-2 * coordinates[:, FRONT:], -2 * np.sqrt(left)[:, None], ones]).astype(
            np.float32
        )
        self.front_squares: Doubles = np.einsum("ij,ij->i", coordinates[:, :FRONT], coordinates[:, :FRONT])
        self.squares: Doubles = np.einsum("ij,ij->i", coordinates, coordinates) + left
        self.slack: Doubles = ROUNDING * (np.sqrt(self.squares) + longest) ** 2 + TINY

    def limit(self, reach: Doubles | float, squares: Doubles | float) -> Floats:
        """Return the highest score that a row within reach may have, where scores lack `squares`."""
        limit: Floats = (np.square(reach) * (1 + ROUNDING) + self.slack - squares).astype(np.float32)
        return limit


@dataclass(frozen=True, eq=False)
class Halves:
    """Hold fronts and backs leaf by leaf, in the order of the rows that `order` lists."""

    order: NDArray[np.int32]
    fronts: Floats
    backs: Floats


class Pruned:
    """Search by leaves, fronts and backs; `late` of the rows came after the leaves were split."""

    def __init__(self, axes: Axes, halves: Halves, *, late: int = 0) -> None:
        self._axes = axes
        self._halves = halves
        self._late = late
        starts = np.arange(0, len(halves.order), LEAF)
        coordinates = halves.fronts[:, :FRONT], halves.backs[:, :BACK]
        self._low: Floats = np.hstack([np.minimum.reduceat(half, starts) for half in coordinates])
        self._high: Floats = np.hstack([np.maximum.reduceat(half, starts) for half in coordinates])
        self._longest = float((halves.fronts[:, -1] + halves.backs[:, -1]).max()) ** 0.5

    @staticmethod
    def of(matrix: Floats) -> Pruned | None:
        """Prepare a matrix; None where its variance lies in too many directions for pruning to win."""
        if matrix.shape[1] <= 2 * (FRONT + BACK):
            return None
        axes = Axes(matrix)
        if axes.share < _MIN_SHARE:
            return None
        fronts, backs = axes.halves(matrix)
        order = _leaf_by_leaf(fronts)
        return Pruned(axes, Halves(order, fronts.take(order, axis=0), backs.take(order, axis=0)))

    @property
    def parts(self) -> int:
        """How many leaves there are."""
        return len(self._low)

    def members(self, part: int) -> Rows:
        """Return the rows of a leaf."""
        return self._halves.order[part * LEAF : (part + 1) * LEAF].astype(np.int64)

    def glance(self, vector: Floats) -> Rows:
        """Return the rows that promise most in the nearest leaves."""
        asked = Asked(vector[None], self._axes, self._longest)
        bounds = self._bounds(asked.boxes[0])
        count = min(_NEAREST_LEAVES, len(bounds))
        leaves = np.sort(np.argpartition(bounds, count - 1)[:count])
        return self._scanned(asked, leaves).promising(32)

    def scan(self, vector: Floats, radius: float) -> PrunedScan:
        """Score the rows of the leaves that a radius reaches."""
        asked = Asked(vector[None], self._axes, self._longest)
        return self._scanned(asked, np.flatnonzero(self._bounds(asked.boxes[0]) <= asked.limit(radius, 0.0)))

    def batch(self, vectors: Floats) -> PrunedBatch:
        """Prepare queries that are multiplied leaf by leaf, while a leaf is in the cache."""
        asked = Asked(vectors, self._axes, self._longest)
        bounds = np.stack([self._bounds(box) for box in asked.boxes])
        return PrunedBatch(asked, bounds, self._halves)

    def with_added(self, matrix: Floats) -> Pruned | None:
        """Return ours with the further rows of `matrix` in leaves behind; None once they are a quarter of all."""
        old = self._halves
        count = len(old.order)
        late = self._late + len(matrix) - count
        if late > len(matrix) // 4:
            return None
        fronts, backs = self._axes.halves(matrix[count:])
        order = np.concatenate([old.order, np.arange(count, len(matrix), dtype=np.int32)])
        halves = Halves(order, np.concatenate([old.fronts, fronts]), np.concatenate([old.backs, backs]))
        return Pruned(self._axes, halves, late=late)

    def without(self, kept: NDArray[np.bool_], matrix: Floats) -> Pruned | None:
        """Return ours less some rows, nothing of which stays; None once a quarter of all is gone at once."""
        if len(matrix) < len(kept) * 3 // 4:
            return None
        old = self._halves
        renumbered = np.cumsum(kept, dtype=np.int32) - 1
        stay = np.flatnonzero(kept.take(old.order))
        order = renumbered.take(old.order.take(stay)).astype(np.int32)
        halves = Halves(order, old.fronts.take(stay, axis=0), old.backs.take(stay, axis=0))
        return Pruned(self._axes, halves, late=self._late)

    def _bounds(self, box: Floats) -> Floats:
        """Return how far each leaf's box is from a query at least, squared."""
        gaps = np.maximum(self._low - box, box - self._high)
        np.maximum(gaps, 0, out=gaps)
        bounds: Floats = np.einsum("ij,ij->i", gaps, gaps)
        return bounds

    def _scanned(self, asked: Asked, leaves: Rows) -> PrunedScan:
        return PrunedScan(asked, leaves, self._halves)


class PrunedScan:
    """Scores of the fronts in some leaves: squared distances from below, less the square of the query's front."""

    def __init__(self, asked: Asked, leaves: Rows, halves: Halves) -> None:
        self._asked = asked
        self._halves = halves
        self._shifts = (leaves - np.arange(len(leaves))) * LEAF
        overhang = max(0, (int(leaves[-1]) + 1) * LEAF - len(halves.order)) if len(leaves) else 0
        self._scores: Floats = np.empty(len(leaves) * LEAF - overhang, np.float32)
        ends = np.flatnonzero(np.diff(leaves, append=-1) != 1) + 1
        begin = 0
        for end in ends.tolist():  # neighbouring leaves lie side by side: one product for each run of them
            part = self._scores[begin * LEAF : end * LEAF]
            first = int(leaves[begin]) * LEAF
            np.dot(halves.fronts[first : first + len(part)], asked.fronts[0], out=part)
            begin = end

    def promising(self, count: int) -> Rows:
        """Return the rows with the lowest scores, each from another stretch of a leaf."""
        return self._rows(self._places(lowest(self._scores, count)))

    def rows(self, radius: float) -> Rows:
        """Return the rows that front and back allow."""
        asked = self._asked
        passed = np.flatnonzero(self._scores <= asked.limit(radius, asked.front_squares))
        places = self._places(passed)
        scores = self._halves.backs.take(places, axis=0) @ asked.backs[0]
        scores += self._scores.take(passed)
        return self._rows(places[scores <= asked.limit(radius, asked.squares)])

    def _places(self, positions: Rows) -> Rows:
        """Return places in the order of leaves for positions in the scores."""
        return positions + self._shifts.take(positions // LEAF)

    def _rows(self, places: Rows) -> Rows:
        return np.sort(self._halves.order.take(places).astype(np.int64))


class PrunedBatch:
    """Scores of fronts and backs together, for the queries that a leaf concerns."""

    def __init__(self, asked: Asked, bounds: Floats, halves: Halves) -> None:
        self._asked = asked
        self._bounds = bounds
        self._halves = halves

    def asking(self, part: int, reach: Doubles) -> Rows:
        """Return the queries whose reach touches the leaf's box."""
        return np.flatnonzero(self._bounds[:, part] <= self._asked.limit(reach, 0.0))

    def scores(self, part: int, queries: Rows) -> Floats:
        """Return lower bounds by front and back, less the query's square."""
        own = slice(part * LEAF, (part + 1) * LEAF)
        scores: Floats = self._asked.fronts.take(queries, axis=0) @ self._halves.fronts[own].T
        scores += self._asked.backs.take(queries, axis=0) @ self._halves.backs[own].T
        return scores

    def limits(self, queries: Rows, reach: Doubles) -> Floats:
        """Return the limits of these scores."""
        return self._asked.limit(reach, self._asked.squares).take(queries)[:, None]


def _leaf_by_leaf(fronts: Floats) -> NDArray[np.int32]:
    """Return the rows in the order of leaves: split again and again where they vary most, near the median."""
    order = np.arange(len(fronts), dtype=np.int32)
    columns = np.ascontiguousarray(fronts[:, :FRONT].T)
    parts = [(0, len(order))]
    while parts:
        begin, end = parts.pop()
        if end - begin <= LEAF:
            continue
        own = order[begin:end]
        axis = int(columns[:, own[:: max(1, len(own) // 4096)]].var(axis=1).argmax())
        middle = -(-(end - begin) // 2 // LEAF) * LEAF
        order[begin:end] = own[np.argpartition(columns[axis].take(own), middle)]
        parts += [(begin, begin + middle), (begin + middle, end)]
    return order
