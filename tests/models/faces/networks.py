"""Small ONNX networks, made here, that stand for a user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.faces.own_models import Kind, OwnModel

ANY: tuple[int | str, ...] = ("n", 3, "rows", "cols")
CHIPS: tuple[int | str, ...] = ("n", 3, 112, 112)


def network(
    nodes: Sequence[Any],
    *,
    takes: Sequence[int | str] = CHIPS,
    gives: Sequence[str] = ("y",),
    constants: dict[str, NDArray[Any]] | None = None,
    element: int = TensorProto.FLOAT,
) -> Any:
    """Return a model of nodes that read `x`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", element, list(takes))],
        [helper.make_tensor_value_info(name, element, None) for name in gives],
        [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def constant(values: dict[str, NDArray[Any]], *, takes: Sequence[int | str] = ANY) -> Any:
    """Return a model that always gives the same."""
    nodes = [helper.make_node("Identity", [f"w_{name}"], [name]) for name in values]
    return network(
        nodes, takes=takes, gives=list(values), constants={f"w_{name}": value for name, value in values.items()}
    )


def mosaic_embedder(*, takes: Sequence[int | str] = CHIPS, window: int = 14) -> Any:
    """Return an embedder that knows a face by its colours in 8 x 8 places."""
    pooled = helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[window] * 2, strides=[window] * 2)
    return network([pooled, helper.make_node("Flatten", ["p"], ["y"])], takes=takes)


def green_is_live(side: int = 80) -> Any:
    """Return a liveness network that calls green alive."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Mul", ["f", "gain"], ["y"]),
    ]
    return network(nodes, takes=(1, 3, side, side), constants={"gain": np.array([20.0], np.float32)})


def saved(model: Any, folder: Path, *, kind: Kind, **changes: Any) -> OwnModel:
    """Write a model (or bytes) and return its record."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    file = folder / "own.onnx"
    file.write_bytes(content)
    fields: dict[str, Any] = {
        "file": str(file),
        "sha256": hashlib.sha256(content).hexdigest(),
        "id": "ours-1",
        "kind": kind,
        "licence": "Apache-2.0",
    }
    return OwnModel(**(fields | changes))
