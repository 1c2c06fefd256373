"""The words in which driver sections are judged: `python -m drivers check` reads sections and writes verdicts, a line each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

LINE_BYTES = 65_536
"""The longest line of either side."""
SECTIONS_MOST = 10_000
FINDINGS_MOST = 8
Short = Annotated[str, msgspec.Meta(max_length=300)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Name the settings of one door's driver, or of the device around a camera; `edge` tells which of them share a wire."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    part: Literal["driver", "device"]
    edge: str
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return f"Section(id={self.id!r}, part={self.part!r})"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is wrong with a section and what to do, without its secrets; `where` is a path as `driver.readers.0.address`."""

    where: Short
    what: Short


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Judge one section: `errors` cannot be used by any edge, `warnings` only by some."""

    id: str
    part: Literal["driver", "device"]
    errors: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=FINDINGS_MOST)] = ()
    warnings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=FINDINGS_MOST)] = ()
