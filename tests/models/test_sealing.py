"""Sealing to another edge: only the receiver opens, only from the sender, only about the same, and no bit may change."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.sealing import new_seal_key, public_seal_key, seal_to, unseal_from

SENDER, RECEIVER, OTHER = new_seal_key(), new_seal_key(), new_seal_key()
NONCE = b"n" * 12


def sealed(content: bytes, about: bytes = b"a") -> bytes:
    return seal_to(content, to=public_seal_key(RECEIVER), sender=SENDER, about=about, nonce=NONCE)


@given(content=st.binary(max_size=300), about=st.binary(max_size=50), bit=st.integers(min_value=0))
@settings(max_examples=60, deadline=None)
def test_the_receiver_opens_it_and_any_flipped_bit_is_noticed(content: bytes, about: bytes, bit: int) -> None:
    closed = sealed(content, about)
    assert unseal_from(closed, sender=public_seal_key(SENDER), to=RECEIVER, about=about) == content
    at = bit % (len(closed) * 8)
    broken = bytearray(closed)
    broken[at // 8] ^= 1 << (at % 8)
    with pytest.raises(InvalidInput):
        unseal_from(bytes(broken), sender=public_seal_key(SENDER), to=RECEIVER, about=about)


def test_the_ignored_bit_of_a_public_key_is_noticed_too() -> None:
    closed = bytearray(sealed(b"content"))
    closed[31] ^= 0x80
    with pytest.raises(InvalidInput):
        unseal_from(bytes(closed), sender=public_seal_key(SENDER), to=RECEIVER, about=b"a")


@pytest.mark.parametrize(
    ("sender", "to", "about"),
    [(OTHER, RECEIVER, b"a"), (SENDER, OTHER, b"a"), (SENDER, RECEIVER, b"b")],
    ids=["sender", "receiver", "purpose"],
)
def test_another_sender_receiver_or_purpose_does_not_open_it(sender: bytes, to: bytes, about: bytes) -> None:
    with pytest.raises(InvalidInput):
        unseal_from(sealed(b"content"), sender=public_seal_key(sender), to=to, about=about)


def test_the_same_content_never_looks_the_same() -> None:
    assert sealed(b"content")[:32] != sealed(b"content")[:32]


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 40])
def test_what_is_cut_off_does_not_open(cut: int) -> None:
    with pytest.raises(InvalidInput):
        unseal_from(sealed(b"content")[:cut], sender=public_seal_key(SENDER), to=RECEIVER, about=b"a")


@pytest.mark.parametrize("key", ["", "no base64!", "AAAA", base64.b64encode(bytes(32)).decode()])
def test_what_is_no_key_or_agrees_with_everybody_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        seal_to(b"content", to=key, sender=SENDER, about=b"a", nonce=NONCE)


def test_a_private_key_has_32_bytes() -> None:
    with pytest.raises(InvalidInput):
        public_seal_key(b"short")
