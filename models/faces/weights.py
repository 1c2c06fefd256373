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
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces.dat import (
    Addition,
    Affine,
    Convolution,
    Floats,
    Network,
    Pooling,
    Rectifier,
    parse_network,
    read_bounded,
)

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger("gatehouse.models.faces")

CONVERTER_VERSION: Final = 5
PACKAGE: Final = "face_recognition_models"
EMBEDDER_FILE: Final = "dlib_face_recognition_resnet_model_v1.dat"
DETECTOR_FILE: Final = "mmod_human_face_detector.dat"
PREDICTOR_FILE: Final = "shape_predictor_5_face_landmarks.dat"
_OPSET: Final = 18
_BLOCK: Final = 16
_IR_VERSION: Final = 9
_Shape = tuple[int, int, int]


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
    weights = msgspec.msgpack.decode(body, type=Weights)
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
    graph = _Graph(network, file)
    model = graph.embedder() if network.size else graph.detector()
    return Weights(
        onnx=model.SerializeToString(),
        digest=hashlib.sha256(content).hexdigest(),
        window=network.loss.window,
        nms_iou=network.loss.nms_iou,
    )


class _Graph:
    """One ONNX graph under construction; `shape` follows (channels, rows, cols) where the input's size is fixed."""

    def __init__(self, network: Network, file: str) -> None:
        from onnx import helper, numpy_helper

        self._helper: Any = helper
        self._arrays: Any = numpy_helper
        self._network = network
        self._file = file
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shape: _Shape | None = (3, *network.size) if network.size else None

    def _constant(self, values: np.ndarray[Any, Any]) -> str:
        name = f"w{len(self._constants)}"
        self._constants.append(self._arrays.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"x{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def embedder(self) -> ModelProto:
        """Chips to embeddings: the residual network, its input scaling folded into the first (unpadded) convolution."""
        x = self._node("Transpose", self._node("Cast", "chips", to=1), perm=[0, 3, 1, 2])
        x = self._layers(x)
        rows, cols = self._network.size or (0, 0)
        return self._model(x, given=("chips", 2, ["n", rows, cols, 3]), result=("embeddings", ["n", 128]))

    def detector(self) -> ModelProto:
        """A tile of any size to scores."""
        x = self._layers("tile")
        return self._model(x, given=("tile", 1, [1, 3, "rows", "cols"]), result=("scores", [1, 1, "r", "c"]))

    def _model(self, last: str, *, given: tuple[str, int, list[Any]], result: tuple[str, list[Any]]) -> ModelProto:
        self._nodes.append(self._helper.make_node("Identity", [last], [result[0]]))
        graph = self._helper.make_graph(
            self._nodes,
            self._file,
            [self._helper.make_tensor_value_info(*given)],
            [self._helper.make_tensor_value_info(result[0], 1, result[1])],
            self._constants,
        )
        opsets = [self._helper.make_opsetid("", _OPSET)]
        model: ModelProto = self._helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="gatehouse"
        )
        return model

    def _layers(self, x: str) -> str:
        """Append all layers; a convolution after an addition or the first pooling begins a residual block."""
        layers = self._network.layers
        earlier, earlier_shape, begun = x, self._shape, False
        for index, layer in enumerate(layers):
            match layer:
                case Convolution():
                    if not begun:
                        earlier, earlier_shape, begun = x, self._shape, True
                    following = layers[index + 1] if index + 1 < len(layers) else None
                    x = self._convolution(x, layer, following if isinstance(following, Affine) else None)
                case Affine():
                    if index == 0 or not isinstance(layers[index - 1], Convolution):
                        raise ModelFileError(self._file, "an affine layer that follows no convolution")
                case Rectifier():
                    x = self._node("Relu", x)
                case Pooling() if layer.window == (0, 0):
                    x = self._node("Flatten", self._node("GlobalAveragePool", x))
                case Pooling() if layer.highest:
                    pads = [*layer.padding, *layer.padding]
                    x = self._node("MaxPool", x, kernel_shape=layer.window, strides=layer.stride, pads=pads)
                    self._shape = self._shape and _shrunk(self._shape, layer.window, layer.stride, layer.padding)
                    begun = False
                case Pooling():
                    earlier, earlier_shape = self._average(earlier, earlier_shape, layer)
                case Addition():
                    x = self._add(x, earlier, earlier_shape)
                    begun = False
                case _:
                    x = self._node("MatMul", x, self._constant(layer.weights))
        return x

    def _convolution(self, x: str, layer: Convolution, after: Affine | None) -> str:
        """One convolution with the affine map after it folded in (in double precision)."""
        if layer.weights.shape[0] == 1:
            return self._single(x, layer)
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        if after is not None:
            if after.gamma.shape != bias.shape:
                raise ModelFileError(self._file, "an affine layer of another width than its convolution")
            weights = weights * after.gamma[:, None, None, None]
            bias = bias * after.gamma + after.beta
        window = (weights.shape[2], weights.shape[3])
        if self._network.size and not self._constants:
            if layer.padding != (0, 0):
                raise ModelFileError(self._file, "a padded first convolution")
            weights = weights / 256
            bias = bias - (weights.sum(axis=(2, 3)) * np.array(self._network.mean)).sum(axis=1)
        padding = layer.padding
        if self._shape is not None:
            if self._shape[1:] == (1, 1) and window == (3, 3) and padding == (1, 1):
                weights, window, padding = weights[:, :, 1:2, 1:2], (1, 1), (0, 0)  # the other taps meet only padding
            if self._shape[0] != weights.shape[1]:
                raise ModelFileError(self._file, "a convolution that does not fit the layer before it")
            self._shape = _shrunk((weights.shape[0], *self._shape[1:]), window, layer.stride, padding)
        weights, bias = _blocked(weights, bias)
        return self._node(
            "Conv",
            x,
            self._constant(weights.astype(np.float32)),
            self._constant(bias.astype(np.float32)),
            kernel_shape=window,
            strides=layer.stride,
            pads=[*padding, *padding],
        )

    def _single(self, x: str, layer: Convolution) -> str:
        """One filter as a product per pixel and a sum of shifted planes: a tenth of ONNX Runtime's own time."""
        _, channels, rows, cols = layer.weights.shape
        if layer.stride != (1, 1) or layer.padding != (rows // 2, cols // 2) or self._network.size:
            raise ModelFileError(self._file, "a single filter with a stride, or without full padding")
        flipped = layer.weights[0, :, ::-1, ::-1].reshape(channels, rows * cols).T[:, :, None, None]
        taps, _ = _blocked(flipped.astype(np.float64), np.zeros(rows * cols))
        products = self._node("Conv", x, self._constant(taps.astype(np.float32)), kernel_shape=[1, 1])
        size = self._node("Shape", products, start=2, end=4)
        used = self._slice(products, rows * cols)
        flat = self._node("Reshape", used, self._constant(np.array([0, rows * cols, -1], np.int64)))
        window = self._constant(np.array([rows, cols], np.int64))
        summed = self._node("Col2Im", flat, size, window, pads=[*layer.padding, *layer.padding])
        return self._node("Add", summed, self._constant(layer.bias.reshape(1, 1, 1, 1)))

    def _slice(self, x: str, channels: int) -> str:
        bounds = [self._constant(np.array([at], np.int64)) for at in (0, channels, 1)]
        return self._node("Slice", x, *bounds)

    def _average(self, x: str, shape: _Shape | None, layer: Pooling) -> tuple[str, _Shape | None]:
        """Average a shortcut by a convolution that fills up the channels too: the blocked layout is kept."""
        if shape is None or self._shape is None or layer.padding != (0, 0):
            raise ModelFileError(self._file, "a shortcut of open size, or padded")
        channels = max(shape[0], self._shape[0])
        weights = np.zeros((channels, shape[0], *layer.window), np.float32)
        weights[range(shape[0]), range(shape[0])] = 1 / (layer.window[0] * layer.window[1])
        averaged = self._node("Conv", x, self._constant(weights), kernel_shape=layer.window, strides=layer.stride)
        return averaged, _shrunk((channels, *shape[1:]), layer.window, layer.stride, layer.padding)

    def _add(self, x: str, earlier: str, earlier_shape: _Shape | None) -> str:
        """Add as dlib's `add_prev_` does: both filled up with zeros to the larger extent, in channels and space."""
        if self._shape is None or earlier_shape is None:
            raise ModelFileError(self._file, "an addition in a network of open size")
        shape = (
            max(self._shape[0], earlier_shape[0]),
            max(self._shape[1], earlier_shape[1]),
            max(self._shape[2], earlier_shape[2]),
        )
        x, earlier = self._filled(x, self._shape, shape), self._filled(earlier, earlier_shape, shape)
        self._shape = shape
        return self._node("Add", x, earlier)

    def _filled(self, x: str, shape: _Shape, target: _Shape) -> str:
        missing = [wanted - have for wanted, have in zip(target, shape, strict=True)]
        if not any(missing):
            return x
        return self._node("Pad", x, self._constant(np.array([0, 0, 0, 0, 0, *missing], np.int64)))


def _blocked(
    weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fill filters and channels up to whole blocks of ONNX Runtime's layout: what they add is zero."""
    filters, channels = weights.shape[:2]
    more = -filters % _BLOCK
    wider = -channels % _BLOCK if channels > 3 else 0
    return np.pad(weights, ((0, more), (0, wider), (0, 0), (0, 0))), np.pad(bias, (0, more))


def _shrunk(shape: _Shape, window: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> _Shape:
    """Return (channels, rows, cols) after a sliding window."""
    rows = (shape[1] + 2 * padding[0] - window[0]) // stride[0] + 1
    cols = (shape[2] + 2 * padding[1] - window[1]) // stride[1] + 1
    return shape[0], rows, cols


__all__ = ["Floats", "Weights", "convert", "convert_cached", "load_weights", "model_path"]
