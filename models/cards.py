"""Numbers of cards as readers give them, and the one canonical form in which they are kept. Pure.

The same card reads 7186A61E on one reader and 1EA68671 on another, and as a frame of Wiegand on a third. A site names how
its readers read, and an edge turns each reading into the canonical form before it asks whose it is: upper-case hexadecimal
without leading zeros (models.people.canonical_card). Nothing here keeps, logs or repeats a number.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from models.errors import InvalidInput
from models.people import canonical_card
from models.places import check_id

Notation = Literal["hex", "decimal", "facility"]
Frame = Literal[0, 26, 34, 37]
Width = Literal[0, 3, 4, 5, 7, 8, 10]

READING_CHARS: Final = 64
RAW_BITS: Final = (16, 80)
"""Lengths of what a reader gives as bare bits; fewer are no card, more are no card number."""
LEARN_FROM: Final = (2, 5)
"""From how many presentations a format is learnt: one alone fits too many."""
LEARNT: Final = 5
_RAW: Final = re.compile(r"([0-9]{2}):([0-9A-Fa-f]+)")
_SPACED: Final = re.compile(r"[ :-]")
_FACILITY: Final = re.compile(r"([0-9]{1,5})[,:/ -]([0-9]{1,6})")
_NUMBER_BITS: Final[dict[int, int]] = {0: 16, 26: 16, 34: 16, 37: 19}
"""How many bits of a frame's data are the card's own number; the facility's code is before them."""
_EACH_PARITY: Final[dict[int, int]] = {26: 12, 34: 16, 37: 18}
"""Over how many bits of data each of the two parities goes: the first even, the last odd (of 37 bits one counts twice)."""


class CardFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Say how a reader writes the numbers of cards, and what of them is kept."""

    id: str
    site_id: str = ""
    name: str = ""
    notation: Notation = "hex"
    """Hexadecimal, decimal, or facility code and number in decimal (`123,45678`)."""
    frame: Frame = 0
    """Bits of the Wiegand frame that it gives, parity included; 0 where it gives the number alone."""
    width: Width = 0
    """Bytes of the number; 0 as many as come. A decimal number that is reversed needs it."""
    reverse: bool = False
    """Whether its first byte is the canonical form's last."""
    keep: Width = 0
    """How many bytes are kept, once they are in order; 0 all. For sites where some readers cut the number short."""
    keep_from: Literal["start", "end"] = "end"


AS_IT_COMES: Final = CardFormat(id="")
"""What a reader without a format is read by."""


class Presentation(msgspec.Struct, frozen=True, kw_only=True):
    """Say what one reader read of a card, and how to tell that a canonical form is that card's."""

    reading: str
    is_known: Callable[[str], bool]

    def __repr__(self) -> str:
        return "Presentation()"


def check_format(one: CardFormat) -> CardFormat:
    """Return a format that can be read by.

    Raises:
        InvalidInput: its fields contradict each other.
    """
    check_id(one.id, "id")
    if one.notation == "facility" and one.width:
        raise InvalidInput("width", "leave it out: facility code and number are as long as their frame says")
    if one.frame and one.width and one.width != _data_bytes(one.frame):
        raise InvalidInput("width", f"leave it out: a frame of {one.frame} bits holds {_data_bytes(one.frame)} bytes")
    if one.notation == "decimal" and one.reverse and not (one.width or one.frame):
        raise InvalidInput("width", "say how many bytes the number has: a decimal number that is reversed needs it")
    held = one.width or (_data_bytes(one.frame) if one.frame else 0)
    if one.keep and held and one.keep > held:
        raise InvalidInput("keep", f"at most the {held} bytes that are read can be kept")
    return one


def canonical_reading(reading: str, by: CardFormat = AS_IT_COMES, *, where: str = "value") -> str:
    """Return the canonical form of what a reader read.

    Bare bits are written `BITS:HEX`, the first bit first and the last byte filled with zeros, as OSDP readers give them. A
    reader without a format may give those, or the canonical form.

    Args:
        reading: as the reader gave it.
        by: how it reads.
        where: what an error names; the reading itself is not repeated.

    Raises:
        InvalidInput: it is no such number, has another length, or its parity is wrong.
    """
    if len(reading) > READING_CHARS:
        raise InvalidInput(where, f"what a card reads has at most {READING_CHARS} characters")
    raw = raw_bits(reading)
    if by.id == "" and raw is None:
        return canonical_card(reading, where=where)
    if raw is not None:
        octets = _of_raw(*raw, by=by, where=where)
    elif by.notation == "facility":
        octets = _of_facility(reading, by=by, where=where)
    else:
        octets = _of_number(reading, by=by, where=where)
    return _canonical(octets, by=by, where=where)


def _canonical(octets: bytes, *, by: CardFormat, where: str) -> str:
    ordered = octets[::-1] if by.reverse else octets
    if by.keep:
        if len(ordered) < by.keep:
            raise InvalidInput(where, f"this card's number is shorter than the {by.keep} bytes that are kept")
        ordered = ordered[: by.keep] if by.keep_from == "start" else ordered[-by.keep :]
    return canonical_card(ordered.hex(), where=where)


def raw_bits(reading: str) -> tuple[int, int] | None:
    """Return the bits of `BITS:HEX` as (how many, their number), None for what is not written so."""
    match = _RAW.fullmatch(reading)
    if match is None:
        return None
    bits, octets = int(match[1]), len(match[2]) / 2
    low, high = RAW_BITS
    if not low <= bits <= high or octets != (bits + 7) // 8:
        return None
    return bits, int(match[2], 16) >> (-bits % 8)


def _of_raw(bits: int, number: int, *, by: CardFormat, where: str) -> bytes:
    frame = by.frame
    if not by.id and bits in _EACH_PARITY and _parity_holds(number, bits):
        frame = bits  # type: ignore[assignment]  # one of the keys
    if not frame:
        return _sized(number, by.width or (bits + 7) // 8, where=where)
    if bits != frame:
        raise InvalidInput(where, f"this reader gave {bits} bits where its format has {frame}")
    return _unframed(number, frame, where=where)


def _of_number(reading: str, *, by: CardFormat, where: str) -> bytes:
    digits = _SPACED.sub("", reading).upper()
    base, kind, allowed = (
        (16, "hexadecimal", "0123456789ABCDEF") if by.notation == "hex" else (10, "decimal", "0123456789")
    )
    if not digits or any(char not in allowed for char in digits):
        raise InvalidInput(where, f"this reader's format has {kind} digits")
    number = int(digits, base)
    if by.frame:
        return _unframed(number, by.frame, where=where)
    as_come = (len(digits) + 1) // 2 if base == 16 else max(1, (number.bit_length() + 7) // 8)
    return _sized(number, by.width or as_come, where=where)


def _of_facility(reading: str, *, by: CardFormat, where: str) -> bytes:
    """Read facility code and number, apart or in one: the number has as many digits as its bits can need."""
    own_bits = _NUMBER_BITS[by.frame]
    own_digits = len(str(2**own_bits - 1))
    plain = reading.strip()
    match = _FACILITY.fullmatch(plain)
    if match is None and plain.isascii() and plain.isdigit() and len(plain) > own_digits:
        facility, own = int(plain[:-own_digits]), int(plain[-own_digits:])
    elif match is not None:
        facility, own = int(match[1]), int(match[2])
    else:
        raise InvalidInput(where, "this reader's format is facility code and number, such as 123,45678")
    data_bits = (by.frame or 26) - 2
    if own >> own_bits or facility >> (data_bits - own_bits):
        raise InvalidInput(where, f"facility code or number is too large for {data_bits} bits")
    return _sized(facility << own_bits | own, _data_bytes(by.frame or 26), where=where)


def _unframed(number: int, frame: int, *, where: str) -> bytes:
    if number >> frame:
        raise InvalidInput(where, f"this is more than the {frame} bits of the reader's format")
    if not _parity_holds(number, frame):
        raise InvalidInput(where, "the parity of this frame is wrong: hold the card up again, or check the format")
    return _sized(number >> 1 & (1 << frame - 2) - 1, _data_bytes(frame), where=where)


def parity_of(bits: int, number: int) -> Literal["right", "wrong", "unknown"]:
    """Return whether bare bits are a whole Wiegand frame; `unknown` for a length that has no parity here."""
    if bits not in _EACH_PARITY:
        return "unknown"
    return "right" if _parity_holds(number, bits) else "wrong"


def _parity_holds(number: int, frame: int) -> bool:
    """Return whether the first parity makes its half even and the last makes its half odd (HID H10301, H10304; 34 bits alike)."""
    each = _EACH_PARITY[frame]
    first = number >> (frame - 1 - each)
    last = number & (1 << each + 1) - 1
    return first.bit_count() % 2 == 0 and last.bit_count() % 2 == 1


def _sized(number: int, width: int, *, where: str) -> bytes:
    if number >> 8 * width:
        raise InvalidInput(where, f"this number has more than the {width} bytes of the reader's format")
    return number.to_bytes(width, "big")


def _data_bytes(frame: int) -> int:
    return (frame - 2 + 7) // 8


def learn_format(presented: Sequence[Presentation]) -> tuple[CardFormat, ...]:
    """Return the formats by which every presentation reads as its card, the plainest first; empty if none does.

    Of formats that read all of them alike only the plainest is named, so that several mean: present one more card.

    Raises:
        InvalidInput: there are too few or too many presentations, or two of them are alike.
    """
    low, high = LEARN_FROM
    if not low <= len(presented) <= high or len({one.reading for one in presented}) != len(presented):
        raise InvalidInput("presentations", f"present {low} to {high} different cards")
    found: dict[tuple[str, ...], CardFormat] = {}
    for by in _every_format():
        canonicals = _all_known(presented, by)
        if canonicals is not None:
            found.setdefault(canonicals, by)
    return tuple(found.values())[:LEARNT]


def _all_known(presented: Iterable[Presentation], by: CardFormat) -> tuple[str, ...] | None:
    canonicals = []
    for one in presented:
        try:
            canonical = canonical_reading(one.reading, by)
        except InvalidInput:
            return None
        if not one.is_known(canonical):
            return None
        canonicals.append(canonical)
    return tuple(canonicals)


def _every_format() -> Iterator[CardFormat]:
    """Yield every format worth trying, the plainest first."""
    notations: tuple[Notation, ...] = ("hex", "decimal", "facility")
    frames: tuple[Frame, ...] = (0, 26, 34, 37)
    widths: tuple[Width, ...] = (0, 3, 4, 5, 7, 8, 10)
    keeps: tuple[tuple[Width, Literal["start", "end"]], ...] = (
        (0, "end"), (3, "end"), (4, "end"), (3, "start"), (4, "start"), (7, "end"), (7, "start"),
    )  # fmt: skip
    for (keep, keep_from), reverse, notation, frame, width in itertools.product(
        keeps, (False, True), notations, frames, widths
    ):
        by = CardFormat(
            id="learnt", notation=notation, frame=frame, width=width, reverse=reverse, keep=keep, keep_from=keep_from
        )
        try:
            yield check_format(by)
        except InvalidInput:
            continue
