"""JMESPath within bounds: an expression is short, knows no loops, and looks a value up in time that its length limits.

Lists are never walked nor multiplied, so that no expression and no payload together take long.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from models.errors import InvalidInput

MAX_CHARS: Final = 300
MAX_NODES: Final = 60
KINDS: Final = frozenset({
    "field", "subexpression", "index_expression", "index", "literal", "current", "identity", "pipe", "comparator",
    "or_expression", "and_expression", "not_expression", "function_expression",
})  # fmt: skip
FUNCTIONS: Final = frozenset({
    "abs", "ceil", "contains", "ends_with", "floor", "length", "not_null", "starts_with", "to_number", "to_string", "type",
})  # fmt: skip
Expression = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CHARS)]
Word = str | bool | float | None


class Compiled:
    """Look one value up in a payload.

    Args:
        source: the expression.
        words: what the device's words mean here; a word that is not among them cannot be read.
        times: what a number is multiplied by.

    Raises:
        InvalidInput: the expression is not JMESPath, or needs more than is allowed.
    """

    def __init__(self, source: str, *, words: dict[str, str | bool] | None = None, times: float | None = None) -> None:
        if len(source) > MAX_CHARS:
            raise InvalidInput("driver.map", f"an expression may have {MAX_CHARS} characters, not {len(source)}")
        try:
            self._compiled = jmespath.compile(source)
        except (JMESPathError, ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidInput("driver.map", f"{source[:80]!r} is not JMESPath: {reason}"[:200]) from None
        _check(self._compiled.parsed, source)
        self._source = source
        self._words = words
        self._times = times

    def __call__(self, payload: object) -> Word:
        """Return a text, a truth or a number; None where the payload does not say.

        Raises:
            InvalidInput: what is there is none of them, or a word without a meaning.
        """
        try:
            found: Any = self._compiled.search(payload)
        except (JMESPathError, TypeError, ValueError, OverflowError):
            raise InvalidInput("map", f"{self._source[:80]!r} cannot be looked up in the payload") from None
        if found is None:
            return None
        if not isinstance(found, str | bool | int | float):
            raise InvalidInput("map", f"{self._source[:80]!r} is a {type(found).__name__}, not a single value")
        if self._words is not None:
            return self._meaning(found)
        if self._times is None:
            return found
        if isinstance(found, str | bool):
            raise InvalidInput("map", f"{self._source[:80]!r} is no number")
        return found * self._times

    def _meaning(self, found: str | bool | float) -> Word:
        word = {True: "true", False: "false"}[found] if isinstance(found, bool) else _spelled(found)
        if self._words is None or word not in self._words:
            raise InvalidInput("map", f"{self._source[:80]!r} says a word that has no meaning here")
        return self._words[word]


def _spelled(found: str | float) -> str:
    return str(int(found)) if isinstance(found, float) and found.is_integer() else str(found)


def _check(node: Any, source: str) -> None:
    """Refuse what walks or multiplies lists, unknown functions, and trees without end."""
    waiting, seen = [node], 0
    while waiting:
        current = waiting.pop()
        seen += 1
        kind = current["type"]
        if kind not in KINDS or seen > MAX_NODES:
            raise InvalidInput("driver.map", f"{source[:80]!r} needs more than single values: {kind.replace('_', ' ')}")
        if kind == "function_expression" and current["value"] not in FUNCTIONS:
            raise InvalidInput(
                "driver.map", f"use one of {', '.join(sorted(FUNCTIONS))}, not {current['value'][:40]}()"
            )
        waiting += current["children"]
