"""Card numbers: one card reads alike whatever reader read it, wrong frames are refused, and a format is learnt from two cards."""

from __future__ import annotations

from functools import partial
from operator import eq

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cards import (
    AS_IT_COMES,
    CardFormat,
    Frame,
    Presentation,
    canonical_reading,
    check_format,
    learn_format,
)
from models.errors import InvalidInput
from models.people import canonical_card

UID = "7186A61E"
DATA_BITS: dict[Frame, int] = {26: 24, 34: 32, 37: 35}
HALF: dict[Frame, int] = {26: 12, 34: 16, 37: 18}


def frame_of(data: int, frame: Frame) -> int:
    """Return data within its two parities, made bit by bit after the makers' drawings."""
    bits = f"{data:0{DATA_BITS[frame]}b}"
    first = bits[: HALF[frame]].count("1") % 2
    last = (bits[-HALF[frame] :].count("1") + 1) % 2
    return int(f"{first}{bits}{last}", 2)


def raw(number: int, bits: int) -> str:
    """Return bits as an OSDP reader gives them: the first bit first, the last byte filled with zeros."""
    octets = (bits + 7) // 8
    return f"{bits}:{number << octets * 8 - bits:0{octets * 2}X}"


def shape(**more: object) -> CardFormat:
    return check_format(msgspec.convert({"id": "f", **more}, CardFormat))


@pytest.mark.parametrize(
    ("reading", "by"),
    [
        (UID, AS_IT_COMES),
        ("1EA68671", shape(reverse=True)),
        ("1e:a6:86:71", shape(reverse=True)),
        ("1904649758", shape(notation="decimal")),
        ("0514229873", shape(notation="decimal", width=4, reverse=True)),
        (raw(frame_of(0x7186A61E, 34), 34), AS_IT_COMES),
        (raw(frame_of(0x1EA68671, 34), 34), shape(frame=34, reverse=True)),
        (f"{frame_of(0x7186A61E, 34):X}", shape(frame=34)),
        (raw(0x7186A61E, 32), AS_IT_COMES),
        ("29062,42526", shape(notation="facility", frame=34)),
        ("2906242526", shape(notation="facility", frame=34)),
        ("007186A61E", shape(keep=4)),
        ("7186A61EFF", shape(keep=4, keep_from="start")),
    ],
)
def test_one_card_has_one_number_whatever_reader_read_it(reading: str, by: CardFormat) -> None:
    assert canonical_reading(reading, by) == UID


@pytest.mark.parametrize(
    ("reading", "by", "canonical"),
    [
        ("018,20554", shape(notation="facility"), "12504A"),
        ("01820554", shape(notation="facility", frame=26), "12504A"),
        (raw(frame_of(0x12504A, 26), 26), AS_IT_COMES, "12504A"),
        ("0x", shape(frame=26), None),
        ("123456,1", shape(notation="facility"), None),
        ("256,1", shape(notation="facility"), None),
        ("1,65536", shape(notation="facility"), None),
        ("1,524287", shape(notation="facility", frame=37), "FFFFF"),
        ("04A1B2C3D4E5F6", AS_IT_COMES, "4A1B2C3D4E5F6"),
        ("04A1B2C3D4E5F6", shape(width=7, reverse=True), "F6E5D4C3B2A104"),
        ("04A1B2C3D4E5F6", shape(width=4), None),
        ("0405060708090A0B0C0D", shape(width=10), "405060708090A0B0C0D"),
        ("71860001", shape(reverse=True), "1008671"),
        ("A1", shape(keep=4), None),
        ("7186A61E", shape(notation="decimal"), None),
        ("٣", shape(notation="decimal"), None),
        ("", AS_IT_COMES, None),
        ("", shape(), None),
        ("1" * 65, shape(notation="decimal"), None),
        ("4294967296", shape(notation="decimal", width=4), None),
        (raw(1, 16), shape(frame=26), None),
        (f"{1 << 26:X}", shape(frame=26), None),
    ],
)
def test_what_cannot_be_a_reading_by_the_format_is_refused(reading: str, by: CardFormat, canonical: str | None) -> None:
    if canonical is not None:
        assert canonical_reading(reading, by) == canonical
        return
    with pytest.raises(InvalidInput) as refused:
        canonical_reading(reading, by, where="card")
    assert refused.value.where == "card"
    assert not reading or reading not in refused.value.what


@given(st.sampled_from([26, 34, 37]), st.data())
def test_a_frame_gives_its_data_and_no_single_wrong_bit_passes(frame: Frame, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 2 ** DATA_BITS[frame] - 1))
    framed = frame_of(number, frame)
    by = shape(frame=frame)
    assert canonical_reading(raw(framed, frame), by) == canonical_reading(raw(framed, frame)) == f"{number:X}"
    wrong = framed ^ 1 << data.draw(st.integers(0, frame - 1).filter(lambda bit: frame != 37 or bit != 18))
    with pytest.raises(InvalidInput, match="parity"):
        canonical_reading(raw(wrong, frame), by)


@given(st.text(max_size=70), st.sampled_from([AS_IT_COMES, shape(frame=26), shape(notation="facility"), shape(keep=3)]))
def test_any_text_is_a_canonical_number_or_refused(reading: str, by: CardFormat) -> None:
    try:
        canonical = canonical_reading(reading, by)
    except InvalidInput:
        return
    assert canonical_card(canonical) == canonical


@given(st.text("0123456789ABCDEFabcdef -:", max_size=24))
def test_a_number_from_before_formats_keeps_its_form(value: str) -> None:
    try:
        before = canonical_card(value)
    except InvalidInput:
        return
    bits, colon, rest = value.partition(":")
    if not (colon and bits.isdigit() and len(bits) == 2 and len(rest) >= 4 and rest.isalnum()):
        assert canonical_reading(value) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"notation": "facility", "width": 3},
        {"frame": 26, "width": 4},
        {"notation": "decimal", "reverse": True},
        {"width": 3, "keep": 4},
        {"frame": 26, "keep": 7},
        {"id": ""},
    ],
)
def test_a_format_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        shape(**fields)


def presentation(reading: str, card: str) -> Presentation:
    return Presentation(reading=reading, is_known=partial(eq, card))


@pytest.mark.parametrize(
    ("pairs", "learnt"),
    [
        ([("1EA68671", UID), ("88776655", "55667788")], shape(id="learnt", reverse=True)),
        (
            [("0514229873", UID), ("0287454020", "44332211")],
            shape(id="learnt", notation="decimal", reverse=True, width=4),
        ),
        (
            [(raw(frame_of(0x1EA68671, 34), 34), UID), (raw(frame_of(0x44332211, 34), 34), "11223344")],
            shape(id="learnt", frame=34, reverse=True),
        ),
        ([("018,20554", "12504A"), ("018,20555", "12504B")], shape(id="learnt", notation="facility")),
        ([("7186A61E", "86A61E"), ("11223344", "223344")], shape(id="learnt", keep=3)),
        ([("1EA68671", UID), ("88776655", "55667789")], None),
    ],
)
def test_two_known_cards_teach_how_a_reader_reads(pairs: list[tuple[str, str]], learnt: CardFormat | None) -> None:
    found = learn_format([presentation(*pair) for pair in pairs])
    assert found[:1] == (() if learnt is None else (learnt,))
    for by in found:
        assert [canonical_reading(reading, by) for reading, _ in pairs] == [card for _, card in pairs]


def test_several_formats_are_named_while_the_cards_do_not_tell_them_apart() -> None:
    known = {"7186A61E", "1EA68671", "11223344", "44332211"}
    found = learn_format([Presentation(reading=one, is_known=known.__contains__) for one in ("1EA68671", "44332211")])
    assert [by.reverse for by in found] == [False, True]


@pytest.mark.parametrize("readings", [[UID], [UID, UID], [f"{n}" for n in range(6)]])
def test_one_card_teaches_nothing(readings: list[str]) -> None:
    with pytest.raises(InvalidInput, match="different cards"):
        learn_format([presentation(reading, UID) for reading in readings])


def test_nothing_shows_a_reading() -> None:
    assert UID not in repr(presentation(UID, UID))
