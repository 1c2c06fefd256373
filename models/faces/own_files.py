"""Open an ONNX file of a site's own: bounded, the very file that was named, and nothing but a network.

What a file could do besides computing is refused before ONNX Runtime sees it: data in other files, operators of others,
functions. What goes in and comes out is checked by who uses the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.faces.own_models import OwnModel
from models.faces.runtime import give_back_memory, open_session

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_MAX_NODES: Final = 20_000
_DOMAINS: Final = frozenset({"", "ai.onnx"})
_Shape = tuple[int | None, ...]


class OwnNetwork:
    """One network of a site's own, opened: float32 in, float32 out, on a fixed number of threads."""

    def __init__(self, model: OwnModel, *, threads: int) -> None:
        """Read, check and open the file.

        Raises:
            ModelFileError: It is missing, another file, too large, or holds what is not taken.
        """
        self.name = Path(model.file).name
        content = _read(Path(model.file), model.sha256)
        _check(content, self.name)
        self._session = open_session(content, threads=threads)
        give_back_memory()
        given = self._session.get_inputs()
        if len(given) != 1 or given[0].type != "tensor(float)" or len(given[0].shape) != 4:
            raise self.unfit("needs one input, float32 (N, 3, height, width)")
        self._input: str = given[0].name
        self.shape: _Shape = tuple(size if isinstance(size, int) and size > 0 else None for size in given[0].shape)
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())
        if self.shape[1] != 3 or self.shape[0] not in (None, 1):
            raise self.unfit(f"takes {given[0].shape}, not (N or 1, 3, height, width)")

    def unfit(self, what: str) -> ModelFileError:
        """Return the error that this network is not usable for what it was named for."""
        return ModelFileError(self.name, f"{what}; see edge.faces.models in the configuration")

    def run(self, planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Compute all outputs for (N, 3, height, width), one by one where the network takes only one.

        Raises:
            ModelFileError: It fails, or gives something else than finite float32.
        """
        if self.shape[0] == 1 and len(planes) != 1:
            parts = [self.run(planes[at : at + 1]) for at in range(len(planes))]
            return [np.concatenate(each) for each in zip(*parts, strict=True)]
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        try:
            outputs: list[Any] = self._session.run(list(self.outputs), {self._input: planes})
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise self.unfit(f"cannot compute {planes.shape}: {error}") from error
        for name, output in zip(self.outputs, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.dtype != np.float32 or not np.isfinite(output).all():
                raise self.unfit(f"output {name} holds what is no finite float32")
        return outputs


def _read(path: Path, sha256: str) -> bytes:
    """Return the bytes of the file if it is the one that was named."""
    try:
        if not path.is_file():
            raise ModelFileError(path.name, "no such file; edge.faces.models names it")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(path.name, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelFileError(path.name, f"more than {MAX_FILE_BYTES} bytes")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelFileError(path.name, f"has the digest {digest}, not the {sha256} of edge.faces.models")
    return content


def _check(content: bytes, file: str) -> None:
    """Refuse a model that reaches beyond itself.

    Raises:
        ModelFileError: It is no ONNX, refers to other files, or holds operators that are not ONNX's own.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model: ModelProto = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelFileError(file, "is no ONNX model") from error
    if model.functions or model.training_info:
        raise ModelFileError(file, "holds functions or training; export it for inference, with functions inlined")
    nodes = 0
    for graph in _graphs(model.graph):
        nodes += len(graph.node)
        tensors: list[TensorProto] = [*graph.initializer, *_parts(graph.sparse_initializer)]
        for node in graph.node:
            if node.domain not in _DOMAINS:
                raise ModelFileError(
                    file, f"holds the operator {node.domain}.{node.op_type}; only ONNX's own are taken"
                )
            tensors += [one.t for one in node.attribute if one.HasField("t")]
            for one in node.attribute:
                sparse = [one.sparse_tensor] if one.HasField("sparse_tensor") else []
                tensors += [*one.tensors, *_parts([*sparse, *one.sparse_tensors])]
        if any(one.external_data or one.data_location == onnx.TensorProto.EXTERNAL for one in tensors):
            raise ModelFileError(file, "keeps weights in other files; save it as one file")
    if not 0 < nodes <= _MAX_NODES:
        raise ModelFileError(file, f"{nodes} operators; 1 to {_MAX_NODES} are taken")


def _parts(sparse: Iterable[SparseTensorProto]) -> list[TensorProto]:
    """Return the tensors that sparse ones are made of: either may name another file."""
    return [part for one in sparse for part in (one.values, one.indices)]


def _graphs(graph: GraphProto) -> Iterable[GraphProto]:
    """Return a graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner: Sequence[GraphProto] = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            for one in inner:
                yield from _graphs(one)
