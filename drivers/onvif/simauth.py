"""How the simulated device knows who asks: HTTP digest (RFC 7616) and the WS-Security UsernameToken. No I/O.

Both refuse a proof that was seen before; a UsernameToken must be made within five minutes of the device's own clock. It
may come again within a second: libonvif draws its nonces from the second of the day and would be refused else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
import re
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from lxml import etree

from drivers.onvif.simsoap import find, text

REALM: Final = "onvif"
NONCES_KEPT: Final = 256
TOKENS_KEPT: Final = 4096
SKEW: Final = timedelta(minutes=5)
AGAIN: Final = timedelta(seconds=1)
_PART: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_HASHES: Final = {"MD5": "md5", "SHA-256": "sha256"}


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Say who may ask; without a user nobody is asked. `digest` names the hashes offered, the better one first."""

    user: str = ""
    password: str = ""
    digest: Literal["md5", "sha256", "both"] = "md5"

    def __repr__(self) -> str:
        """Show it without the password."""
        return f"Access({self.user!r}, {self.digest})"


class Guard:
    """Judge the proofs of one device's clients."""

    def __init__(self, access: Access, *, rng: random.Random) -> None:
        self.access = access
        self._rng = rng
        self._nonces: OrderedDict[str, int] = OrderedDict()
        self._tokens: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def challenges(self, *, stale: bool = False) -> list[str]:
        """Return the values of the WWW-Authenticate headers."""
        offered = {"md5": ("MD5",), "sha256": ("SHA-256",), "both": ("SHA-256", "MD5")}[self.access.digest]
        nonce = f"{self._rng.getrandbits(128):032x}"
        self._nonces[nonce] = 0
        if len(self._nonces) > NONCES_KEPT:
            self._nonces.popitem(last=False)
        tail = ", stale=true" if stale else ""
        return [f'Digest realm="{REALM}", qop="auth", nonce="{nonce}", algorithm={name}{tail}' for name in offered]

    def digest(self, header: str, *, method: str, target: str) -> Literal["good", "bad", "stale"]:
        """Judge an Authorization header."""
        scheme, _, rest = header.partition(" ")
        parts = {key.lower(): quoted or plain for key, quoted, plain in _PART.findall(rest[:4096])}
        algorithm = parts.get("algorithm", "MD5").upper()
        name = _HASHES.get(algorithm)
        if scheme.lower() != "digest" or name is None or name not in self._offered():
            return "bad"
        nonce, count = parts.get("nonce", ""), parts.get("nc", "")
        if nonce not in self._nonces:
            return "stale"
        proof = (f"{self.access.user}:{REALM}:{self.access.password}", f"{method}:{parts.get('uri', '')}")
        secret, what = (hashlib.new(name, piece.encode()).hexdigest() for piece in proof)
        middle = ":".join((nonce, count, parts.get("cnonce", ""), parts.get("qop", "")))
        expected = hashlib.new(name, f"{secret}:{middle}:{what}".encode()).hexdigest()
        right = hmac.compare_digest(expected.encode(), parts.get("response", "").encode())
        if not right or parts.get("username") != self.access.user or parts.get("uri") != target:
            return "bad"
        if not re.fullmatch(r"[0-9a-fA-F]{8}", count) or int(count, 16) <= self._nonces[nonce]:
            return "stale"
        self._nonces[nonce] = int(count, 16)
        return "good"

    def token(self, header: etree._Element | None, *, now: datetime) -> bool:
        """Judge a SOAP header's UsernameToken (WS-Security UsernameToken Profile 1.0, clause 3.1)."""
        token = find(header, "wsse:Security/wsse:UsernameToken") if header is not None else None
        if token is None:
            return False
        user, given = text(token, "wsse:Username"), text(token, "wsse:Password")
        nonce, created = text(token, "wsse:Nonce"), text(token, "wsu:Created")
        if user is None or given is None or nonce is None or created is None or user != self.access.user:
            return False
        try:
            made = datetime.fromisoformat(created)
            salt = base64.b64decode(nonce, validate=True)
        except (ValueError, binascii.Error):
            return False
        if made.tzinfo is None or abs(made - now) > SKEW or now - self._tokens.get((nonce, created), now) > AGAIN:
            return False
        digest = hashlib.sha1(salt + created.encode() + self.access.password.encode())  # noqa: S324 - the profile's
        if not hmac.compare_digest(base64.b64encode(digest.digest()), given.encode()):
            return False
        self._tokens.setdefault((nonce, created), now)
        if len(self._tokens) > TOKENS_KEPT:
            self._tokens.popitem(last=False)
        return True

    def _offered(self) -> tuple[str, ...]:
        return ("md5", "sha256") if self.access.digest == "both" else (self.access.digest,)
