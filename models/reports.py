"""What a wire reports about a door: an event, how it stands, or that its controller is there. Records only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

EventType = Literal[
    "opened", "closed", "forced", "held", "tamper", "tamper_cleared", "exit_button", "emergency", "duress", "fault",
    "fault_cleared", "mains_lost", "mains_back", "battery_low", "battery_ok",
]  # fmt: skip
Contact = Literal["open", "closed", "unknown"]
Lock = Literal["locked", "unlocked", "unknown"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="event"):
    """Report one thing that happened at a door; `seq` counts from 1 and survives the controller's restarts."""

    id: str
    seq: int | None
    type: EventType
    at: datetime
    device_at: datetime | None = None
    backlog: bool = False
    """True if the wire knows that it waited: redelivered, or kept while one side was away."""
    offset_s: float | None = None
    """What to add to `device_at` to get our time, where the wire asked the device for its clock itself."""
    detail: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="snapshot"):
    """Report how a door stands now. It rebuilds the state and never raises an alarm by itself."""

    at: datetime
    event_seq: int | None = None
    contact: Contact = "unknown"
    lock: Lock = "unknown"
    mode: str | None = None
    tamper: bool = False
    battery: float | None = None
    """Charge from 0 to 1; None where the wire does not say."""
    mains: bool | None = None
    """Whether it runs on mains; None where the wire does not say."""
    retained: bool = False


class Presence(msgspec.Struct, frozen=True, kw_only=True, tag_field="report", tag="presence"):
    """Report that a door's controller is reachable, or no longer."""

    at: datetime
    online: bool


Report = Event | Snapshot | Presence
