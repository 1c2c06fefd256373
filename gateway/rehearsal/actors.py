"""The people and devices of a rehearsal: remote controls of the simulators, and a browser's ear on the live feed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import httpx_sse

from models.errors import DeviceUnreachable, GatehouseError

REPLY_BYTES = 1024 * 1024


class Remote:
    """Speak JSON lines with a simulator's control port on loopback: one request, one reply."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)

    async def ask(self, *, within_s: float = 15.0, **request: object) -> dict[str, Any]:
        """Send one request, named word by word, and return the reply. Raises as `send`."""
        return await self.send(request, within_s=within_s)

    async def send(self, request: Mapping[str, object], *, within_s: float = 15.0) -> dict[str, Any]:
        """Send one request and return the reply.

        Raises:
            DeviceUnreachable: no reply in time.
            GatehouseError: the simulator answers with an error.
        """
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=REPLY_BYTES)
                try:
                    writer.write(json.dumps(dict(request)).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except (TimeoutError, OSError) as error:
            raise DeviceUnreachable(self.name, f"no reply to {request} within {within_s} s") from error
        reply = json.loads(line) if line else {"ok": False, "error": "connection closed"}
        if reply.get("error"):
            raise GatehouseError(f"{self.name}: {request}: {reply['error']}")
        return dict(reply)


class LiveEar:
    """Listen to the console's live feed as a browser does, replaying from the last event after a break."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._last_id = ""
        self._heard: list[tuple[float, str, dict[str, Any]]] = []
        self._news = asyncio.Condition()
        self.connected = asyncio.Event()

    async def listen(self) -> None:
        """Follow the feed until cancelled; a lost connection is taken up again after 0.2 s."""
        while True:
            headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
            try:
                async with httpx_sse.aconnect_sse(
                    self._client, "GET", "/api/v1/live", headers=headers, timeout=httpx.Timeout(10.0, read=60.0)
                ) as source:
                    source.response.raise_for_status()
                    self.connected.set()
                    async for event in source.aiter_sse():
                        await self._take(event)
            except (httpx.HTTPError, httpx_sse.SSEError):
                self.connected.clear()
            await asyncio.sleep(0.2)

    async def _take(self, event: httpx_sse.ServerSentEvent) -> None:
        self._last_id = event.id or self._last_id
        if not event.data:
            return
        async with self._news:
            self._heard.append((time.monotonic(), event.event, json.loads(event.data)))
            self._news.notify_all()

    def heard_since(self, mark: int) -> list[tuple[float, str, dict[str, Any]]]:
        """Return what was heard from a place on: (monotonic seconds, event, content)."""
        return self._heard[mark:]

    def mark(self) -> int:
        """Return a place in what was heard, to wait from."""
        return len(self._heard)

    async def hear(
        self, event: str, wanted: Callable[[dict[str, Any]], bool], *, since: int = 0, within_s: float = 10.0
    ) -> tuple[float, dict[str, Any]]:
        """Return (monotonic seconds, content) of the first matching event after a mark.

        Raises:
            GatehouseError: nothing matched in time.
        """
        try:
            async with asyncio.timeout(within_s), self._news:
                while True:
                    for at, name, content in self._heard[since:]:
                        if name == event and wanted(content):
                            return at, content
                    await self._news.wait()
        except TimeoutError as error:
            kinds = [f"{name}:{content.get('kind', content.get('id'))}" for _, name, content in self._heard[since:]][
                -8:
            ]
            raise GatehouseError(f"the live feed showed no such {event} in {within_s} s (heard: {kinds})") from error


async def until(condition: Callable[[], Any], *, what: str, within_s: float, every_s: float = 0.1) -> Any:
    """Await a condition (an async function) until it returns something true, and return that.

    Raises:
        GatehouseError: it did not come true in time; the message says what was waited for and the last error.
    """
    deadline = time.monotonic() + within_s
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if found := await condition():
                return found
        except (httpx.HTTPError, GatehouseError) as error:
            last = error
        await asyncio.sleep(every_s)
    raise GatehouseError(f"{what}: not within {within_s:.0f} s" + (f" ({last})" if last else ""))
