"""Evidence is counted in pairs of persons, and its bounds grow with what one person alone can spoil."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import STEPS, ImpostorEvidence, rule_of_three, upper_count
from models.errors import InvalidInput
from models.evidence import MAX_EACH, MAX_PERSONS, RADII, count_evidence, near_pairs, upper_bounds

AT = datetime(2026, 3, 1, tzinfo=UTC)


def counted(person_of: list[str], embeddings: np.ndarray, *, seed: int = 1) -> ImpostorEvidence:
    return count_evidence(
        person_of, embeddings, evidence_id="cal-1", contract="m", source="site", at=AT, edge_id="edge-1", seed=seed
    )


def crowd(seed: int, people: int, *, each: int = 1, spread: float = 0.05) -> tuple[list[str], np.ndarray]:
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(people * each, 16)) * spread
    return [f"p{index // each}" for index in range(people * each)], rows.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), people=st.integers(2, 12), rows=st.integers(2, 40))
def test_pairs_are_those_that_a_walk_over_all_templates_finds(seed: int, people: int, rows: int) -> None:
    chance = np.random.default_rng(seed)
    person_of = [f"p{n}" for n in range(people)] + [f"p{n}" for n in chance.integers(people, size=rows)]
    person_of = person_of[: people + MAX_EACH - 1]
    embeddings = chance.normal(size=(len(person_of), 8)) * 0.1
    embeddings[0] = embeddings[1]
    wanted = np.zeros(STEPS, dtype=int)
    for one, other in combinations(sorted(set(person_of)), 2):
        mine = [row for name, row in zip(person_of, embeddings, strict=True) if name == one]
        theirs = [row for name, row in zip(person_of, embeddings, strict=True) if name == other]
        nearest = min(float(np.linalg.norm(a - b)) for a in mine for b in theirs)
        wanted += nearest <= RADII
    found = near_pairs(person_of, embeddings)
    assert found.pairs == people * (people - 1) // 2
    assert found.matched().tolist() == wanted.tolist()


def test_many_pictures_of_two_persons_are_one_pair() -> None:
    person_of, rows = crowd(1, 2, each=MAX_EACH)
    found = counted(person_of, rows)
    assert (found.persons, found.pairs, found.matched[-1]) == (2, 1, 1)
    assert found.upper == (1.0,) * STEPS


def test_pairs_are_compared_in_blocks_that_fit_into_memory() -> None:
    person_of, rows = crowd(2, 2100, spread=5.0)
    rows[0] = rows[-1] + 0.001
    found = near_pairs(person_of, rows)
    names = sorted(person_of)
    assert {(names[a], names[b]) for a, b in zip(found.first, found.second, strict=True)} == {("p0", "p2099")}


def test_without_an_error_the_rule_of_three_is_what_is_proved() -> None:
    person_of, rows = crowd(3, 30, spread=1.0)
    found = counted(person_of, rows)
    assert found.matched == (0,) * STEPS
    assert set(found.upper) == {rule_of_three(435)}


def test_one_person_who_resembles_everybody_widens_the_bound_beyond_that_of_as_many_loose_pairs() -> None:
    hub = np.eye(60, dtype=np.float32) * 2
    hub[:31] = 0.0
    for other in range(1, 31):
        hub[other, other] = 0.35
    names = [f"p{n:02}" for n in range(60)]
    near = near_pairs(names, hub)
    count = int(near.matched()[34])
    assert count == 30
    loose = upper_count(count) / near.pairs
    assert upper_bounds(near, seed=1)[34] > loose * 1.1


def test_a_seed_gives_the_same_bounds_again() -> None:
    person_of, rows = crowd(4, 40, spread=0.08)
    assert counted(person_of, rows, seed=7) == counted(person_of, rows, seed=7)
    assert counted(person_of, rows, seed=7).upper != counted(person_of, rows, seed=8).upper


@pytest.mark.parametrize(
    ("count", "mean"), [(0, 2.996), (1, 4.744), (10, 16.962), (50, 63.287), (51, 64.402), (1000, 1053.6)]
)
def test_the_bound_of_a_count_is_garwoods(count: int, mean: float) -> None:
    assert upper_count(count) == pytest.approx(mean, rel=2e-4)


@pytest.mark.parametrize(
    ("person_of", "rows", "key"),
    [
        (["a"], np.zeros((1, 4)), "persons"),
        (["a", "a"], np.zeros((2, 4)), "persons"),
        ([], np.zeros((0, 4)), "persons"),
        (["a", "b"], np.array([[0.0], [np.nan]]), "embeddings"),
        (["a", "b"], np.array([[0.0], [np.inf]]), "embeddings"),
        (["a", "b"], np.zeros((3, 4)), "embeddings"),
        (["a", "b"], np.zeros(2), "embeddings"),
        (["a"] * (MAX_EACH + 1) + ["b"], np.zeros((MAX_EACH + 2, 4)), "persons"),
        ([str(n) for n in range(MAX_PERSONS + 1)], np.zeros((MAX_PERSONS + 1, 1)), "persons"),
    ],
)
def test_what_cannot_be_compared_is_refused(person_of: list[str], rows: np.ndarray, key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        near_pairs(person_of, rows)
    assert refused.value.where == key
