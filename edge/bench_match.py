"""Benchmarks of matching beside FAISS's exact index and a plain BLAS product: same rows, same probes, same run.

Every probe is timed in turns: ours, then theirs. One thread is timed by its processor time, more by the clock. Every
answer is compared: the same rows, distances to 1e-5, or the benchmark ends with an error.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.bench_variety import Variety, geometric, of_portraits, of_spectrum
from models.benchmarks import Benchmark
from models.errors import GatehouseError
from models.gallery import Gallery, Near

Floats = NDArray[np.float32]
Tell = Callable[[str], None]

RADIUS: Final = 0.40
WIDE: Final = 0.50
GENUINE: Final = 0.33
"""How far a genuine probe lies from its template."""
PROBES: Final = 20
BATCH: Final = 256
SIZES: Final = (10_000, 31_623, 100_000, 316_228, 1_000_000)
STEPS: Final = 7
"""How often `run` tells what it does, on one thread."""


class Arena:
    """One set of rows in our gallery and in FAISS's index, with probes of which half are strangers."""

    def __init__(self, variety: Variety, *, rows: int, threads: int, seed: int) -> None:
        self._faiss = _faiss(threads)
        self._now = time.thread_time if threads == 1 else time.perf_counter
        rng = np.random.default_rng(seed)
        self.rows = variety.draw(rows, rng)
        self.names = [f"person-{index}" for index in range(rows)]
        began = self._now()
        self.gallery = Gallery(self.names, self.rows)
        self.build_s = self._now() - began
        self._index = self._faiss.IndexFlatL2(self.rows.shape[1])
        self._index.add(self.rows)
        genuine = variety.near(self.rows[rng.integers(0, rows, BATCH // 2)], distance=GENUINE, rng=rng)
        self.genuine, self.strangers = genuine, variety.draw(BATCH - len(genuine), rng)

    def timed_ms(self, work: Callable[[], object]) -> float:
        """Return how long something took."""
        began = self._now()
        work()
        return (self._now() - began) * 1000

    def compare(self, radius: float | None, *, blas: bool = False) -> tuple[list[float], list[float]]:
        """Return our times and theirs in ms, over genuine and stranger probes in turns.

        Raises:
            GatehouseError: An answer differs from FAISS's.
        """
        probes = [probe for pair in zip(self.genuine, self.strangers, strict=True) for probe in pair][:PROBES]
        self.gallery.closest(probes[0], radius=radius)
        ours: list[float] = []
        theirs: list[float] = []
        for probe in probes:
            mine, peers = self._pair(probe, radius, blas=blas)
            ours.append(mine)
            theirs.append(peers)
        return ours, theirs

    def _pair(self, probe: Floats, radius: float | None, *, blas: bool) -> tuple[float, float]:
        ours = self.timed_ms(lambda: self.gallery.closest(probe, radius=radius))
        if blas:
            return ours, self.timed_ms(lambda: self.rows @ probe)
        self.check([self.gallery.closest(probe, radius=radius)], probe[None], radius=radius)
        return ours, self.timed_ms(lambda: self._index.search(probe[None], 1))

    def compare_batch(self, radius: float, rounds: int) -> tuple[list[float], list[float]]:
        """Return our times and theirs for 256 probes at once, in ms.

        Raises:
            GatehouseError: An answer differs from FAISS's.
        """
        probes = np.concatenate([self.genuine, self.strangers])
        self.check(self.gallery.closest_each(probes, radius=radius), probes, radius=radius)
        ours = [self.timed_ms(lambda: self.gallery.closest_each(probes, radius=radius)) for _ in range(rounds)]
        return ours, [self.timed_ms(lambda: self._index.search(probes, 1)) for _ in range(rounds)]

    def check(self, found: Sequence[Near | None], probes: Floats, *, radius: float | None) -> None:
        """Compare answers with FAISS's.

        Raises:
            GatehouseError: They differ.
        """
        squares, rows = self._index.search(probes, 1)
        for near, square, row in zip(found, squares[:, 0], rows[:, 0], strict=True):
            distance = float(max(square, 0.0)) ** 0.5
            if near is None:
                agrees = radius is not None and distance > radius - 1e-5
            else:
                agrees = near.person_id == self.names[row] and abs(near.distance - distance) <= 1e-5
            if not agrees:
                raise GatehouseError(f"FAISS found {self.names[row]} at {distance}, we found {near}")


def run(
    portraits: dict[str, Path],
    cache_dir: Path,
    *,
    threads: int,
    rows: int = 1_000_000,
    variants: int = 2000,
    tell: Tell = lambda _line: None,
) -> list[Benchmark]:
    """Measure matching among `rows` templates on one thread or two, and tell each step.

    Raises:
        GatehouseError: FAISS is not installed, or an answer of ours differs from FAISS's.
    """
    tell("real covariance: embedding variants of portraits")
    variety = of_portraits(portraits, cache_dir, variants=variants)
    tell(f"{rows} rows of real covariance, {threads} thread(s)")
    arena = Arena(variety, rows=rows, threads=threads, seed=2)
    if threads > 1:
        return _several(arena, variety, threads)
    found = _queries(arena, variety)
    tell("batches, build and memory")
    found += [_batch(arena, ""), *_build(arena)]
    del arena
    tell("a spectrum with 90 % in 32 axes")
    found.append(_spectrum(rows))
    tell("isotropic noise")
    found.append(_isotropic(rows))
    tell("5 000 rows")
    found.append(_small(variety))
    tell("scaling")
    found.append(_scaling(variety, rows))
    return found


def _queries(arena: Arena, variety: Variety) -> list[Benchmark]:
    """Time one query: at the radius of a decision beside FAISS and BLAS, at a wide radius, and without one."""
    size = f"one query among {len(arena.rows)} x 128, half genuine (at {GENUINE}) and half strangers, one thread"
    return [
        _against("query_1m", arena.compare(RADIUS), 6.0, f"{size}, radius {RADIUS}; {variety.detail}"),
        _against("query_1m_blas", arena.compare(RADIUS, blas=True), 3.0, f"{size}, radius {RADIUS}", peer=_blas()),
        _against("query_1m_wide", arena.compare(WIDE), None, f"{size}, radius {WIDE}"),
        _against("query_1m_nearest", arena.compare(None), None, f"{size}, the nearest at any distance"),
    ]


def _several(arena: Arena, variety: Variety, threads: int) -> list[Benchmark]:
    """Time queries and a batch by the clock with more threads than one."""
    size = f"one query among {len(arena.rows)} x 128, radius {RADIUS}, {threads} threads by the clock"
    return [
        _against(f"query_1m_{threads}_threads", arena.compare(RADIUS), None, f"{size}; {variety.detail}"),
        _against(f"query_1m_blas_{threads}_threads", arena.compare(RADIUS, blas=True), None, size, peer=_blas()),
        _batch(arena, f"_{threads}_threads"),
    ]


def _batch(arena: Arena, suffix: str) -> Benchmark:
    detail = f"{BATCH} queries at once among {len(arena.rows)} x 128, radius {RADIUS}"
    return _against(f"batch256_1m{suffix}", arena.compare_batch(RADIUS, 3), None if suffix else 3.0, detail)


def _build(arena: Arena) -> list[Benchmark]:
    """Weigh a gallery, and time building it and changing it."""
    rows = len(arena.rows)
    tracemalloc.start()
    gallery = Gallery(arena.names, arena.rows)
    times = tracemalloc.get_traced_memory()[0] / arena.rows.nbytes
    tracemalloc.stop()
    del gallery
    added_ms = arena.timed_ms(lambda: arena.gallery.with_added(["new"], arena.rows[:1]))
    removed_ms = arena.timed_ms(lambda: arena.gallery.without([arena.names[0]]))
    return [
        _alone(
            "memory_1m",
            "x",
            times,
            target=1.3,
            detail="memory of a gallery over its raw float32 matrix, by tracemalloc",
        ),
        _alone(
            "build_1m",
            "s",
            arena.build_s,
            target=10.0,
            detail=f"a gallery of {rows} x 128 made: axes, leaves, halves; one thread",
        ),
        _alone(
            "added_1m",
            "s",
            added_ms / 1000,
            target=None,
            detail=f"a person added to {rows}: a new gallery beside the old one",
        ),
        _alone(
            "removed_1m",
            "s",
            removed_ms / 1000,
            target=None,
            detail=f"a person removed from {rows}, nothing of whom stays",
        ),
    ]


def _spectrum(rows: int) -> Benchmark:
    detail = "normal rows whose variances fall geometrically, 90 % in 32 axes, as measured on real galleries; not faces"
    variety = of_spectrum(geometric(0.9, total=0.32), rng=np.random.default_rng(3), detail=detail)
    arena = Arena(variety, rows=rows, threads=1, seed=4)
    return _against(
        "query_1m_spectrum90", arena.compare(RADIUS), None, f"radius {RADIUS}, two rows 0.80 apart; {detail}"
    )


def _isotropic(rows: int) -> Benchmark:
    variety = of_spectrum(np.full(128, 0.32 / 128), rng=np.random.default_rng(5), detail="")
    arena = Arena(variety, rows=rows, threads=1, seed=6)
    detail = "the same variance in all directions, the worst case: at least 1/1.1 of the speed of BLAS"
    return _against("query_1m_isotropic", arena.compare(RADIUS, blas=True), 1 / 1.1, detail, peer=_blas())


def _small(variety: Variety) -> Benchmark:
    arena = Arena(variety, rows=5_000, threads=1, seed=7)
    samples = [sample for _ in range(10) for sample in arena.compare(RADIUS)[0]]
    return _alone(
        "query_5k",
        "ms",
        statistics.median(samples),
        target=0.2,
        detail="one query among 5000 x 128, median",
        samples=samples,
    )


def _scaling(variety: Variety, rows: int) -> Benchmark:
    """Time one query at growing sizes, and say by which power of the size it grows between the ends."""
    points = []
    for size in [size for size in SIZES if size < rows] + [rows]:
        arena = Arena(variety, rows=size, threads=1, seed=8)
        points.append((float(size), statistics.median(arena.compare(RADIUS)[0])))
    (first, first_ms), (last, last_ms) = points[0], points[-1]
    power = float(np.log(last_ms / first_ms) / np.log(last / first)) if last > first else 0.0
    shown = ", ".join(f"{int(size)}: {took_ms:.3g} ms" for size, took_ms in points)
    return Benchmark(
        name="scaling",
        unit="power of N",
        ours=power,
        target=1.0,
        met=power <= 1.0,
        curve=tuple(points),
        detail=f"median query at radius {RADIUS} by number of templates: {shown}; 1 is linear",
    )


def _against(
    name: str, times: tuple[list[float], list[float]], target: float | None, detail: str, *, peer: str = ""
) -> Benchmark:
    """Return a row that compares medians."""
    ours, theirs = statistics.median(times[0]), statistics.median(times[1])
    return Benchmark(
        name=name,
        unit="ms",
        ours=ours,
        peer=peer or f"faiss {_faiss(None).__version__} IndexFlatL2",
        theirs=theirs,
        ratio=theirs / ours,
        target=target,
        met=target is None or theirs / ours >= target,
        samples=tuple(times[0]),
        detail=detail,
    )


def _alone(
    name: str, unit: str, ours: float, *, target: float | None, detail: str, samples: Sequence[float] = ()
) -> Benchmark:
    met = target is None or ours <= target
    return Benchmark(name=name, unit=unit, ours=ours, target=target, met=met, samples=tuple(samples), detail=detail)


def _blas() -> str:
    return f"numpy {np.__version__} product"


def _faiss(threads: int | None) -> Any:
    """Return FAISS, on so many threads.

    Raises:
        GatehouseError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise GatehouseError("faiss is not installed: pip install 'gatehouse[dev]' brings the peers") from error
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    return faiss
