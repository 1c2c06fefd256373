"""What is told of a file's mistakes: the key as it stands in the file, and nothing that follows from another mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, Field

from config.reading import Strict, read
from models.errors import SettingsError


def _address(value: str) -> str:
    if not value.startswith("rtsp://"):
        raise ValueError("must be an address that begins with rtsp://")
    return value


class _File(Strict):
    main: Literal[""] | Annotated[str, AfterValidator(_address)] = ""
    factors: tuple[Literal["card", "pin"], ...] = Field(("card",), min_length=1)


def told(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read(path, _File, environment={})
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def test_a_value_that_may_be_empty_has_one_mistake_at_its_own_key(tmp_path: Path) -> None:
    assert told(tmp_path, "main: http://x\n") == ["1: main: must be an address that begins with rtsp://"]


def test_a_list_of_wrong_words_is_not_called_too_short_as_well(tmp_path: Path) -> None:
    assert told(tmp_path, "factors: [retina]\n") == ["1: factors[0]: must be one of card, pin"]


def test_an_empty_list_is_too_short(tmp_path: Path) -> None:
    (one,) = told(tmp_path, "factors: []\n")
    assert one.startswith("1: factors: ")


@pytest.mark.parametrize("text", ["[" * 5000, "[" * 5000 + "]" * 5000, "{a: " * 5000, "- " * 5000])
def test_brackets_without_end_are_too_deep(tmp_path: Path, text: str) -> None:
    (one,) = told(tmp_path, text)
    assert one.startswith("1: (file): too deep")
