"""Finding ONVIF devices: WS-Discovery by multicast on every interface, and address by address where it does not reach.

Nothing secret is sent and nothing that answers is believed: a device is looked for on the host that answered, a match
must name a question of ours, and everything is bounded in size, number and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from drivers.onvif.client import OnvifClient
from drivers.onvif.endpoint import endpoint_of
from drivers.onvif.markup import local, read_xml, text_of
from drivers.onvif.probe import SERVICE
from models.devices import CANDIDATES_MOST, Candidate
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

GROUP: Final = "239.255.255.250"
PORT: Final = 3702
MAX_DATAGRAM_BYTES: Final = 16 * 1024
DATAGRAMS_MOST: Final = 4096
ADDRESSES_MOST: Final = 1024
INTERFACES_MOST: Final = 16
AT_ONCE: Final = 32
ASK_S: Final = 1.5
AGAIN_S: Final = (0.0, 0.5, 1.5)
"""When the question is asked: datagrams get lost."""
PACE_S: Final = 0.002
SIOCGIFADDR: Final = 0x8915
TYPES: Final = ("dn:NetworkVideoTransmitter", "tds:Device")
PROBE: Final = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"'
    ' xmlns:tds="http://www.onvif.org/ver10/device/wsdl"><s:Header>'
    "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action><a:MessageID>{id}</a:MessageID>"
    "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>"
    "<s:Body><d:Probe><d:Types>{types}</d:Types></d:Probe></s:Body></s:Envelope>"
)


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say where to search: `interface` is the address of the only one to use, `port` where devices listen."""

    interface: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = PORT


async def discover(
    settings: Mapping[str, object], *, networks: tuple[str, ...], now: Callable[[], datetime], limit_s: float
) -> AsyncIterator[Candidate]:
    """Yield the devices that answer within `limit_s`, each once.

    Args:
        settings: `interface` and `port` (docs/onvif.md); usually none.
        networks: addresses, with or without a port, and CIDR networks to ask one by one; at most 1024 addresses.
        now: the clock.
        limit_s: when the search is over.

    Raises:
        DeviceUnreachable: no interface can send.
        InvalidInput: a network that cannot be searched.
    """
    try:
        search = msgspec.convert(settings, Search)
    except msgspec.ValidationError as error:
        raise InvalidInput("discovery", str(error)) from None
    addresses = addresses_in(networks)
    found: asyncio.Queue[Candidate] = asyncio.Queue(CANDIDATES_MOST)
    seen: set[str] = set()
    hosts: set[str] = set()
    tasks = [
        asyncio.create_task(_by_datagrams(search, addresses, found=found, now=now), name="discover: datagrams"),
        asyncio.create_task(_one_by_one(addresses, found=found, hosts=hosts, now=now), name="discover: one by one"),
    ]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while len(seen) < CANDIDATES_MOST:
                    candidate = await _next(found, tasks)
                    hosts.add(urlsplit(candidate.address).netloc)
                    if candidate.id not in seen:
                        seen.add(candidate.id)
                        yield candidate
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def addresses_in(networks: Iterable[str]) -> tuple[tuple[str, int | None], ...]:
    """Return the addresses of networks, each with its port where one is named.

    Raises:
        InvalidInput: one that is none, or more than `ADDRESSES_MOST` in all.
    """
    wanted: dict[tuple[str, int | None], None] = {}
    for text in networks:
        host, colon, port = text.strip().rpartition(":")
        try:
            if colon and "/" not in text and host.count(":") == 0:
                if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                    raise InvalidInput("networks", f"{text[:60]!r} has no port that can be").because("no_network")
                inside: Iterable[tuple[str, int | None]] = ((str(ipaddress.ip_address(host)), int(port)),)
            else:
                network = ipaddress.ip_network(text.strip(), strict=False)
                if network.num_addresses > ADDRESSES_MOST + 2:
                    raise InvalidInput(
                        "networks", f"{text[:60]} is too large: search {ADDRESSES_MOST} addresses or fewer"
                    ).because("too_many")
                inside = ((str(address), None) for address in network.hosts())
        except ValueError:
            raise InvalidInput("networks", f"{text[:60]!r} is neither an address nor a network").because(
                "no_network"
            ) from None
        wanted.update(dict.fromkeys(inside))
    if len(wanted) > ADDRESSES_MOST:
        raise InvalidInput(
            "networks", f"these are {len(wanted)} addresses: search {ADDRESSES_MOST} or fewer at a time"
        ).because("too_many")
    return tuple(wanted)


def match_of(raw: bytes, *, sender: str, asked: Iterable[str], at: datetime) -> Candidate | None:
    """Return the device of a ProbeMatch, or None if it is none or answers nobody's question.

    Args:
        raw: the datagram.
        sender: the host that sent it, on which the device is looked for whatever it says.
        asked: the ids of our questions.
        at: when it arrived.
    """
    try:
        root = read_xml(raw, where=sender, max_bytes=MAX_DATAGRAM_BYTES)
    except InvalidInput:
        return None
    told = {local(e): text_of(e, limit=2000) for e in root.iter() if local(e) in ("RelatesTo", "Scopes", "XAddrs")}
    match = next((e for e in root.iter() if local(e) == "ProbeMatch"), None)
    address = _address(told.get("XAddrs", ""), sender=sender)
    if match is None or address is None or told.get("RelatesTo") not in set(asked):
        return None
    endpoint = next((text_of(e) for e in match.iter() if local(e) == "Address"), "").removeprefix("urn:uuid:")
    scopes = _scopes(told.get("Scopes", ""))
    return Candidate(
        id=f"onvif-{endpoint or urlsplit(address).netloc}"[:128],
        wire="onvif",
        address=address,
        maker=scopes.get("manufacturer", ""),
        model=scopes.get("hardware", "") or scopes.get("name", ""),
        seen_at=at,
    )


class Ear(asyncio.DatagramProtocol):
    """Hear matches, and put those of our questions into a queue; a full one drops them."""

    def __init__(self, found: asyncio.Queue[Candidate], *, asked: set[str], now: Callable[[], datetime]) -> None:
        self._found = found
        self._asked = asked
        self._now = now
        self._heard = 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Read one datagram; after `DATAGRAMS_MOST` nobody is heard."""
        self._heard += 1
        if self._heard > DATAGRAMS_MOST:
            return
        candidate = match_of(data, sender=addr[0], asked=self._asked, at=self._now())
        if candidate is not None and not self._found.full():
            self._found.put_nowait(candidate)

    def error_received(self, exc: Exception) -> None:
        """Ignore that an address has nobody who listens."""


async def _by_datagrams(
    search: Search,
    addresses: tuple[tuple[str, int | None], ...],
    *,
    found: asyncio.Queue[Candidate],
    now: Callable[[], datetime],
) -> None:
    """Ask by multicast on every interface and each address by itself, and listen until cancelled."""
    asked: set[str] = set()
    senders = await _senders(search, lambda: Ear(found, asked=asked, now=now))
    if not senders and not addresses:
        raise DeviceUnreachable("multicast", "no interface of this machine can send").because("no_interface")
    alone = [host for host, _ in addresses if ":" not in host and senders]
    try:
        for again_s in AGAIN_S:
            await asyncio.sleep(again_s)
            for types in TYPES:
                message = f"urn:uuid:{uuid.uuid4()}"
                asked.add(message)
                question = PROBE.format(id=message, types=types).encode()
                for sender in senders:
                    sender.sendto(question, (GROUP, search.port))
                for host in alone:
                    senders[0].sendto(question, (host, search.port))
                    await asyncio.sleep(PACE_S)
        await asyncio.get_running_loop().create_future()  # answers may take their time; the caller ends it
    finally:
        for sender in senders:
            sender.close()


async def _senders(search: Search, ear: Callable[[], Ear]) -> list[asyncio.DatagramTransport]:
    loop = asyncio.get_running_loop()
    senders = []
    for interface in (search.interface,) if search.interface else interface_addresses():
        with contextlib.suppress(OSError):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
                sock.bind((interface, 0))
                sock.setblocking(False)
                transport, _ = await loop.create_datagram_endpoint(ear, sock=sock)
            except OSError:
                sock.close()
                raise
            senders.append(transport)
    return senders


async def _one_by_one(
    addresses: tuple[tuple[str, int | None], ...],
    *,
    found: asyncio.Queue[Candidate],
    hosts: set[str],
    now: Callable[[], datetime],
) -> None:
    """Ask each address for its clock, which needs no credentials; those that were found already are left alone."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(host: str, port: int | None) -> None:
        spelled = f"[{host}]" if ":" in host else host
        netloc = spelled if port is None else f"{spelled}:{port}"
        async with gate:
            if netloc not in hosts:
                candidate = await _clock_answers(f"http://{netloc}{SERVICE}", now=now)
                if candidate is not None:
                    await found.put(candidate)

    async with asyncio.TaskGroup() as group:
        for host, port in addresses:
            group.create_task(ask(host, port))


async def _clock_answers(url: str, *, now: Callable[[], datetime]) -> Candidate | None:
    client, identity = OnvifClient(endpoint_of({"url": url, "timeout_s": ASK_S}), now=now), ""
    try:
        async with client:
            identity = await client.identity()
    except (DeviceUnreachable, DeviceRefused, InvalidInput):
        if not client.told_time:
            return None
    named = f"onvif-{identity}" if identity else f"onvif-{urlsplit(url).netloc}"
    off_s = round(client.offset.total_seconds(), 1)
    return Candidate(id=named, wire="onvif", address=url, reach="trusted", clock_off_s=off_s, seen_at=now())


async def _next(found: asyncio.Queue[Candidate], tasks: list[asyncio.Task[None]]) -> Candidate:
    """Return the next device; raises why a search ended that should not have."""
    getting = asyncio.ensure_future(found.get())
    try:
        waiting: set[asyncio.Future[object]] = {getting, *tasks}  # type: ignore[arg-type]
        while not getting.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {getting}:
                task.result()
        return getting.result()
    finally:
        getting.cancel()


def interface_addresses() -> tuple[str, ...]:
    """Return the IPv4 addresses of this machine's interfaces (Linux), at most 16; else that of its default route."""
    found = []
    with contextlib.suppress(ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        import fcntl

        for _, name in socket.if_nameindex()[:INTERFACES_MOST]:
            with contextlib.suppress(OSError):
                packed = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(packed[20:24]))
    return tuple(found) or ("0.0.0.0",)


def _address(told: str, *, sender: str) -> str | None:
    """Return the address of a device service that names its sender, else the first one put on the sender's host."""
    usable = []
    for word in told.split()[:16]:
        with contextlib.suppress(ValueError):
            parts = urlsplit(word)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc:
                usable.append(parts)
    if not usable:
        return None
    own = next((parts for parts in usable if parts.hostname == sender), None)
    parts = own or usable[0]._replace(netloc=sender if usable[0].port is None else f"{sender}:{usable[0].port}")
    return urlunsplit(parts._replace(fragment=""))[:500]


def _scopes(text: str) -> dict[str, str]:
    """Return the scopes that describe a device, by their kind: name, hardware, manufacturer, location."""
    stem = "onvif://www.onvif.org/"
    pairs = (word[len(stem) :].partition("/") for word in text.split()[:64] if word.startswith(stem))
    return {kind.lower(): unquote(value)[:128].strip() for kind, _, value in pairs if value}
