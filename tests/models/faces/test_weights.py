"""Conversion of dlib's files: exact, cached by digest, and safe against files that lie."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelFileError
from models.faces.dat import MAX_FILE_BYTES, parse_network, read_bounded, read_network
from models.faces.runtime import open_session
from models.faces.weights import DETECTOR_FILE, EMBEDDER_FILE, convert, convert_cached, load_weights, model_path

ROOT = Path(__file__).parents[3]
DETECTOR = model_path(DETECTOR_FILE).read_bytes()
EMBEDDER = model_path(EMBEDDER_FILE).read_bytes()


def test_both_networks_are_what_their_papers_say() -> None:
    detector, embedder = read_network(model_path(DETECTOR_FILE)), read_network(model_path(EMBEDDER_FILE))

    assert detector.loss.window == (80, 80)
    assert (len(detector.layers), len(embedder.layers)) == (19, 108)
    assert embedder.size == (150, 150)
    assert detector.mean == pytest.approx((122.782, 117.001, 104.298), abs=1e-4)


def test_a_conversion_is_kept_and_taken_again(tmp_path: Path) -> None:
    first = load_weights(DETECTOR_FILE, cache_dir=tmp_path)
    kept = next(tmp_path.iterdir())
    stamp = kept.stat().st_mtime_ns

    assert load_weights(DETECTOR_FILE, cache_dir=tmp_path) == first
    assert kept.stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    first = load_weights(DETECTOR_FILE, cache_dir=tmp_path)
    kept = next(tmp_path.iterdir())
    whole = kept.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    kept.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b""}[damage])

    assert load_weights(DETECTOR_FILE, cache_dir=tmp_path) == first
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_said_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert load_weights(DETECTOR_FILE, cache_dir=tmp_path / "file").window == (80, 80)
    assert "cannot be kept" in caplog.text


def test_a_cache_entry_that_cannot_be_replaced_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_weights(DETECTOR_FILE, cache_dir=tmp_path)
    kept = next(tmp_path.iterdir())
    kept.unlink()
    (kept / "in the way").mkdir(parents=True)

    assert load_weights(DETECTOR_FILE, cache_dir=tmp_path).window == (80, 80)
    assert "cannot be kept" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is installed, without it"):
        model_path("absent.dat")
    with pytest.raises(ModelFileError, match="is not installed"):
        model_path(DETECTOR_FILE, package="absent_models")
    with pytest.raises(ModelFileError, match="cannot be read"):
        convert_cached(tmp_path / "absent.dat", cache_dir=tmp_path)


def test_an_oversized_file_is_not_read_whole(tmp_path: Path) -> None:
    large = tmp_path / "large.dat"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    with pytest.raises(ModelFileError, match="more than"):
        read_bounded(large)
    with pytest.raises(ModelFileError, match="more than"):
        parse_network(bytes(MAX_FILE_BYTES + 1), file="large.dat")


@settings(max_examples=60, deadline=None)
@given(length=st.one_of(st.integers(0, 700), st.integers(0, len(DETECTOR) - 1)))
def test_a_truncated_file_is_refused_wherever_it_ends(length: int) -> None:
    with pytest.raises(ModelFileError, match=r"cut\.dat"):
        convert(DETECTOR[:length], file="cut.dat")


def test_a_file_with_more_at_its_end_is_refused() -> None:
    with pytest.raises(ModelFileError, match="1 bytes too many"):
        convert(DETECTOR + b"1", file="long.dat")


def test_another_layer_or_loss_is_refused() -> None:
    for name, other in ((b"relu_", b"prelu"), (b"loss_mmod_", b"loss_other")):
        with pytest.raises(ModelFileError, match="unknown"):
            convert(DETECTOR.replace(name, other), file="other.dat")


@settings(max_examples=80, deadline=None)
@given(at=st.one_of(st.integers(0, 400), st.integers(4900, 5700)), value=st.integers(0, 255))
def test_an_altered_file_converts_or_is_refused_but_never_breaks_anything(at: int, value: int) -> None:
    altered = DETECTOR[:at] + bytes([value]) + DETECTOR[at + 1 :]
    with contextlib.suppress(ModelFileError):
        assert convert(altered, file="altered.dat").onnx


@settings(max_examples=40, deadline=None)
@given(flips=st.lists(st.integers(0, len(DETECTOR) * 8 - 1), min_size=1, max_size=12))
def test_flipped_bits_anywhere_give_a_network_or_a_refusal(flips: list[int]) -> None:
    altered = bytearray(DETECTOR)
    for bit in flips:
        altered[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(ModelFileError):
        open_session(convert(bytes(altered), file="flipped.dat").onnx, threads=1)


@settings(max_examples=12, deadline=None)
@given(at=st.one_of(st.integers(0, 600), st.integers(0, len(EMBEDDER) - 1)), value=st.integers(0, 255))
def test_an_altered_embedder_gives_a_network_or_a_refusal(at: int, value: int) -> None:
    with contextlib.suppress(ModelFileError):
        assert convert(EMBEDDER[:at] + bytes([value]) + EMBEDDER[at + 1 :], file="altered.dat").onnx


@pytest.mark.parametrize("content", [b"", b"\0", b"\x01\x01" * 50, b"PK\x03\x04" + bytes(99)])
def test_files_of_nothing_and_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.dat").write_bytes(content)

    with pytest.raises(ModelFileError, match=r"other\.dat"):
        convert_cached(tmp_path / "other.dat", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_sealed_cache_of_something_else_is_made_again(tmp_path: Path) -> None:
    first = load_weights(DETECTOR_FILE, cache_dir=tmp_path)
    kept = next(tmp_path.iterdir())
    body = b"\x93no weights"
    kept.write_bytes(hashlib.sha256(body).digest() + body)

    assert load_weights(DETECTOR_FILE, cache_dir=tmp_path) == first


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200), start=st.sampled_from([0, 16, 90, 137, 147]))
def test_any_bytes_are_refused(content: bytes, start: int) -> None:
    with pytest.raises(ModelFileError):
        convert(DETECTOR[:start] + content, file="any.dat")


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused() -> None:
    huge = bytes([1, 2, *([4, 255, 255, 255, 0] * 4)])

    with pytest.raises(ModelFileError, match="16777215 where"):
        parse_network(DETECTOR[:144] + huge, file="huge.dat")


def test_the_predictor_that_is_not_for_commercial_use_is_never_mentioned() -> None:
    word = "shape_predictor_" + "68"
    sources = [p for room in ("models", "drivers", "edge", "gateway", "config") for p in (ROOT / room).rglob("*.py")]

    assert sources
    assert not [p for p in sources if "node_modules" not in p.parts and word in p.read_text(encoding="utf-8")]


def test_the_package_of_the_models_is_never_imported(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from models.faces.pipeline import FacePipeline; "
        "FacePipeline(cache_dir=pathlib.Path(sys.argv[1]), threads=1); loaded = set(sys.modules); "
        "FacePipeline(cache_dir=pathlib.Path(sys.argv[1]), threads=1); "
        "print(sorted(loaded & {'face_recognition', 'face_recognition_models', 'pkg_resources'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ran.stdout.strip() == "[]"
