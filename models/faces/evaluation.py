"""Say what labelled embeddings prove: errors of verification and identification with 95 % intervals over people.

Words and rates are those of ISO/IEC 19795-1. Every person counts the same, every pair of persons counts the same, and
intervals resample people, so that a hundred pictures of one person prove no more than that person can. What the data
cannot show is named with what would be needed. It reads no file and knows no name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import (
    DEMO_RADIUS,
    MAX_FPIR,
    STEPS,
    ImpostorEvidence,
    needed_fmr,
    needed_pairs,
    rule_of_three,
    unrefuted_radius,
    widest_radius,
)
from models.evidence import RADII, NearPairs, resampled

SIZES: Final = (50, 200, 1_000, 5_000)
"""Galleries for which identification is measured or said not to be."""
OUTSIDE: Final = 20
"""Least number of persons outside a gallery, and of persons in it with a second picture, to measure identification."""
LEAST_PERSONS: Final = 20
"""Below that, people drawn with replacement say nothing about others: the interval is everything."""
DRAWS: Final = 10
BIN: Final = 0.02
BINS: Final = 70
"""Histograms of distances reach from 0 to 1.4."""
_RESAMPLES: Final = 1000
_INTERVAL: Final = (0.025, 0.975)
_BLOCK_CELLS: Final = 4_000_000

Floats = NDArray[np.floating]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a rate with its 95 % interval over people; `over` is how many persons, or pairs of them, it rests on."""

    value: float
    low: float
    high: float
    over: int


class ErrorPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the errors of comparing one picture with one other at a radius; None was not measured."""

    radius: float
    fmr: Rate
    fnmr: Rate | None


class Identification(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the errors of searching a gallery of N persons at a radius, one template each; None was not measured.

    `suggested` is the widest radius that the evidence carries for N, 0 if none. The errors are those at `radius`: the
    suggested one, else 0.40. `fpir_at_most` follows from the upper bound of the false match rate at that radius.
    """

    people: int
    suggested: float
    needed_pairs: int
    radius: float
    fpir_at_most: float
    fpir: Rate | None
    fnir: Rate | None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that labelled embeddings prove.

    Attributes:
        genuine: How many comparisons of two pictures of one person.
        impostor: How many comparisons of pictures of two persons.
        points: Errors at the radii 0.01 to 0.60.
        genuine_histogram: Comparisons by distance, in steps of 0.02 from 0 to 1.4.
        impostor_histogram: The same of two persons.
        identification: One entry for each size of gallery.
        not_measured: What the data cannot show, each with what would be needed.
    """

    genuine: int
    impostor: int
    points: tuple[ErrorPoint, ...]
    genuine_histogram: tuple[int, ...]
    impostor_histogram: tuple[int, ...]
    identification: tuple[Identification, ...]
    not_measured: tuple[str, ...]


class Compared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold every comparison of (N, d): distances of one person's pictures, near comparisons of two persons, counts."""

    owner: NDArray[np.int32]
    distance: NDArray[np.float64]
    near: NearPairs
    impostor: int
    histogram: NDArray[np.int64]


def measure(person_of: Sequence[str], embeddings: Floats, *, evidence: ImpostorEvidence, seed: int = 1) -> Measured:
    """Measure (N, d) embeddings of at least two persons; `evidence` is what was counted of the same persons."""
    names, owner = np.unique(np.asarray(person_of, dtype=str), return_inverse=True)
    rows = np.asarray(embeddings, dtype=np.float64)
    compared = compare(owner.astype(np.int32), rows - rows.mean(axis=0))
    fnmr = non_match(compared, seed=seed)
    identification = tuple(identify(owner, rows, people=people, evidence=evidence, seed=seed) for people in SIZES)
    return Measured(
        genuine=len(compared.distance),
        impostor=compared.impostor,
        points=tuple(
            ErrorPoint(radius=float(radius), fmr=fmr, fnmr=None if fnmr is None else fnmr[index])
            for index, (radius, fmr) in enumerate(zip(RADII, false_match(compared.near, seed=seed), strict=True))
        ),
        genuine_histogram=tuple(int(n) for n in _binned(compared.distance)),
        impostor_histogram=tuple(int(n) for n in compared.histogram),
        identification=identification,
        not_measured=tuple(_missing(len(names), np.bincount(owner), identification)),
    )


def compare(owner: NDArray[np.int32], rows: NDArray[np.float64]) -> Compared:
    """Compare every picture with every other, once."""
    share_of = 1.0 / np.bincount(owner)
    lengths = np.einsum("ij,ij->i", rows, rows)
    block = max(1, _BLOCK_CELLS // len(rows))
    mine, distances, near, histogram = [], [], [], np.zeros(BINS, np.int64)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        squares = lengths[start : start + block, None] + lengths[None, start:] - 2 * (part @ rows[start:].T)
        apart = np.sqrt(np.maximum(squares, 0.0))
        later = np.triu(np.ones(apart.shape, bool), k=1)
        same = owner[start : start + block, None] == owner[None, start:]
        mine.append(owner[start + np.nonzero(later & same)[0]])
        distances.append(apart[later & same])
        histogram += _binned(apart[later & ~same])
        first, second = np.nonzero(later & ~same & (apart <= RADII[-1]))
        near.append((owner[start + first], owner[start + second], apart[first, second]))
    one, other, apart_by = (np.concatenate(part) for part in zip(*near, strict=True))
    pairs = NearPairs(
        persons=len(share_of), first=one, second=other, share=share_of[one] * share_of[other],
        step=np.searchsorted(RADII, apart_by, side="left").astype(np.int32),
    )  # fmt: skip
    return Compared(
        owner=np.concatenate(mine), distance=np.concatenate(distances), near=pairs, impostor=int(histogram.sum()),
        histogram=histogram,
    )  # fmt: skip


def _binned(distances: Floats) -> NDArray[np.int64]:
    return np.bincount(np.minimum(distances / BIN, BINS - 1).astype(np.int64), minlength=BINS)


def false_match(near: NearPairs, *, seed: int) -> list[Rate]:
    """Return the false match rate of one picture against one other at each radius; each pair of persons counts the same."""
    lows, highs = resampled(near, quantiles=_INTERVAL, seed=seed)
    least, few = rule_of_three(near.pairs), near.persons < LEAST_PERSONS
    return [
        Rate(
            value=float(value), low=0.0 if few else float(min(low, value)),
            high=1.0 if few else float(max(high, value, least)), over=near.pairs,
        )
        for value, low, high in zip(near.matched() / near.pairs, lows, highs, strict=True)
    ]  # fmt: skip


def non_match(compared: Compared, *, seed: int) -> list[Rate] | None:
    """Return the false non-match rate at each radius, each person counting the same; None without a second picture."""
    persons, index = np.unique(compared.owner, return_inverse=True)
    if len(persons) == 0:
        return None
    counts = np.zeros((len(persons), STEPS + 1))
    np.add.at(counts, (index, np.searchsorted(RADII, compared.distance, side="left")), 1)
    missed = 1.0 - np.cumsum(counts, axis=1)[:, :STEPS] / counts.sum(axis=1, keepdims=True)
    return over_people(missed, seed=seed)


def over_people(rates: NDArray[np.float64], *, seed: int) -> list[Rate]:
    """Return the mean of (persons, M) rates of single persons with its interval, people drawn with replacement.

    Where nobody, or everybody, erred, the rule of three bounds what so few persons prove.
    """
    count = len(rates)
    if count < LEAST_PERSONS:
        return [Rate(value=float(mean), low=0.0, high=1.0, over=count) for mean in rates.mean(axis=0)]
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    lows, highs = np.quantile(drawn @ rates / count, _INTERVAL, axis=0)
    least = rule_of_three(count)
    return [
        Rate(
            value=float(mean),
            low=float(max(0.0, min(low, 1 - least) if mean >= 1.0 else min(low, mean))),
            high=float(min(1.0, max(high, least) if mean <= 0.0 else max(high, mean))),
            over=count,
        )
        for mean, low, high in zip(rates.mean(axis=0), lows, highs, strict=True)
    ]


def identify(
    owner: NDArray[np.integer], rows: NDArray[np.float64], *, people: int, evidence: ImpostorEvidence, seed: int
) -> Identification:
    """Search galleries of `people` drawn persons, one picture each, with everybody's other pictures."""
    fmr = needed_fmr(people)
    suggested = min(widest_radius(evidence, fmr), unrefuted_radius(evidence, fmr))
    radius = suggested or DEMO_RADIUS
    bound = evidence.upper[int(np.searchsorted(RADII, radius - 1e-9))]
    known = Identification(
        people=people, suggested=suggested, needed_pairs=needed_pairs(people), radius=radius,
        fpir_at_most=1 - (1 - bound) ** people, fpir=None, fnir=None,
    )  # fmt: skip
    pictures = np.bincount(owner)
    if len(pictures) < people + OUTSIDE or int((pictures > 1).sum()) < OUTSIDE:
        return known
    chance = np.random.default_rng(seed)
    inside, outside = np.zeros((len(pictures), 2)), np.zeros((len(pictures), 2))
    for _ in range(DRAWS):
        _search(owner, rows, chosen=chance.permutation(len(pictures))[:people], radius=radius, tally=(inside, outside))
    (fnir,) = over_people(_shares(inside), seed=seed)
    (fpir,) = over_people(_shares(outside), seed=seed)
    return msgspec.structs.replace(known, fpir=fpir, fnir=fnir)


def _search(
    owner: NDArray[np.integer], rows: NDArray[np.float64], *, chosen: NDArray[np.integer], radius: float,
    tally: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:  # fmt: skip
    """Search one gallery; `tally` counts errors and searches of each person, inside and outside the gallery."""
    held = np.isin(owner, chosen)
    _, templates = np.unique(np.where(held, owner, -1), return_index=True)
    templates = templates[held[templates]]
    probes = np.setdiff1d(np.arange(len(owner)), templates)
    gallery, lengths = rows[templates], np.einsum("ij,ij->i", rows[templates], rows[templates])
    block = max(1, _BLOCK_CELLS // len(templates))
    for start in range(0, len(probes), block):
        part = probes[start : start + block]
        scores = lengths[None] - 2 * (rows[part] @ gallery.T)
        best = scores.argmin(axis=1)
        apart = np.linalg.norm(rows[part] - gallery[best], axis=1)
        right = (owner[templates[best]] == owner[part]) & (apart <= radius)
        for counts, among, wrong in ((tally[0], held[part], ~right), (tally[1], ~held[part], apart <= radius)):
            who = owner[part[among]]
            counts[:, 0] += np.bincount(who, weights=wrong[among], minlength=len(counts))
            counts[:, 1] += np.bincount(who, minlength=len(counts))


def _shares(tally: NDArray[np.float64]) -> NDArray[np.float64]:
    asked = tally[tally[:, 1] > 0]
    return asked[:, :1] / asked[:, 1:]


def _missing(persons: int, pictures: NDArray[np.integer], identification: Sequence[Identification]) -> list[str]:
    """Say what the data cannot show, and what would be needed."""
    missing = []
    second = int((pictures > 1).sum())
    if 0 < second < LEAST_PERSONS or persons < LEAST_PERSONS:
        missing.append(
            f"intervals: {persons} persons, {second} of them with a second usable picture; {LEAST_PERSONS} of each are needed"
        )
    if second == 0:
        missing.append("FNMR: nobody has a second usable picture; give each person two or more")
    for one in identification:
        if one.fpir is None:
            missing.append(
                f"FPIR and FNIR at N = {one.people}: {persons} persons with usable pictures, {one.people + OUTSIDE} are "
                f"needed, at least {OUTSIDE} of them with a second picture"
            )
        if one.suggested == 0.0:
            missing.append(
                f"a radius at N = {one.people}: FPIR of {MAX_FPIR:.1%} asks for {one.needed_pairs:,} pairs of persons "
                f"without a false match, which are {persons_for(one.needed_pairs):,} persons"
            )
    return missing


def persons_for(pairs: int) -> int:
    """Return how many persons give so many pairs."""
    return int(np.ceil((1 + np.sqrt(1 + 8 * pairs)) / 2))
