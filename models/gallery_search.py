"""Find which rows of a large matrix may lie within a distance of a query: never too few, seldom many too many.

The words that every search shares, and `Plain`: products of whole rows, for sets whose variance no few axes hold
(models.gallery_pruned is for the others). A search measures no distance: models.gallery does, on what is left.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

LEAF: Final = 2_048
"""Rows that a batch goes through at a time, and of a leaf: smaller leaves lie closer together, but reading in small
pieces costs more than that saves."""
CHUNK: Final = 65_536
"""Rows that are prepared or multiplied at a time."""
_CACHED: Final = 16 << 20
"""Bytes of a matrix that a cache may hold: from there on memory decides, and a sum along each row in turn reads it half
as fast again as a product of BLAS, which takes several rows at once."""
ROUNDING: Final = 1e-5
"""Ten times what float32 products of unit vectors may be wrong by; scaled with the squared lengths."""
_STRETCH: Final = 256
TINY: Final = 1e-36
"""What squares near the end of float32 may be wrong by."""


class Scan(Protocol):
    """One query's scores, from which rows are told without reading the matrix again."""

    def promising(self, count: int) -> Rows:
        """Return up to `count` rows, ascending, that are likely to be near."""

    def rows(self, radius: float) -> Rows:
        """Return, ascending, every row that may be at most `radius` away, where no more was scanned for."""


class Batch(Protocol):
    """Several queries that go through the matrix together, part by part."""

    def asking(self, part: int, reach: Doubles) -> Rows:
        """Return which queries may find a row of a part within their `reach` (M,)."""

    def scores(self, part: int, queries: Rows) -> Floats:
        """Return (len(queries), rows of the part): squared distances from below, less the query's own square."""

    def limits(self, queries: Rows, reach: Doubles) -> Floats:
        """Return the highest score that a row within each query's reach (M,) may have, (len(queries), 1)."""


class Search(Protocol):
    """A matrix that is ready to be searched; it never changes."""

    @property
    def parts(self) -> int:
        """How many parts a batch goes through."""

    def members(self, part: int) -> Rows:
        """Return the rows of a part."""

    def glance(self, vector: Floats) -> Rows:
        """Return a few rows, ascending, that are likely to be near (d,), at little cost; maybe none."""

    def scan(self, vector: Floats, radius: float) -> Scan:
        """Score every row that may be at most `radius` (may be inf) from (d,)."""

    def batch(self, vectors: Floats) -> Batch:
        """Prepare (M, d) queries."""

    def with_added(self, matrix: Floats) -> Search | None:
        """Return a search of `matrix`, which has more rows behind ours; None where building anew is better."""

    def without(self, kept: NDArray[np.bool_], matrix: Floats) -> Search | None:
        """Return a search of `matrix`, our rows where `kept`; None where building anew is better."""


class Plain:
    """Search by products of whole rows, a part of the matrix at a time."""

    def __init__(self, matrix: Floats) -> None:
        self._matrix = matrix
        self._squares: Floats = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), CHUNK):
            part = matrix[start : start + CHUNK].astype(np.float64)
            self._squares[start : start + CHUNK] = np.einsum("ij,ij->i", part, part)
        self._longest = float(self._squares.max()) ** 0.5

    @property
    def parts(self) -> int:
        """How many parts of equal size there are."""
        return -(-len(self._matrix) // LEAF)

    def members(self, part: int) -> Rows:
        """Return the rows of a part."""
        return np.arange(part * LEAF, min((part + 1) * LEAF, len(self._matrix)))

    def glance(self, vector: Floats) -> Rows:  # noqa: ARG002 - as every search
        """Return none: a second reading would cost more than it saves."""
        return np.empty(0, np.int64)

    def scan(self, vector: Floats, radius: float) -> PlainScan:  # noqa: ARG002 - as every search
        """Score every row; `radius` saves nothing here."""
        scores = np.empty(len(self._matrix), np.float32)
        factors = -2 * vector
        large = self._matrix.nbytes > _CACHED
        for start in range(0, len(scores), CHUNK):
            part, own = scores[start : start + CHUNK], self._matrix[start : start + CHUNK]
            np.einsum("ij,j->i", own, factors, out=part) if large else np.dot(own, factors, out=part)
            part += self._squares[start : start + CHUNK]
        return PlainScan(scores, PlainBatch(vector[None], self._matrix, self._squares, self._longest))

    def batch(self, vectors: Floats) -> PlainBatch:
        """Prepare queries for products of matrices."""
        return PlainBatch(vectors, self._matrix, self._squares, self._longest)

    def with_added(self, matrix: Floats) -> Search | None:  # noqa: ARG002 - as every search
        """Return None: building anew costs one pass, and more rows may have axes."""
        return None

    def without(self, kept: NDArray[np.bool_], matrix: Floats) -> Search | None:  # noqa: ARG002 - as every search
        """Return None: building anew costs one pass."""
        return None


class PlainScan:
    """Squared distances by products, less the query's own square."""

    def __init__(self, scores: Floats, asked: PlainBatch) -> None:
        self._scores = scores
        self._asked = asked

    def promising(self, count: int) -> Rows:
        """Return the rows with the lowest scores, each from another stretch of the matrix."""
        return np.sort(lowest(self._scores, count))

    def rows(self, radius: float) -> Rows:
        """Return the rows whose score allows the radius."""
        return np.flatnonzero(self._scores <= self._asked.limits(np.zeros(1, np.int64), np.array([radius]))[0])


class PlainBatch:
    """Squared distances by products of matrices, less the queries' own squares."""

    def __init__(self, vectors: Floats, matrix: Floats, squares: Floats, longest: float) -> None:
        self._factors: Floats = -2 * vectors
        self._matrix = matrix
        self._rows_squares = squares
        self._squares = np.einsum("ij,ij->i", vectors.astype(np.float64), vectors)
        self._slack = ROUNDING * (np.sqrt(self._squares) + longest) ** 2 + TINY

    def asking(self, part: int, reach: Doubles) -> Rows:  # noqa: ARG002 - as every search
        """Return all queries: nothing is known of a part."""
        return np.arange(len(self._factors))

    def scores(self, part: int, queries: Rows) -> Floats:
        """Return squared distances less the query's square."""
        own = slice(part * LEAF, (part + 1) * LEAF)
        scores: Floats = self._factors.take(queries, axis=0) @ self._matrix[own].T
        scores += self._rows_squares[own]
        return scores

    def limits(self, queries: Rows, reach: Doubles) -> Floats:
        """Return the limits of these scores."""
        limits = np.square(reach) * (1 + ROUNDING) + self._slack - self._squares
        taken: Floats = limits.astype(np.float32).take(queries)[:, None]
        return taken


def lowest(scores: Floats, count: int) -> Rows:
    """Return up to `count` positions of low scores: the best of the best of equal stretches, in one quick pass."""
    whole = len(scores) // _STRETCH * _STRETCH
    best: Rows = scores[:whole].reshape(-1, _STRETCH).argmin(axis=1) + np.arange(0, whole, _STRETCH)
    if len(best) > count:
        best = best[np.argpartition(scores.take(best), count - 1)[:count]]
    return best
