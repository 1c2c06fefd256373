"""Files and networks that contradict themselves: each is refused, by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces import dat
from models.faces.align import Aligner
from models.faces.dat import Addition, Affine, Convolution, Layer, Loss, Network, Pooling, Product, Rectifier
from models.faces.graph import Graph
from models.faces.runtime import open_session
from models.faces.weights import PREDICTOR_FILE, model_path

Floats = NDArray[np.float32]


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def real(mantissa: int, exponent: int) -> bytes:
    return integer(mantissa) + integer(exponent)


def tensor(values: Floats) -> bytes:
    shape = (*values.shape, 1, 1, 1, 1)[:4]
    return integer(2) + b"".join(map(integer, shape)) + values.astype("<f4").tobytes()


def alias(*shape: int) -> bytes:
    return integer(1) + b"".join(map(integer, shape))


ONE = real(1, 0)


def reader(content: bytes) -> Any:
    return dat._Reader(content, "x.dat")


def refused(work: Any, match: str) -> None:
    with pytest.raises(ModelFileError, match=match):
        work()


def test_numbers_are_read_as_dlib_writes_them() -> None:
    assert reader(integer(-300)).integer() == -300
    assert reader(real(3, -2)).real() == 0.75
    refused(reader(b"\x09" + bytes(9)).integer, "broken integer")
    refused(reader(b"\x41\x01").integer, "broken integer")
    refused(reader(real(2**60, 1100)).real, "out of range")
    refused(reader(real(1, 32_000)).real, "32000 where")
    refused(lambda: reader(b"2").flags(1), "truth value")
    refused(reader(tensor(np.array([np.nan], np.float32))).tensor, "not a number")


def normalisation(*, variance: float, epsilon: int) -> bytes:
    pair, two = tensor(np.ones(4, np.float32)), tensor(np.ones(2, np.float32))
    running = tensor(np.full(2, variance, np.float32))
    return pair + alias(1, 2, 1, 1) * 2 + two * 3 + running + integer(9) * 2 + ONE * 4 + real(epsilon, -10)


@pytest.mark.parametrize(("variance", "epsilon"), [(-1.0, 1), (1.0, 0), (1.0, -1)])
def test_statistics_that_cannot_be_are_refused(variance: float, epsilon: int) -> None:
    content = normalisation(variance=variance, epsilon=epsilon)

    refused(lambda: dat._batch_normalisation(reader(content)), "statistics")


def test_statistics_are_folded() -> None:
    affine = dat._batch_normalisation(reader(normalisation(variance=3.0, epsilon=1024)))

    assert affine.gamma == pytest.approx([0.5, 0.5])
    assert affine.beta == pytest.approx([0.5, 0.5])


def test_layers_whose_sizes_contradict_each_other_are_refused() -> None:
    halves = tensor(np.ones(3, np.float32)) + alias(1, 2, 1, 1) * 2
    weights = tensor(np.ones((3, 2), np.float32)) + alias(0, 0, 0, 0) * 2
    product = integer(4) + integer(2) + weights + integer(1) + ONE * 4
    shape = integer(3) + integer(1) * 4 + integer(0) * 2 + alias(2, 1, 1, 1) + alias(1, 2, 1, 1)
    filters = tensor(np.ones(4, np.float32)) + shape + ONE * 4

    refused(lambda: dat._convolution(reader(filters)), "a convolution whose")
    refused(lambda: dat._affine(reader(halves)), "per-channel")
    refused(lambda: dat._product(reader(product)), "matrix product")


def test_inputs_and_nestings_that_cannot_be_are_refused() -> None:
    refused(lambda: dat._nesting(reader(integer(2) * 5000)), "too many layers")
    refused(lambda: dat._input(reader(b"grey" + ONE * 3), 4), "unknown input")


def convolution(filters: int = 16, channels: int = 3, *, stride: int = 1, padding: int = 0) -> Convolution:
    weights = np.ones((filters, channels, 3, 3), np.float32)
    bias = np.zeros(filters, np.float32)
    return Convolution(weights=weights, bias=bias, stride=(stride, stride), padding=(padding, padding))


AFFINE_OF_TWO = Affine(gamma=np.ones(2, np.float32), beta=np.ones(2, np.float32))
AVERAGE = Pooling(highest=False, window=(2, 2), stride=(2, 2), padding=(0, 0))
GLOBAL = Pooling(highest=False, window=(0, 0), stride=(1, 1), padding=(0, 0))
OUT = Product(weights=np.ones((16, 2), np.float32))
PADDED_AVERAGE = Pooling(highest=False, window=(2, 2), stride=(2, 2), padding=(1, 1))


@pytest.mark.parametrize(
    ("layers", "size", "message"),
    [
        ((AFFINE_OF_TWO,), (9, 9), "follows no convolution"),
        ((Rectifier(), AFFINE_OF_TWO), (9, 9), "follows no convolution"),
        ((convolution(), AFFINE_OF_TWO), (9, 9), "another width"),
        ((convolution(padding=1),), (9, 9), "padded first"),
        ((convolution(), convolution(channels=5)), (9, 9), "does not fit"),
        ((convolution(), PADDED_AVERAGE), (9, 9), "shortcut"),
        ((convolution(), AVERAGE), None, "shortcut"),
        ((convolution(), Addition()), None, "open size"),
        ((convolution(), convolution(channels=16)), (4, 4), "a window of"),
        ((convolution(filters=1),), (9, 9), "single filter"),
        ((convolution(filters=1, padding=1, stride=2),), None, "single filter"),
        ((convolution(filters=1),), None, "single filter"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(
    layers: tuple[Layer, ...], size: tuple[int, int] | None, message: str
) -> None:
    network = Network(mean=(0.0, 0.0, 0.0), size=size, layers=layers, loss=Loss(name="loss"))
    graph = Graph(network, "x.dat")

    refused(graph.embedder if size else graph.detector, message)


def test_a_network_of_every_layer_is_built() -> None:
    layers = (convolution(), Product(weights=np.ones((16, 2), np.float32)), Rectifier())
    network = Network(mean=(0.0, 0.0, 0.0), size=(9, 9), layers=layers, loss=Loss(name="loss"))

    assert [node.op_type for node in Graph(network, "x.dat").embedder().graph.node] == [
        "Transpose",
        "Cast",
        "Conv",
        "MatMul",
        "Relu",
        "Identity",
    ]


def test_where_few_pixels_are_left_the_blocked_layout_is_left_and_entered_again() -> None:
    """4 x 4 pixels, then one: a depth is put before the rows and taken away."""
    shortcut = (convolution(channels=16, stride=2), Rectifier(), AVERAGE, Addition())
    highest = Pooling(highest=True, window=(1, 1), stride=(1, 1), padding=(0, 0))
    layers = (
        convolution(),
        highest,
        *shortcut,
        *shortcut,
        convolution(channels=16, padding=1),
        Rectifier(),
        GLOBAL,
        OUT,
    )
    network = Network(mean=(0.0, 0.0, 0.0), size=(11, 11), layers=layers, loss=Loss(name="loss"))
    model = Graph(network, "x.dat").embedder()
    operators = [node.op_type for node in model.graph.node]
    chips = np.full((2, 11, 11, 3), 255, np.uint8)

    embeddings = open_session(model.SerializeToString(), threads=1).run(None, {"chips": chips})[0]

    assert operators.index("Unsqueeze") < operators.index("Squeeze")
    assert embeddings.shape == (2, 2)
    assert np.isfinite(embeddings).all()
    assert (embeddings > 0).all()


def test_a_predictor_that_is_another_file_is_not_given_to_dlib(tmp_path: Path) -> None:
    other = tmp_path / PREDICTOR_FILE
    other.write_bytes(b"another")

    refused(lambda: Aligner(path=other), hashlib.sha256(b"another").hexdigest())
    box = (20, 20, 80, 80)
    assert Aligner(path=model_path(PREDICTOR_FILE)).landmarks(np.zeros((99, 99, 3), np.uint8), box).shape == (5, 2)
