"""How long a PIN must be: so long that a random one opens a door with a chance of at most 1 in 10 000. Pure.

At a keypad that asks for the PIN alone, every holder's PIN opens, so the chance is holders / 10^digits; at one that asks
for flat and PIN, only the holders in that flat count. Wrong attempts slow the keypad down besides (edge.guesses).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from models.errors import InvalidInput
from models.people import PIN_DIGITS, canonical_pin

CHANCES_IN: Final = 10_000
ROOM: Final = 4
"""PINs are so long that four times their present number would still be hard to hit by chance."""


def pin_digits(holders: int) -> int:
    """Return how many digits a PIN needs where it must not be one of `holders` by chance; at most 12.

    Args:
        holders: how many PINs open the door (or belong to the flat); 0 counts as 1.
    """
    low, high = PIN_DIGITS
    digits = low
    while digits < high and max(1, holders) * CHANCES_IN > 10**digits:
        digits += 1
    return digits


def check_pin(value: str, *, holders: int, where: str = "value") -> str:
    """Return a PIN that is long enough and no run like 12345 or 11111; the value never enters a message.

    Args:
        value: the PIN as it was given.
        holders: how many PINs open the same keypads, this one among them; 0 where none is asked for by itself.
        where: the key that a complaint names.

    Raises:
        InvalidInput: it is too short or too easy, or no PIN at all.
    """
    pin, digits = canonical_pin(value, where=where), pin_digits(ROOM * holders)
    if len(pin) < digits:
        why = f"PINs that open the same keypads: {holders}, and four times as many must stay hard to hit by chance"
        raise InvalidInput(where, f"a PIN needs {digits} digits here ({why})")
    steps = {int(after) - int(before) for before, after in pairwise(pin)}
    if steps in ({0}, {1}, {-1}):
        raise InvalidInput(where, "a PIN must not be one digit repeated, nor count up or down")
    return pin
