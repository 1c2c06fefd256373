"""Where a broker is and how to reach it: address, credentials, protocol, TLS. Opens no connection."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from models.errors import InvalidInput

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name a broker and how to reach it. A session is kept for `session_expiry_s` after a disconnection; 0 keeps none.

    `window` is how many messages may wait for their acknowledgement; `protocol` auto tries 5, then 3.1.1.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    username: str | None = None
    password: str | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 20
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 86_400)] = 7 * 86_400
    window: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 256
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __repr__(self) -> str:
        """Show the broker without the password."""
        return f"Endpoint({self.host}:{self.port} as {self.username!r}, client id {self.client_id!r})"

    @property
    def address(self) -> str:
        """Return host and port for messages."""
        return f"{self.host}:{self.port}"


def endpoint_of(settings: Mapping[str, object]) -> Endpoint:
    """Return the endpoint that settings describe, its TLS files read once.

    Raises:
        InvalidInput: a setting is unknown or out of bounds, or a file cannot be used.
    """
    try:
        endpoint = msgspec.convert(dict(settings), Endpoint)
    except msgspec.ValidationError as error:
        raise InvalidInput("driver", str(error)) from None
    if endpoint.tls:
        tls_context(endpoint)
    return endpoint


def attempts(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """Return what to try in turn: brokers that lack MQTT 5 refuse it, close the connection or say nothing for ever."""
    if endpoint.protocol != "auto":
        return (endpoint,)
    newest = msgspec.structs.replace(endpoint, protocol="5", timeout_s=min(endpoint.timeout_s, 2.0))
    return newest, msgspec.structs.replace(endpoint, protocol="3.1.1")


class ClosingSocket(ssl.SSLSocket):
    """Close when the handshake fails: paho only forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, or close and raise."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings of an endpoint: the broker's name is always verified.

    Raises:
        InvalidInput: a certificate or key file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        context.sslsocket_class = ClosingSocket
        if endpoint.cert_file:
            context.load_cert_chain(endpoint.cert_file, endpoint.key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(Path(f)) for f in (endpoint.ca_file, endpoint.cert_file, endpoint.key_file) if f)
        raise InvalidInput("tls", f"a file of {files} cannot be used: {error}") from None
    return context
