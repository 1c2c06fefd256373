"""`python -m drivers words`: what each simulator understands, as its own command line and control port have it.

One kind per line of JSON on standard output (models.simulator_words).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import inspect

from models.simulator_words import SimulatorWords, Word

SIMULATORS: Final[Mapping[str, str]] = {
    "broker": "drivers.mqtt.broker",
    "door": "drivers.mqtt.simulator",
    "camera": "drivers.rtsp.simulator",
    "onvif": "drivers.onvif.simulator",
    "osdp": "drivers.osdp.simulator",
}
"""Modules with `add_arguments`, and with an `Order` where there is a control port."""

TYPES: Final[Mapping[type[inspect.Type], Literal["flag", "integer", "number", "text"]]] = {
    inspect.BoolType: "flag",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.StrType: "text",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take no arguments: every simulator is told."""
    parser.description = "Tell what each simulator understands: one JSON object per kind."


async def main(_args: argparse.Namespace) -> int:
    """Write the words of every simulator."""
    for kind, name in SIMULATORS.items():
        sys.stdout.write(msgspec.json.encode(words_of(kind, importlib.import_module(name))).decode() + "\n")
    return 0


def words_of(kind: str, program: Any) -> SimulatorWords:
    """Return what a simulator understands."""
    parser = argparse.ArgumentParser(add_help=False)
    program.add_arguments(parser)
    known = parser._actions  # noqa: SLF001 - argparse tells its options nowhere else
    options = {action.option_strings[0].removeprefix("--"): _option(action) for action in known}
    order = getattr(program, "Order", None)
    if order is None:
        return SimulatorWords(kind=kind, options=options)
    shape = inspect.type_info(order)
    if not isinstance(shape, inspect.StructType):
        raise TypeError(f"the orders of {kind} are no record")
    return SimulatorWords(kind=kind, options=options, orders={field.name: _key(field) for field in shape.fields})


def _option(action: argparse.Action) -> Word:
    if action.nargs == 0:
        return Word(type="flag")
    if action.nargs is not None:
        return Word(type="other")
    choices = tuple(str(one) for one in action.choices or ())
    return Word(type="integer" if action.type is int else "number" if action.type is float else "text", choices=choices)


def _key(field: inspect.Field) -> Word:
    shapes = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    told = [one for one in shapes if not isinstance(one, inspect.NoneType)]
    literals = [one for one in told if isinstance(one, inspect.LiteralType)]
    if len(literals) == len(told):
        choices = tuple(sorted(str(value) for one in literals for value in one.values))
        return Word(type="text", choices=choices, needed=field.required)
    return Word(type=TYPES.get(type(told[0]), "other") if len(told) == 1 else "other", needed=field.required)
