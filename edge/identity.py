"""Who this edge is: its Ed25519 key, the signature on each request, and how it knows the gateway's certificate.

The key never leaves its 0600 file. It sends nothing itself (edge.uplink).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.errors import InvalidInput
from models.link import HEADER_EDGE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, signing_lines


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, all or nothing, and make it durable."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def new_key() -> bytes:
    """Return a fresh Ed25519 private key, 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def key_of(raw: bytes) -> Ed25519PrivateKey:
    """Return the key of 32 bytes.

    Raises:
        InvalidInput: these are none.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise InvalidInput("edge.key", f"this is not an Ed25519 key of 32 bytes: {error}") from error


def public_key(key: Ed25519PrivateKey) -> str:
    """Return the public key in base64, as enrolment sends it."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


class Signer:
    """Sign requests as one edge. `unix` and `nonce` are handed in; `offset_s` is what the gateway's clock is ahead."""

    def __init__(
        self, key: Ed25519PrivateKey, *, edge_id: str, unix: Callable[[], float], nonce: Callable[[], str]
    ) -> None:
        self._key = key
        self._edge_id = edge_id
        self._unix = unix
        self._nonce = nonce
        self.offset_s = 0.0

    def headers(self, method: str, target: str, *, body: bytes) -> dict[str, str]:
        """Return the signature headers of one request; each has its own nonce."""
        return self.headers_for(hashlib.sha256(body).hexdigest(), method=method, target=target)

    def headers_for(self, digest: str, *, method: str, target: str) -> dict[str, str]:
        """Return the signature headers of a request whose body is known by its hex SHA-256."""
        time_s = str(int(self._unix() + self.offset_s))
        nonce = self._nonce()
        signature = self._key.sign(signing_lines(method, target, digest=digest, time_s=time_s, nonce=nonce))
        return {
            HEADER_EDGE: self._edge_id,
            HEADER_TIME: time_s,
            HEADER_NONCE: nonce,
            HEADER_SIGNATURE: base64.b64encode(signature).decode(),
        }

    def sign(self, content: bytes) -> str:
        """Return the base64 signature of something that this edge states."""
        return base64.b64encode(self._key.sign(content)).decode()

    def learn_offset(self, gateway_time: str | None) -> bool:
        """Take the gateway's time from a refusal; return whether the offset changed by more than a second."""
        try:
            offset_s = float(gateway_time or "") - self._unix()
        except ValueError:
            return False
        changed = abs(offset_s - self.offset_s) > 1.0
        self.offset_s = offset_s
        return changed


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust(url: str, *, ca_file: Path | None, allow_plain: bool) -> ssl.SSLContext | bool:
    """Return what verifies the gateway: the certificate in `ca_file` (its own or its authority's), else the system's.

    Raises:
        InvalidInput: plain http to another machine, or a certificate file that cannot be read.
    """
    if urlsplit(url).scheme != "https":
        if not is_loopback(url) and not allow_plain:
            raise InvalidInput("edge.gateway", "plain http is for this machine only: use https")
        return False
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("edge.gateway_ca_file", f"cannot be used: {error}") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
