"""What the gateway shows of places as they are configured: records with the version that changes must name. No state, no secret.

How doors and cameras stand at this moment is in gateway.views.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

import msgspec

from models.cards import CardFormat
from models.places import Area, CameraRegister, Company, Controller, Door, Flat, Hardware, Reader, Site


class AreaView(Area, frozen=True, kw_only=True):
    """Show one node of the area tree."""

    version: int
    seeded: bool
    """True if the site file describes it: change it there."""


class CompanyView(Company, frozen=True, kw_only=True):
    """Show one property company."""

    version: int
    seeded: bool


class SiteView(Site, frozen=True, kw_only=True):
    """Show one compound."""

    version: int
    seeded: bool


class FlatView(Flat, frozen=True, kw_only=True):
    """Show one flat; who belongs to it is shown with people."""

    version: int
    seeded: bool


class ControllerView(Controller, frozen=True, kw_only=True):
    """Show one board."""

    version: int
    seeded: bool


class DoorReader(Reader, frozen=True, kw_only=True):
    """Name one reader with the door that it belongs to."""

    door_id: str


class ReaderView(DoorReader, frozen=True, kw_only=True):
    """Show one reader."""

    version: int
    seeded: bool


class CardFormatView(CardFormat, frozen=True, kw_only=True, omit_defaults=False):
    """Show how a site's readers write the numbers of cards."""

    version: int
    seeded: bool


class DoorSettings(Door, frozen=True, kw_only=True):
    """Show how a door is configured. Passwords and keys in `driver` are never shown: `has_secret` says that some are kept."""

    driver: dict[str, Any]
    has_secret: bool
    version: int
    seeded: bool


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Show how a camera is configured. Its password is never shown: `has_password` says whether one is kept."""

    id: str
    site_id: str
    name: str
    edge_id: str
    url: str
    user: str
    has_password: bool
    transport: Literal["tcp", "udp"]
    main_url: str
    rate: Literal["auto", "full", "key"]
    hardware: Hardware
    device: dict[str, Any] | None
    door_id: str | None
    near_zone: tuple[float, ...]
    min_eye_px: float
    lost_after_s: float
    register: CameraRegister | None
    version: int
    seeded: bool


class RegisteredRow(msgspec.Struct, frozen=True, kw_only=True):
    """Show what became of one of many cameras that were given a register entry: changed, kept as it was, or refused."""

    camera_id: str
    state: Literal["changed", "kept", "refused"]
    name: str
    reason: str = ""
    """A stable word for why it was refused: `not_found`, `from_site_file`, `no_purpose`, …"""
    detail: str = ""
    camera: CameraSettings | None = None


class StillView(msgspec.Struct, frozen=True, kw_only=True):
    """Show how an order for a still of a camera stands; its picture is there while `state` is `ready`."""

    id: str
    camera_id: str
    state: Literal["waiting", "ready", "failed"]
    asked_at: datetime
    at: datetime | None = None
    """When the edge took it."""
    reason: str = ""
    """Stable word of what failed: `no_answer`, `unblurrable`, `not_ready`, `faces_off`, `gone`, …"""
    detail: str = ""


class RegisterRow(msgspec.Struct, frozen=True, kw_only=True):
    """Show one camera in the register of a site (Order 799 articles 8, 13 and 14; FRM 13)."""

    camera_id: str
    name: str
    register: CameraRegister | None
    complete: bool
    """False if the stream stays off for want of an entry (R34)."""
    filing_due_on: date | None
    """Last day for filing with the police; None if it was filed or has no entry."""
