"""Standard Webhooks signatures: what is signed verifies, and nothing else does."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre.signing import SIGNATURE, TIMESTAMP, signature_headers, verify
from models.errors import Forbidden, InvalidInput

SHARED = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
SEED = b"s" * 32
PRIVATE = "whsk_" + base64.b64encode(SEED).decode()
PUBLIC = (
    "whpk_"
    + base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ).decode()
)


def test_the_published_example_of_the_specification_verifies() -> None:
    # Test vector of the Standard Webhooks reference libraries.
    headers = signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body=b'{"test": 2432232314}',
        keys=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers[SIGNATURE] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(
    body=st.binary(max_size=500), message_id=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
)
@pytest.mark.parametrize(("signer", "verifier"), [(SHARED, SHARED), (PRIVATE, PUBLIC)])
def test_what_is_signed_verifies(signer: str, verifier: str, body: bytes, message_id: str) -> None:
    headers = signature_headers(message_id, timestamp_s=1000, body=body, keys=[signer])
    assert verify(headers, body, keys=[verifier], now_s=1000) == message_id


def test_two_keys_are_valid_during_a_rotation() -> None:
    headers = signature_headers("m", timestamp_s=1000, body=b"x", keys=[SHARED, OTHER])
    assert verify(headers, b"x", keys=[OTHER], now_s=1200) == "m"
    assert verify(headers, b"x", keys=[PUBLIC, SHARED], now_s=1200) == "m"


@pytest.mark.parametrize("now_s", [0, 699, 1301, 10**9])
def test_an_old_or_future_time_is_refused(now_s: int) -> None:
    headers = signature_headers("m", timestamp_s=1000, body=b"x", keys=[SHARED])
    with pytest.raises(Forbidden, match="clock"):
        verify(headers, b"x", keys=[SHARED], now_s=now_s)


@pytest.mark.parametrize(
    "change",
    [
        {SIGNATURE: "v1,AAAA"}, {SIGNATURE: "v1,%%%"}, {SIGNATURE: ""}, {SIGNATURE: "v2,AAAA"}, {SIGNATURE: "v1a,AAAA"},
        {SIGNATURE: "v1,\u00e9"}, {SIGNATURE: "v1a,\u00e9"},
        {TIMESTAMP: "1001"}, {"webhook-id": "other"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", [SHARED, PUBLIC])
def test_any_change_is_refused(change: dict[str, str], key: str) -> None:
    signer = SHARED if key == SHARED else PRIVATE
    headers = signature_headers("m", timestamp_s=1000, body=b"x", keys=[signer]) | change
    with pytest.raises(Forbidden, match="no signature"):
        verify(headers, b"x", keys=[key], now_s=1000)


def test_another_body_or_key_is_refused() -> None:
    headers = signature_headers("m", timestamp_s=1000, body=b"x", keys=[SHARED])
    for body, key in ((b"y", SHARED), (b"x", OTHER), (b"x", PUBLIC)):
        with pytest.raises(Forbidden):
            verify(headers, body, keys=[key], now_s=1000)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "m", TIMESTAMP: "soon", SIGNATURE: "v1,AAAA"},
        {"webhook-id": "m", TIMESTAMP: "", SIGNATURE: "v1,AAAA"},
    ],
)
def test_missing_headers_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="Standard Webhooks"):
        verify(headers, b"", keys=[SHARED], now_s=0)


def test_a_time_beyond_all_numbers_is_refused() -> None:
    headers = {"webhook-id": "m", TIMESTAMP: "9" * 400, SIGNATURE: "v1,AAAA"}
    with pytest.raises(Forbidden, match="clock"):
        verify(headers, b"", keys=[SHARED], now_s=1000.0)


@pytest.mark.parametrize("keys", [[], ["whsec_!!"], ["whsec_c2hvcnQ="], ["whsk_c2hvcnQ="]])
def test_a_key_of_another_form_is_refused_with_what_to_do(keys: list[str]) -> None:
    with pytest.raises(InvalidInput):
        signature_headers("m", timestamp_s=0, body=b"", keys=keys)
