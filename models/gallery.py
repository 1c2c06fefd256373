"""Find the enrolled people nearest to an embedding: exact, by numpy, over a set that never changes.

A gallery is built beside the old one and swapped, so an enrolment never blinds a door. Large galleries are searched
with exact pruning: seen along its principal axes (distances stay), the first 32 coordinates and the length of the
rest bound every distance from below, and only rows whose bound allows it are compared in full. Where no few axes tell
enough, plain products take their place. It decides nothing (models.recognition) and stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput

Floats = NDArray[np.float32]

HEAD: Final = 32
"""Coordinates kept for the bound: on embeddings of dlib's network they hold 90 % of the variance."""
SMALL: Final = 1_024
"""Up to so many rows, comparing all of them by differences costs less than anything clever."""
_BLOCK_ROWS: Final = 8_192
_SAMPLE_ROWS: Final = 20_000
_MIN_HEAD_SHARE: Final = 0.6
"""Share of the variance the head must hold; with less, pruning keeps too many rows to win."""
_SEED_ROWS: Final = 256
_ROUNDING: Final = 1e-5
"""Ten times what float32 products of unit vectors may be wrong by; scaled with the squared lengths."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """One person (or template) and the Euclidean distance to it."""

    person_id: str
    distance: float


class Gallery:
    """The templates of one door; several per person are welcome."""

    def __init__(self, person_ids: Sequence[str], templates: NDArray[np.floating]) -> None:
        """Hold a copy of `templates` (N, d), row i belonging to `person_ids[i]`; N may be 0.

        Raises:
            InvalidInput: Shapes that do not agree, or a value that is not finite.
        """
        rows = np.asarray(templates)
        if rows.ndim != 2 or len(rows) != len(person_ids) or rows.shape[1] == 0:
            raise InvalidInput("templates", f"expected ({len(person_ids)}, d), got {rows.shape}")
        self._people = tuple(dict.fromkeys(person_ids))
        number = {person: index for index, person in enumerate(self._people)}
        self._person_of = np.array([number[person] for person in person_ids], np.int32)
        self._rows: Floats = _finite(rows.astype(np.float32, order="C", copy=True), "templates")
        self._axes: NDArray[np.float64] | None = None
        self._coarse: Floats | None = None
        self._longest = 0.0
        if len(rows) > SMALL:
            self._prepare()

    def _prepare(self) -> None:
        """Build the matrix whose product with a query bounds every squared distance from below, but for |query|².

        |q - x|² ≥ |q1 - x1|² + (|q2| - |x2|)² = |q|² - 2 q1·x1 - 2 |q2| |x2| + |x|²: columns x1, |x2| and |x|². Without
        a head that tells enough: x itself and |x|². Built in double precision, so that tails near zero keep their
        digits.
        """
        self._axes = _principal_axes(self._rows[:: max(1, len(self._rows) // _SAMPLE_ROWS)])
        width = self.dimensions + 1 if self._axes is None else HEAD + 2
        self._coarse = np.empty((len(self._rows), width), np.float32)
        for start in range(0, len(self._rows), _BLOCK_ROWS):
            block = self._rows[start : start + _BLOCK_ROWS].astype(np.float64)
            target = self._coarse[start : start + _BLOCK_ROWS]
            norms = np.einsum("ij,ij->i", block, block)
            target[:, -1] = norms
            if self._axes is None:
                target[:, :-1] = block
            else:
                target[:, :HEAD], target[:, HEAD] = _headed(block, self._axes)
            self._longest = max(self._longest, float(norms.max()) ** 0.5)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        return int(self._rows.shape[1])

    @property
    def people(self) -> tuple[str, ...]:
        """The people, each once, in the order they came."""
        return self._people

    def closest(self, query: NDArray[np.floating]) -> Near | None:
        """Return the person of the nearest template of (d,); the first of equals; None in an empty gallery.

        Raises:
            InvalidInput: Another length, or a value that is not finite.
        """
        found = self.nearest_people(query, k=1)
        return found[0] if found else None

    def nearest_people(self, query: NDArray[np.floating], *, k: int = 2) -> list[Near]:
        """Return the `k` nearest *people* by their nearest templates, nearest first; equals in the gallery's order.

        Raises:
            InvalidInput: Another length, a value that is not finite, or k below 1.
        """
        if k < 1:
            raise InvalidInput("k", "at least one person must be asked for")
        vector = self._one(query)
        if self._coarse is None or k > len(self._people):
            return self._best_people(np.arange(len(self)), vector, k)
        scores = self._scores(vector[None])[0]
        rows = self._rows_within(scores, vector, self._reach(scores, vector, k))
        return self._best_people(rows, vector, k)

    def within(self, query: NDArray[np.floating], radius: float) -> list[Near]:
        """Return every template at most `radius` away from (d,), nearest first, equals in the gallery's order.

        Raises:
            InvalidInput: Another length, a value that is not finite, or a radius that is no distance.
        """
        if not (np.isfinite(radius) and radius >= 0):
            raise InvalidInput("radius", f"{radius} is no distance")
        vector = self._one(query)
        if self._coarse is None:
            rows = np.arange(len(self))
        else:
            rows = self._rows_within(self._scores(vector[None])[0], vector, radius)
        distances = self._distances(rows, vector)
        kept = np.flatnonzero(distances <= radius)
        order = kept[np.argsort(distances[kept], kind="stable")]
        return [Near(person_id=self._person(rows[i]), distance=float(distances[i])) for i in order]

    def closest_each(self, queries: NDArray[np.floating]) -> list[Near | None]:
        """Return `closest` for each of (M, d); a few queries at a time share every pass over the gallery.

        Raises:
            InvalidInput: Another width, or a value that is not finite.
        """
        asked = np.asarray(queries)
        if asked.ndim != 2 or asked.shape[1] != self.dimensions:
            raise InvalidInput("queries", f"expected (M, {self.dimensions}), got {asked.shape}")
        vectors = _finite(asked.astype(np.float32), "queries")
        if self._coarse is None:
            return [self.closest(vector) for vector in vectors]
        found: list[Near | None] = []
        for start in range(0, len(vectors), 16):
            part = vectors[start : start + 16]
            for vector, scores in zip(part, self._scores(part), strict=True):
                rows = self._rows_within(scores, vector, self._reach(scores, vector, 1))
                found += self._best_people(rows, vector, 1)
        return found

    def _one(self, query: NDArray[np.floating]) -> Floats:
        vector = np.asarray(query)
        if vector.shape != (self.dimensions,):
            raise InvalidInput("query", f"expected ({self.dimensions},), got {vector.shape}")
        return _finite(vector.astype(np.float32), "query")

    def _person(self, row: np.int64) -> str:
        return self._people[int(self._person_of[row])]

    def _scores(self, vectors: Floats) -> Floats:
        """Return (M, N): for each query and row a lower bound of the squared distance, less |query|²."""
        assert self._coarse is not None  # noqa: S101 - callers have looked
        asked = vectors.astype(np.float64)
        if self._axes is not None:
            heads, tails = _headed(asked, self._axes)
            asked = np.concatenate([heads, tails[:, None]], axis=1)
        factors = np.concatenate([-2 * asked, np.ones((len(asked), 1))], axis=1).astype(np.float32)
        if len(factors) == 1:
            factors = factors[0]
        scores: Floats = self._coarse @ factors.T
        return scores[None] if scores.ndim == 1 else np.ascontiguousarray(scores.T)

    def _rows_within(self, scores: Floats, vector: Floats, radius: float) -> NDArray[np.int64]:
        """Return the rows whose bound allows a distance of at most `radius`, ascending."""
        square = float(vector.astype(np.float64) @ vector)
        slack = _ROUNDING * (square**0.5 + self._longest) ** 2
        return np.flatnonzero(scores <= np.float32(radius * radius * (1 + _ROUNDING) - square + slack))

    def _reach(self, scores: Floats, vector: Floats, k: int) -> float:
        """Return a distance within which `k` people surely lie: measured on the rows that promise most."""
        whole = len(scores) // _SEED_ROWS * _SEED_ROWS
        seeds = scores[:whole].reshape(-1, _SEED_ROWS).argmin(axis=1) + np.arange(0, whole, _SEED_ROWS)
        if len(seeds) > 32:
            seeds = seeds[np.argpartition(scores[seeds], 31)[:32]]
        found = self._best_people(np.sort(seeds), vector, k)
        if len(found) < k:
            found = self._best_people(np.arange(len(self)), vector, k)
        return found[-1].distance

    def _distances(self, rows: NDArray[np.int64], vector: Floats) -> Floats:
        """Return the distances of some rows, by differences: products would lose digits near zero."""
        result = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            difference = self._rows[rows[start : start + _BLOCK_ROWS]] - vector
            result[start : start + len(difference)] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return result

    def _best_people(self, rows: NDArray[np.int64], vector: Floats, k: int) -> list[Near]:
        """Return the k nearest people among some rows (ascending)."""
        distances = self._distances(rows, vector)
        found: dict[str, Near] = {}
        for index in np.argsort(distances, kind="stable"):
            person = self._person(rows[index])
            if person not in found:
                found[person] = Near(person_id=person, distance=float(distances[index]))
                if len(found) == k:
                    break
        return list(found.values())


def _principal_axes(sample: Floats) -> NDArray[np.float64] | None:
    """Return the (d, HEAD) axes of most variance, or None where they hold too little of it."""
    if sample.shape[1] <= 2 * HEAD:
        return None
    values, vectors = np.linalg.eigh(np.cov(sample.astype(np.float64), rowvar=False))
    if values[-HEAD:].sum() < _MIN_HEAD_SHARE * values.sum():
        return None
    return np.ascontiguousarray(vectors[:, -HEAD:])


def _headed(rows: NDArray[np.float64], axes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of rows along the axes, (N, HEAD), and the lengths of what is left, (N,)."""
    heads = rows @ axes
    left = np.einsum("ij,ij->i", rows, rows) - np.einsum("ij,ij->i", heads, heads)
    return heads, np.sqrt(np.maximum(left, 0.0))


def _finite(values: Floats, name: str) -> Floats:
    if not np.isfinite(values).all():
        raise InvalidInput(name, "a value is not a finite number")
    return values
