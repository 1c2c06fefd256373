"""Tickets: what a QR shows opens only as it was signed, for a day at most, and says nothing about anybody."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.tickets import MAX_CHARS, Ticket, new_ticket, read_ticket, ticket_text

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TICKET = new_ticket("pass", "v-1", key_id="k1", since=T0, until=T0 + timedelta(hours=2))
TEXT = ticket_text(TICKET, sign=KEY.sign)


def verify(key_id: str, signature: bytes, signed: bytes) -> bool:
    if key_id != "k1":
        return False
    try:
        KEY.public_key().verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def test_a_ticket_reads_as_it_was_written_and_is_short_enough_to_scan() -> None:
    assert read_ticket(TEXT, verify=verify) == TICKET
    longest = new_ticket("credential", "x" * 64, key_id="k" * 64, since=T0, until=T0 + timedelta(hours=24))
    assert len(ticket_text(longest, sign=KEY.sign)) <= MAX_CHARS


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_no_character_of_a_ticket_can_change(place: int, other: str) -> None:
    changed = TEXT[:place] + other + TEXT[place + 1 :]
    try:
        assert read_ticket(changed, verify=verify) == TICKET, "unused bits of the last character may differ, no more"
    except InvalidInput:
        assert changed != TEXT


@pytest.mark.parametrize(
    "text",
    [
        "", "GH1", "GH1..", "GH2." + TEXT[4:], TEXT + ".x", TEXT + "A" * MAX_CHARS, "https://example.org/?a=b.c.d",
        "GH1.é.x", "GH1.*.x", "GH1.A.x", "GH1." + base64.urlsafe_b64encode(b'{"id":1}').decode().rstrip("=") + ".AAAA",
    ],
)  # fmt: skip
def test_what_is_no_ticket_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_ticket(text, verify=verify)
    assert refused.value.where == "ticket"
    assert len(text) < 4 or text not in str(refused.value)


def test_a_ticket_of_another_site_or_key_is_told_from_what_is_no_ticket() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
    renamed = msgspec.structs.replace(TICKET, key_id="k2")
    for text in (ticket_text(TICKET, sign=other.sign), ticket_text(renamed, sign=KEY.sign)):
        with pytest.raises(InvalidInput) as refused:
            read_ticket(text, verify=verify)
        assert refused.value.where == "ticket.signature"


@pytest.mark.parametrize(("seconds", "covered"), [(-301, False), (-300, True), (0, True), (7199, True), (7200, False)])
def test_a_ticket_is_shown_within_its_validity_and_by_a_clock_that_is_a_little_behind(
    seconds: int, covered: bool
) -> None:
    assert TICKET.covers(T0 + timedelta(seconds=seconds)) is covered


def test_a_ticket_for_longer_than_a_day_is_never_valid_whoever_signed_it() -> None:
    long = Ticket(key_id="k1", about="pass", id="v", not_before=0, not_after=2**40)
    assert not long.covers(T0)
    assert read_ticket(ticket_text(long, sign=KEY.sign), verify=verify) == long


@pytest.mark.parametrize("hours", [-1, 0, 24.001])
def test_no_ticket_is_made_for_longer_than_a_day_or_for_no_time(hours: float) -> None:
    with pytest.raises(InvalidInput, match="until: a ticket holds for a second up to 24 hours"):
        new_ticket("pass", "v", key_id="k", since=T0, until=T0 + timedelta(hours=hours))


def test_a_ticket_names_an_id_and_no_person_or_right() -> None:
    payload = TEXT.split(".")[1]
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert msgspec.json.decode(content) == ["k1", "pass", "v-1", int(T0.timestamp()), int(T0.timestamp()) + 7200]
