"""Where an ONVIF device is, how to prove who asks, whose certificate it has, and which of its parts are our doors."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from drivers.onvif.pinning import pinned_context
from models.errors import InvalidInput

Token = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A reference token (ONVIF Core, 5.10): at most 64 characters."""
FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
MAX_DOORS: Final = 64


class DoorPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name the parts of a device that make up one door: a door of DoorControl, or a relay with its inputs.

    `reader_in` and `reader_out` are access points; one that is neither and leads to the door is an outer reader.
    `contact`, `exit_button` and `call` are digital inputs; `contact_true` says what an active contact means.
    """

    door: Token | None = None
    relay: Token | None = None
    reader_in: Token | None = None
    reader_out: Token | None = None
    contact: Token | None = None
    contact_true: Literal["open", "closed"] = "open"
    exit_button: Token | None = None
    call: Token | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name a device and how to reach it. `url` is its device service and never holds credentials.

    `fingerprint` is the SHA-256 of its certificate as 64 hexadecimal digits; with it no authority is asked. `doors`
    says which of its parts each door is; a wire with a single door says it beside (`door: …`), and a device with a
    single door needs nothing of it. `pull_s` is how long the device may hold a pull of events open; with `seek` what it
    stored while we were away is asked for.
    """

    url: Annotated[str, msgspec.Meta(min_length=8, max_length=500)]
    user: Annotated[str, msgspec.Meta(max_length=128)] = ""
    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    auth: Literal["auto", "digest", "wss"] = "auto"
    ca_file: str | None = None
    fingerprint: str | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    pull_s: Annotated[int, msgspec.Meta(ge=1, le=60)] = 10
    seek: bool = True
    doors: Annotated[Mapping[str, DoorPart], msgspec.Meta(max_length=MAX_DOORS)] = {}
    part: DoorPart = DoorPart()

    def __repr__(self) -> str:
        """Show the device without its password."""
        return f"Endpoint({self.address} as {self.user!r})"

    @property
    def address(self) -> str:
        """Return host and port for messages."""
        return urlsplit(self.url).netloc[:200]

    @property
    def secure(self) -> bool:
        """Return whether the device is reached over TLS."""
        return self.url.startswith("https://")


def endpoint_of(settings: Mapping[str, object]) -> Endpoint:
    """Return the endpoint that settings describe.

    Raises:
        InvalidInput: a setting is unknown, out of bounds, or cannot be used; the message says which.
    """
    beside = {key: value for key, value in settings.items() if key in DoorPart.__struct_fields__}
    try:
        endpoint = msgspec.convert({key: value for key, value in settings.items() if key not in beside}, Endpoint)
        part = msgspec.convert(beside, DoorPart)
    except msgspec.ValidationError as error:
        raise InvalidInput("driver", str(error)) from None
    _check_url(endpoint.url)
    if endpoint.fingerprint is not None:
        plain = endpoint.fingerprint.replace(":", "").lower()
        if not FINGERPRINT.fullmatch(plain):
            raise InvalidInput("driver.fingerprint", "must be the certificate's SHA-256: 64 hexadecimal digits")
        endpoint = msgspec.structs.replace(endpoint, fingerprint=plain)
    if not endpoint.secure and (endpoint.fingerprint or endpoint.ca_file):
        raise InvalidInput("driver.url", "must be https:// when a certificate is to be checked")
    if beside and endpoint.doors:
        raise InvalidInput(
            "driver.doors", f"stands for several doors, so {', '.join(sorted(beside))} must not be beside"
        )
    for name, each in endpoint.doors.items():
        if (each.door is None) == (each.relay is None):
            raise InvalidInput(f"driver.doors.{name}", "needs either `door` or `relay`")
    if part.door is not None and part.relay is not None:
        raise InvalidInput("driver.relay", "must not stand beside `door`")
    tls_context(endpoint)
    return msgspec.structs.replace(endpoint, part=part)


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return how to check the device's certificate: by its fingerprint, else by an authority; None without TLS.

    Raises:
        InvalidInput: the authority's file cannot be used.
    """
    if not endpoint.secure:
        return None
    if endpoint.fingerprint is not None:
        return pinned_context(endpoint.fingerprint)
    try:
        changed = 0 if endpoint.ca_file is None else Path(endpoint.ca_file).stat().st_mtime_ns
        return _vouched(endpoint.ca_file, changed)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("driver.ca_file", f"{endpoint.ca_file} cannot be used: {error}") from None


@functools.lru_cache(maxsize=16)
def _vouched(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    """Return a context that asks authorities; reading them takes 20 ms, which a dead device must not cost each time."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def same_device(address: str, *, base: str) -> str:
    """Return an address that the device gave, on the host by which we reach it.

    Devices behind a router, or with an old configuration, name a host that is not theirs, so a foreign host or an
    address without TLS where we use it becomes the known one with its port. No request leaves the device's own host.

    Raises:
        InvalidInput: it is no address of HTTP.
    """
    ours = urlsplit(base)
    try:
        told = urlsplit(address.strip())
        port = told.port
    except ValueError:
        raise InvalidInput(ours.netloc, "it gave an address that is no URL") from None
    if told.scheme not in ("http", "https") or not told.hostname or len(address) > 1000 or not address.isprintable():
        raise InvalidInput(ours.netloc, "it gave an address that is no HTTP address")
    if told.hostname != ours.hostname or told.scheme != ours.scheme or port == 0:
        told = told._replace(scheme=ours.scheme, netloc=ours.netloc)
    elif told.username is not None:
        told = told._replace(netloc=told.netloc.rpartition("@")[2])
    return urlunsplit(told._replace(fragment=""))


def same_host(address: str, *, base: str) -> str:
    """Return the address of a stream that the device gave, on the host by which we reach it, without credentials.

    Its port stays: streams have one of their own.

    Raises:
        InvalidInput: it is no address of RTSP.
    """
    ours = urlsplit(base)
    try:
        told = urlsplit(address.strip())
        port = told.port
    except ValueError:
        raise InvalidInput(ours.netloc, "it gave a stream's address that is no URL") from None
    plain = len(address) <= 1000 and address.isprintable() and address.isascii() and " " not in address.strip()
    if told.scheme not in ("rtsp", "rtsps") or not plain or port == 0:
        raise InvalidInput(ours.netloc, "it gave a stream's address that is none of RTSP")
    host = ours.hostname or ""
    spelled = f"[{host}]" if ":" in host else host
    return urlunsplit(told._replace(netloc=spelled if port is None else f"{spelled}:{port}", fragment=""))


def _check_url(url: str) -> None:
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("driver.url", "is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidInput("driver.url", "must be http(s)://HOST[:PORT]/onvif/device_service")
    if "@" in parts.netloc:
        raise InvalidInput("driver.url", "must not hold credentials; give `user` and `password` apart")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("driver.url", "holds characters that a URL cannot have; percent-encode them")
