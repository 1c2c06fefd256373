"""Bytes on their way to an edge: a photo from this process, or templates from another edge. In memory, bounded, once.

A ticket stands for one exchange: who may send, who may receive, how much, and until when. Nothing of it touches a disk.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from models.link import MAX_SHARED_BYTES, RELAY_MESSAGE_BYTES

LIFE_S: Final = 30.0
EXCHANGES: Final = 16
MESSAGES_HELD: Final = 8
"""Messages of an exchange between edges that wait here at most: 512 KiB."""


class Exchange:
    """Carry bytes from one sender to one receiver."""

    def __init__(
        self, *, sender: str | None, receiver: str, content: bytes | None, most_bytes: int, until: float
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self.until = until
        """On the clock of `time.monotonic`, which event loops use too."""
        self.taken: set[str] = set()
        self.broken = False
        """True once a side left before all had come, or the ticket was withdrawn."""
        self.delivered = asyncio.Event()
        """Set when the receiver has got everything."""
        self._content = content
        self._sent = 0
        self._left_bytes = most_bytes
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MESSAGES_HELD)
        self._limits: list[asyncio.Timeout] = []

    async def put(self, message: bytes) -> bool:
        """Hand over a message when there is room (an empty one is the end); False if it is more than was allowed."""
        self._left_bytes -= len(message)
        if self._left_bytes < 0 or len(message) > RELAY_MESSAGE_BYTES:
            return False
        await self._waiting.put(message)
        return True

    async def get(self) -> bytes:
        """Return the next message; an empty one is the end."""
        if self._content is None:
            return await self._waiting.get()
        begin, self._sent = self._sent, self._sent + RELAY_MESSAGE_BYTES
        return self._content[begin : self._sent]

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """Bound one side's part: by the time of the ticket, and by the other side's presence.

        Raises:
            TimeoutError: the time is over, or the exchange was broken off.
        """
        if self.broken:
            raise TimeoutError
        async with asyncio.timeout_at(self.until) as limit:
            self._limits.append(limit)
            try:
                yield
            finally:
                self._limits.remove(limit)

    def break_off(self) -> None:
        """End both sides now: what came is not all."""
        self.broken, self._content = True, None
        for limit in self._limits:
            if not limit.expired():  # one that is running out already ends its side by itself
                limit.reschedule(time.monotonic())


class Relay:
    """Hold the exchanges of this process by ticket."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}

    def leave(self, content: bytes, *, edge_id: str) -> str | None:
        """Keep bytes for an edge and return the ticket; None if too many wait already."""
        return self._open(sender=None, receiver=edge_id, content=content, most_bytes=len(content))

    def join(self, *, sender: str, receiver: str) -> str | None:
        """Return a ticket for two edges; None if too many exchanges wait already."""
        return self._open(sender=sender, receiver=receiver, content=None, most_bytes=MAX_SHARED_BYTES)

    def _open(self, *, sender: str | None, receiver: str, content: bytes | None, most_bytes: int) -> str | None:
        now_s = time.monotonic()
        self._exchanges = {key: one for key, one in self._exchanges.items() if one.until > now_s}
        if len(self._exchanges) >= EXCHANGES:
            return None
        ticket = secrets.token_urlsafe(32)
        self._exchanges[ticket] = Exchange(
            sender=sender, receiver=receiver, content=content, most_bytes=most_bytes, until=now_s + LIFE_S
        )
        return ticket

    def take(self, ticket: str, *, edge_id: str) -> Exchange | None:
        """Hand an edge its end of an exchange, once; None if it has none (any more)."""
        one = self._exchanges.get(ticket)
        if one is None or edge_id not in (one.sender, one.receiver) or edge_id in one.taken:
            return None
        one.taken.add(edge_id)
        return None if one.broken or one.until <= time.monotonic() else one

    def forget(self, ticket: str) -> None:
        """Drop what a ticket stands for, taken or not."""
        one = self._exchanges.pop(ticket, None)
        if one is not None:
            one.break_off()

    def refuse(self, edge_id: str) -> None:
        """Break off what waits for an edge or from it: it was revoked."""
        for ticket in [key for key, one in self._exchanges.items() if edge_id in (one.sender, one.receiver)]:
            self.forget(ticket)
