"""The certificate of the simulated device: self-signed, made once per folder, and an expired one that it has signed."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models.errors import InvalidInput

YEARS: Final = timedelta(days=3650)
NAME: Final = "Simulated ONVIF device"
PEM: Final = serialization.Encoding.PEM


class Certificate:
    """Be a key with a good and an expired certificate, kept in a folder.

    Args:
        folder: where `device.pem` (certificate and key) is, or will be; None keeps nothing.
        host: the address that it is for.
        now: when it is made.

    Raises:
        InvalidInput: the folder cannot be used, or holds something else.
    """

    def __init__(self, folder: Path | None, *, host: str, now: datetime) -> None:
        kept = folder / "device.pem" if folder is not None else None
        try:
            if kept is not None and kept.exists():
                content = kept.read_bytes()
            else:
                content = _made(host, now - timedelta(days=1), now + YEARS)
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    _write(kept, content)
            self._good = content
            self._key = serialization.load_pem_private_key(content, None)
            self.pem = x509.load_pem_x509_certificate(content).public_bytes(PEM)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput("--tls-dir", f"no certificate can be read from or kept in it: {error}") from None
        self._expired = _made(host, now - timedelta(days=30), now - timedelta(days=1), key=self._key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.show(expired=False)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the good certificate in hexadecimal digits."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.pem.decode("ascii"))).hexdigest()

    def show(self, *, expired: bool) -> None:
        """Show the good or the expired certificate on connections from now on."""
        handle, name = tempfile.mkstemp(suffix=".pem")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._expired if expired else self._good)
            self.context.load_cert_chain(name)
        finally:
            Path(name).unlink()


def _made(host: str, start: datetime, end: datetime, key: object = None) -> bytes:
    """Return a certificate and its key as PEM: self-signed, or with a given key issued by the one that has it."""
    own = key if isinstance(key, ec.EllipticCurvePrivateKey) else ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME}, expired")]) if key is not None else issuer
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(own.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=key is None, path_length=0 if key is None else None), critical=True
    )
    certificate = builder.sign(own, hashes.SHA256())
    plain = serialization.NoEncryption()
    return certificate.public_bytes(PEM) + own.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain)


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
