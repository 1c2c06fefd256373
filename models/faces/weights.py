"""Turn the networks of the installed `face_recognition_models` into ONNX once, and keep the result.

The files are located without importing that package (its import needs `pkg_resources`), read by models.faces.dat,
written to a cache keyed by the digest of the original and the version of this converter, and checked against their
own digest whenever they are loaded. No weights are shipped, nothing is downloaded, and of the package's shape
predictors only the one with five points is known here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import secrets
from pathlib import Path
from typing import Final

import msgspec

from models.errors import ModelFileError
from models.faces.dat import parse_network, read_bounded
from models.faces.graph import Graph

log = logging.getLogger("gatehouse.models.faces")

CONVERTER_VERSION: Final = 9
PACKAGE: Final = "face_recognition_models"
EMBEDDER_FILE: Final = "dlib_face_recognition_resnet_model_v1.dat"
DETECTOR_FILE: Final = "mmod_human_face_detector.dat"
PREDICTOR_FILE: Final = "shape_predictor_5_face_landmarks.dat"


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """A converted network: its ONNX bytes, the digest of the `.dat` it came from, and what the detector needs besides.

    Attributes:
        onnx: The model, as ONNX Runtime takes it.
        digest: SHA-256 (hex) of the `.dat`.
        window: The detector's window (width, height) in px; (0, 0) for the embedder.
        nms_iou: Overlap above which the detector drops the weaker of two boxes.
    """

    onnx: bytes
    digest: str
    window: tuple[int, int]
    nms_iou: float


def model_path(file: str, *, package: str = PACKAGE) -> Path:
    """Return where the installed package keeps `file`.

    Raises:
        ModelFileError: The package or the file is not installed.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / file
        if path.is_file():
            return path
    installed = "is installed, without it" if spec else "is not installed"
    raise ModelFileError(file, f"not found: {package} {installed}; install version 0.3.0 of it into this environment")


def load_weights(file: str, *, cache_dir: Path) -> Weights:
    """Return the converted network of one `.dat`, from the cache if it is there and intact.

    Raises:
        ModelFileError: The `.dat` is missing or broken.
    """
    return convert_cached(model_path(file), cache_dir=cache_dir)


def convert_cached(path: Path, *, cache_dir: Path) -> Weights:
    """Convert one `.dat`, or take the earlier conversion of the same bytes; a damaged cache is made again.

    Raises:
        ModelFileError: The `.dat` is missing or broken.
    """
    content = read_bounded(path)
    digest = hashlib.sha256(content).hexdigest()
    cached = cache_dir / f"{path.stem}-{digest[:16]}-v{CONVERTER_VERSION}.weights"
    weights = _read_cache(cached, digest)
    if weights is None:
        weights = convert(content, file=path.name)
        _write_cache(cached, weights)
    return weights


def _read_cache(cached: Path, digest: str) -> Weights | None:
    """Return what the cache holds, or None if it is absent, altered, or of another file."""
    try:
        content = cached.read_bytes()
    except OSError:
        return None
    seal, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != seal:
        return None
    try:
        weights = msgspec.msgpack.decode(body, type=Weights)
    except msgspec.MsgspecError:
        return None
    return weights if weights.digest == digest else None


def _write_cache(cached: Path, weights: Weights) -> None:
    """Write under another name, then rename: a reader or a crash sees all or nothing; a full disk stops nobody."""
    body = msgspec.msgpack.encode(weights)
    partial = cached.with_name(f".{cached.name}.{secrets.token_hex(4)}")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("converted networks cannot be kept in %s: %s", cached.parent, error.strerror)
        return
    try:
        with partial.open("wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(cached)
    except OSError as error:
        log.warning("%s cannot be kept in %s: %s", cached.name, cached.parent, error.strerror)
        partial.unlink(missing_ok=True)


def convert(content: bytes, *, file: str) -> Weights:
    """Convert the bytes of one `.dat` into ONNX.

    The embedder takes `chips` (N, 150, 150, 3) uint8 and gives `embeddings` (N, 128) float32. The detector takes
    `tile` (1, 3, H, W) float32, already reduced by the mean colour and divided by 256, and gives `scores` (1, 1, h,
    w) float32.

    Raises:
        ModelFileError: The bytes are not one of the two networks.
    """
    network = parse_network(content, file=file)
    graph = Graph(network, file)
    model = graph.embedder() if network.size else graph.detector()
    return Weights(
        onnx=model.SerializeToString(),
        digest=hashlib.sha256(content).hexdigest(),
        window=network.loss.window,
        nms_iou=network.loss.nms_iou,
    )
