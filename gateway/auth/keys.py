"""The gateway's own keys, each in a file that only its owner can read: the master key of the vault, and who the gateway is.

The Ed25519 key signs policies for the edges and checkpoints of the audit chain. Edges pin its public half when they enrol.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from models.errors import SettingsError, SettingsFault

KEY_BYTES = 32
OTHERS = 0o077


class GatewayKey:
    """Sign in the gateway's name (Ed25519, RFC 8032)."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> str:
        """Return base64 of the 32 bytes of the public key."""
        return base64.b64encode(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, content: bytes) -> str:
        """Return the base64 signature over some bytes."""
        return base64.b64encode(self._key.sign(content)).decode()


def fresh_key() -> GatewayKey:
    """Return a key that no file keeps: for tests and for commands that sign nothing that lasts."""
    return GatewayKey(secrets.token_bytes(KEY_BYTES))


def read_or_make(file: Path, *, key: str, random: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return the 32 bytes of a key file (base64, mode 0600), made if there is none.

    Args:
        file: where the key is kept.
        key: the setting that names the file, for messages.
        random: where new keys come from.

    Raises:
        SettingsError: the file can be read by others, holds no key, or can be neither read nor made.
    """
    try:
        if not file.exists():
            _make(file, random(KEY_BYTES))
        if file.stat().st_mode & OTHERS:
            raise _unusable(file, key, "can be read by others", "chmod 600 it, and think of replacing the key")
        return read_key(file.read_text("ascii"))
    except OSError as error:
        raise _unusable(file, key, f"cannot be used: {error.strerror}", "let the gateway's user own it") from error
    except (ValueError, binascii.Error) as error:
        hint = "restore it from where you keep it; a new key cannot read what the old one wrapped"
        raise _unusable(file, key, "holds no key of 32 bytes in base64", hint) from error


def read_key(text: str) -> bytes:
    """Return the 32 bytes that a text holds in base64.

    Raises:
        ValueError: it holds something else.
    """
    raw = base64.b64decode(text.strip(), validate=True)
    if len(raw) != KEY_BYTES:
        raise ValueError("not 32 bytes")
    return raw


def _make(file: Path, raw: bytes) -> None:
    """Write a new key whole; whoever comes second (another process starts as well) uses the first one's."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(base64.b64encode(raw) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(fresh, file)
    except FileExistsError:
        return
    finally:
        fresh.unlink()


def _unusable(file: Path, key: str, what: str, hint: str) -> SettingsError:
    return SettingsError([SettingsFault(file=str(file), line=1, path=key, message=f"the file {what}", suggestion=hint)])
