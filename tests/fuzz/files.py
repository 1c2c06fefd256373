"""Files: networks, photos, settings, sites and scenarios."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from models.errors import ModelFileError
from tests.fuzz.target import Take

ROOT = Path(__file__).resolve().parents[2]
_folder = TemporaryDirectory(prefix="gatehouse-fuzz-")
"""Of this process alone: several fuzz at a time. It goes when the process ends."""


# ---- files ----------------------------------------------------------------------------------------------------------


def dat() -> Take:
    from models.faces import dat
    from models.faces.weights import convert

    def take(data: bytes) -> None:
        for read_layer in dat._LAYERS.values():  # a whole network is too long for an input
            with contextlib.suppress(ModelFileError):
                read_layer(dat._Reader(data, "network.dat"))
        convert(data, file="network.dat")

    return take


def dat_seeds() -> Iterator[bytes]:
    from models.faces import dat
    from models.faces.weights import model_path

    for file in ("dlib_face_recognition_resnet_model_v1.dat", "mmod_human_face_detector.dat"):
        content = model_path(file).read_bytes()
        yield content[:1000]
        for name in dat._LAYERS:
            if (at := content.find(name.encode())) >= 0:
                yield content[at + len(name) :][:500]


def onnx() -> Take:
    from models.faces.own_files import OwnNetwork
    from models.faces.own_models import OwnModel

    file = Path(_folder.name) / "input.onnx"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        OwnNetwork(OwnModel(file=str(file), sha256=digest, id="m", kind="arcface", licence="x"), threads=1)

    return take


def onnx_seeds() -> Iterator[bytes]:
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    for operator in ("Relu", "GlobalAveragePool", "Flatten"):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [given], [told])
        yield helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def photo() -> Take:
    from models.faces.images import decode_photo

    def take(data: bytes) -> None:
        picture = decode_photo(data, side_px=160)
        assert picture.ndim == 3, "no colour picture"
        assert max(picture.shape[:2]) <= 160, "larger than asked for"

    return take


def photo_seeds() -> Iterator[bytes]:
    import io

    from PIL import Image

    for format_, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P")):
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new(mode, (64, 48)).save(stream, format_, exif=exif.tobytes())
        yield stream.getvalue()


def read_by(module: str, function: str) -> Take:
    import importlib

    read = getattr(importlib.import_module(module), function)
    file = Path(_folder.name) / f"{function}.yaml"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        read(file, environment={"SECRET": "s"})

    return take


def examples(*patterns: str) -> Iterator[bytes]:
    yield b"a: {<<: *x, b: !!binary c}\n---\n&x [${SECRET}, 1e9, ~]"
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield path.read_bytes()
