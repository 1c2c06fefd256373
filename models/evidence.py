"""Count how near different persons come to each other, and say what those counts prove. Pure numpy over embeddings.

What is counted are pairs of *persons*, each by its nearest templates: a hundred pictures of two persons prove nothing
about a third. Two bounds are made and the wider one holds: people resampled (the bootstrap of ISO/IEC 19795-1:
one person who resembles many spoils many pairs at once), and the exact bound of a Poisson count (Garwood 1936), which
for a count of zero is the rule of three. It matches nobody, and what leaves it are counts (models.calibration).

Neither bound sees a person who was not drawn: where one of a hundred to one of a thousand people resembles many others
("lambs") and the sample holds few or none of them, the true rate is above the bound more often than in 5 % of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import (
    CONFIDENCE,
    STEP,
    STEPS,
    ImpostorEvidence,
    Source,
    check_evidence,
    rule_of_three,
    upper_count,
)
from models.errors import InvalidInput

RADII: Final[NDArray[np.float64]] = np.round(np.arange(1, STEPS + 1) * STEP, 4)
"""The radii at which is counted, (STEPS,)."""
MAX_PERSONS: Final = 10_000
MAX_EACH: Final = 20
"""Templates of one person: a door's gallery holds five."""
RESAMPLES: Final = 1000
_BLOCK_CELLS: Final = 4_000_000
_RESAMPLED_CELLS: Final = 200_000_000
Floats = NDArray[np.floating]


class NearPairs(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold the pairs of persons whose nearest templates are within the widest radius that is counted.

    Attributes:
        persons: How many persons were compared.
        first: Index of one person of each near pair, (M,) int32.
        second: Index of the other, (M,) int32, always the larger.
        step: Index of the smallest of `RADII` that holds the pair, (M,) int32.
        share: How much of the pair that is, (M,) float64: 1 by nearest templates, less for one of several comparisons.
    """

    persons: int
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    step: NDArray[np.int32]
    share: NDArray[np.float64]

    @property
    def pairs(self) -> int:
        """How many pairs of persons there are, near or not."""
        return self.persons * (self.persons - 1) // 2

    def matched(self) -> NDArray[np.float64]:
        """Return how many pairs each radius holds, (STEPS,)."""
        return np.cumsum(np.bincount(self.step, weights=self.share, minlength=STEPS))


def near_pairs(person_of: Sequence[str], embeddings: Floats) -> NearPairs:
    """Compare everybody with everybody else, (N, d), by their nearest templates.

    Raises:
        InvalidInput: fewer than two persons, too many, other lengths, or a value that is not finite.
    """
    names, owner = np.unique(np.asarray(person_of, dtype=str), return_inverse=True)
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(owner):
        raise InvalidInput("embeddings", f"expected ({len(owner)}, d), got {rows.shape}")
    if not 2 <= len(names) <= MAX_PERSONS or np.bincount(owner).max() > MAX_EACH:
        raise InvalidInput("persons", f"2 to {MAX_PERSONS} with at most {MAX_EACH} templates each can be compared")
    if not np.isfinite(rows).all():
        raise InvalidInput("embeddings", "a value is not a finite number")
    order = np.argsort(owner, kind="stable")
    rows, starts = rows[order] - rows.mean(axis=0), np.searchsorted(owner[order], np.arange(len(names)))
    found = [_near(rows, starts, first, last) for first, last in _blocks(starts, len(rows))]
    first, second, step = (np.concatenate(part) for part in zip(*found, strict=True))
    return NearPairs(persons=len(names), first=first, second=second, step=step, share=np.ones(len(step)))


def _blocks(starts: NDArray[np.int64], rows: int) -> list[tuple[int, int]]:
    """Return ranges of persons whose distances to everybody fit into memory at once."""
    limit = max(1, _BLOCK_CELLS // rows)
    blocks, begun = [], 0
    for person in range(1, len(starts) + 1):
        end = rows if person == len(starts) else int(starts[person])
        if person == len(starts) or end - int(starts[begun]) >= limit:
            blocks.append((begun, person))
            begun = person
    return blocks


def _near(
    rows: NDArray[np.float64], starts: NDArray[np.int64], begun: int, ended: int
) -> tuple[NDArray[np.int32], ...]:
    """Return first, second and step of the near pairs between persons `begun` to `ended` and all who come later."""
    start = int(starts[begun])
    stop = len(rows) if ended == len(starts) else int(starts[ended])
    mine, others = rows[start:stop], rows[start:]
    lengths = np.einsum("ij,ij->i", others, others)
    squares = lengths[: len(mine), None] + lengths[None] - 2 * (mine @ others.T)
    nearest = np.minimum.reduceat(squares, starts[begun:ended] - start, axis=0)
    nearest = np.minimum.reduceat(nearest, starts[begun:] - start, axis=1)
    distances = np.sqrt(np.maximum(nearest, 0.0))
    first, second = np.nonzero(np.triu(distances <= RADII[-1], k=1))
    step = np.searchsorted(RADII, distances[first, second], side="left")
    return (first + begun).astype(np.int32), (second + begun).astype(np.int32), step.astype(np.int32)


def upper_bounds(near: NearPairs, *, seed: int) -> NDArray[np.float64]:
    """Return the highest false match rate at each radius, at 95 % confidence if pairs were independent, (STEPS,), never falling.

    Where few persons cause most matches it holds in fewer samples: 48 to 70 % of those simulated with 0.1 to 1 % of them.
    Only persons as the unit would hold always, at 360 000 persons for a door of 60 (docs/evaluation.md).
    """
    exact = np.array([upper_count(round(count)) / near.pairs for count in near.matched()])
    (over_people,) = resampled(near, quantiles=(CONFIDENCE,), seed=seed)
    bounds = np.maximum.reduce([exact, over_people, np.full(STEPS, rule_of_three(near.pairs))])
    result: NDArray[np.float64] = np.minimum(np.maximum.accumulate(bounds), 1.0)
    return result


def resampled(near: NearPairs, *, quantiles: Sequence[float], seed: int) -> NDArray[np.float64]:
    """Return quantiles of the rate at each radius over people drawn with replacement, (len(quantiles), STEPS)."""
    if len(near.step) == 0:
        return np.zeros((len(quantiles), STEPS))
    chance = np.random.default_rng(seed)
    rounds = int(min(RESAMPLES, max(100, _RESAMPLED_CELLS // len(near.step))))
    rates = np.empty((rounds, STEPS))
    for index in range(rounds):
        drawn = np.bincount(chance.integers(near.persons, size=near.persons), minlength=near.persons)
        compared = (near.persons**2 - int((drawn**2).sum())) / 2
        weights = near.share * drawn[near.first] * drawn[near.second]
        rates[index] = np.cumsum(np.bincount(near.step, weights=weights, minlength=STEPS)) / max(compared, 1.0)
    found: NDArray[np.float64] = np.quantile(rates, quantiles, axis=0)
    return found


def count_evidence(
    person_of: Sequence[str], embeddings: Floats, *, evidence_id: str, contract: str, source: Source, at: datetime,
    edge_id: str = "", seed: int = 1,
) -> ImpostorEvidence:  # fmt: skip
    """Return what (N, d) embeddings of known persons, all under one contract, prove about false matches.

    Raises:
        InvalidInput: fewer than two persons, or embeddings that cannot be compared.
    """
    near = near_pairs(person_of, embeddings)
    return check_evidence(
        ImpostorEvidence(
            id=evidence_id, contract=contract, source=source, persons=near.persons, pairs=near.pairs,
            matched=tuple(round(count) for count in near.matched()),
            upper=tuple(float(bound) for bound in upper_bounds(near, seed=seed)), at=at, edge_id=edge_id,
        )
    )  # fmt: skip
