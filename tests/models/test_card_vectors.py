"""What the console shows of a card's number is what edges make of it: both read the same readings alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.cards import AS_IT_COMES, CardFormat, canonical_reading
from models.errors import InvalidInput

VECTORS = Path(__file__).parents[2] / "gateway" / "console" / "src" / "cards.vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[f"{at}-{case['reading'][:24]}" for at, case in enumerate(CASES)])
def test_a_reading_is_the_number_that_the_console_shows(case: dict[str, Any]) -> None:
    by = AS_IT_COMES if case["format"] is None else msgspec.convert({"id": "f", **case["format"]}, CardFormat)
    try:
        number: str | None = canonical_reading(case["reading"], by)
    except InvalidInput:
        number = None
    assert number == case["number"]
