"""Template encryption: AES-256-GCM under a key per person, itself wrapped by a master key. Pure; it touches no file.

The associated data name the person, the doors and the model contract (R25): a sealed template that is moved to another
person, door or model, or changed by one bit, does not open. Source: NIST SP 800-38D; nonces are 96 random bits.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.errors import InvalidInput

KEY_BYTES = 32
NONCE_BYTES = 12


def seal(content: bytes, *, key: bytes, about: bytes, nonce: bytes) -> bytes:
    """Return nonce and ciphertext with its tag.

    Args:
        content: what to hide.
        key: 32 bytes.
        about: associated data, needed again to open.
        nonce: 12 random bytes, never used twice with one key.
    """
    return nonce + AESGCM(key).encrypt(nonce, content, about)


def unseal(sealed: bytes, *, key: bytes, about: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        InvalidInput: it was changed, belongs to somebody or something else, or the key is another.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as error:
        raise InvalidInput("sealed bytes", "they do not open: changed, moved, or sealed under another key") from error


def about_template(person_id: str, doors: tuple[str, ...], contract: str) -> bytes:
    """Return the associated data of a template; the parts cannot run into each other."""
    parts = (person_id, "\x1e".join(sorted(doors)), contract)
    return "\x1f".join(parts).encode()


def about_key(person_id: str) -> bytes:
    """Return the associated data of a person's wrapped key."""
    return f"key\x1f{person_id}".encode()
