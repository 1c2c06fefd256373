"""Whom a track shows: k of n frames, the margin to the next person, and everything that ends in nobody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.gallery import MEDIUM, SMALL, Gallery, Near
from models.liveness import Provider, Reading
from models.recognition import (
    EmbedderContract,
    FaceQuality,
    NotRecognised,
    QualityGates,
    Recognised,
    Rule,
    SeenFace,
    alive,
    recognise,
    unusable,
)

RULE = Rule(radius=0.4)
CONTRACT = EmbedderContract(model="m", digest="ab", dimensions=4, metric="euclidean").id


def at(x: float, y: float = 0.0) -> NDArray[np.float32]:
    return np.array([x, y, 0, 0], np.float32)


def frame(place: NDArray[np.float32], *, at_s: float = 0.0, **more: Any) -> SeenFace:
    return SeenFace(at_s=at_s, embedding=place, **{"contract": CONTRACT, **more})


ANN_AND_BOB = Gallery(["ann", "ann", "bob"], np.stack([at(0), at(0, 0.2), at(1)]))


def judge(*frames: SeenFace, gallery: Gallery = ANN_AND_BOB, rule: Rule = RULE) -> Recognised | NotRecognised:
    return recognise(frames, gallery, contract=CONTRACT, rule=rule)


def why(outcome: Recognised | NotRecognised) -> str:
    assert isinstance(outcome, NotRecognised)
    return outcome.reason


def test_two_agreeing_frames_of_three_show_a_person_with_evidence() -> None:
    outcome = judge(frame(at(0.1)), frame(at(0.5, 2)), frame(at(0.2)))

    assert isinstance(outcome, Recognised)
    assert outcome.person_id == "ann"
    assert outcome.evidence.contract == CONTRACT
    assert (outcome.evidence.frames, outcome.evidence.agreeing, outcome.evidence.gallery_size) == (3, 2, 2)
    assert outcome.evidence.distance == pytest.approx(0.15, abs=1e-4)
    assert outcome.evidence.margin == pytest.approx(0.70, abs=1e-4)
    assert outcome.evidence.radius == 0.4


def test_one_frame_is_too_few() -> None:
    assert why(judge(frame(at(0)))) == "too_few"
    assert why(judge()) == "too_few"


def test_frames_older_than_the_limit_do_not_count() -> None:
    assert why(judge(frame(at(0)), frame(at(0), at_s=2.1))) == "too_few"


def test_only_the_newest_frames_count() -> None:
    strangers = [frame(at(3)) for _ in range(2)]

    assert why(judge(frame(at(0)), frame(at(0)), *strangers)) == "not_recognised"


def test_a_stranger_is_nobody() -> None:
    assert why(judge(frame(at(0, 9)), frame(at(0, 9)))) == "not_recognised"


def test_frames_that_show_different_people_agree_on_nobody() -> None:
    assert why(judge(frame(at(0)), frame(at(1)))) == "not_recognised"


def test_two_people_alike_are_ambiguous() -> None:
    twins = Gallery(["ann", "eve"], np.stack([at(0), at(0.04)]))

    assert why(judge(frame(at(0)), frame(at(0)), gallery=twins)) == "ambiguous"


def test_a_mean_nearer_to_somebody_else_is_ambiguous() -> None:
    spread = Gallery(["ann", "ann", "bob"], np.stack([at(0, 0.3), at(0, -0.3), at(0.2)]))

    assert why(judge(frame(at(0, 0.3)), frame(at(0, -0.3)), gallery=spread)) == "ambiguous"


def test_a_mean_far_from_everybody_is_nobody() -> None:
    apart = Gallery(["ann", "ann"], np.stack([at(0, 0.9), at(0, -0.9)]))

    assert why(judge(frame(at(0, 0.9)), frame(at(0, -0.9)), gallery=apart)) == "not_recognised"


def test_the_only_enrolled_person_has_no_runner_up() -> None:
    outcome = judge(frame(at(0)), frame(at(0)), gallery=Gallery(["ann"], at(0)[None]))

    assert isinstance(outcome, Recognised)
    assert outcome.evidence.margin is None


def test_an_empty_gallery_recognises_nobody() -> None:
    assert why(judge(frame(at(0)), frame(at(0)), gallery=Gallery([], np.empty((0, 4))))) == "not_recognised"


def test_the_sharpest_frames_are_compared() -> None:
    frames = [frame(at(0.3), sharpness=1), frame(at(0.1), sharpness=9), frame(at(0.2), sharpness=5)]
    outcome = judge(*frames, rule=Rule(radius=0.4, best=1))

    assert isinstance(outcome, Recognised)
    assert outcome.evidence.distance == pytest.approx(0.1, abs=1e-4)


def test_one_claimed_person_is_verified_and_anybody_else_differs() -> None:
    ann = Gallery(["ann"], at(0)[None])
    shown = recognise([frame(at(0.1)), frame(at(0.1))], ann, contract=CONTRACT, rule=RULE, compared="verified")

    assert isinstance(shown, Recognised)
    assert (shown.evidence.mode, shown.evidence.gallery_size) == ("verified", 1)
    other = recognise([frame(at(1)), frame(at(1))], ann, contract=CONTRACT, rule=RULE, compared="verified")
    assert why(other) == "face_differs"


READINGS: list[tuple[Provider, Reading | None, str | None]] = [
    ("none", None, None),
    ("device", None, None),
    ("parallax", None, "liveness_unclear"),
    ("parallax", Reading(provider="parallax", verdict="undecided"), "liveness_unclear"),
    ("parallax", Reading(provider="model", verdict="live"), "liveness_unclear"),
    ("parallax", Reading(provider="parallax", verdict="attack"), "not_live"),
    ("model", Reading(provider="model", verdict="attack"), "not_live"),
]


@pytest.mark.parametrize(("provider", "reading", "reason"), READINGS)
def test_a_match_counts_only_as_far_as_the_doors_liveness_says(
    provider: Provider, reading: Reading | None, reason: str | None
) -> None:
    match = judge(frame(at(0)), frame(at(0)))
    assert isinstance(match, Recognised)
    outcome = alive(match, reading, provider=provider)
    assert (outcome == match) if reason is None else (why(outcome) == reason)


def test_a_live_reading_goes_into_the_evidence() -> None:
    match = judge(frame(at(0)), frame(at(0)))
    assert isinstance(match, Recognised)
    live = Reading(provider="model", verdict="live", score=0.9, frames=7)
    outcome = alive(match, live, provider="model")
    assert isinstance(outcome, Recognised)
    assert (outcome.person_id, outcome.evidence.liveness) == (match.person_id, live)


class Whole(Gallery):
    """A gallery that looks at every template for each vote, and only then asks how far away the nearest is."""

    def closest(self, query: NDArray[np.floating], *, radius: float | None = None) -> Near | None:
        near = super().closest(query)
        return near if near is not None and (radius is None or near.distance <= radius) else None


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([1, 2, 30, SMALL + 1, MEDIUM + 1]),
    radius=st.sampled_from([0.05, 0.3, 0.4, 0.45, 1.0]),
    aside=st.sampled_from([0.0, 0.2, 0.4, 0.5, 2.0]),
)
def test_votes_within_the_radius_decide_as_votes_among_all_do(
    seed: int, count: int, radius: float, aside: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((count, 64)) * np.geomspace(1, 0.001, 64) / 2).astype(np.float32)
    rows[rng.integers(0, count, count // 5)] = rows[0]  # ties
    ids = [f"p{number}" for number in rng.integers(0, max(1, count // 2), count)]
    step = rng.standard_normal((3, 64))
    step *= aside / np.linalg.norm(step, axis=1, keepdims=True)
    own = rows[int(rng.integers(count))]
    frames = [frame((own + one).astype(np.float32), sharpness=number) for number, one in enumerate(step)]
    rule = Rule(radius=radius)
    asked = judge(*frames, gallery=Gallery(ids, rows), rule=rule)

    assert asked == judge(*frames, gallery=Whole(ids, rows), rule=rule)


def test_embeddings_of_another_model_are_refused() -> None:
    with pytest.raises(InvalidInput, match="another model"):
        judge(frame(at(0)), frame(at(0), contract="other"))


@pytest.mark.parametrize(
    "fields",
    [
        {"agree": 4},
        {"agree": 0},
        {"best": 0},
        {"within_s": 0.0},
        {"radius": 0.0},
        {"radius": float("inf")},
        {"margin": -0.1},
    ],
)
def test_rules_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="rule"):
        Rule(**{"radius": 0.4, **fields})


GOOD = {"face_px": 100, "eye_px": 40.0, "blur": 80.0, "brightness": 120.0, "contrast": 40.0}
UPRIGHT = {"yaw": 0.0, "roll_deg": 0.0, "inside": 1.0}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"eye_px": 19.0}, "too_small"),
        ({"inside": 0.8}, "cut_off"),
        ({"brightness": 20.0}, "too_dark"),
        ({"brightness": 240.0}, "too_bright"),
        ({"yaw": -0.7}, "turned_away"),
        ({"roll_deg": 50.0}, "turned_away"),
        ({"blur": 3.0}, "blurred"),
        ({"contrast": 3.0}, "blurred"),
    ],
)
def test_every_gate_has_a_reason(fields: dict[str, Any], reason: str | None) -> None:
    quality = FaceQuality(**{**GOOD, **UPRIGHT, **fields})

    assert unusable(quality, QualityGates()) == reason
