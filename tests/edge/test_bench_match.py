"""The benchmark of matching measures what it says, beside FAISS; how fast anything is decides no test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.portraits import portraits
from edge.bench_match import Arena, run
from edge.bench_variety import Variety, geometric, of_portraits, of_spectrum
from models.errors import GatehouseError
from models.gallery import Near

pytest.importorskip("faiss")


def test_a_spectrum_has_the_share_and_the_total_that_are_asked_for() -> None:
    variances = geometric(0.9, total=0.32)

    assert variances[:32].sum() == pytest.approx(0.9 * 0.32)
    assert variances.sum() == pytest.approx(0.32)
    assert (np.diff(variances) < 0).all()


def test_rows_are_drawn_with_the_variances_of_their_spectrum() -> None:
    rng = np.random.default_rng(0)
    variety = of_spectrum(geometric(0.9, total=0.32), rng=rng, detail="")
    rows = variety.draw(20_000, rng)

    assert np.cov(rows, rowvar=False).trace() == pytest.approx(0.32, rel=0.02)
    assert np.linalg.norm(variety.near(rows, distance=0.33, rng=rng) - rows, axis=1) == pytest.approx(0.33, abs=1e-5)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the networks are converted to, once."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def variety(cache_dir: Path) -> Variety:
    """The variety of a few variants of the portraits."""
    return of_portraits(portraits(), cache_dir, variants=160)


def test_real_covariance_says_where_it_comes_from(variety: Variety) -> None:
    rows = variety.draw(4000, np.random.default_rng(1))
    apart = np.sqrt(np.mean(np.sum((rows[:2000] - rows[2000:]) ** 2, axis=1)))

    assert "160 embedded variants" in variety.detail
    assert "portraits of 3 people" in variety.detail
    assert 0.6 < apart < 1.1  # as far as different people lie apart for this network
    assert float(variety.detail.split("two rows ")[1].split()[0]) == pytest.approx(apart, rel=0.05)


def test_an_answer_that_differs_from_faiss_ends_the_benchmark(variety: Variety) -> None:
    arena = Arena(variety, rows=2000, threads=1, seed=1)
    with pytest.raises(GatehouseError, match="FAISS found person-3"):
        arena.check([Near(person_id="person-4", distance=0.0)], arena.rows[3:4], radius=0.4)
    with pytest.raises(GatehouseError, match="FAISS found person-3"):
        arena.check([None], arena.rows[3:4], radius=0.4)
    arena.check([Near(person_id="person-3", distance=0.0)], arena.rows[3:4], radius=0.4)


@pytest.mark.timeout(240)
def test_every_figure_names_its_peer_and_its_target(cache_dir: Path) -> None:
    told: list[str] = []
    rows = {row.name: row for row in run(portraits(), cache_dir, threads=1, rows=12_000, variants=80, tell=told.append)}

    assert {name: row.target for name, row in rows.items() if row.target is not None} == {
        "query_1m": 6.0,
        "query_1m_blas": 3.0,
        "batch256_1m": 3.0,
        "memory_1m": 1.3,
        "build_1m": 10.0,
        "query_1m_isotropic": 1 / 1.1,
        "query_5k": 0.2,
        "scaling": 1.0,
    }
    assert "faiss" in rows["query_1m"].peer
    assert "12000 x 128" in rows["query_1m"].detail
    assert rows["query_1m"].ratio == pytest.approx((rows["query_1m"].theirs or 0) / rows["query_1m"].ours)
    assert [size for size, _ in rows["scaling"].curve] == [10_000, 12_000]
    assert len(told) == 7
