"""Credentials on the wire: WS-Security's UsernameToken digest, and HTTP digest that prefers SHA-256. Sends nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import datetime
from typing import Final

import httpx
from lxml import etree

WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
DIGEST_TYPE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
BASE64: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
NONCE_BYTES: Final = 16


def username_token(user: str, password: str, *, created: datetime, nonce: bytes | None = None) -> etree._Element:
    """Return a Security header with a password digest (OASIS UsernameToken Profile 1.0, section 3.1).

    Args:
        user: the device's user name.
        password: its password, which does not appear in the result.
        created: the time by the device's clock: devices refuse a token that is minutes off.
        nonce: 16 fresh random bytes if None.
    """
    fresh = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    stamp = created.strftime("%Y-%m-%dT%H:%M:%S.") + f"{created.microsecond // 1000:03d}Z"
    # SHA-1 is what the profile prescribes.
    digest = hashlib.sha1(fresh + stamp.encode() + password.encode(), usedforsecurity=False).digest()
    header = etree.Element(etree.QName(WSSE, "Security"), nsmap={"wsse": WSSE, "wsu": WSU})
    token = etree.SubElement(header, etree.QName(WSSE, "UsernameToken"))
    etree.SubElement(token, etree.QName(WSSE, "Username")).text = user
    secret = etree.SubElement(token, etree.QName(WSSE, "Password"), Type=DIGEST_TYPE)
    secret.text = base64.b64encode(digest).decode()
    once = etree.SubElement(token, etree.QName(WSSE, "Nonce"), EncodingType=BASE64)
    once.text = base64.b64encode(fresh).decode()
    etree.SubElement(token, etree.QName(WSU, "Created")).text = stamp
    return header


async def prefer_sha256(response: httpx.Response) -> None:
    """Leave only the strongest digest challenge on a response, so that nobody answers a weaker one (RFC 7616, 3.7).

    A basic challenge never stays: the password is not sent in the clear, whoever asks.
    """
    if "www-authenticate" not in response.headers:
        return
    offered = [c for c in response.headers.get_list("www-authenticate") if _strength(c) > 0]
    del response.headers["www-authenticate"]
    if offered:
        response.headers["www-authenticate"] = max(offered, key=_strength)


def _strength(challenge: str) -> int:
    if not challenge.lower().startswith("digest "):
        return 0
    named = re.search(r'algorithm="?([\w-]+)', challenge, re.IGNORECASE)
    algorithm = named.group(1).upper() if named else "MD5"
    return {"SHA-256": 2, "SHA-256-SESS": 2, "MD5": 1, "MD5-SESS": 1}.get(algorithm, 0)
