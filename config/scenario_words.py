"""Whether the simulators of a scenario understand what it asks of them: devices, options and orders, before one is started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from config.reading import Key, Mistake, nearest
from models.simulator_words import SimulatorWords, Word

NO_WORDS: Final[Mapping[str, SimulatorWords]] = MappingProxyType({})
WITH: Final[Mapping[str, str]] = {"misbehave": "fault", "wait": "until"}
"""Acts, and the key without which they say nothing."""


def plain_mistakes(value: object, *, words: Mapping[str, SimulatorWords]) -> Iterator[Mistake]:
    """Yield what no simulator of a scenario understands; of what has not even the form of one, nothing."""
    devices = _entries(value, "devices")
    kinds: dict[str, object] = {}
    for number, device in devices:
        kinds[str(device.get("id"))] = kind = device.get("kind")
        known = words.get(str(kind))
        options = device.get("options")
        if known is not None and isinstance(options, dict):
            for name, given in options.items():
                key = ("devices", number, "options", str(name))
                for one in given if isinstance(given, list) else [given]:
                    yield from _misfits(str(name).replace("_", "-"), one, words=known.options, key=key)
    for number, step in _entries(value, "timeline"):
        target = step.get("device")
        if devices and isinstance(target, str) and target not in kinds:
            message = f"there is no device {target[:80]!r}"
            yield Mistake(key=("timeline", number, "device"), message=message, suggestion=nearest(target, [*kinds]))
        known, order = words.get(str(kinds.get(str(target)))), step.get("order")
        if known is not None and known.orders and isinstance(order, dict):
            yield from _order_mistakes(order, words=known.orders, key=("timeline", number, "order"))


def _order_mistakes(order: dict[str, object], *, words: Mapping[str, Word], key: Key) -> Iterator[Mistake]:
    for name, given in order.items():
        if given is not None:
            yield from _misfits(str(name), given, words=words, key=(*key, str(name)), exact=True)
    act = order.get("act")
    needed = [name for name, word in words.items() if word.needed]
    if "act" in words and isinstance(act, str) and act in WITH:
        needed.append(WITH[act])
    for name in needed:
        if order.get(name) is None:
            choices = ", ".join(words[name].choices)
            yield Mistake(key=key, message=f"{name} is missing", suggestion=f"add {name}: one of {choices}")


def _misfits(
    name: str, given: object, *, words: Mapping[str, Word], key: Key, exact: bool = False
) -> Iterator[Mistake]:
    """Yield why a name or its value is not understood; on a command line (not `exact`) text may be a number."""
    word = words.get(name)
    if word is None:
        yield Mistake(key=key, message="unknown key", suggestion=nearest(name, [*words]))
    elif word.choices and str(given) not in word.choices:
        meant = nearest(str(given)[:80], [*word.choices])
        yield Mistake(key=key, message=f"must be one of {', '.join(word.choices)}", suggestion=meant)
    elif not _fits(given, word=word, exact=exact):
        wanted = (
            "true or false" if word.type == "flag" else f"a {word.type}" if word.type != "integer" else "an integer"
        )
        yield Mistake(key=key, message=f"must be {wanted}")


def _fits(given: object, *, word: Word, exact: bool) -> bool:
    if word.type == "other":
        return True
    if word.type == "flag" or isinstance(given, bool):
        return word.type == "flag" and isinstance(given, bool)
    if word.type == "text":
        return isinstance(given, str) or not exact
    if isinstance(given, str) and not exact:
        with contextlib.suppress(ValueError):
            _ = float(given) if word.type == "number" else int(given)
            return True
        return False
    return isinstance(given, int) or (word.type == "number" and isinstance(given, float))


def _entries(value: object, name: str) -> list[tuple[int, dict[str, object]]]:
    entries = value.get(name) if isinstance(value, dict) else None
    return [(n, one) for n, one in enumerate(entries) if isinstance(one, dict)] if isinstance(entries, list) else []
