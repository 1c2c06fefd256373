"""Up to where the events of each device are committed, by the device's own clock: a new connection asks from there on.

Kept for the life of the process. After a restart the device is asked for its last minutes, whose events bear the ids
that they bore before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

DEVICES_MOST: Final = 1000


class Positions:
    """Hold one time for each device, at most `DEVICES_MOST` of them."""

    def __init__(self) -> None:
        self._at: dict[str, datetime] = {}

    def at(self, device: str) -> datetime | None:
        """Return up to where a device's events are committed, or None if that is not known."""
        return self._at.get(device)

    def advance(self, device: str, at: datetime) -> None:
        """Note that a device's events up to a time of its own are committed; a time before is none of news."""
        if device not in self._at:
            while len(self._at) >= DEVICES_MOST:
                del self._at[next(iter(self._at))]
        self._at[device] = max(at, self._at.get(device, at))


@dataclass
class Delivery:
    """Remember an event that was handed out and whether it is committed."""

    device_at: datetime | None
    committed: bool = False


class Deliveries:
    """Follow which of a device's events are committed; its position moves on in their order only."""

    def __init__(self, positions: Positions, device: str) -> None:
        self._positions = positions
        self._device = device
        self._waiting: deque[Delivery] = deque()

    def hand_out(self, device_at: datetime | None) -> Delivery:
        """Return what to mark once the event is committed."""
        delivery = Delivery(device_at)
        self._waiting.append(delivery)
        return delivery

    def commit(self, delivery: Delivery) -> None:
        """Mark an event as committed."""
        delivery.committed = True
        while self._waiting and self._waiting[0].committed:
            at = self._waiting.popleft().device_at
            if at is not None:
                self._positions.advance(self._device, at)

    @property
    def open(self) -> int:
        """Return how many events wait for their commit."""
        return len(self._waiting)


POSITIONS: Final = Positions()
"""Those of this process."""
