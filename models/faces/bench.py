"""Benchmarks of the face networks beside dlib's own: same run, same pictures, one thread.

`python -m edge bench faces` calls `run`. Timings are medians of one thread's processor time, ours and theirs in turns;
how many boxes and components agree is counted.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import dlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.benchmarks import Benchmark
from models.faces import bench_int8
from models.faces.align import Aligner
from models.faces.detector import Detection, Detector, overlap
from models.faces.embedder import Embedder
from models.faces.pipeline import FacePipeline
from models.faces.weights import DETECTOR_FILE, EMBEDDER_FILE, load_weights, model_path

Rgb = NDArray[np.uint8]

PICTURES: Final = ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg")
TARGET_RATIO: Final = 15.0
TARGET_DIFFERENCE: Final = 1e-5
TARGET_AGREEMENT_PERCENT: Final = 99.5
_REPEATS: Final = 4
_CALIBRATING: Final = 64


def run(portraits_dir: Path, cache_dir: Path, *, boxes: int = 500, rounds: int = 8) -> list[Benchmark]:
    """Measure embedding and detection; agreement is counted over at least `boxes` faces.

    Each timing takes `rounds` of dlib's.

    Raises:
        ModelFileError: A network file is missing or broken.
        FileNotFoundError: A portrait is missing.
    """
    pictures = [picture(portraits_dir / name) for name in PICTURES]
    pipeline = FacePipeline(cache_dir=cache_dir, threads=1)
    heads = [head(pipeline, rgb) for rgb in pictures]
    embedder, detector = Embedder(cache_dir=cache_dir, threads=1), Detector(cache_dir=cache_dir, threads=1)
    portraits = np.concatenate([_chips(pipeline, rgb) for rgb in pictures])
    timed = _embedding(embedder, portraits, rounds=rounds)
    agreement, variants = _agreement(detector, heads, boxes=boxes)
    half = min(_CALIBRATING, len(variants) // 2)
    return [
        *timed,
        bench_int8.row(
            load_weights(EMBEDDER_FILE, cache_dir=cache_dir).onnx,
            calibrating=variants[:half],
            probes=variants[half : 3 * half],
            dlib_ms=timed[0].theirs or 0.0,
        ),
        _difference(embedder, np.concatenate([portraits, variants])),
        _whole_pyramid(detector, heads, rounds=rounds),
        agreement,
        _following(detector, heads, rounds=rounds),
    ]


def picture(path: Path) -> Rgb:
    """Read one portrait, (height, width, 3) uint8, its longer side at most 640 px."""
    with Image.open(path) as image:
        upright = image.convert("RGB")
    upright.thumbnail((640, 640))
    return np.asarray(upright)


def head(pipeline: FacePipeline, rgb: Rgb) -> Rgb:
    """Cut a square around the face, nearly twice its width."""
    left, top, right, bottom = pipeline.detect(rgb, min_face_px=60)[0].box
    more = int((right - left) * 0.42)
    with Image.fromarray(rgb) as image:
        return np.asarray(image.crop((left - more, top - more, right + more, bottom + more)))


def _chips(pipeline: FacePipeline, rgb: Rgb) -> Rgb:
    faces = pipeline.detect(rgb, min_face_px=60)
    shapes = [dlib.full_object_detection(dlib.rectangle(*face.box), _points(face.landmarks)) for face in faces]
    return np.array([dlib.get_face_chip(rgb, shape) for shape in shapes])


def _points(landmarks: NDArray[np.float32]) -> list[Any]:
    return [dlib.point(int(x), int(y)) for x, y in landmarks]


def _times_ms(work: Callable[[], object], repeats: int) -> list[float]:
    """Return the processor time that `work` took each time: wall time of a machine that does nothing else."""
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        times.append((time.thread_time() - began) * 1000)
    return times


def _compared(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], detail: str, *, rounds: int, per: int = 1
) -> Benchmark:
    """Return a row that compares medians with dlib's, taken in turns so that a busy machine slows both."""
    ours()
    mine: list[float] = []
    peers: list[float] = []
    for _ in range(rounds):
        mine += _times_ms(ours, _REPEATS)
        peers += _times_ms(theirs, 1)
    median_ms, peer_ms = statistics.median(mine) / per, statistics.median(peers) / per
    return Benchmark(
        name=name,
        unit="ms",
        ours=median_ms,
        peer=f"dlib {dlib.__version__}",
        theirs=peer_ms,
        ratio=peer_ms / median_ms,
        target=TARGET_RATIO,
        met=peer_ms / median_ms >= TARGET_RATIO,
        samples=tuple(each / per for each in mine),
        detail=detail,
    )


def _embedding(embedder: Embedder, chips: Rgb, *, rounds: int) -> list[Benchmark]:
    peer: Any = dlib.face_recognition_model_v1(str(model_path(EMBEDDER_FILE)))
    four = np.concatenate([chips] * 4)[:4]
    return [
        _compared(
            "embed_one",
            lambda: embedder.embed(chips[:1]),
            lambda: peer.compute_face_descriptor(chips[0]),
            "one 150 x 150 chip, one thread",
            rounds=rounds,
        ),
        _compared(
            "embed_batch",
            lambda: embedder.embed(four),
            lambda: peer.compute_face_descriptor(list(four)),
            "per chip, in a batch of four, one thread",
            rounds=rounds,
            per=4,
        ),
    ]


def _difference(embedder: Embedder, chips: Rgb) -> Benchmark:
    peer: Any = dlib.face_recognition_model_v1(str(model_path(EMBEDDER_FILE)))
    expected = np.array([peer.compute_face_descriptor(chip) for chip in chips])
    difference = float(np.abs(embedder.embed(chips) - expected).max())
    return Benchmark(
        name="embed_difference",
        unit="component",
        ours=difference,
        target=TARGET_DIFFERENCE,
        met=difference <= TARGET_DIFFERENCE,
        detail=f"largest difference in any component from dlib's embedding, {len(chips)} faces",
    )


def _whole_pyramid(detector: Detector, heads: Sequence[Rgb], *, rounds: int) -> Benchmark:
    """Time one picture of 640 x 480 with every scale."""
    peer: Any = dlib.cnn_face_detection_model_v1(str(model_path(DETECTOR_FILE)))
    scene = mosaic(heads, seed=0)
    return _compared(
        "detect_cnn",
        lambda: detector.detect(scene),
        lambda: peer(scene, 0),
        "640 x 480, whole pyramid as dlib's, one thread",
        rounds=max(1, rounds // 3),
    )


def _agreement(detector: Detector, heads: Sequence[Rgb], *, boxes: int) -> tuple[Benchmark, Rgb]:
    """Count how many of dlib's boxes we find; return the chips of ours too."""
    peer: Any = dlib.cnn_face_detection_model_v1(str(model_path(DETECTOR_FILE)))
    aligner, chips = Aligner(), []
    wanted = found = seed = 0
    while wanted < boxes:
        scene = mosaic(heads, seed=seed)
        theirs = [_box(one.rect) for one in peer(scene, 0)]
        ours = detector.detect(scene)
        chips += [aligner.chip(scene, one.box, aligner.landmarks(scene, one.box)) for one in ours]
        wanted += len(theirs)
        found += agreeing(theirs, ours)
        seed += 1
    percent = 100 * found / wanted
    row = Benchmark(
        name="detect_agreement",
        unit="%",
        ours=percent,
        peer=f"dlib {dlib.__version__}",
        target=TARGET_AGREEMENT_PERCENT,
        met=percent >= TARGET_AGREEMENT_PERCENT,
        detail=f"{found} of {wanted} of dlib's boxes found at IoU >= 0.9, {seed} pictures of scaled and flipped faces",
    )
    return row, np.array(chips, np.uint8)


def _following(detector: Detector, heads: Sequence[Rgb], *, rounds: int) -> Benchmark:
    """Compare following one face with looking at the whole picture, and count how often it is found again."""
    times: list[tuple[float, float]] = []
    kept = frames = 0
    for seed in range(max(1, len(heads) * rounds // 8)):
        known: list[Detection] = []
        for shown in _walk(heads[seed % len(heads)], np.random.default_rng(seed)):
            whole, whole_ms = _timed(functools.partial(detector.detect, shown, min_face_px=60, stride=2))
            if known:
                again, ms = _timed(functools.partial(detector.follow, shown, near=[known[0].box]))
                frames += len(whole) == 1
                kept += len(whole) == len(again) == 1
                times.append((ms, whole_ms))
                known = again
            known = known or whole
    ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
    return Benchmark(
        name="detect_follow",
        unit="ms",
        ours=ours,
        peer="our whole pass",
        theirs=theirs,
        ratio=theirs / ours,
        met=kept == frames,
        samples=tuple(one for one, _ in times),
        detail=f"640 x 360, a face that walks and grows; found again in {kept} of {frames} frames where a whole pass finds it",
    )


def _timed(work: Callable[[], list[Detection]]) -> tuple[list[Detection], float]:
    began = time.thread_time()
    found = work()
    return found, (time.thread_time() - began) * 1000


def _walk(person: Rgb, rng: np.random.Generator, frames: int = 8) -> list[Rgb]:
    """Return 640 x 360 in which a head walks by some px a frame and grows by a tenth."""
    side, x, y = int(rng.integers(180, 230)), float(rng.integers(40, 300)), float(rng.integers(5, 80))
    step = rng.uniform(-12, 12, 2)
    scene = []
    for frame in range(frames):
        ground = Image.new("RGB", (640, 360), (90, 110, 120))
        size = round(side * (1 + 0.1 * frame / frames))
        ground.paste(
            Image.fromarray(person).resize((size, size)), (round(x + step[0] * frame), round(y + step[1] * frame))
        )
        scene.append(np.asarray(ground))
    return scene


def _box(rect: Any) -> tuple[int, int, int, int]:
    return rect.left(), rect.top(), rect.right(), rect.bottom()


def agreeing(theirs: Sequence[tuple[int, int, int, int]], ours: Sequence[Detection]) -> int:
    """Return how many of their boxes one of ours covers at an intersection over union of 0.9."""
    return sum(any(overlap(box, one.box) >= 0.9 for one in ours) for box in theirs)


def mosaic(heads: Sequence[Rgb], *, seed: int) -> Rgb:
    """Return 640 x 480 of up to eight faces: scaled, shifted, flipped, brightened at random."""
    rng = np.random.default_rng(seed)
    ground = Image.new("RGB", (640, 480), (90, 110, 120))
    for cell in range(8):
        head = Image.fromarray(heads[int(rng.integers(len(heads)))])
        side = int(rng.integers(148, 230))
        head = head.resize((side, side), Image.Resampling.LANCZOS)
        if rng.random() < 0.5:
            head = head.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        gain = float(rng.uniform(0.7, 1.2))
        head = head.point(lambda level, gain=gain: min(255, int(level * gain)))
        edge = (side - min(side, 158)) // 2
        head = head.crop((edge, edge, side - edge, side))
        ground.paste(head, (cell % 4 * 160, cell // 4 * 240 + int(rng.integers(0, 30))))
    return np.asarray(ground)
