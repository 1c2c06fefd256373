"""The one picture that waits for the face process: always the newest, and never an old one."""

from __future__ import annotations

import asyncio
import threading

import msgspec

from drivers.camera import Frame
from edge.motion import Area


class Glimpse(msgspec.Struct, frozen=True, kw_only=True):
    """A frame in which something is worth a look, and when it was decoded (monotonic s)."""

    frame: Frame
    area: Area
    decoded_s: float


class Slot:
    """Hold one glimpse, the newest; count those that nobody took. `put` may be called from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._loop = loop
        self._glimpse: Glimpse | None = None
        self._filled = asyncio.Event()
        self._lock = threading.Lock()

    def put(self, glimpse: Glimpse) -> None:
        """Leave a glimpse, in place of one that was not taken."""
        with self._lock:
            waits = self._glimpse is not None
            self._glimpse = glimpse
            self.dropped += waits
        if not waits:
            self._loop.call_soon_threadsafe(self._filled.set)

    async def take(self) -> Glimpse:
        """Wait for the newest glimpse and take it."""
        while True:
            await self._filled.wait()
            with self._lock:
                glimpse, self._glimpse = self._glimpse, None
                self._filled.clear()
            if glimpse is not None:
                return glimpse

    def clear(self) -> None:
        """Forget a glimpse that waits; may be called from another thread."""
        with self._lock:
            self._glimpse = None
            self._filled.clear()
