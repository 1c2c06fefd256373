"""What simulators understand: the options of their command lines and the orders of their control ports.

`python -m drivers words` tells it to whoever reads a scenario, because only drivers know their simulators.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """Say what may stand under an option or a key of an order: one of `choices`, or anything of a type."""

    type: Literal["flag", "integer", "number", "text", "other"]
    choices: tuple[str, ...] = ()
    needed: bool = False


class SimulatorWords(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the words of one kind of simulator; one without orders has no control port."""

    kind: str
    options: dict[str, Word]
    orders: dict[str, Word] = {}
