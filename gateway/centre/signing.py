"""Standard Webhooks signatures (standardwebhooks.com, spec 1.0): HMAC-SHA256 (`v1`) and Ed25519 (`v1a`).

Two keys may be valid at once during a rotation. Nothing here knows HTTP, files or clocks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.errors import Forbidden, InvalidInput

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S = 300
MAX_SIGNATURES = 8
TIMESTAMP_CHARS = 12
_SYMMETRIC, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"


def _raw(key: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(key.removeprefix(prefix), validate=True)
    except binascii.Error as error:
        raise InvalidInput("signing key", f"after {prefix} comes base64; copy the key again") from error


def _content(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    return f"{message_id}.{timestamp_s}.".encode() + body


def signature_headers(message_id: str, *, timestamp_s: int, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """Return the three headers of a signed message, with one signature per key.

    Args:
        message_id: constant over retries.
        timestamp_s: Unix time of this attempt in seconds.
        body: the exact bytes that are sent.
        keys: `whsec_` + base64 (HMAC, 24 to 64 bytes) or `whsk_` + base64 (Ed25519 seed, 32 bytes).

    Raises:
        InvalidInput: there is no key, or one has another form.
    """
    if not keys:
        raise InvalidInput("signing key", "give at least one key")
    signatures = " ".join(_signature(key, _content(message_id, timestamp_s, body)) for key in keys)
    return {ID: message_id, TIMESTAMP: str(timestamp_s), SIGNATURE: signatures}


def _signature(key: str, content: bytes) -> str:
    if key.startswith(_PRIVATE):
        seed = _raw(key, _PRIVATE)
        if len(seed) not in (32, 64):
            raise InvalidInput("signing key", "an Ed25519 key (whsk_) has 32 bytes")
        signed = Ed25519PrivateKey.from_private_bytes(seed[:32]).sign(content)
        return "v1a," + base64.b64encode(signed).decode()
    secret = _raw(key, _SYMMETRIC)
    if not 24 <= len(secret) <= 64:
        raise InvalidInput(
            "signing key", "a shared secret (whsec_) has 24 to 64 bytes; make one with `openssl rand -base64 32`"
        )
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def verify(headers: Mapping[str, str], body: bytes, *, keys: Sequence[str], now_s: float) -> str:
    """Return the message id of a signed message.

    Args:
        headers: by lower-case name.
        body: the exact bytes received.
        keys: `whsec_` (HMAC) or `whpk_` + base64 (Ed25519 public key); any may match.
        now_s: Unix time in seconds.

    Raises:
        Forbidden: a header is missing, the time is off by more than five minutes, or no signature matches.
    """
    try:
        message_id, timestamp, given = headers[ID], int(headers[TIMESTAMP][:TIMESTAMP_CHARS]), headers[SIGNATURE]
    except (KeyError, ValueError) as error:
        raise Forbidden(f"the headers {ID}, {TIMESTAMP} and {SIGNATURE} are needed (Standard Webhooks)") from error
    if abs(now_s - timestamp) > TOLERANCE_S:
        raise Forbidden(f"{TIMESTAMP} is more than {TOLERANCE_S} s away from our clock; set both clocks by NTP")
    content = _content(message_id, timestamp, body)
    if any(_matches(key, content, one) for key in keys for one in given.split(" ")[:MAX_SIGNATURES]):
        return message_id
    raise Forbidden("no signature matches: both sides need the same key, over the exact bytes of the body")


def _matches(key: str, content: bytes, given: str) -> bool:
    version, _, text = given.partition(",")
    try:
        signature = base64.b64decode(text, validate=True)
    except ValueError:  # not base64 (binascii.Error), or not even ASCII
        return False
    if key.startswith(_PUBLIC):
        if version != "v1a":
            return False
        try:
            Ed25519PublicKey.from_public_bytes(_raw(key, _PUBLIC)).verify(signature, content)
        except InvalidSignature:
            return False
        return True
    expected = hmac.new(_raw(key, _SYMMETRIC), content, hashlib.sha256).digest()
    return version == "v1" and hmac.compare_digest(expected, signature)
