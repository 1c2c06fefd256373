"""What a reader says, as it concerns its door: pure, without a line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.osdp.keypad import DIGITS_MOST, PAUSE_S, Keypad
from drivers.osdp.messages import Card, Keys, Online, Setup, Status, encode, from_panel
from drivers.osdp.orders import as_dict
from drivers.osdp.reader import Reader, card_value
from drivers.osdp.settings import Inputs, ReaderSettings

WIRED = Inputs(open=0, exit=1, emergency=2, mains_lost=3, battery_low=4)
HERE = Online(address=1, secure=True, vendor=1, model=1, serial=1, firmware=1, capabilities={3: (1, 1), 4: (1, 1)})


def reader(**changes: Any) -> Reader:
    given: dict[str, Any] = {"door": "gate", "strike": 0, "inputs": WIRED}
    return Reader(ReaderSettings(**{**given, **changes}))


def inputs(*active: int, count: int = 5) -> Status:
    return Status(address=1, topic="input", report=bytes(number in active for number in range(count)))


def here(**changes: Any) -> Reader:
    made = reader(**changes)
    made.arrive(HERE)
    return made


@pytest.mark.parametrize(
    ("number", "became", "ended"),
    [
        (0, ["opened"], ["closed"]),
        (1, ["exit_button"], []),
        (2, ["emergency"], []),
        (3, ["mains_lost"], ["mains_back"]),
        (4, ["battery_low"], ["battery_ok"]),
    ],
)
def test_an_input_that_turns_is_an_event(number: int, became: list[str], ended: list[str]) -> None:
    one = here()
    assert one.take(inputs(number)) == became
    assert one.take(inputs(number)) == []  # said again: nothing has happened
    assert one.take(inputs()) == ended


def test_an_inverted_input_means_the_opposite() -> None:
    one = reader(inputs=Inputs(open=0, inverted=(0,)))
    one.take(inputs(0, count=1))
    one.arrive(HERE)
    assert one.standing.contact == "closed"
    assert one.take(inputs(count=1)) == ["opened"]


def test_the_housing_and_the_power_of_a_reader_are_told_by_its_own_status() -> None:
    one = here(inputs=Inputs())
    one.take(Status(address=1, topic="local", report=b"\0\0"))
    assert one.take(Status(address=1, topic="local", report=b"\1\1")) == ["tamper", "mains_lost"]
    assert one.take(Status(address=1, topic="local", report=b"\0\0")) == ["tamper_cleared", "mains_back"]


def test_how_things_stand_when_it_comes_is_no_event_and_what_it_leaves_unsaid_is_not_active() -> None:
    one = reader()
    assert one.take(inputs(0)) == []
    one.arrive(HERE)
    assert one.standing.contact == "open"
    silent = here()
    assert silent.standing.contact == "closed"
    assert silent.take(inputs(0)) == ["opened"]


def test_what_happened_while_it_was_away_is_no_event() -> None:
    one = here()
    one.leave()
    assert one.standing.contact == "unknown"
    assert one.take(inputs(0)) == []
    one.arrive(HERE)
    assert (one.standing.contact, one.take(inputs())) == ("open", ["closed"])


@given(st.sampled_from(["local", "input", "output"]), st.binary(max_size=12))
def test_no_report_of_any_length_is_too_much(topic: Any, report: bytes) -> None:
    one = here(strike=7, inputs=Inputs(open=9, exit=0))
    one.take(Status(address=1, topic=topic, report=report))
    assert one.standing.lock in {"unknown", "locked", "unlocked"}


def test_a_bolt_is_believed_more_than_the_strike() -> None:
    one = here(inputs=Inputs(unlocked=0))
    one.take(Status(address=1, topic="output", report=b"\1"))
    one.take(inputs(count=1))
    assert one.standing.lock == "locked"


@pytest.mark.parametrize(
    ("bits", "raw", "value"),
    [
        (32, "7186A61E", "32:7186A61E"),
        (26, "1A2B3C40", "26:1A2B3C40"),
        (0, "", None),
        (26, "1A2B", None),
        (520, "00" * 65, None),
    ],
)
def test_a_card_is_its_bits_as_they_came(bits: int, raw: str, value: str | None) -> None:
    assert card_value(Card(address=1, bits=bits, raw=bytes.fromhex(raw), at=0.0, waited=False)) == value


def test_a_line_that_is_not_utf_8_is_unreadable_like_any_other() -> None:
    with pytest.raises(msgspec.MsgspecError, match="UTF-8"):
        from_panel(b'{"type":"Ca\xf2d","address":1}')


def typed(*parts: tuple[float, bytes], kind: Any = "pin") -> list[str]:
    keypad = Keypad(kind)
    return [pin for at, keys in parts for pin in keypad.press(keys, at=at)]


def test_digits_are_gathered_until_the_end_key() -> None:
    assert typed((0, b"1"), (1, b"35"), (2, b"79#")) == ["13579"]
    assert typed((0, b"1234\r")) == ["1234"]  # as the standard tells it
    assert typed((0, b"12#34#")) == ["12", "34"]


def test_a_pause_or_the_clear_key_forgets_what_was_typed() -> None:
    assert typed((0, b"12"), (PAUSE_S + 0.1, b"34#")) == ["34"]
    assert typed((0, b"12*34#")) == ["34"]
    assert typed((0, b"12\x7f34#")) == ["34"]
    assert typed((0, b"12\xb234#")) == ["34"]  # Unicode calls it a digit, too
    assert typed((0, b"#"), (0, b"##")) == []


def test_a_flat_and_its_pin_are_typed_one_after_the_other() -> None:
    assert typed((0, b"1201#4711#"), kind="flat_pin") == ["1201#4711"]
    assert typed((0, b"1201##"), kind="flat_pin") == []
    assert typed((0, b"1234#"), kind="off") == []


def test_a_keypad_forgets_by_itself_and_shows_nothing() -> None:
    keypad = Keypad("pin")
    keypad.press(b"123", at=0.0)
    keypad.forget(at=PAUSE_S + 1)
    assert keypad._typed == ""
    assert "1" not in repr(keypad)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.binary(max_size=40)), max_size=20), st.sampled_from(["pin", "flat_pin"])
)
def test_any_keys_give_only_digits_of_a_bounded_length(parts: list[tuple[float, bytes]], kind: str) -> None:
    for pin in typed(*parts, kind=kind):
        assert pin.replace("#", "", 1 if kind == "flat_pin" else 0).isdigit()
        assert len(pin) <= DIGITS_MOST + 1


def test_what_is_presented_or_typed_shows_in_no_text() -> None:
    assert "7186" not in repr(Card(address=1, bits=32, raw=bytes.fromhex("7186A61E"), at=0.0, waited=False))
    assert "135" not in repr(Keys(address=1, keys=b"13579", at=0.0, waited=False))


def test_a_key_goes_to_the_panel_and_into_no_text() -> None:
    from drivers.osdp.messages import ReaderSetup

    setup = Setup(port="/dev/x", baud_rate=9600, readers=(ReaderSetup(address=1, trust="key", key=b"k" * 16),))
    assert "kkkk" not in repr(setup)
    assert b"a2tr" in encode(setup)


def test_a_pulse_is_told_in_tenths_of_a_second_within_one_byte() -> None:
    from drivers.osdp.messages import Beep, Light, Output, Show

    pulse = as_dict(Output(number=1, turn="pulse", hold_s=5.0))
    assert (pulse["output_no"], pulse["control_code"], pulse["timer_count"]) == (1, 5, 50)
    assert as_dict(Output(number=1, turn="pulse", hold_s=600.0))["timer_count"] == 255
    assert as_dict(Output(number=1, turn="on"))["control_code"] == 2
    assert as_dict(Output(number=1, turn="off"))["control_code"] == 1
    assert as_dict(Light(color="red", for_s=3.0, blink=True))["off_count"] == 2
    assert as_dict(Beep(times=3))["rep_count"] == 3
    assert as_dict(Show(text="no", for_s=2.5))["temp_time"] == 3
