"""What presentations of known cards at a door say about its reader: which formats read them right, and why others do not. Pure.

A reading is personal data and goes no further than a lesson: what people are shown of it is its shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from models.cards import (
    AS_IT_COMES,
    LEARN_FROM,
    CardFormat,
    Frame,
    Presentation,
    canonical_reading,
    learn_format,
    parity_of,
    raw_bits,
)
from models.errors import InvalidInput

Hint = Literal["", "one_card_differs", "wrong_parity", "cut_short", "other_cards"]
"""What stands in the way where no format reads every presentation right."""
CUT_LEAST: Final = 3
"""Bytes of a number that say that a reading is a part of it: fewer may be so by chance."""


class LearnCards(msgspec.Struct, frozen=True, kw_only=True, tag="learn_cards"):
    """Ask an edge to gather what a reader reads of the next cards, in place of deciding on them.

    `Progress` carries the readings while it runs; they are written down nowhere. On the way out cards are gathered and
    decided on: nobody is kept inside.
    """

    id: str
    door_id: str
    reader: Literal["in", "out"] = "in"
    reader_id: str = ""
    """Which reader is meant, for the gateway; one without an id is the only one on its side."""
    cards: int = 2
    """How many different ones end it."""
    deadline: datetime


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a reading looks, without its number: bare `bits`, or `hex`, `decimal` or `other` characters."""

    kind: Literal["bits", "hex", "decimal", "other"]
    length: int
    parity: Literal["right", "wrong", "unknown"] = "unknown"
    """Of bare bits whether they are a whole Wiegand frame: one that was read wrong, or of another make, is not."""


class Named(Presentation, frozen=True, kw_only=True):
    """Say which card was presented."""

    card: str
    """The same for every presentation of one card."""
    canonical: str = ""
    """Its canonical form; empty where only whose it is is known."""

    def __repr__(self) -> str:
        return "Named()"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Say why a format is not the reader's; empty where it is."""

    format: CardFormat
    why: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Propose formats for a reader, the plainest first, beside what the usual ones make of the presentations."""

    fits: tuple[CardFormat, ...] = ()
    """Formats by which every presentation is its card; the one without an id says that the reader needs none."""
    tried: tuple[Tried, ...] = ()
    hint: Hint = ""
    advice: str = ""


def _usual(*, frame: Frame = 0, reverse: bool = False, **more: object) -> CardFormat:
    return CardFormat(id="usual", frame=frame, reverse=reverse, **more)  # type: ignore[arg-type]


USUAL: Final[tuple[CardFormat, ...]] = (
    AS_IT_COMES,
    _usual(reverse=True),
    _usual(notation="decimal"),
    _usual(notation="decimal", width=4, reverse=True),
    _usual(notation="facility"),
    *(_usual(frame=frame, reverse=reverse) for frame in (26, 34, 37) for reverse in (False, True)),
    _usual(keep=3),
)
"""What installers know: each is told why it does not fit, whatever does."""


def shape_of(reading: str) -> Shape:
    """Return how a reading looks."""
    raw = raw_bits(reading)
    if raw is not None:
        return Shape(kind="bits", length=raw[0], parity=parity_of(*raw))
    plain = "".join(char for char in reading if char not in " :-")
    if plain.isascii() and plain.isdigit():
        return Shape(kind="decimal", length=len(plain))
    if plain and all(char in "0123456789abcdefABCDEF" for char in plain):
        return Shape(kind="hex", length=len(plain))
    return Shape(kind="other", length=len(reading))


def propose(presented: Sequence[Named]) -> Proof:
    """Return the formats by which every presentation reads as its card, with the proof.

    Raises:
        InvalidInput: too few or too many cards are named.
    """
    differing = _one_card_differs(presented)
    if differing:
        return Proof(hint="one_card_differs", advice=differing)
    low, high = LEARN_FROM
    cards = {one.card: one for one in presented}
    if not low <= len(cards) <= high:
        raise InvalidInput("cards", f"name {low} to {high} different cards: one alone fits too many formats")
    if len({one.reading for one in cards.values()}) != len(cards):
        raise InvalidInput("cards", "one reading is named as two cards: say of each presentation which card it was")
    tried = tuple(Tried(format=by, why=_why_not(presented, by)) for by in USUAL)
    fits = (AS_IT_COMES,) if not tried[0].why else learn_format(tuple(cards.values()))
    if fits:
        return Proof(fits=fits, tried=tried)
    hint, advice = _trouble(presented)
    return Proof(tried=tried, hint=hint, advice=advice)


def _why_not(presented: Sequence[Named], by: CardFormat) -> str:
    """Return why a presentation does not read as its card, empty if all do; no number is in it."""
    for number, one in enumerate(presented, start=1):
        try:
            canonical = canonical_reading(one.reading, by)
        except InvalidInput as error:
            return f"presentation {number}: {error.what}"
        if not one.is_known(canonical):
            return f"presentation {number}: it would be another card"
    return ""


def _one_card_differs(presented: Sequence[Named]) -> str:
    for (at, one), (later, other) in itertools.combinations(enumerate(presented, start=1), 2):
        if one.card == other.card and one.reading != other.reading:
            return (
                f"presentations {at} and {later} are named as one card and read differently: a phone or bank card gives "
                "a new number each time, a card held askew a wrong one; leave one out, or take another card"
            )
    return ""


def _trouble(presented: Sequence[Named]) -> tuple[Hint, str]:
    """Return what stands in the way where no format fits, and what to do."""
    for number, one in enumerate(presented, start=1):
        shape = shape_of(one.reading)
        if shape.parity == "wrong":
            return "wrong_parity", (
                f"presentation {number}: the parity of its {shape.length} bits is wrong: noise on the reader's wires, or a "
                "frame of the maker's own; hold the card up again, or set the reader to a plain Wiegand frame"
            )
    for number, one in enumerate(presented, start=1):
        if _is_cut(one):
            return "cut_short", (
                f"presentation {number}: the reader gives only a part of this card's number: set it to the whole one, or "
                "let every reader's format of this site keep as many bytes, and give the cards again"
            )
    return "other_cards", "no format reads these as the cards that you named: check which card each presentation was"


def _is_cut(one: Named) -> bool:
    """Return whether a reading is the beginning or end of its card's number, in either order of bytes."""
    digits = one.canonical
    whole = bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
    for by in USUAL:
        try:
            canonical = canonical_reading(one.reading, by)
        except InvalidInput:
            continue
        part = bytes.fromhex(canonical.zfill(len(canonical) + len(canonical) % 2))
        if CUT_LEAST <= len(part) < len(whole) and (whole.startswith(part) or whole.endswith(part)):
            return True
    return False
