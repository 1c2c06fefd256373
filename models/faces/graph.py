"""Write one of dlib's networks as an ONNX graph that ONNX Runtime computes fast on a CPU.

Where pictures are large, convolutions come in whole blocks of ONNX Runtime's own layout. Where few pixels are left
(4 x 4), that layout would compute mostly padding: with a depth of one before the rows they stay out of it, and become
products of matrices. It reads no file and runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces.dat import Addition, Affine, Convolution, Network, Pooling, Product, Rectifier

if TYPE_CHECKING:
    from onnx import ModelProto

_OPSET: Final = 18
_BLOCK: Final = 16
_IR_VERSION: Final = 9
_FEW: Final = 16
"""From so few pixels on, convolutions are kept out of the blocked layout."""
_Shape = tuple[int, int, int]


class Graph:
    """One ONNX graph under construction; `shape` follows (channels, rows, cols) where the input's size is fixed.

    Tensors are (n, channels, rows, cols), and from `_few` on (n, channels, 1, rows, cols).
    """

    def __init__(self, network: Network, file: str) -> None:
        from onnx import helper, numpy_helper

        self._helper: Any = helper
        self._arrays: Any = numpy_helper
        self._network = network
        self._file = file
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shape: _Shape | None = (3, *network.size) if network.size else None
        self._few = False

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
        x = self._node("Cast", self._node("Transpose", "chips", perm=[0, 3, 1, 2]), to=1)
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
                        x = self._laid_out(x, layer)
                        earlier, earlier_shape, begun = x, self._shape, True
                    following = layers[index + 1] if index + 1 < len(layers) else None
                    x = self._convolution(x, layer, following if isinstance(following, Affine) else None)
                case Affine():
                    if index == 0 or not isinstance(layers[index - 1], Convolution):
                        raise ModelFileError(self._file, "an affine layer that follows no convolution")
                case Pooling() if layer.window != (0, 0) and not layer.highest:
                    earlier, earlier_shape = self._average(earlier, earlier_shape, layer)
                case Addition():
                    x = self._add(x, earlier, earlier_shape)
                    begun = False
                case _:
                    x = self._single_operator(x, layer)
                    begun = begun and not isinstance(layer, Pooling)
        return x

    def _single_operator(self, x: str, layer: Rectifier | Pooling | Product) -> str:
        """Append a rectifier, a pooling that is not a shortcut's, or the last product."""
        match layer:
            case Rectifier():
                return self._node("Relu", x)
            case Pooling() if layer.window == (0, 0):
                return self._node("Flatten", self._node("GlobalAveragePool", x))
            case Pooling():
                self._shape = self._shape and self._after(self._shape, layer.window, layer)
                return self._node("MaxPool", x, **self._sliding(layer.window, layer), pads=self._pads(layer))
            case _:
                return self._node("MatMul", x, self._constant(layer.weights))

    def _convolution(self, x: str, layer: Convolution, after: Affine | None) -> str:
        """One convolution with the affine map after it folded in (in double precision)."""
        if layer.weights.shape[0] == 1:
            return self._single(x, layer)
        layer = self._cropped(layer)
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        if after is not None:
            if after.gamma.shape != bias.shape:
                raise ModelFileError(self._file, "an affine layer of another width than its convolution")
            weights = weights * after.gamma[:, None, None, None]
            bias = bias * after.gamma + after.beta
        if self._network.size and not self._constants:
            if layer.padding != (0, 0):
                raise ModelFileError(self._file, "a padded first convolution")
            weights = weights / 256
            bias = bias - (weights.sum(axis=(2, 3)) * np.array(self._network.mean)).sum(axis=1)
        window = weights.shape[2:]
        if self._shape is not None:
            if self._shape[0] != weights.shape[1]:
                raise ModelFileError(self._file, "a convolution that does not fit the layer before it")
            self._shape = self._after((len(weights), *self._shape[1:]), window, layer)
        weights, bias = _blocked(weights, bias)
        return self._node(
            "Conv",
            x,
            self._constant(np.expand_dims(weights, 2).astype(np.float32) if self._few else weights.astype(np.float32)),
            self._constant(bias.astype(np.float32)),
            **self._sliding(window, layer),
            pads=self._pads(layer),
        )

    def _cropped(self, layer: Convolution) -> Convolution:
        """Leave out the taps of a 3 x 3 window that meet only padding, because one pixel is left."""
        if (
            self._shape is None
            or self._shape[1:] != (1, 1)
            or layer.padding != (1, 1)
            or layer.weights.shape[2:] != (3, 3)
        ):
            return layer
        return msgspec.structs.replace(layer, weights=layer.weights[:, :, 1:2, 1:2], padding=(0, 0))

    def _laid_out(self, x: str, layer: Convolution) -> str:
        """Enter or leave the blocked layout, by how many pixels the first convolution of a block leaves."""
        if self._shape is None or not self._constants:
            return x
        _, rows, cols = self._after(self._shape, layer.weights.shape[2:], layer)
        few = 1 < rows * cols <= _FEW
        if few == self._few:
            return x
        self._few = few
        return self._node("Unsqueeze" if few else "Squeeze", x, self._constant(np.array([2], np.int64)))

    def _sliding(self, window: tuple[int, ...], layer: Convolution | Pooling) -> dict[str, list[int]]:
        depth = [1] if self._few else []
        return {"kernel_shape": [*depth, *window], "strides": [*depth, *layer.stride]}

    def _pads(self, layer: Convolution | Pooling) -> list[int]:
        side = [*([0] if self._few else []), *layer.padding]
        return [*side, *side]

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

    def _after(self, shape: _Shape, window: tuple[int, int], layer: Convolution | Pooling) -> _Shape:
        """Return (channels, rows, cols) after a sliding window."""
        rows = (shape[1] + 2 * layer.padding[0] - window[0]) // layer.stride[0] + 1
        cols = (shape[2] + 2 * layer.padding[1] - window[1]) // layer.stride[1] + 1
        if rows < 1 or cols < 1:
            raise ModelFileError(self._file, f"a window of {window} that does not fit {shape[1:]}")
        return shape[0], rows, cols

    def _average(self, x: str, shape: _Shape | None, layer: Pooling) -> tuple[str, _Shape | None]:
        """Average a shortcut, and fill up its channels by a convolution: the blocked layout is kept."""
        if shape is None or self._shape is None or layer.padding != (0, 0):
            raise ModelFileError(self._file, "a shortcut of open size, or padded")
        channels = max(shape[0], self._shape[0])
        averaged = self._node("AveragePool", x, **self._sliding(layer.window, layer))
        if self._few:
            return averaged, self._after(shape, layer.window, layer)
        if channels > shape[0]:
            filling = np.eye(channels, shape[0], dtype=np.float32)[:, :, None, None]
            averaged = self._node("Conv", averaged, self._constant(filling), kernel_shape=[1, 1])
        return averaged, self._after((channels, *shape[1:]), layer.window, layer)

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
        channels, rows, cols = (wanted - have for wanted, have in zip(target, shape, strict=True))
        if not (channels or rows or cols):
            return x
        after = [0, channels, *([0] if self._few else []), rows, cols]
        return self._node("Pad", x, self._constant(np.array([0] * len(after) + after, np.int64)))


def _blocked(
    weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fill filters and channels up to whole blocks of ONNX Runtime's layout: what they add is zero."""
    filters, channels = weights.shape[:2]
    more = -filters % _BLOCK
    wider = -channels % _BLOCK if channels > 3 else 0
    return np.pad(weights, ((0, more), (0, wider), (0, 0), (0, 0))), np.pad(bias, (0, more))
