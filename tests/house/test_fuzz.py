"""The fuzz targets stay usable: without a fuzzer, each takes its seeds and what is made of them, and nothing is a find."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest

from tests.fuzz.targets import TARGETS, guarded
from tests.house.tree import ROOT


def spoilt(seed: bytes) -> Iterator[bytes]:
    """Yield a seed, and what a careless cable makes of it."""
    yield seed
    for at in range(0, len(seed), max(1, len(seed) // 20)):
        yield seed[:at]
        yield seed[:at] + bytes([seed[at] ^ 0x80]) + seed[at + 1 :]
        yield seed[:at] + seed[at:][:8] * 3 + seed[at:]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_and_what_is_spoilt_of_them(name: str) -> None:
    target = TARGETS[name]
    take, seeds = guarded(target), list(target.seeds())
    assert seeds
    for seed in (b"", b"\x00" * 64, b"\xff" * 64, *seeds):
        assert len(seed) <= target.bytes_most, "no input may be so long"
        for data in spoilt(seed):
            take(data)


def test_a_find_is_not_mistaken_for_an_answer() -> None:
    take = guarded(TARGETS["mqtt"])
    with pytest.raises(AttributeError):
        take(None)  # type: ignore[arg-type]


def test_only_fuzzing_needs_the_fuzzer() -> None:
    importlib.import_module("tests.fuzz.__main__")
    locks = {
        name: (ROOT / name).read_text()
        for name in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock")
    }
    assert [name for name, text in locks.items() if re.search("^atheris==", text, re.MULTILINE)] == [
        "requirements-fuzz.lock"
    ]
    assert "--hash=sha256:" in locks["requirements-fuzz.lock"]
    assert "://" not in locks["requirements-fuzz.lock"]
