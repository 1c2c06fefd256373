"""Keys to PINs: digits gathered until `#`, forgotten after a pause or at `*`. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final, Literal

PAUSE_S: Final = 6.0
DIGITS_MOST: Final = 24
ENTER: Final = frozenset(b"#\r")
"""Keypads tell `#` as carriage return and `*` as delete (OSDP 2.2, clause 7.12); some as themselves."""
DIGITS: Final = frozenset(b"0123456789")
"""Any other key clears what was typed, `*` above all."""


class Keypad:
    """Gather what somebody types at one reader.

    Args:
        kind: `pin` ends at the first `#`, `flat_pin` at the second (flat, `#`, PIN, `#`); `off` hears nothing.
    """

    def __init__(self, kind: Literal["pin", "flat_pin", "off"]) -> None:
        self._kind = kind
        self._typed = ""
        self._last = float("-inf")

    def __repr__(self) -> str:
        return f"Keypad({self._kind!r})"

    def press(self, keys: bytes, *, at: float) -> list[str]:
        """Return the PINs that are complete with these keys; `at` is a monotonic time in s."""
        if self._kind == "off":
            return []
        if at - self._last > PAUSE_S:
            self._typed = ""
        self._last = at
        complete = []
        for key in keys:
            if key in ENTER:
                complete += self._enter()
            elif key not in DIGITS or len(self._typed) >= DIGITS_MOST:
                self._typed = ""
            else:
                self._typed += chr(key)
        return complete

    def forget(self, *, at: float) -> None:
        """Forget what was typed before a pause."""
        if at - self._last > PAUSE_S:
            self._typed = ""

    def _enter(self) -> list[str]:
        typed, self._typed = self._typed, ""
        if self._kind == "flat_pin" and "#" not in typed:
            self._typed = f"{typed}#" if typed else ""
            return []
        return [typed] if typed and not typed.endswith("#") else []
