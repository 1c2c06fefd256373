"""How long a PIN must be: so long that a random one opens a door with a chance of at most 1 in 10 000. Pure.

At a keypad that asks for the PIN alone, every holder's PIN opens, so the chance is holders / 10^digits; at one that asks
for flat and PIN, only the holders in that flat count. Wrong attempts slow the keypad down besides (edge.guesses).
"""

from __future__ import annotations

from typing import Final

from models.people import PIN_DIGITS

CHANCES_IN: Final = 10_000


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
