"""What known cards say about a reader: the format that fits, why others do not, and what stands in the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.card_lessons import Named, Proof, propose, shape_of
from models.cards import canonical_reading
from models.errors import InvalidInput
from models.people import canonical_card

CARDS = ("7186A61E", "04C2F9A3")


def framed(number: str) -> str:
    """Return a card of four bytes as the bits of a Wiegand frame of 34."""
    bits = f"{int(number, 16):032b}"
    frame = f"{bits[:16].count('1') % 2}{bits}{(bits[16:].count('1') + 1) % 2}"
    return f"34:{int(frame, 2) << 6:010X}"


def backwards(number: str) -> str:
    """Return a card as a reader gives it that begins with its last byte."""
    return bytes.fromhex(number)[::-1].hex().upper()


def named(reading: str, number: str, *, card: str = "") -> Named:
    """Return a presentation of a card whose number is known."""
    canonical = canonical_card(number)
    return Named(reading=reading, is_known=lambda one: one == canonical, card=card or canonical, canonical=canonical)


def why(proof: Proof) -> dict[tuple[str, int, bool, int], str]:
    """Return why each usual format does not fit."""
    return {(t.format.notation, t.format.frame, t.format.reverse, t.format.keep): t.why for t in proof.tried}


def test_the_reader_of_the_design_is_found_and_every_other_format_is_told_why_not() -> None:
    proof = propose([named(backwards(one), one) for one in CARDS])
    (fits,) = proof.fits
    assert (fits.notation, fits.frame, fits.reverse, proof.hint) == ("hex", 0, True, "")
    told = why(proof)
    assert told["hex", 0, True, 0] == ""
    assert told["hex", 0, False, 0] == "presentation 1: it would be another card"
    assert "decimal digits" in told["decimal", 0, False, 0]
    assert all(text for key, text in told.items() if key != ("hex", 0, True, 0))
    assert not any(number in text for text in told.values() for number in ("7186", "1EA6", "04C2"))


def test_a_reader_that_gives_what_is_kept_needs_no_format() -> None:
    for readings in (CARDS, tuple(map(framed, CARDS))):
        proof = propose([named(reading, one) for reading, one in zip(readings, CARDS, strict=True)])
        assert [one.id for one in proof.fits] == [""], readings


def test_bits_in_reverse_are_learnt_from_frames() -> None:
    proof = propose([named(framed(backwards(one)), one) for one in CARDS])
    assert [(one.frame, one.reverse) for one in proof.fits] == [(34, True)]


def test_a_card_that_reads_differently_each_time_is_said_to_be_so() -> None:
    proof = propose([named("08A1B2C3", "7186A61E"), named("08D4E5F6", "7186A61E")])
    assert (proof.fits, proof.hint) == ((), "one_card_differs")
    assert "presentations 1 and 2" in proof.advice


def test_a_frame_that_was_read_wrong_is_said_to_be_so() -> None:
    noisy = f"{framed(CARDS[0])[:-3]}{int(framed(CARDS[0])[-3:], 16) ^ 0x100:03X}"
    proof = propose([named(noisy, CARDS[0]), named(framed(CARDS[1]), CARDS[1])])
    assert (proof.fits, proof.hint) == ((), "wrong_parity")
    assert proof.advice.startswith("presentation 1: the parity of its 34 bits")


@pytest.mark.parametrize("cut", [lambda one: one[2:], lambda one: one[:6], lambda one: backwards(one)[:6]])
def test_a_reader_that_cuts_numbers_short_is_said_to_do_so(cut: object) -> None:
    proof = propose([named(cut(one), one) for one in CARDS])  # type: ignore[operator]
    assert (proof.fits, proof.hint) == ((), "cut_short")


def test_other_cards_than_the_named_ones_fit_nothing() -> None:
    proof = propose([named("11223344", CARDS[0]), named("55667788", CARDS[1])])
    assert (proof.fits, proof.hint) == ((), "other_cards")


def test_one_card_is_not_enough_and_one_reading_is_not_two_cards() -> None:
    with pytest.raises(InvalidInput, match="2 to 5 different cards"):
        propose([named(backwards(CARDS[0]), CARDS[0])])
    with pytest.raises(InvalidInput, match="2 to 5 different cards"):
        propose([])
    with pytest.raises(InvalidInput, match="named as two cards"):
        propose([named("1EA68671", one) for one in CARDS])


def test_a_shape_says_how_a_reading_looks_and_never_its_number() -> None:
    shapes = [shape_of(one) for one in ("1E A6 86 71", "0514229873", "018,20554", framed(CARDS[0]), "24:1A2B3C")]
    assert [(one.kind, one.length, one.parity) for one in shapes] == [
        ("hex", 8, "unknown"), ("decimal", 10, "unknown"), ("other", 9, "unknown"), ("bits", 34, "right"),
        ("bits", 24, "unknown"),
    ]  # fmt: skip
    assert "1EA6" not in repr(named("1EA68671", "7186A61E"))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=64), st.from_regex("[0-9A-F]{6,14}", fullmatch=True)), min_size=2, max_size=3)
)
def test_whatever_was_read_what_fits_reads_every_card_right(told: list[tuple[str, str]]) -> None:
    try:
        presented = [named(reading, number) for reading, number in told]
        proof = propose(presented)
    except InvalidInput:
        return
    assert bool(proof.fits) != bool(proof.hint)
    for by in proof.fits:
        assert all(one.is_known(canonical_reading(one.reading, by)) for one in presented)
