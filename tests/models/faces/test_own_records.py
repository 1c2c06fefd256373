"""What a site says of networks of its own: what is taken, and weights that are not for commerce."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.settings import ModelSettings
from edge.own_models import own_models
from models.errors import InvalidInput, ModelFileError
from models.faces.own_models import DLIB, OwnModel, OwnModels, checked, read_own_models

RECORD = OwnModel(file="face.onnx", sha256="a" * 64, id="ours-1", kind="arcface", licence="Apache-2.0")


def test_settings_become_records_and_records_survive_the_way_to_the_face_process(tmp_path: Path) -> None:
    settings = ModelSettings.model_validate(
        {"embedder": {"file": tmp_path / "e.onnx", "sha256": "b" * 64, "id": "e", "kind": "sface", "licence": "MIT"}}
    )
    models = own_models(settings)

    assert models.embedder is not None
    assert (models.embedder.file, models.embedder.kind) == (str(tmp_path / "e.onnx"), "sface")
    assert (models.detector, models.liveness) == (None, None)
    assert read_own_models(msgspec.json.encode(models).decode()) == models
    assert read_own_models("{}") == own_models(ModelSettings()) == DLIB


@pytest.mark.parametrize("text", ["", "[]", '{"embedder": 1}', '{"faces": {}}', "x" * 70_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="models"):
        read_own_models(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "boxes"}, "kind 'boxes' does not fit"),
        ({"kind": ""}, "kind '' does not fit"),
        ({"sha256": ""}, "sha256 is missing"),
        ({"sha256": "A" * 64}, "sha256 is missing"),
        ({"id": ""}, "id is missing"),
        ({"id": "../up"}, "id is missing"),
        ({"licence": " "}, "licence is missing"),
    ],
)
def test_a_record_that_lacks_something_says_what_to_write(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        checked(OwnModels(embedder=msgspec.structs.replace(RECORD, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"non_commercial": True},
        {"licence": "CC BY-NC 4.0"},
        {"licence": "for non-commercial research purposes only"},
        {"id": "buffalo-l", "file": "buffalo_l/w600k_r50.onnx"},
        {"id": "buffalo-l"},
        {"file": "/models/buffalo_sc/recognition.onnx"},
        {"file": "/models/w600k_mbf.onnx"},
        {"file": "glint360k_r100.onnx"},
        {"file": "antelopev2/scrfd_10g_bnkps.onnx"},
        {"id": "insightface-r50", "licence": "MIT"},
    ],
)
def test_weights_that_are_not_for_commerce_are_refused_until_somebody_acknowledges_it(changes: dict[str, Any]) -> None:
    record = msgspec.structs.replace(RECORD, **changes)

    with pytest.raises(ModelFileError, match="not for commercial use"):
        checked(OwnModels(embedder=record))
    acknowledged = OwnModels(embedder=msgspec.structs.replace(record, acknowledged=True))
    assert checked(acknowledged) is acknowledged


def test_who_merely_lives_in_a_folder_of_that_name_is_not_refused() -> None:
    models = OwnModels(embedder=msgspec.structs.replace(RECORD, file="/home/buffalo/gatehouse/models/face.onnx"))

    assert checked(models) is models
