"""The gallery against brute force: exact at every size, ties included, and clear about what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.gallery import MEDIUM, SMALL, Gallery, Near

Rows = NDArray[np.float32]


def embeddings(seed: int, *, count: int, dimensions: int, effective: int, spread: float, offset: float) -> Rows:
    """Rows whose variance lies mostly in `effective` directions, as embeddings of faces have it."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    weights = np.full(dimensions, 0.02)
    weights[:effective] = 1.0
    rows: Rows = ((rng.standard_normal((count, dimensions)) * weights) @ axes * spread + offset).astype(np.float32)
    return rows


def brute(ids: list[str], rows: Rows, query: Rows) -> list[tuple[str, float]]:
    """Every template by distance, equals in order."""
    difference = rows - query
    distances = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return [(ids[i], float(distances[i])) for i in np.argsort(distances, kind="stable")]


def people(found: list[tuple[str, float]], k: int) -> list[Near]:
    nearest: dict[str, float] = {}
    for person, distance in found:
        nearest.setdefault(person, distance)
    return [Near(person_id=person, distance=distance) for person, distance in list(nearest.items())[:k]]


shapes = st.fixed_dictionaries(
    {
        "count": st.sampled_from([1, 2, 17, SMALL, SMALL + 1, MEDIUM, MEDIUM + 1, 12_288, 15_000]),
        "dimensions": st.sampled_from([3, 64, 128]),
        "effective": st.sampled_from([2, 10, 128]),
        "spread": st.sampled_from([1e-25, 1e-3, 0.1, 40.0, 1e13]),
        "offset": st.sampled_from([0.0, 0.05, 7.0]),
    }
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shape=shapes, k=st.integers(1, 4), step=st.sampled_from([0.0, 0.3, 1.0, 5.0]))
def test_every_answer_equals_brute_force(seed: int, shape: dict[str, Any], k: int, step: float) -> None:
    rows = embeddings(seed, **shape)
    rng = np.random.default_rng(seed)
    ids = [f"p{i}" for i in rng.integers(0, max(1, len(rows) // 2), len(rows))]
    doubled = rng.integers(0, len(rows), len(rows) // 5)
    rows[doubled] = rows[0]  # ties: the same template under several names
    query = (rows[int(rng.integers(len(rows)))] + rng.standard_normal(rows.shape[1]) * step * shape["spread"]).astype(
        np.float32
    )
    gallery, expected = Gallery(ids, rows), brute(ids, rows, query)

    assert gallery.nearest_people(query, k=k) == people(expected, k)
    assert gallery.closest(query) == people(expected, 1)[0]
    radius = expected[len(expected) // 3][1]
    within = [Near(person_id=person, distance=distance) for person, distance in expected if distance <= radius]
    assert gallery.within(query, radius) == within
    assert gallery.nearest_people(query, k=k, radius=radius) == [
        near for near in people(expected, k) if near.distance <= radius
    ]
    several = np.stack([query, rows[0], rows[-1], query * 3])
    assert gallery.closest_each(several) == [gallery.closest(one) for one in several]
    assert gallery.closest_each(several, radius=radius) == [gallery.closest(one, radius=radius) for one in several]


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([1e-25, 0.1, 1e13]), step=st.sampled_from([0.0, 0.5, 3.0]))
def test_every_answer_in_noise_beyond_a_cache_equals_brute_force(seed: int, spread: float, step: float) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((70_000, 64)) * spread).astype(np.float32)
    rows[rng.integers(0, len(rows), 50)] = rows[69_999]
    ids = [f"p{i // 2}" for i in range(len(rows))]
    query = (rows[int(rng.choice([7, 69_999]))] + rng.standard_normal(64) * step * spread).astype(np.float32)
    gallery, expected = Gallery(ids, rows), brute(ids, rows, query)
    radius = expected[60][1]

    assert gallery.nearest_people(query, k=3) == people(expected, 3)
    assert gallery.closest(query, radius=radius) == people(expected, 1)[0]
    assert [near.distance for near in gallery.within(query, radius)] == [at for _, at in expected if at <= radius]
    assert gallery.closest(query, radius=expected[0][1] * 0.99) == (None if expected[0][1] else people(expected, 1)[0])


steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 3000), st.integers(0, 10_000)), min_size=1, max_size=5
)


@settings(max_examples=8, deadline=None)
@given(count=st.sampled_from([0, 1, 30, MEDIUM + 500]), steps=steps)
def test_after_any_additions_and_removals_every_answer_equals_brute_force(
    count: int, steps: list[tuple[str, int, int]]
) -> None:
    rows = embeddings(5, count=count, dimensions=128, effective=10, spread=0.1, offset=0.05)
    ids = [f"p{i // 2}" for i in range(count)]
    gallery = Gallery(ids, rows)
    for kind, size, seed in steps:
        rng = np.random.default_rng(seed)
        if kind == "add":
            more = embeddings(seed, count=size, dimensions=128, effective=10, spread=0.1, offset=0.05)
            names = [f"p{i}" for i in rng.integers(0, 6000, size)]
            gallery, ids, rows = gallery.with_added(names, more), [*ids, *names], np.concatenate([rows, more])
        else:
            gone = {f"p{i}" for i in rng.integers(0, 6000, size)}
            stays = [i for i, person in enumerate(ids) if person not in gone]
            gallery, ids, rows = gallery.without(gone), [ids[i] for i in stays], rows[stays]
    query = embeddings(9, count=1, dimensions=128, effective=10, spread=0.1, offset=0.05)[0]
    expected = brute(ids, rows, query)

    assert (len(gallery), gallery.people) == (len(rows), tuple(dict.fromkeys(ids)))
    assert gallery.nearest_people(query, k=3) == people(expected, 3)
    assert gallery.closest_each(rows[:4]) == [people(brute(ids, rows, row), 1)[0] for row in rows[:4]]


def test_a_gallery_without_a_person_holds_nothing_of_them() -> None:
    rows = embeddings(2, count=MEDIUM + 100, dimensions=128, effective=10, spread=0.1, offset=0.0)
    gallery = Gallery([f"p{i}" for i in range(len(rows))], rows)
    left = gallery.without(["p7", "nobody"])

    assert b"".join(held(left)).find(rows[7].tobytes()) == -1
    assert b"".join(held(gallery)).find(rows[7].tobytes()) >= 0
    assert sum(map(len, held(gallery))) - sum(map(len, held(left))) >= rows[7].nbytes
    near = left.closest(rows[7])
    assert near is not None
    assert near.person_id != "p7"
    assert gallery.closest(rows[7]) == Near(person_id="p7", distance=0.0)


def held(thing: object) -> list[bytes]:
    """The bytes of every array that an object and its parts hold."""
    found: list[bytes] = []
    for part in vars(thing).values():
        if isinstance(part, np.ndarray):
            found.append(part.tobytes())
        elif hasattr(part, "__dict__"):
            found += held(part)
    return found


def test_a_gallery_that_changes_leaves_the_one_that_is_in_use_alone() -> None:
    gallery = Gallery(["ann", "bob"], np.array([[0, 0], [1, 0]], np.float32))
    gallery.with_added(["cy"], np.array([[0.1, 0]], np.float32))
    gallery.without(["ann"])

    assert gallery.people == ("ann", "bob")
    assert gallery.closest(np.zeros(2)) == Near(person_id="ann", distance=0.0)


def test_a_large_gallery_takes_little_more_memory_than_its_templates() -> None:
    rows = embeddings(3, count=100_000, dimensions=128, effective=10, spread=0.1, offset=0.0)

    assert sum(map(len, held(Gallery(["ann"] * len(rows), rows)))) <= 1.28 * rows.nbytes


def test_nobody_is_near_enough_where_the_radius_ends() -> None:
    gallery = Gallery(["ann"], np.array([[0.5, 0]], np.float32))

    assert gallery.closest(np.zeros(2), radius=0.5) == Near(person_id="ann", distance=0.5)
    assert gallery.closest(np.zeros(2), radius=0.499) is None
    assert gallery.closest_each(np.zeros((2, 2)), radius=0.499) == [None, None]


def test_a_person_with_several_templates_has_no_runner_up_in_themselves() -> None:
    gallery = Gallery(["ann", "ann", "bob"], np.array([[0, 0], [0, 0.1], [1, 0]], np.float32))

    assert [near.person_id for near in gallery.nearest_people(np.zeros(2), k=2)] == ["ann", "bob"]
    assert len(gallery) == 3
    assert gallery.people == ("ann", "bob")


def test_a_thousand_templates_of_one_person_do_not_hide_the_other() -> None:
    rows = embeddings(1, count=2000, dimensions=128, effective=5, spread=0.01, offset=0.0)
    rows[1234] += 3
    gallery = Gallery(["bob" if i == 1234 else "ann" for i in range(2000)], rows)

    assert [near.person_id for near in gallery.nearest_people(rows[0], k=2)] == ["ann", "bob"]


def test_an_empty_gallery_knows_nobody() -> None:
    gallery = Gallery([], np.empty((0, 128), np.float32))

    assert gallery.closest(np.zeros(128)) is None
    assert gallery.within(np.zeros(128), 0.4) == []
    assert gallery.closest_each(np.zeros((2, 128))) == [None, None]


def test_the_gallery_keeps_its_own_copy() -> None:
    rows = np.zeros((1, 4), np.float32)
    gallery = Gallery(["ann"], rows)
    rows += 9

    assert gallery.closest(np.zeros(4)) == Near(person_id="ann", distance=0.0)


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        (["a"], np.zeros((2, 4)), "expected"),
        (["a"], np.zeros(4), "expected"),
        (["a"], np.zeros((1, 0)), "expected"),
        (["a"], np.full((1, 4), np.nan), "finite"),
        (["a"], np.full((1, 4), np.inf), "finite"),
        (["a"], np.full((1, 4), -2e15), "beyond"),
        (["a"], np.full((1, 4), 1e300), "beyond"),
    ],
)
def test_templates_that_cannot_be_compared_are_refused(
    ids: list[str], rows: NDArray[np.floating], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        Gallery(ids, rows)
    with pytest.raises(InvalidInput, match=message):
        Gallery(["b"], np.zeros((1, 4))).with_added(ids, rows)


def test_queries_that_cannot_be_compared_are_refused() -> None:
    gallery = Gallery(["a"], np.zeros((1, 4), np.float32))
    for query in (np.zeros(3), np.zeros((1, 4)), np.full(4, np.nan)):
        with pytest.raises(InvalidInput, match="query"):
            gallery.closest(query)
    with pytest.raises(InvalidInput, match="queries"):
        gallery.closest_each(np.zeros((2, 3)))
    with pytest.raises(InvalidInput, match="k"):
        gallery.nearest_people(np.zeros(4), k=0)
    for radius in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="radius"):
            gallery.within(np.zeros(4), radius)
        with pytest.raises(InvalidInput, match="radius"):
            gallery.closest(np.zeros(4), radius=radius)
