"""Find the enrolled people nearest to an embedding: exact, by numpy, over a set that never changes.

A gallery is built beside the old one and swapped, so an enrolment never blinds a door; `with_added` and `without` make
the new one from the old. A small gallery is compared row by row. A large one asks a search (models.gallery_pruned, or
models.gallery_search where no few axes tell enough) which rows may be near, and compares those. It decides nothing
(models.recognition) and stores nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.gallery_pruned import Pruned
from models.gallery_search import Batch, Doubles, Floats, Plain, Rows, Search

SMALL: Final = 1_024
"""Up to so many rows, comparing all of them by differences costs less than anything clever."""
MEDIUM: Final = 8_192
"""Up to so many rows, products of whole rows cost less than looking along axes."""
LARGEST: Final = 1e15
"""No value may be larger: its square would leave float32."""
_BLOCK_ROWS: Final = 8_192
_BATCH: Final = 256
_SEEDS: Final = 32


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """One person (or template) and the Euclidean distance to it."""

    person_id: str
    distance: float


class Gallery:
    """The templates of one door; several per person are welcome."""

    def __init__(
        self, person_ids: Sequence[str], templates: NDArray[np.floating], *, search: Search | None = None
    ) -> None:
        """Hold a copy of `templates` (N, d), row i belonging to `person_ids[i]`; N may be 0.

        `search` is one that was made of the same rows; without it a large gallery makes its own.

        Raises:
            InvalidInput: Shapes that do not agree, or a value that is not finite or beyond `LARGEST`.
        """
        rows = np.asarray(templates)
        if rows.ndim != 2 or len(rows) != len(person_ids) or rows.shape[1] == 0:
            raise InvalidInput("templates", f"expected ({len(person_ids)}, d), got {rows.shape}")
        self._people = tuple(dict.fromkeys(person_ids))
        number = {person: index for index, person in enumerate(self._people)}
        self._person_of = np.fromiter((number[person] for person in person_ids), np.int32, len(person_ids))
        self._rows: Floats = _comparable(rows, "templates")
        self._search = search or _search_of(self._rows)

    def with_added(self, person_ids: Sequence[str], templates: NDArray[np.floating]) -> Gallery:
        """Return a gallery with further templates behind ours, of people who are new or have some already.

        It costs a copy; axes are found anew only when a quarter of the rows has come since.

        Raises:
            InvalidInput: As in the constructor, or templates of another length.
        """
        more = np.asarray(templates)
        if more.ndim != 2 or len(more) != len(person_ids) or more.shape[1] != self.dimensions:
            raise InvalidInput("templates", f"expected ({len(person_ids)}, {self.dimensions}), got {more.shape}")
        rows = np.concatenate([self._rows, _comparable(more, "templates")])
        search = None if self._search is None else self._search.with_added(rows)
        return Gallery([*self._names(self._person_of), *person_ids], rows, search=search)

    def without(self, person_ids: Collection[str]) -> Gallery:
        """Return a gallery that holds nothing of some people; who is not in it is passed over."""
        gone = frozenset(person_ids)
        kept = np.array([person not in gone for person in self._people], bool)[self._person_of]
        rows = self._rows[kept]
        search = None if self._search is None or len(rows) <= MEDIUM else self._search.without(kept, rows)
        return Gallery(self._names(self._person_of[kept]), rows, search=search)

    def _names(self, numbers: NDArray[np.int32]) -> list[str]:
        return [self._people[number] for number in numbers.tolist()]

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

    def closest(self, query: NDArray[np.floating], *, radius: float | None = None) -> Near | None:
        """Return the person of the nearest template of (d,); the first of equals; None in an empty gallery.

        A decision knows its radius: with `radius`, None also when nobody is that near, which costs less to find out.

        Raises:
            InvalidInput: Another length, a value that cannot be compared, or a radius that is no distance.
        """
        found = self.nearest_people(query, k=1, radius=radius)
        return found[0] if found else None

    def nearest_people(self, query: NDArray[np.floating], *, k: int = 2, radius: float | None = None) -> list[Near]:
        """Return the `k` nearest *people* by their nearest templates, nearest first; equals in the gallery's order.

        With `radius`, only those who are at most that far.

        Raises:
            InvalidInput: Another length, a value that cannot be compared, k below 1, or a radius that is no distance.
        """
        if k < 1:
            raise InvalidInput("k", "at least one person must be asked for")
        vector = self._one(query)
        if radius is not None:
            near = self._best_people(self._rows_within(vector, _distance(radius)), vector, k)
            return [one for one in near if one.distance <= radius]
        if self._search is None or k > len(self._people):
            return self._best_people(np.arange(len(self)), vector, k)
        reach = self._reach(self._search.glance(vector), vector, k)
        scan = self._search.scan(vector, reach)
        reach = min(reach, self._reach(scan.promising(_SEEDS), vector, k))
        return self._best_people(scan.rows(reach), vector, k)

    def within(self, query: NDArray[np.floating], radius: float) -> list[Near]:
        """Return every template at most `radius` away from (d,), nearest first, equals in the gallery's order.

        Raises:
            InvalidInput: Another length, a value that cannot be compared, or a radius that is no distance.
        """
        vector = self._one(query)
        rows = self._rows_within(vector, _distance(radius))
        distances = self._distances(rows, vector)
        kept = np.flatnonzero(distances <= radius)
        order = kept[np.argsort(distances[kept], kind="stable")]
        return [Near(person_id=self._person(rows[i]), distance=float(distances[i])) for i in order]

    def closest_each(self, queries: NDArray[np.floating], *, radius: float | None = None) -> list[Near | None]:
        """Return `closest` for each of (M, d), which go through a large gallery together.

        Raises:
            InvalidInput: Another width, a value that cannot be compared, or a radius that is no distance.
        """
        asked = np.asarray(queries)
        if asked.ndim != 2 or asked.shape[1] != self.dimensions:
            raise InvalidInput("queries", f"expected (M, {self.dimensions}), got {asked.shape}")
        vectors = _comparable(asked, "queries")
        if self._search is None or len(vectors) == 1:
            return [self.closest(vector, radius=radius) for vector in vectors]
        found: list[Near | None] = []
        for start in range(0, len(vectors), _BATCH):
            found += self._closest_of(self._search, vectors[start : start + _BATCH], radius)
        return found

    def _closest_of(self, search: Search, vectors: Floats, radius: float | None) -> list[Near | None]:
        """Take a batch through the parts of a search; what is found shortens the reach for the parts to come."""
        if radius is None:
            best = _Best(np.array([self._reach(search.glance(vector), vector, 1) for vector in vectors]))
        else:
            best = _Best(np.full(len(vectors), _distance(radius)))
        batch = search.batch(vectors)
        for part in range(search.parts):
            queries = batch.asking(part, best.distances)
            if len(queries):
                self._search_part(batch, queries, vectors, members=search.members(part), part=part, best=best)
        return [
            None if row < 0 else Near(person_id=self._person(row), distance=float(distance))
            for row, distance in zip(best.rows, best.distances, strict=True)
        ]

    def _search_part(
        self, batch: Batch, queries: Rows, vectors: Floats, *, members: Rows, part: int, best: _Best
    ) -> None:
        """Measure, in one part, each query's most promising row, and then every row that it still leaves possible."""
        scores = batch.scores(part, queries)
        columns = scores.argmin(axis=1)
        limits = batch.limits(queries, best.distances)
        hopeful = np.flatnonzero(scores[np.arange(len(queries)), columns] <= limits[:, 0])
        if not len(hopeful):
            return
        self._measure(queries[hopeful], members[columns[hopeful]], vectors, best)
        limits = batch.limits(queries[hopeful], best.distances)
        lines, places = np.nonzero(scores[hopeful] <= limits)
        self._measure(queries[hopeful[lines]], members[places], vectors, best)

    def _measure(self, queries: Rows, rows: Rows, vectors: Floats, best: _Best) -> None:
        """Measure pairs of a query and a row, and keep what is nearest."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            asked, own = queries[start : start + _BLOCK_ROWS], rows[start : start + _BLOCK_ROWS]
            difference = self._rows.take(own, axis=0) - vectors.take(asked, axis=0)
            best.take(asked, own, distances=np.sqrt(np.einsum("ij,ij->i", difference, difference)))

    def _one(self, query: NDArray[np.floating]) -> Floats:
        vector = np.asarray(query)
        if vector.shape != (self.dimensions,):
            raise InvalidInput("query", f"expected ({self.dimensions},), got {vector.shape}")
        return _comparable(vector, "query")

    def _person(self, row: np.int64) -> str:
        return self._people[int(self._person_of[row])]

    def _rows_within(self, vector: Floats, radius: float) -> Rows:
        """Return, ascending, every row that may be at most `radius` away."""
        return np.arange(len(self)) if self._search is None else self._search.scan(vector, radius).rows(radius)

    def _reach(self, rows: Rows, vector: Floats, k: int) -> float:
        """Return a distance within which `k` people lie, by some rows; inf where these are of fewer people."""
        found = self._best_people(rows, vector, k)
        return found[-1].distance if len(found) == k else float("inf")

    def _distances(self, rows: Rows, vector: Floats) -> Floats:
        """Return the distances of some rows, by differences: products would lose digits near zero."""
        result = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            difference = self._rows.take(rows[start : start + _BLOCK_ROWS], axis=0)
            difference -= vector
            result[start : start + len(difference)] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return result

    def _best_people(self, rows: Rows, vector: Floats, k: int) -> list[Near]:
        """Return the k nearest people among some rows (ascending)."""
        distances = self._distances(rows, vector)
        if k == 1 and len(rows):
            first = distances.argmin()
            return [Near(person_id=self._person(rows[first]), distance=float(distances[first]))]
        found: dict[str, Near] = {}
        for index in np.argsort(distances, kind="stable"):
            person = self._person(rows[index])
            if person not in found:
                found[person] = Near(person_id=person, distance=float(distances[index]))
                if len(found) == k:
                    break
        return list(found.values())


class _Best:
    """The nearest row yet of each query, and how far to look for a nearer one; -1 where none is near enough."""

    def __init__(self, reach: Doubles) -> None:
        self.distances = reach
        self.rows = np.full(len(reach), -1, np.int64)

    def take(self, queries: Rows, rows: Rows, *, distances: Floats) -> None:
        """Keep the nearest of some pairs; of equals the first row."""
        order = np.lexsort((rows, distances, queries))
        firsts = order[np.flatnonzero(np.diff(queries[order], prepend=-1))]
        queries, rows, near = queries[firsts], rows[firsts], distances[firsts].astype(np.float64)
        held, own = self.distances[queries], self.rows[queries]
        better = (near < held) | ((near == held) & ((own < 0) | (rows < own)))
        self.distances[queries[better]], self.rows[queries[better]] = near[better], rows[better]


def _search_of(matrix: Floats) -> Search | None:
    """Return the search that suits a matrix; None where comparing every row is best."""
    if len(matrix) <= SMALL:
        return None
    return (Pruned.of(matrix) if len(matrix) > MEDIUM else None) or Plain(matrix)


def _distance(radius: float) -> float:
    if not (np.isfinite(radius) and radius >= 0):
        raise InvalidInput("radius", f"{radius} is no distance")
    return radius


def _comparable(values: NDArray[np.floating], name: str) -> Floats:
    """Return a copy in float32, row by row."""
    if values.size:
        lowest, highest = float(values.min()), float(values.max())  # one that is no number spreads to both
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise InvalidInput(name, "a value is not a finite number")
        if max(highest, -lowest) > LARGEST:
            raise InvalidInput(name, f"a value is beyond {LARGEST:g}: no embedding is that long")
    return values.astype(np.float32, order="C", copy=True)
