"""Where we let our own process connect to: https only, resolved once, no loopback, link-local or private address unless named."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import msgspec

from models.errors import DeviceRefused, DeviceUnreachable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a resolved address: connect to `url`, say `host` in the Host header and in TLS."""

    url: str
    host: str
    server_name: str


async def resolve(url: str, *, allowed: tuple[Network, ...]) -> Address:
    """Resolve a URL to one address that we may connect to.

    Raises:
        DeviceRefused: plain http to a network that is not named, or an address that is not public and not named.
        DeviceUnreachable: the name cannot be resolved.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DeviceUnreachable(host, f"the name cannot be resolved ({error})") from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    for address in addresses:
        named = any(address.version == network.version and address in network for network in allowed)
        if named or (address.is_global and not address.is_multicast and parts.scheme == "https"):
            literal = f"[{address}]" if address.version == 6 else str(address)
            target = parts._replace(netloc=f"{literal}:{port}").geturl()
            return Address(url=target, host=parts.netloc, server_name=host)
    raise DeviceRefused(host, "it is not https to a public address: name the network in gateway.centre.allow_networks")
