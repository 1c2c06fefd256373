"""Up to where the events of each device are committed, by the device's own clock: a new connection asks from there on.

Kept for the life of the process. After a restart the device is asked for its last minutes, whose events bear the ids
that they bore before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

DEVICES_MOST: Final = 1000
CLOCK_SET: Final = timedelta(seconds=2)
"""A device's clock that is off by this much more or less than before was set; less is drift and delay."""


class Positions:
    """Hold one time for each device, and how far its clock is ahead of ours, of at most `DEVICES_MOST` of them."""

    def __init__(self) -> None:
        self._at: dict[str, datetime] = {}
        self._ahead: dict[str, timedelta] = {}

    def at(self, device: str) -> datetime | None:
        """Return up to where a device's events are committed, or None if that is not known."""
        return self._at.get(device)

    def advance(self, device: str, at: datetime) -> None:
        """Note that a device's events up to a time of its own are committed; a time before is none of news."""
        self._make_room(self._at, device)
        self._at[device] = max(at, self._at.get(device, at))

    def follow_clock(self, device: str, ahead: timedelta) -> timedelta:
        """Note how far a device's clock is ahead of ours; return by how much it was set since, zero if it was not.

        The position of one that was set back goes back with it; one set forward is asked for a little more than needed.
        """
        moved = ahead - self._ahead.get(device, ahead)
        self._make_room(self._ahead, device)
        self._ahead[device] = ahead
        if abs(moved) <= CLOCK_SET:
            return timedelta(0)
        if device in self._at:
            self._at[device] = min(self._at[device], self._at[device] + moved)
        return moved

    @staticmethod
    def _make_room(kept: dict[str, Any], device: str) -> None:
        while device not in kept and len(kept) >= DEVICES_MOST:
            del kept[next(iter(kept))]


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
