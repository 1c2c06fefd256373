"""What the gateway shows of devices that were found and of the orders about them. Never with credentials."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from gateway.store.devices_found import DeviceState, KeptDevice
from models.devices import Note, Part, Reach, Wire

OrderState = Literal["waiting", "confirmed", "failed", "refused", "expired"]
OrderKind = Literal["discover", "probe_device", "try_part", "install_key"]


class PartView(Part, frozen=True, kw_only=True, omit_defaults=False):
    """Show one part of a device, and as which door or camera it was adopted."""

    adopted_as: str | None = None


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a device that was found: how far it was reached, why no further, and what it has."""

    id: str
    site_id: str
    edge_id: str
    state: DeviceState
    wire: Wire
    address: str
    reach: Reach
    trouble: str
    detail: str
    code: str
    """A stable word for `detail`, where there is one."""
    maker: str
    model: str
    serial: str
    firmware: str
    fingerprint: str
    clock_off_s: float | None
    has_credentials: bool
    parts: tuple[PartView, ...]
    seen_at: datetime


class DeviceOrderView(msgspec.Struct, frozen=True, kw_only=True):
    """Show how an order about devices stands: a search, a question, a trial of one part, or a key for a reader."""

    id: str
    kind: OrderKind
    edge_id: str
    state: OrderState
    asked_at: datetime
    reason: str = ""
    """Stable word of what failed: `no_answer`, `unreachable`, `credentials`, `unblurrable`, …"""
    detail: str = ""
    devices: tuple[str, ...] = ()
    """The devices that a search or a question told of."""
    notes: tuple[Note, ...] = ()
    """Which wires a search did not reach the end of, and why."""


def view_of(device: KeptDevice) -> DeviceView:
    """Return a device as it is shown."""
    told = device.candidate
    parts = tuple(
        PartView(**msgspec.structs.asdict(part), adopted_as=device.adopted.get(part.id)) for part in told.parts
    )
    return DeviceView(
        id=device.id, site_id=device.site_id, edge_id=device.edge_id, state=device.state, wire=told.wire,
        address=told.address, reach=told.reach, trouble=told.trouble, detail=told.detail, code=told.code, maker=told.maker,
        model=told.model, serial=told.serial, firmware=told.firmware, fingerprint=told.fingerprint,
        clock_off_s=told.clock_off_s, has_credentials=device.has_credentials, parts=parts, seen_at=device.seen_at,
    )  # fmt: skip
