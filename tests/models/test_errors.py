"""The error tree: small, drawn in its docstring, each error with its evidence and a sentence."""

from __future__ import annotations

import inspect

import pytest

from models import errors
from models.errors import (
    CommandExpired,
    Conflict,
    DeviceRefused,
    DeviceUnreachable,
    Forbidden,
    GatehouseError,
    ImageRejected,
    InvalidInput,
    ModelFileError,
    NotFound,
    SettingsError,
    SettingsFault,
    StorageUnavailable,
)

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, GatehouseError)]


def test_the_tree_has_at_most_twelve_classes_and_all_are_drawn() -> None:
    assert len(CLASSES) <= 12
    for one in CLASSES:
        assert one.__name__ in (errors.__doc__ or "")
        assert one.__mro__[1] in {GatehouseError, Exception}


@pytest.mark.parametrize(
    ("error", "evidence", "sentence"),
    [
        (InvalidInput("field", "use 1 to 9"), {"where": "field", "what": "use 1 to 9"}, "field: use 1 to 9"),
        (ImageRejected("no_face", "look up"), {"reason": "no_face", "detail": "look up"}, "no_face: look up"),
        (ModelFileError("m.onnx", "truncated"), {"file": "m.onnx", "what": "truncated"}, "m.onnx: truncated"),
        (DeviceUnreachable("d", "no answer"), {"device_id": "d", "what": "no answer"}, "d: no answer"),
        (DeviceRefused("d", "wrong password"), {"device_id": "d", "what": "wrong password"}, "d: wrong password"),
        (
            CommandExpired("c", 20),
            {"command_id": "c", "late_ms": 20},
            "command c expired 20 ms before it could be delivered",
        ),
        (NotFound("door", "d"), {"kind": "door", "key": "d"}, "no door 'd'"),
        (Forbidden("guards may not"), {}, "guards may not"),
        (Conflict("it changed"), {}, "it changed"),
        (StorageUnavailable("disk full"), {}, "disk full"),
    ],
)
def test_an_error_carries_its_evidence(error: GatehouseError, evidence: dict[str, object], sentence: str) -> None:
    assert {name: getattr(error, name) for name in evidence} == evidence
    assert str(error) == sentence


def test_a_settings_error_lists_every_fault_with_its_place() -> None:
    faults = [
        SettingsFault("a.yaml", 3, "limits.rate", "is no number"),
        SettingsFault("a.yaml", 9, "lisen", "is unknown", "did you mean listen?"),
    ]
    error = SettingsError(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "a.yaml:3: limits.rate: is no number\na.yaml:9: lisen: is unknown (did you mean listen?)"
