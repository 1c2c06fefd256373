"""Errors are measured per person, intervals resample people, and what the data cannot show is said."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest

from models.calibration import needed_fmr, needed_pairs
from models.evidence import RADII, count_evidence
from models.faces.evaluation import BIN, OUTSIDE, Measured, Rate, measure, over_people, persons_for

AT = datetime(2026, 3, 1, tzinfo=UTC)


def measured(person_of: list[str], rows: np.ndarray) -> Measured:
    evidence = count_evidence(person_of, rows, evidence_id="x", contract="m", source="labelled", at=AT)
    return measure(person_of, rows, evidence=evidence)


def crowd(people: int, each: int, *, seed: int = 1, blur: float = 0.1) -> tuple[list[str], np.ndarray]:
    """Return people who are about 1.0 apart, each with some pictures about `blur` from one another."""
    chance = np.random.default_rng(seed)
    centres = np.repeat(chance.normal(size=(people, 128)) / 16, each, axis=0)
    rows = centres + chance.normal(size=centres.shape) * blur / 16
    return [f"p{index // each:04}" for index in range(people * each)], rows.astype(np.float32)


def at(found: Measured, radius: float) -> tuple[Rate, Rate | None]:
    point = next(point for point in found.points if point.radius == pytest.approx(radius))
    return point.fmr, point.fnmr


def test_rates_are_those_that_a_walk_over_all_comparisons_finds() -> None:
    person_of, rows = crowd(25, 3, blur=0.42)
    rows[3:6] = rows[0] + 0.005  # one person resembles another in all pictures
    found = measured(person_of, rows)
    false: dict[tuple[str, str], list[float]] = {}
    missed: dict[str, list[float]] = {}
    for one, other in combinations(range(len(rows)), 2):
        apart = float(np.linalg.norm(rows[one] - rows[other]))
        if person_of[one] == person_of[other]:
            missed.setdefault(person_of[one], []).append(apart)
        else:
            false.setdefault((person_of[one], person_of[other]), []).append(apart)
    assert (found.genuine, found.impostor) == (75, 25 * 24 // 2 * 9)
    for radius in (0.1, 0.4, 0.5, 0.6):
        fmr, fnmr = at(found, radius)
        assert fnmr is not None
        assert fmr.value == pytest.approx(np.mean([np.mean(np.array(one) <= radius) for one in false.values()]))
        assert fnmr.value == pytest.approx(np.mean([np.mean(np.array(one) > radius) for one in missed.values()]))
        assert fmr.low <= fmr.value <= fmr.high
        assert fnmr.low <= fnmr.value <= fnmr.high
    assert sum(found.genuine_histogram) == 75
    assert sum(found.impostor_histogram) == found.impostor
    nearest = min(apart for one in false.values() for apart in one)
    assert found.impostor_histogram[int(nearest / BIN)] > 0


def test_a_person_with_many_pictures_counts_as_one() -> None:
    person_of, rows = crowd(21, 2, blur=0.01)
    many = np.repeat(rows[:1], 40, axis=0) + np.random.default_rng(2).normal(size=(40, 128)).astype(np.float32)
    evidence = count_evidence(person_of, rows, evidence_id="x", contract="m", source="labelled", at=AT)
    found = measure(person_of + ["p0000"] * 40, np.concatenate([rows, many]), evidence=evidence)
    fnmr = at(found, 0.4)[1]
    assert fnmr is not None
    assert fnmr.value == pytest.approx(1 / 21, abs=0.001)
    assert fnmr.over == 21


def test_three_people_prove_nothing_about_others_and_that_is_said() -> None:
    person_of, rows = crowd(3, 2)
    found = measured(person_of, rows)
    fmr, fnmr = at(found, 0.4)
    assert fnmr is not None
    assert [(rate.low, rate.high) for rate in (fmr, fnmr)] == [(0.0, 1.0), (0.0, 1.0)]
    assert any(what.startswith("intervals: 3 persons") for what in found.not_measured)
    assert all(one.fpir is None and one.fnir is None and one.suggested == 0.0 for one in found.identification)
    assert sum("FPIR and FNIR at N" in what for what in found.not_measured) == 4
    assert any("549 persons" in what for what in found.not_measured)


def test_without_second_pictures_misses_are_not_measured() -> None:
    person_of, rows = crowd(40, 1)
    found = measured(person_of, rows)
    assert at(found, 0.4)[1] is None
    assert any(what.startswith("FNMR: nobody") for what in found.not_measured)


def test_identification_is_measured_as_far_as_the_people_reach() -> None:
    person_of, rows = crowd(50 + OUTSIDE, 2)
    found = measured(person_of, rows)
    small, *larger = found.identification
    assert (small.people, small.radius, small.suggested) == (50, 0.4, 0.0)
    assert small.fpir is not None
    assert small.fnir is not None
    assert (small.fpir.value, small.fnir.value) == (0.0, 0.0)
    assert small.fpir.high == pytest.approx(3 / small.fpir.over)
    assert [one.fpir for one in larger] == [None, None, None]


def test_strangers_who_resemble_members_and_members_who_look_otherwise_are_found_in_identification() -> None:
    person_of, rows = crowd(80, 2, blur=0.02)
    rows[80:120] = rows[:40] + 0.001  # persons 40 to 59 are the doubles of 0 to 19
    rows[159] += 0.5  # a second picture of somebody that resembles nobody
    found = measured(person_of, rows).identification[0]
    assert found.fpir is not None
    assert found.fnir is not None
    assert found.fpir.value > 0.1
    assert found.fnir.value == pytest.approx(1 / 80)
    assert found.fpir_at_most > 0.3


def test_a_radius_is_suggested_where_the_evidence_carries_it() -> None:
    people = persons_for(needed_pairs(50))
    person_of, rows = crowd(people, 1)
    suggested = [one.suggested for one in measured(person_of, rows).identification]
    assert suggested == [0.45, 0.0, 0.0, 0.0]
    assert 3 / (people * (people - 1) / 2) <= needed_fmr(50)


def test_the_rule_of_three_bounds_what_no_error_and_nothing_but_errors_prove() -> None:
    none, all_, some = over_people(np.array([[0.0, 1.0, float(n % 4 == 0)] for n in range(60)]), seed=1)
    assert (none.low, none.value, none.high) == (0.0, 0.0, 0.05)
    assert (all_.low, all_.value, all_.high) == (0.95, 1.0, 1.0)
    assert 0.1 < some.low < some.value == 0.25 < some.high < 0.4


def test_comparisons_are_made_in_blocks_that_fit_into_memory() -> None:
    person_of, rows = crowd(2100, 1)
    rows[-1] = rows[0] + 0.001
    found = measured(person_of, rows)
    assert found.impostor == 2100 * 2099 // 2
    assert found.points[int(np.searchsorted(RADII, 0.02))].fmr.value == pytest.approx(1 / found.impostor)
