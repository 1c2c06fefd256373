"""RTSP/1.0 as values: requests, answers, interleaved packets, digest and basic authentication.

Pure: bytes in, values out, and back; no socket, no clock, no randomness. RTP and session descriptions live beside it in
rtp.py and sdp.py. What is read is bounded. Sources: RFC 2326 (RTSP), RFC 7616 (digest), RFC 7617 (basic).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from models.errors import InvalidInput

MAX_HEAD_BYTES: Final = 8192
MAX_HEADERS: Final = 64
MAX_BODY_BYTES: Final = 8192
REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
}
_HASHES: Final = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_PAIR: Final = re.compile(r'([a-zA-Z][a-zA-Z0-9_-]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One RTSP request. Header names are lower case; a header that comes twice keeps its last value."""

    method: str
    uri: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def cseq(self) -> str:
        """The number that the answer repeats."""
        return self.headers.get("cseq", "0")


class Interleaved(msgspec.Struct, frozen=True, kw_only=True):
    """One packet between RTSP messages on the same connection (RFC 2326 section 10.12)."""

    channel: int
    payload: bytes


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for in SETUP: a pair of interleaved channels, or a pair of UDP ports."""

    interleaved: tuple[int, int] | None = None
    client_port: tuple[int, int] | None = None


class Reader:
    """Cut a client's byte stream into requests and interleaved packets.

    `feed` may be called with any pieces. It keeps at most one unfinished message.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[Request | Interleaved]:
        """Take the next bytes and return what they complete.

        Raises:
            InvalidInput: what came is no RTSP, or exceeds a bound. The connection must be closed.
        """
        self._buffer += piece
        done: list[Request | Interleaved] = []
        while (item := self._next()) is not None:
            done.append(item)
        return done

    def _next(self) -> Request | Interleaved | None:
        while self._buffer and self._buffer[0] in b"\r\n":
            del self._buffer[:1]
        if not self._buffer:
            return None
        if self._buffer[0] == 0x24:
            return self._next_interleaved()
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise InvalidInput("RTSP request", f"no end of headers within {MAX_HEAD_BYTES} bytes")
            return None
        if end > MAX_HEAD_BYTES:
            raise InvalidInput("RTSP request", f"headers exceed {MAX_HEAD_BYTES} bytes")
        head = parse_head(bytes(self._buffer[:end]))
        size = body_size(head.headers)
        if len(self._buffer) < end + 4 + size:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        return msgspec.structs.replace(head, body=body)

    def _next_interleaved(self) -> Interleaved | None:
        if len(self._buffer) < 4:
            return None
        size = int.from_bytes(self._buffer[2:4], "big")
        if len(self._buffer) < 4 + size:
            return None
        packet = Interleaved(channel=self._buffer[1], payload=bytes(self._buffer[4 : 4 + size]))
        del self._buffer[: 4 + size]
        return packet


def parse_head(head: bytes) -> Request:
    """Parse request line and headers (without the empty line).

    Raises:
        InvalidInput: not a request of RTSP/1.0.
    """
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInput("RTSP request", "not UTF-8") from error
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isupper() or not words[2].startswith("RTSP/"):
        raise InvalidInput("RTSP request", "the first line is not METHOD URI RTSP/1.0")
    if len(lines) - 1 > MAX_HEADERS:
        raise InvalidInput("RTSP request", f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidInput("RTSP request", "a header has no name or no colon")
        headers[name.strip().lower()] = value.strip()
    return Request(method=words[0], uri=words[1], headers=headers)


def body_size(headers: Mapping[str, str]) -> int:
    """Return the announced length of the body in bytes.

    Raises:
        InvalidInput: not a number, or above `MAX_BODY_BYTES`.
    """
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise InvalidInput("RTSP Content-Length", "not a number of at most six digits")
    if int(text) > MAX_BODY_BYTES:
        raise InvalidInput("RTSP Content-Length", f"more than {MAX_BODY_BYTES} bytes")
    return int(text)


def answer(
    status: int,
    cseq: str,
    *,
    headers: list[tuple[str, str]] | None = None,
    body: str = "",
) -> bytes:
    """Write one RTSP answer; `headers` may repeat a name (two `WWW-Authenticate`)."""
    lines = [f"RTSP/1.0 {status} {REASONS.get(status, 'Error')}", f"CSeq: {cseq}", "Server: Gatehouse simulated camera"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    payload = body.encode()
    if payload:
        lines.append(f"Content-Length: {len(payload)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


def interleave(channel: int, packet: bytes) -> bytes:
    """Frame one RTP or RTCP packet for the RTSP connection."""
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet


def parse_transport(value: str) -> Transport | None:
    """Find the first transport in a SETUP header that we can serve; None when there is none (answer 461)."""
    for offer in value.split(",")[:8]:
        parts = [part.strip() for part in offer.split(";")]
        options = dict(part.partition("=")[::2] for part in parts[1:])
        if "multicast" in options:
            continue
        if parts[0] == "RTP/AVP/TCP":
            channels = _pair(options.get("interleaved", "0-1"), highest=255)
            if channels:
                return Transport(interleaved=channels)
        elif parts[0] in ("RTP/AVP", "RTP/AVP/UDP"):
            ports = _pair(options.get("client_port", ""), highest=65535)
            if ports and ports[0] >= 1024:
                return Transport(client_port=ports)
    return None


def _pair(text: str, *, highest: int) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if match is None:
        return None
    first = int(match[1])
    second = int(match[2]) if match[2] else first + 1
    return (first, second) if max(first, second) <= highest else None


def challenge(*, kind: str, realm: str, nonce: str) -> list[tuple[str, str]]:
    """Return the `WWW-Authenticate` headers of a 401; `kind` is basic, digest (MD5), sha256 or both digests."""
    if kind == "basic":
        return [("WWW-Authenticate", f'Basic realm="{realm}"')]
    algorithms = {"digest": ("MD5",), "sha256": ("SHA-256",), "both": ("SHA-256", "MD5")}[kind]
    return [
        ("WWW-Authenticate", f'Digest realm="{realm}", nonce="{nonce}", algorithm={name}' + _qop(name))
        for name in algorithms
    ]


def _qop(algorithm: str) -> str:
    return ', qop="auth"' if algorithm != "MD5" else ""


def authorised(request: Request, *, kind: str, user: str, password: str, nonce: str) -> bool:
    """Say whether the request proves that its sender knows user and password."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if kind == "basic":
        return scheme.lower() == "basic" and _basic(rest) == f"{user}:{password}"
    if scheme.lower() != "digest":
        return False
    given = {
        match[1].lower(): unquote(match[2]) if match[2] is not None else match[3] for match in _PAIR.finditer(rest)
    }
    algorithm = given.get("algorithm", "MD5").upper()
    allowed = {"digest": ("MD5",), "sha256": ("SHA-256",), "both": ("MD5", "SHA-256")}[kind]
    if algorithm not in allowed or given.get("nonce") != nonce or given.get("username") != user:
        return False
    wanted = digest_response(given, password=password, method=request.method, algorithm=algorithm)
    return wanted == given.get("response", "").lower()


def digest_response(given: Mapping[str, str], *, password: str, method: str, algorithm: str = "MD5") -> str:
    """Compute the digest of RFC 7616 section 3.4.1 over username, realm, nonce, uri (qop, nc, cnonce) in `given`."""

    def h(text: str) -> str:
        return _HASHES[algorithm](text.encode()).hexdigest()

    ha1 = h(f"{given.get('username', '')}:{given.get('realm', '')}:{password}")
    ha2 = h(f"{method}:{given.get('uri', '')}")
    if "qop" in given:
        middle = f"{given['nonce']}:{given.get('nc', '')}:{given.get('cnonce', '')}:{given['qop']}"
    else:
        middle = given.get("nonce", "")
    return h(f"{ha1}:{middle}:{ha2}")


def unquote(text: str) -> str:
    """Undo the backslashes of a quoted string."""
    return re.sub(r"\\(.)", r"\1", text)


def _basic(text: str) -> str | None:
    try:
        return base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
