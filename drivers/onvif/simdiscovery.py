"""WS-Discovery of the simulated device (OASIS WS-Discovery 1.1 in ONVIF's 2005/04 form): Hello, Bye, and matches of probes.

It listens to the multicast group on its own address's interface, and to probes sent to its address alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Literal

from lxml import etree

from drivers.onvif.simcore import SERVICES, scopes
from drivers.onvif.simserver import SimulatedOnvif
from drivers.onvif.simsoap import (
    NAMESPACES,
    SoapFault,
    Xml,
    content_of,
    find,
    joined,
    name_of,
    parse,
    tag,
    text,
    wrapped,
)

GROUP: Final = "239.255.255.250"
PORT: Final = 3702
MAX_DATAGRAM: Final = 8192
ALL: Final = "urn:schemas-xmlsoap-org:ws:2005:04:discovery"
ANYBODY: Final = f"{NAMESPACES['a']}/role/anonymous"
ACTIONS: Final = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
TYPES: Final = frozenset({(NAMESPACES["dn"], "NetworkVideoTransmitter"), (NAMESPACES["tds"], "Device")})
_TOLD_TYPES: Final = "dn:NetworkVideoTransmitter tds:Device"


def asks_for(probe: etree._Element, own: Sequence[str]) -> bool:
    """Return whether a probe means a device with these scopes: every type and every scope that it names must fit."""
    types = find(probe, "d:Types")
    for word in ((types.text or "") if types is not None else "").split():
        prefix, _, local = word.rpartition(":")
        if types is None or (types.nsmap.get(prefix or None, ""), local) not in TYPES:
            return False
    wanted = find(probe, "d:Scopes")
    if wanted is None:
        return True
    rule = wanted.get("MatchBy", f"{ACTIONS}/rfc3986").rpartition("/")[2]
    return all(_scope_fits(scope, own, rule) for scope in (wanted.text or "").split())


def _scope_fits(wanted: str, own: Sequence[str], rule: str) -> bool:
    if rule == "strcmp0":
        return wanted in own
    stem = wanted.rstrip("/").lower()
    return rule == "rfc3986" and any(scope.lower() == stem or scope.lower().startswith(f"{stem}/") for scope in own)


class Announcer(asyncio.DatagramProtocol):
    """Answer probes for a device, and say when it comes and goes.

    Args:
        unit: the device.
        rng: message ids and the device's instance.
    """

    def __init__(self, unit: SimulatedOnvif, *, rng: random.Random) -> None:
        self._unit = unit
        self._rng = rng
        self._instance = rng.getrandbits(31)
        self._sent = 0
        self._sockets: list[asyncio.DatagramTransport] = []
        self.sender: Callable[[bytes, tuple[str, int]], None] = lambda _, __: None
        """Sends one datagram; to nobody before `open`."""
        self._port = PORT

    async def open(self, host: str, port: int) -> None:
        """Listen on an address and on the group.

        Raises:
            OSError: a port cannot be had, or the address has no multicast.
        """
        loop = asyncio.get_running_loop()
        self._port = port
        for bound in (host, GROUP):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
                sock.bind((bound, port))
                if bound == GROUP:
                    member = socket.inet_aton(GROUP) + socket.inet_aton(host)
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                sock.setblocking(False)
            except OSError:
                sock.close()
                raise
            transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
            self._sockets.append(transport)
        self.sender = self._sockets[0].sendto

    def close(self) -> None:
        """Stop listening."""
        for transport in self._sockets:
            transport.close()

    def announce(self, what: Literal["Hello", "Bye"]) -> None:
        """Tell the group that the device is there, or leaves."""
        body = tag(f"d:{what}", self._who()) if what == "Hello" else tag("d:Bye", self._endpoint())
        self.sender(self._message(what, body, to=ALL), (GROUP, self._port))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a probe for this device; whatever else comes is nobody's business."""
        if len(data) > MAX_DATAGRAM or self._unit.away:
            return
        with contextlib.suppress(SoapFault):
            answer = self._answer(data)
            if answer is not None:
                self.sender(answer, addr)

    def error_received(self, exc: Exception) -> None:
        """Ignore that an answer could not be delivered: whoever asked is gone."""

    def _answer(self, data: bytes) -> bytes | None:
        root = parse(data)
        probe, header = content_of(root), find(root, "s:Header")
        message_id = text(header, "a:MessageID") if header is not None else None
        if message_id is None or name_of(probe) != "d:Probe":
            return None
        if not asks_for(probe, scopes(self._unit.device)):
            return None
        body = tag("d:ProbeMatches", tag("d:ProbeMatch", self._who()))
        return self._message("ProbeMatches", body, to=ANYBODY, relates_to=message_id)

    def _endpoint(self) -> Xml:
        return tag("a:EndpointReference", tag("a:Address", f"urn:uuid:{self._unit.device.identity.uuid}"))

    def _who(self) -> Xml:
        return joined(
            self._endpoint(),
            tag("d:Types", _TOLD_TYPES),
            tag("d:Scopes", " ".join(scopes(self._unit.device))),
            tag("d:XAddrs", self._unit.spelled(f"{self._unit.origin}{SERVICES['tds'][0]}")),
            tag("d:MetadataVersion", 1),
        )

    def _message(self, what: str, body: Xml, *, to: str, relates_to: str | None = None) -> bytes:
        self._sent += 1
        header = joined(
            tag("a:Action", f"{ACTIONS}/{what}"),
            tag("a:MessageID", f"urn:uuid:{uuid.UUID(int=self._rng.getrandbits(128), version=4)}"),
            tag("a:RelatesTo", relates_to) if relates_to is not None else Xml(""),
            tag("a:To", to),
            tag("d:AppSequence", InstanceId=self._instance, MessageNumber=self._sent),
        )
        return wrapped(header, body)


@contextlib.asynccontextmanager
async def discoverable(
    unit: SimulatedOnvif, *, host: str, port: int = PORT, rng: random.Random
) -> AsyncIterator[Announcer]:
    """Let a running device be found until the block ends; it says Hello, Hello again after a reboot, and Bye.

    Raises:
        OSError: the port cannot be had, or the address has no multicast.
    """
    announcer = Announcer(unit, rng=rng)
    try:
        await announcer.open(host, port)
        unit.on_return = lambda: announcer.announce("Hello")
        announcer.announce("Hello")
        yield announcer
        announcer.announce("Bye")
    finally:
        unit.on_return = lambda: None
        announcer.close()
