"""Wake those who wait inside this process. A bell carries nothing: whoever wakes looks into the database."""

from __future__ import annotations

import asyncio


class Bell:
    """Wake all current waiters. Take `next_ring` before looking at the database, so that no ring is missed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who holds the current ring."""
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    def next_ring(self) -> asyncio.Event:
        """Return an event that is set at the next ring."""
        return self._next


async def heard(ring: asyncio.Event, *, within_s: float) -> bool:
    """Wait for a ring at most so long; return whether it came."""
    try:
        async with asyncio.timeout(within_s):
            await ring.wait()
    except TimeoutError:
        return False
    return True


class Bells:
    """Hold the bells of one process: one for the live feed, one for the outbox, one for results, one for each edge."""

    def __init__(self) -> None:
        self.feed = Bell()
        self.outbox = Bell()
        self.results = Bell()
        self._edges: dict[str, Bell] = {}
        self.closing = asyncio.Event()

    def edge(self, edge_id: str) -> Bell:
        """Return the bell of an edge; only enrolled edges get one, so their number is bounded."""
        return self._edges.setdefault(edge_id, Bell())

    def alerts_changed(self) -> None:
        """Say that feed and outbox may have news."""
        self.feed.ring()
        self.outbox.ring()

    def policies_changed(self) -> None:
        """Say that any edge's policy may have changed."""
        for bell in self._edges.values():
            bell.ring()

    def close(self) -> None:
        """End all streams: the process is going down."""
        self.closing.set()
        for bell in (self.feed, self.outbox, self.results, *self._edges.values()):
            bell.ring()
