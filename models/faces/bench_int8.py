"""Try the embedder in 8-bit integers beside itself: how fast, and how far its embeddings move.

Only the benchmark makes such a network. It is not offered: `row` says why, with the figures of the run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.benchmarks import Benchmark
from models.faces.runtime import Session, open_session

Rgb = NDArray[np.uint8]
RADIUS: Final = 0.40
TARGET_RATIO: Final = 30.0
_REPEATS: Final = 30


def row(onnx: bytes, *, calibrating: Rgb, probes: Rgb, dlib_ms: float) -> Benchmark:
    """Return the row `embed_int8`: met if it is 30 times as fast as dlib and no pair of faces changes sides.

    Args:
        onnx: the embedder.
        calibrating: chips (N, 150, 150, 3) that ranges are taken from.
        probes: other chips, compared with each other at radius 0.40.
        dlib_ms: what dlib takes for one chip, in the same run.
    """
    exact = open_session(onnx, threads=1)
    fast = open_session(_quantised(onnx, calibrating), threads=1)
    samples = _times_ms(fast, probes[:1])
    ours, moved, flips, pairs = statistics.median(samples), *_moved(exact, fast, probes)
    ratio = dlib_ms / ours
    return Benchmark(
        name="embed_int8",
        unit="ms",
        ours=ours,
        peer="dlib",
        theirs=dlib_ms,
        ratio=ratio,
        target=TARGET_RATIO,
        met=ratio >= TARGET_RATIO and flips == 0,
        samples=tuple(samples),
        detail=f"one chip, static QDQ; an embedding moves by up to {moved:.3f}, and at radius {RADIUS:.2f} {flips} of {pairs} "
        "pairs of faces change sides: not offered unless that is 0",
    )


class _Chips:
    """Hand chips one by one to ONNX Runtime's calibration."""

    def __init__(self, chips: Rgb) -> None:
        self._left: Iterator[Rgb] = iter(chips)

    def get_next(self) -> dict[str, Rgb] | None:
        chip = next(self._left, None)
        return None if chip is None else {"chips": chip[None]}


def _quantised(onnx: bytes, chips: Rgb) -> bytes:
    from onnx import load_model_from_string
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        quantize_static(
            load_model_from_string(onnx),
            made,
            _Chips(chips),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()


def _times_ms(session: Session, chip: Rgb) -> list[float]:
    times = []
    for _ in range(_REPEATS):
        began = time.thread_time()
        session.run(["embeddings"], {"chips": chip})
        times.append((time.thread_time() - began) * 1000)
    return times


def _moved(exact: Session, fast: Session, chips: Rgb) -> tuple[float, int, int]:
    """Return how far an embedding moves at most, how many pairs change sides of the radius, and how many pairs."""
    first, second = (
        np.concatenate([one.run(None, {"chips": chip[None]})[0] for chip in chips]) for one in (exact, fast)
    )
    upper = np.triu_indices(len(chips), 1)
    near = [np.linalg.norm(each[upper[0]] - each[upper[1]], axis=1) <= RADIUS for each in (first, second)]
    flips = int((near[0] != near[1]).sum())
    return float(np.linalg.norm(first - second, axis=1).max()), flips, len(upper[0])
