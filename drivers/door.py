"""The door driver interface: what every wire must do. One driver serves one controller until it ends or raises.

Only the supervisor restarts it. It never retries or queues a command, nor acknowledges before it is told to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Literal, Protocol, Self, runtime_checkable

import msgspec

from models.access import Request
from models.doors import Report, Snapshot

Capability = Literal[
    "contact", "lock", "tamper", "card", "pin", "qr", "button", "ack", "power", "duress", "feedback", "mode", "relay"
]
"""`relay` is a bare contact that is pulsed and tells nothing back; `feedback` a light or sound at the reader; `mode` a door
that keeps a mode by itself."""


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """Hand on a report of one door, with what to await **after** it is committed."""

    door_id: str
    report: Report
    acknowledge: Callable[[int | None], Awaitable[None]]
    """Acknowledge to the wire, and end to end up to the given sequence number (None: nothing to say end to end)."""


class UnlockDoor(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a door to unlock once for `hold_s`; not delivered, nor obeyed, after `valid_ms`."""

    id: str
    door_id: str
    attempt: str | None
    hold_s: float
    valid_ms: int


class GiveFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the person at a reader how an attempt ended; `reason` is a stable word."""

    id: str
    door_id: str
    attempt: str
    ok: bool
    reason: str
    valid_ms: int = 3000


class SetMode(msgspec.Struct, frozen=True, kw_only=True):
    """Set a door's desired mode; the higher version wins and it outlives restarts."""

    door_id: str
    version: int
    mode: Literal["normal", "locked_down", "evacuating", "held_open"]


class Warn(msgspec.Struct, frozen=True, kw_only=True):
    """Sound a warning at a door: it has been open for nearly too long."""

    id: str
    door_id: str
    reason: Literal["held_soon"]
    valid_ms: int = 3000


Order = UnlockDoor | GiveFeedback | SetMode | Warn


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """Report how an order ended: `ok` if the device confirmed it; not `certain` if it may have obeyed (a time-out).

    `device_at` is the device's own time of its answer: of all that it says, this alone is surely about now.
    """

    ok: bool
    certain: bool = True
    error: str | None = None
    device_at: datetime | None = None


class DoorDriver(Protocol):
    """Serve one controller over one wire."""

    counters: dict[str, int]
    """What was taken, dropped and unreadable since the driver was made; the names are the driver's own."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def reports(self) -> AsyncIterator[Reported]:
        """Yield door reports in order of arrival, until it ends; raises `DeviceUnreachable` or `DeviceRefused`."""

    def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at a reader now; bounded, the newest are dropped and counted when the caller is behind."""

    async def execute(self, order: Order) -> Executed:
        """Deliver an order once and wait for the device's answer, at most `valid_ms`.

        Raises:
            CommandExpired: too late to send.
            DeviceUnreachable: the wire is away; nothing was sent.
        """

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how a door stands now, or None if the wire has not said."""

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do, or None if the wire has not said."""


@runtime_checkable
class HoldsLine(Protocol):
    """Be a driver whose line nobody else can use meanwhile, and that can be told to leave it."""

    async def leave_line(self) -> None:
        """End, and return once the line is free; `reports` raises `DeviceUnreachable`."""
