"""What the gateway shows of what it stores: the JSON of the HTTP API and of the live feed. Closed: no names of residents in alerts.

Records for `people` are shown only to callers with the right for them; see gateway.auth.roles.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from models.alerts import AlertKind
from models.link import FaceStatus


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Name where an alert is."""

    site_id: str
    site_name: str
    door_id: str | None = None
    camera_id: str | None = None
    name: str
    address: str
    timezone: str = "Asia/Shanghai"


class ReceiptView(msgspec.Struct, frozen=True, kw_only=True):
    """Show what the centre answered about an alert."""

    state: str
    at: datetime
    reference: str | None = None
    note: str | None = None


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one alert: its condition (what the place says) and its workflow (what people did)."""

    id: str
    kind: str
    severity: str
    condition: str
    workflow: str
    raised_at: datetime
    recorded_at: datetime
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    disposition: str | None = None
    late: bool
    exercise: bool
    count: int
    place: Place
    receipts: tuple[ReceiptView, ...] = ()
    delivery: str = "none"
    """none, pending, delivered or dead."""
    version: int


class BypassView(msgspec.Struct, frozen=True, kw_only=True):
    """Show which alarms of a door raise no alert, until when, and why."""

    id: str
    door_id: str
    kinds: tuple[AlertKind, ...]
    reason: str
    by: str
    since: datetime
    until: datetime


class DoorView(msgspec.Struct, frozen=True, kw_only=True):
    """Show how a door stands; `seen_at` is None if no edge ever reported it."""

    id: str
    name: str
    site_id: str
    address: str
    exit_kind: str
    edge_id: str
    online: bool = False
    contact: str = "unknown"
    lock: str = "unknown"
    mode: str = "normal"
    tamper: bool = False
    alarm: str = "none"
    seen_at: datetime | None = None
    factors: tuple[str, ...] = ()
    face: FaceStatus | None = None
    """How its edge uses faces there now, with the reasons; None where it takes none, or has not said."""
    bypass: BypassView | None = None
    """Alarms that raise no alert there now."""
    trouble: str | None = None
    """Why its edge cannot serve it, in words; None while it can, or has not said."""


class CameraView(msgspec.Struct, frozen=True, kw_only=True):
    """Show how a camera stands; its address and password are not shown."""

    id: str
    name: str
    site_id: str
    edge_id: str
    door_id: str | None = None
    registered: bool = False
    """Whether it has the register entry without which its stream stays off."""
    state: str = "unknown"
    detail: str = ""
    seen_at: datetime | None = None
    trouble: str | None = None
    """Why its edge cannot serve it, or the device around it, in words; None while it can, or has not said."""


class EdgeView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one edge and what it last said about itself."""

    id: str
    name: str
    site_id: str
    enrolled_at: datetime
    revoked_at: datetime | None
    seen_at: datetime | None
    online: bool
    backlog: int = 0
    policy: tuple[int, int] | None = None
    counters: dict[str, int] = {}
    protection: str = "file"
    """What keeps its master key: a 0600 file, a TPM, or a key from elsewhere."""
    templates: int = 0
    version: int = 1


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """Show the way to one centre: what waits, what was delivered, what is dead, and why it is paused."""

    centre_id: str
    waiting: int
    delivered: int
    dead: int
    paused_at: datetime | None = None
    pause_reason: str | None = None
    oldest_waiting_at: datetime | None = None
