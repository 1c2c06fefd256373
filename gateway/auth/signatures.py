"""Check who signed an edge's request (Ed25519, RFC 8032). Knows no database: the caller brings key, clock and nonce."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.errors import InvalidInput

NONCE_CHARS = 32


def read_public_key(text: str, *, where: str = "public_key", kind: str = "Ed25519") -> Ed25519PublicKey:
    """Return a public key from base64 of its 32 bytes; `where` and `kind` say in a refusal what was asked for.

    Raises:
        InvalidInput: it is not one.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(where, f"send base64 of the 32 bytes of an {kind} public key") from error


def signed_by(public_key: str, signature: str, content: bytes) -> bool:
    """Return whether a base64 signature over content was made with the key."""
    try:
        read_public_key(public_key).verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, InvalidInput, ValueError, binascii.Error):
        return False
    return True


def is_nonce(text: str) -> bool:
    """Return whether a text is 16 bytes in hexadecimal."""
    return len(text) == NONCE_CHARS and all(char in "0123456789abcdefABCDEF" for char in text)


def is_time(text: str) -> bool:
    """Return whether a text is a Unix time in whole seconds."""
    return text.isascii() and text.isdigit() and len(text) <= 12
