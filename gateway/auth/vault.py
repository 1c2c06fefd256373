"""Wrap secrets that the database keeps (AES-256-GCM): site keys and camera passwords are of no use without the master key.

Guards a stolen database or backup, not a stolen running box. Knows no table, and no file but the master key's.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.errors import StorageUnavailable

PREFIX = "v1:"
KEY_BYTES = 32
NONCE_BYTES = 12


class Vault:
    """Wrap and unwrap texts under one master key; `about` names the row and column, so that values cannot be swapped."""

    def __init__(self, key: bytes, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._cipher = AESGCM(key)
        self._random = random

    def wrap(self, text: str, *, about: str) -> str:
        """Return a text that only `unwrap` with the same key and `about` turns back."""
        nonce = self._random(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), about.encode())
        return PREFIX + base64.b64encode(nonce + sealed).decode()

    def unwrap(self, text: str, *, about: str) -> str:
        """Return the clear text; one without the prefix was written before there was a vault and is returned as it is.

        Raises:
            StorageUnavailable: the value was changed, belongs elsewhere, or was wrapped under another key.
        """
        if not is_wrapped(text):
            return text
        try:
            raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], about.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error) as error:
            what = f"the secret of {about} cannot be unwrapped: another master key, or the row was changed"
            raise StorageUnavailable(what) from error


def is_wrapped(text: str) -> bool:
    """Return whether a stored text is wrapped."""
    return text.startswith(PREFIX)
