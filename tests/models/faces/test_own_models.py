"""Networks of a site's own: what is taken, what is refused, and what the contract makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.errors import InvalidInput, ModelFileError
from models.faces.own_detector import OwnDetector
from models.faces.own_embedder import OwnEmbedder, upright
from models.faces.own_files import MAX_FILE_BYTES, OwnNetwork
from models.faces.own_models import OwnModel, OwnModels
from models.faces.pipeline import FacePipeline
from models.gallery import Gallery
from models.recognition import Rule, SeenFace, recognise, same_within
from tests.models.faces.networks import constant, mosaic_embedder, network, saved

Rgb = NDArray[np.uint8]
RECORD = OwnModel(file="face.onnx", sha256="a" * 64, id="ours-1", kind="arcface", licence="Apache-2.0")


def detector(left: float, top: float, right: float, bottom: float, score: float = 0.9) -> Any:
    return constant({"boxes": np.array([[left, top, right, bottom, score]], np.float32)})


# ---- files -----------------------------------------------------------------------------------------------------------


def refused(record: OwnModel, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        OwnNetwork(record, threads=1)


def test_another_file_than_the_named_one_is_refused(tmp_path: Path) -> None:
    record = saved(mosaic_embedder(), tmp_path, kind="arcface")
    Path(record.file).write_bytes(Path(record.file).read_bytes() + b"\0")

    refused(record, "has the digest")
    refused(msgspec.structs.replace(record, file=str(tmp_path / "absent.onnx")), "no such file")
    refused(msgspec.structs.replace(record, file=str(tmp_path)), "no such file")
    refused(msgspec.structs.replace(record, file=str(tmp_path / ("long" * 99))), "cannot be read")


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"no model at all", b"\x0a\xff\xff\xff\xff\x0f"])
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(saved(content, tmp_path, kind="arcface"), "no ONNX model|operators; 1 to")


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = constant({"y": np.ones((1, 512), np.float32)}).SerializeToString()

    for length in range(1, len(whole), 97):
        with pytest.raises(ModelFileError):
            OwnNetwork(saved(whole[:length], tmp_path, kind="arcface"), threads=1)


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    refused(msgspec.structs.replace(RECORD, file=str(tmp_path / "large.onnx")), "more than")


@pytest.mark.parametrize("location", ["../../../etc/passwd", "weights.bin", "/dev/zero"])
def test_weights_in_other_files_are_refused_before_anything_opens_them(tmp_path: Path, location: str) -> None:
    model = constant({"y": np.ones((1, 128), np.float32)})
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)

    refused(saved(model, tmp_path, kind="arcface"), "weights in other files")


def test_weights_in_other_files_are_found_inside_branches_too(tmp_path: Path) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    hidden.data_location = TensorProto.EXTERNAL
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value=hidden)],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    chosen = helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)

    refused(
        saved(network([chosen], constants={"flag": np.array(True)}), tmp_path, kind="arcface"), "weights in other files"
    )


@pytest.mark.parametrize("part", ["values", "indices"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "attributes"])
def test_weights_in_other_files_are_found_in_sparse_tensors_too(tmp_path: Path, part: str, place: str) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, 1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [2], [0, 1]), [4])
    hidden = getattr(sparse, part)
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../../etc/passwd")
    model = mosaic_embedder()
    if place == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        given: Any = sparse if place == "attribute" else [sparse]
        model.graph.node.append(helper.make_node("Constant", [], ["s"], sparse_value=given))

    refused(saved(model, tmp_path, kind="arcface"), "weights in other files")


def test_operators_of_others_and_functions_are_refused(tmp_path: Path) -> None:
    foreign = network([helper.make_node("Shell", ["x"], ["y"], domain="evil.example")])
    unknown = network([helper.make_node("NoSuchOperator", ["x"], ["y"])])
    functional = mosaic_embedder()
    functional.functions.append(
        helper.make_function("local", "F", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [])
    )

    refused(saved(foreign, tmp_path, kind="arcface"), "the operator evil.example.Shell")
    refused(saved(unknown, tmp_path, kind="arcface"), "not accepted by ONNX Runtime")
    refused(saved(functional, tmp_path, kind="arcface"), "functions")


def test_inputs_of_other_shapes_and_types_are_refused(tmp_path: Path) -> None:
    identity = [helper.make_node("Identity", ["x"], ["y"])]

    refused(saved(network(identity, takes=(1, 112, 112, 3)), tmp_path, kind="arcface"), r"takes \[1, 112, 112, 3\]")
    refused(saved(network(identity, takes=(4, 3, 112, 112)), tmp_path, kind="arcface"), "takes")
    refused(saved(network(identity, takes=(3, 112)), tmp_path, kind="arcface"), "needs one input")
    refused(saved(network(identity, element=TensorProto.DOUBLE), tmp_path, kind="arcface"), "needs one input")


# ---- embedder --------------------------------------------------------------------------------------------------------


def test_an_own_embedder_has_its_own_contract_and_embeds_faces(
    tmp_path: Path, cache_dir: Path, astronaut: Rgb, pipeline: FacePipeline
) -> None:
    record = saved(mosaic_embedder(), tmp_path, kind="arcface")
    own = FacePipeline(cache_dir=cache_dir, own=OwnModels(embedder=record))
    faces = own.detect(astronaut, min_face_px=80)
    embeddings = own.embed_all([(astronaut, faces), (astronaut[:, ::-1], [])])

    assert own.contract.id == f"ours-1.arcface/192/euclidean/sha256:{record.sha256}"
    assert own.contract != pipeline.contract
    assert embeddings.shape == (1, 192)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1 / 3], abs=1e-6)
    assert own.embed(astronaut, []).shape == (0, 192)
    with pytest.raises(InvalidInput, match="contract"):
        frames = [SeenFace(at_s=0.0, embedding=embeddings[0], contract=own.contract.id, sharpness=50.0)]
        gallery = Gallery(["astronaut"], np.zeros((1, 128), np.float32))
        recognise(frames, gallery, contract=pipeline.contract.id, rule=Rule(radius=0.4))


def test_distances_of_an_own_network_tell_somebody_else_from_another_picture(tmp_path: Path) -> None:
    embedder = OwnEmbedder(saved(mosaic_embedder(), tmp_path, kind="arcface"), threads=1)
    chips = np.random.default_rng(4).integers(20, 236, (3, 112, 112, 3), dtype=np.uint8)
    chips[1] = chips[0] + 10  # the same face, in better light
    face, again, other = embedder.embed(chips)
    limit = same_within(embedder.contract.id)
    assert np.linalg.norm(face - again) < limit < np.linalg.norm(face - other)


def test_a_network_of_one_face_at_a_time_gives_what_one_of_many_gives(tmp_path: Path) -> None:
    chips = np.random.default_rng(2).integers(0, 256, (9, 112, 112, 3), dtype=np.uint8)
    many = OwnEmbedder(saved(mosaic_embedder(), tmp_path, kind="sface"), threads=1)
    one = OwnEmbedder(saved(mosaic_embedder(takes=(1, 3, 112, 112)), tmp_path, kind="sface"), threads=1)

    assert np.abs(many.embed(chips) - one.embed(chips)).max() <= 1e-6
    with pytest.raises(InvalidInput, match="chips"):
        one.embed(np.zeros((1, 150, 150, 3), np.uint8))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (constant({"y": np.full((2, 128), np.nan, np.float32)}, takes=("n", 3, 112, 112)), "no finite float32"),
        (constant({"y": np.full((2, 128), np.inf, np.float32)}, takes=("n", 3, 112, 112)), "no finite float32"),
        (constant({"y": np.zeros((2, 128), np.float32)}, takes=("n", 3, 112, 112)), "without a direction"),
        (constant({"y": np.ones((1, 128), np.float32)}, takes=("n", 3, 112, 112)), "for 2 faces"),
        (constant({"y": np.ones((2, 4), np.float32)}, takes=("n", 3, 112, 112)), "for 2 faces"),
        (constant({"y": np.ones((2, 5000), np.float32)}, takes=("n", 3, 112, 112)), "for 2 faces"),
        (constant({"y": np.ones((2, 128))}, takes=("n", 3, 112, 112)), "ONNX Runtime|float32"),
        (mosaic_embedder(takes=("n", 3, 160, 160)), "takes .N, 3, 112, 112"),
        (mosaic_embedder(window=80), "for 2 faces"),
        (
            network([helper.make_node("Reshape", ["x", "to"], ["y"])], constants={"to": np.array([11, -1])}),
            "cannot compute",
        ),
    ],
)
def test_an_embedder_that_gives_no_embeddings_is_refused_when_it_is_opened(
    tmp_path: Path, model: Any, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        OwnEmbedder(saved(model, tmp_path, kind="arcface"), threads=1)


def test_a_face_is_turned_upright_by_eyes_and_nose() -> None:
    """A picture with red eyes and a blue nose, turned and twice as large, comes out as the networks want it."""
    turn, middle = 2.0 * np.exp(0.4j), np.array([180, 150])
    wanted = {"right": (73.5, 51.5), "left": (38.3, 51.7), "nose": (56.0, 78.9)}
    placed = {name: (turn * complex(x - 56, y - 56), name) for name, (x, y) in wanted.items()}
    rgb = np.zeros((320, 360, 3), np.uint8)
    points = {}
    for name, (at, _) in placed.items():
        x, y = round(at.real + middle[0]), round(at.imag + middle[1])
        rgb[y - 3 : y + 4, x - 3 : x + 4, 2 if name == "nose" else 0] = 255
        points[name] = (x, y)
    landmarks = np.array([points["right"]] * 2 + [points["left"]] * 2 + [points["nose"]], np.float32)

    chip = upright(rgb, landmarks)

    assert chip.shape == (112, 112, 3)
    assert chip[51, 73, 0] > 200
    assert chip[51, 38, 0] > 200
    assert chip[79, 56, 2] > 200
    assert chip[10:40].max() == 0


def test_landmarks_in_one_point_still_give_a_chip() -> None:
    assert upright(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 25.0, np.float32)).shape == (112, 112, 3)


# ---- detector --------------------------------------------------------------------------------------------------------


def test_an_own_detector_finds_what_dlibs_points_and_embedder_go_on_with(
    tmp_path: Path, cache_dir: Path, astronaut: Rgb, pipeline: FacePipeline
) -> None:
    box = pipeline.detect(astronaut, min_face_px=80)[0].box
    record = saved(detector(*box), tmp_path, kind="boxes")
    own = FacePipeline(cache_dir=cache_dir, own=OwnModels(detector=record))

    (face,) = own.detect(astronaut, min_face_px=60)

    assert np.abs(np.array(face.box) - box).max() <= 1
    ours = own.embed(astronaut, [face])
    assert np.linalg.norm(ours - pipeline.embed(astronaut, pipeline.detect(astronaut, min_face_px=80))) < 0.2
    assert own.detect(astronaut, min_face_px=200) == []
    assert own.detect(astronaut, min_face_px=20, max_face_px=40) == []


def test_following_looks_only_around_the_face(tmp_path: Path) -> None:
    own = OwnDetector(saved(detector(25, 25, 75, 75), tmp_path, kind="boxes"), threads=1)

    (found,) = own.follow(np.zeros((300, 300, 3), np.uint8), near=[(100, 100, 149, 149)])

    assert found.box == (100, 100, 149, 149)
    assert own.follow(np.zeros((300, 300, 3), np.uint8), near=[(900, 900, 949, 949)]) == []


def test_yunets_grids_are_read_as_opencv_reads_them(tmp_path: Path) -> None:
    """One face of 16 px around (12, 20) of 32 x 32, found twice; the less certain one is dropped."""
    grids: dict[str, NDArray[np.float32]] = {}
    for stride, places in ((8, 16), (16, 4), (32, 1)):
        grids[f"cls_{stride}"] = np.zeros((1, places, 1), np.float32)
        grids[f"obj_{stride}"] = np.ones((1, places, 1), np.float32)
        grids[f"bbox_{stride}"] = np.zeros((1, places, 4), np.float32)
    for grid, place, sure in (("8", 9, 0.9), ("16", 2, 0.8)):
        grids[f"cls_{grid}"][0, place] = sure
    grids["bbox_8"][0, 9] = (0.5, 0.5, np.log(2), np.log(2))
    grids["bbox_16"][0, 2] = (0.75, 0.25, 0.0, 0.0)
    own = OwnDetector(saved(constant(grids, takes=(1, 3, 32, 32)), tmp_path, kind="yunet"), threads=1)

    (found,) = own.detect(np.zeros((64, 64, 3), np.uint8), min_face_px=20)

    assert found.box == (8, 24, 39, 55)  # twice as large: the network looks at half the picture's size
    assert found.score == pytest.approx(np.sqrt(0.9))


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (constant({"boxes": np.zeros((3, 4), np.float32)}), "boxes", "left, top, right, bottom and score"),
        (constant({"boxes": np.zeros((2, 3, 5), np.float32)}), "boxes", "left, top, right, bottom and score"),
        (constant({"boxes": np.full((1, 5), np.nan, np.float32)}), "boxes", "no finite float32"),
        (constant({"a": np.zeros((1, 5), np.float32), "b": np.zeros((1, 5), np.float32)}), "boxes", "one output"),
        (constant({"boxes": np.zeros((1, 5), np.float32)}), "yunet", "cls_8"),
        (constant({"boxes": np.zeros((1, 5), np.float32)}, takes=(1, 3, 9000, 9000)), "boxes", "32 to 1280"),
        (constant({"boxes": np.zeros((1, 5), np.float32)}, takes=(1, 3, "rows", 640)), "boxes", "32 to 1280"),
    ],
)
def test_a_detector_that_gives_no_boxes_is_refused_when_it_is_opened(
    tmp_path: Path, model: Any, kind: Any, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        OwnDetector(saved(model, tmp_path, kind=kind), threads=1)


def test_yunets_grids_of_another_size_are_refused(tmp_path: Path) -> None:
    names = [f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in (8, 16, 32)]
    grids = {name: np.zeros((1, 7, 1), np.float32) for name in names}

    with pytest.raises(ModelFileError, match="gives grids of"):
        OwnDetector(saved(constant(grids, takes=(1, 3, 64, 64)), tmp_path, kind="yunet"), threads=1)


@pytest.mark.parametrize(("low", "high"), [(10, None), (100, 90)])
def test_sizes_that_make_no_sense_are_refused(tmp_path: Path, low: int, high: int | None) -> None:
    own = OwnDetector(saved(detector(0, 0, 9, 9), tmp_path, kind="boxes"), threads=1)

    with pytest.raises(InvalidInput, match="min_face_px"):
        own.detect(np.zeros((90, 90, 3), np.uint8), min_face_px=low, max_face_px=high)
