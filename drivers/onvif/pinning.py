"""TLS to a device whose certificate is known by its fingerprint: checked in the handshake, before a byte is sent."""

from __future__ import annotations

import hashlib
import hmac
import ssl


class PinnedObject(ssl.SSLObject):
    """Refuse a handshake with any certificate but the one of its context."""

    def do_handshake(self) -> None:
        """Shake hands, then compare the certificate's SHA-256 with the pinned one."""
        super().do_handshake()
        context = self.context
        pinned = context.fingerprint if isinstance(context, PinnedContext) else ""
        certificate = self.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), pinned):
            raise ssl.SSLCertVerificationError(1, "the certificate is not the pinned one")


class PinnedContext(ssl.SSLContext):
    """A TLS context that knows one certificate. Whoever signed it, its names and its dates do not matter."""

    fingerprint: str


def pinned_context(fingerprint: str) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer that accepts the certificate with this SHA-256 (lower-case hexadecimal)."""
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an authority is not asked: the fingerprint is the identity
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.fingerprint = fingerprint
    context.sslobject_class = PinnedObject
    return context
