"""PINs: so long that a random one opens with a chance of one in ten thousand at most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.people import PIN_DIGITS
from models.pins import CHANCES_IN, pin_digits


@pytest.mark.parametrize(
    ("holders", "digits"),
    [(0, 4), (1, 4), (2, 5), (10, 5), (11, 6), (100, 6), (101, 7), (3200, 8), (12_800, 9), (10**8, 12), (10**9, 12)],
)
def test_a_pin_grows_with_the_number_of_holders(holders: int, digits: int) -> None:
    assert pin_digits(holders) == digits


@given(st.integers(0, 10**8))
def test_a_random_pin_opens_with_a_chance_of_one_in_ten_thousand_at_most_and_none_is_longer_than_needed(
    holders: int,
) -> None:
    digits = pin_digits(holders)
    assert max(1, holders) * CHANCES_IN <= 10**digits
    assert digits == PIN_DIGITS[0] or max(1, holders) * CHANCES_IN > 10 ** (digits - 1)
