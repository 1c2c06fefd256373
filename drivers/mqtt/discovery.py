"""Finding doors on a broker: those that introduce themselves by the door contract, with or without being adopted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from paho.mqtt.client import MQTTMessage

from drivers.mqtt import wire
from drivers.mqtt.endpoint import Endpoint, attempts, endpoint_of
from drivers.mqtt.link import Link
from models.devices import CANDIDATES_MOST, Candidate, Part
from models.errors import DeviceUnreachable, InvalidInput

NOT_A_BROKER: Final = frozenset({"kind", "map", "names"})
"""What a door's driver settings hold besides the broker."""


async def discover(
    settings: Mapping[str, object], *, networks: tuple[str, ...], now: Callable[[], datetime], limit_s: float
) -> AsyncIterator[Candidate]:
    """Yield the doors that introduce themselves within `limit_s`, and again when they are known to be connected.

    A door that has introduced itself and is connected is `known`: it logged in and said what it is. Brokers that hold
    retained messages back from wildcards tell only of doors that connect meanwhile. `networks` mean nothing here: all
    doors of a broker are found at the broker.

    Raises:
        DeviceUnreachable: the broker is away, or goes away meanwhile.
        DeviceRefused: the broker refuses the credentials or the subscription.
        InvalidInput: a setting that cannot be used.
    """
    del networks
    own = {name: value for name, value in settings.items() if name not in NOT_A_BROKER}
    name = f"gatehouse-search-{int(now().timestamp() * 1_000_000):x}"
    endpoint = endpoint_of({**own, "client_id": name, "session_expiry_s": 0})
    search = _Search(now)
    link = await _connected(endpoint, search)
    try:
        async for candidate in search.found(link, limit_s=limit_s):
            yield candidate
    finally:
        await link.close()


class _Search:
    """What was heard so far; each door at most twice."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._hellos: dict[str, wire.Hello] = {}
        self._online: dict[str, bool] = {}
        self._fresh: dict[str, None] = {}
        self._news = asyncio.Event()
        self._told: dict[str, Candidate] = {}

    def take(self, message: MQTTMessage) -> None:
        """Note an introduction or a presence; what cannot be read is no candidate."""
        with contextlib.suppress(InvalidInput, UnicodeDecodeError):
            door_id, kind = wire.parse_topic(message.topic, doors=_Every())
            if len(self._hellos.keys() | self._online.keys() | {door_id}) > CANDIDATES_MOST:
                return
            payload = bytes(message.payload)
            if kind == "hello":
                self._hellos[door_id] = wire.parse_hello(payload, door_id=door_id)
            elif kind == "online":
                self._online[door_id] = wire.parse_online(payload)
            self._fresh[door_id] = None
            self._news.set()

    async def found(self, link: Link, *, limit_s: float) -> AsyncIterator[Candidate]:
        """Yield candidates until the time is over.

        Raises:
            DeviceUnreachable: the connection ended before.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while (left_s := until - loop.time()) > 0:
            news = asyncio.ensure_future(self._news.wait())
            waiting: set[asyncio.Future[Any]] = {news, link.ended}
            await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            self._news.clear()
            for candidate in self._candidates(link.endpoint):
                yield candidate
            if link.ended.done():
                raise DeviceUnreachable(link.endpoint.address, link.ended.result())

    def _candidates(self, endpoint: Endpoint) -> list[Candidate]:
        fresh, self._fresh = self._fresh, {}
        made = []
        for door_id in fresh:
            hello = self._hellos.get(door_id)
            if hello is None:
                continue
            known = self._told.get(door_id)
            candidate = _candidate(door_id, hello, endpoint, online=self._online.get(door_id, False))
            if known is None or candidate != known:
                self._told[door_id] = candidate
                made.append(msgspec.structs.replace(candidate, seen_at=self._now()))
        return made


class _Every:
    """Hold every door: whoever introduces itself is looked at."""

    def __contains__(self, door_id: object) -> bool:
        return True


async def _connected(endpoint: Endpoint, search: _Search) -> Link:
    *earlier, last = attempts(endpoint)
    for version in earlier:
        with contextlib.suppress(DeviceUnreachable):
            return await _opened(version, search)
    return await _opened(last, search)


async def _opened(endpoint: Endpoint, search: _Search) -> Link:
    link = Link(endpoint, on_message=search.take)
    try:
        await link.open()
        topics = [(wire.topic_of("+", kind), 0) for kind in ("hello", "online")]
        await link.subscribe(topics, limit_s=endpoint.timeout_s)
    except BaseException:
        await link.close()
        raise
    return link


def _candidate(door_id: str, hello: wire.Hello, endpoint: Endpoint, *, online: bool) -> Candidate:
    relay = "relay" in hello.known
    part = Part(
        id=door_id,
        kind="relay" if relay else "door",
        name=hello.model,
        capabilities=tuple(sorted(hello.known)),
        settings={"kind": "mqtt"},
    )
    return Candidate(
        id=f"mqtt:{door_id}",
        wire="mqtt",
        address=f"{endpoint.address}/{door_id}",
        reach="known" if online else "heard",
        trouble="" if online else "unreachable",
        detail="" if online else "it introduced itself before and is not connected now",
        model=hello.model,
        serial=hello.serial,
        firmware=hello.firmware,
        parts=(part,),
    )
