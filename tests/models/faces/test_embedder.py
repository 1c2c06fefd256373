"""The embedder against dlib's own, on real faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import InvalidInput, ModelFileError
from models.faces.align import Aligner
from models.faces.detector import Detector
from models.faces.embedder import Embedder
from models.faces.images import decode_photo
from models.faces.pipeline import FacePipeline
from models.faces.runtime import give_back_memory, open_session
from models.faces.weights import EMBEDDER_FILE, model_path

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="module")
def embedder(cache_dir: Path) -> Embedder:
    return Embedder(cache_dir=cache_dir)


@pytest.fixture(scope="module")
def chips(cache_dir: Path, mosaics: list[Rgb]) -> Rgb:
    detector, aligner = Detector(cache_dir=cache_dir), Aligner()
    found = [(rgb, one.box) for rgb in mosaics[:2] for one in detector.detect(rgb)]
    return np.array([aligner.chip(rgb, box, aligner.landmarks(rgb, box)) for rgb, box in found])


def test_embeddings_equal_dlibs_in_every_component(embedder: Embedder, chips: Rgb) -> None:
    theirs: Any = dlib.face_recognition_model_v1(str(model_path(EMBEDDER_FILE)))
    noise = np.random.default_rng(1).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    everything = np.concatenate([chips, noise, np.zeros((1, 150, 150, 3), np.uint8)])

    expected = np.array([theirs.compute_face_descriptor(chip) for chip in everything])

    assert len(chips) >= 10
    assert np.abs(embedder.embed(everything) - expected).max() <= 1e-5


def test_every_portrait_and_its_variants_embed_as_dlibs(
    embedder: Embedder, pipeline: FacePipeline, photos: dict[str, Path], astronaut: Rgb
) -> None:
    """Five portraits, eight ways each: as taken, mirrored, darker, brighter, grey, shifted, coarse, noisy."""
    theirs: Any = dlib.face_recognition_model_v1(str(model_path(EMBEDDER_FILE)))
    pictures = [
        decode_photo(photos[f"{n}.jpg"].read_bytes(), side_px=640) for n in ("obama", "obama2", "obama3", "biden")
    ]
    aligner, rng = Aligner(), np.random.default_rng(4)
    variants: list[Rgb] = []
    for rgb in [*pictures, astronaut]:
        face = pipeline.detect(rgb, min_face_px=60)[0]
        chip = aligner.chip(rgb, face.box, face.landmarks)
        coarse = chip[::3, ::3].repeat(3, axis=0).repeat(3, axis=1)
        noisy = np.clip(chip + rng.normal(0, 12, chip.shape), 0, 255)
        grey = np.repeat(chip.mean(axis=2, keepdims=True), 3, axis=2)
        ways = [chip, chip[:, ::-1], chip * 0.5, np.minimum(chip * 1.6, 255), grey, np.roll(chip, 9, 1), coarse, noisy]
        variants += [np.asarray(one, np.uint8) for one in ways]

    expected = np.array([theirs.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in variants])

    assert len(variants) == 40
    assert np.abs(embedder.embed(np.array(variants)) - expected).max() <= 1e-5


def test_a_batch_equals_its_parts(embedder: Embedder, chips: Rgb) -> None:
    batch = embedder.embed(chips)

    assert batch.shape == (len(chips), 128)
    assert batch.dtype == np.float32
    assert np.abs(batch - np.concatenate([embedder.embed(chip[None]) for chip in chips])).max() <= 1e-6


def test_no_chips_give_no_embeddings(embedder: Embedder) -> None:
    assert embedder.embed(np.empty((0, 150, 150, 3), np.uint8)).shape == (0, 128)


def test_the_chip_equals_the_one_face_recognition_cuts(mosaics: list[Rgb], cache_dir: Path) -> None:
    aligner, rgb = Aligner(), mosaics[0]
    box = Detector(cache_dir=cache_dir).detect(rgb)[0].box
    shape = dlib.shape_predictor(str(model_path("shape_predictor_5_face_landmarks.dat")))(rgb, dlib.rectangle(*box))

    chip = aligner.chip(rgb, box, aligner.landmarks(rgb, box))

    assert np.array_equal(chip, dlib.get_face_chip(rgb, shape, size=150, padding=0.25))


@pytest.mark.parametrize(
    "chips", [np.zeros((1, 150, 150), np.uint8), np.zeros((1, 112, 112, 3), np.uint8), np.zeros((1, 150, 150, 3))]
)
def test_other_shapes_are_refused(embedder: Embedder, chips: Any) -> None:
    with pytest.raises(InvalidInput, match="chips"):
        embedder.embed(chips)


def test_the_contract_names_model_digest_dimensions_and_metric(embedder: Embedder) -> None:
    contract = embedder.contract

    assert contract.id == f"dlib-resnet-v1/128/euclidean/sha256:{contract.digest}"
    assert len(contract.digest) == 64


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(ModelFileError, match="ONNX Runtime"):
        open_session(b"no model", threads=1)


def test_a_library_that_cannot_give_memory_back_is_left_alone() -> None:
    calls: list[int] = []

    class Glibc:
        malloc_trim = calls.append

    give_back_memory(object())
    give_back_memory(Glibc)

    assert calls == [0]
