"""Template encryption: AES-256-GCM under a key per person, itself wrapped by a master key; and from edge to edge. Pure.

The associated data name the person, the doors and the model contract (R25): a sealed template that is moved to another
person, door or model, or changed by one bit, does not open. Source: NIST SP 800-38D; nonces are 96 random bits.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

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


def new_seal_key() -> bytes:
    """Return a fresh X25519 private key, 32 bytes: what a sibling seals templates to is its public half."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_seal_key(private: bytes) -> str:
    """Return the public half of a private X25519 key, in base64.

    Raises:
        InvalidInput: it is not 32 bytes.
    """
    return base64.b64encode(_private(private).public_key().public_bytes_raw()).decode()


def seal_to(content: bytes, *, to: str, sender: bytes, about: bytes, nonce: bytes) -> bytes:
    """Return content that only the holder of `to` can open, and only as coming from `sender`.

    An ephemeral key keeps it closed to whoever steals the sender's key later; the sender's own key in the agreement
    tells the receiver who sealed it. After RFC 9180 (HPKE), mode_auth, with X25519, HKDF-SHA256 and AES-256-GCM.

    Args:
        content: what to hide.
        to: the receiver's public X25519 key, base64.
        sender: the sender's private X25519 key, 32 bytes.
        about: what both ends know it to be; needed again to open.
        nonce: 12 random bytes.

    Raises:
        InvalidInput: a key is none.
    """
    ephemeral, mine, theirs = X25519PrivateKey.generate(), _private(sender), _public(to)
    head = ephemeral.public_key().public_bytes_raw()
    shared = _agree(ephemeral, theirs) + _agree(mine, theirs)
    context = head + theirs.public_bytes_raw() + mine.public_key().public_bytes_raw()
    return head + seal(content, key=_derived(shared, context + about), about=context + about, nonce=nonce)


def unseal_from(sealed: bytes, *, sender: str, to: bytes, about: bytes) -> bytes:
    """Return what `seal_to` sealed to us.

    Raises:
        InvalidInput: it was changed, is for somebody else or about something else, or another than `sender` sealed it.
    """
    if len(sealed) < KEY_BYTES:
        raise InvalidInput("sealed bytes", "they are cut off")
    mine, theirs, head = _private(to), _public(sender), sealed[:KEY_BYTES]
    ephemeral = X25519PublicKey.from_public_bytes(head)
    shared = _agree(mine, ephemeral) + _agree(mine, theirs)
    context = head + mine.public_key().public_bytes_raw() + theirs.public_bytes_raw()
    return unseal(sealed[KEY_BYTES:], key=_derived(shared, context + about), about=context + about)


def _private(raw: bytes) -> X25519PrivateKey:
    try:
        return X25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise InvalidInput("seal key", f"an X25519 key has {KEY_BYTES} bytes") from error


def _public(text: str) -> X25519PublicKey:
    try:
        return X25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise InvalidInput("seal key", f"a public X25519 key is base64 of {KEY_BYTES} bytes") from error


def _agree(mine: X25519PrivateKey, theirs: X25519PublicKey) -> bytes:
    try:
        return mine.exchange(theirs)
    except ValueError as error:  # a point of low order would make the secret known to everybody
        raise InvalidInput("seal key", "this public key agrees on no secret") from error


def _derived(shared: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"gatehouse templates 1\x1f" + info).derive(
        shared
    )
