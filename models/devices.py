"""Devices before they are doors and cameras here: what a search of the wires found, and how far each can be reached."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

Wire = Literal["mqtt", "onvif", "osdp", "rtsp"]
Reach = Literal["heard", "answers", "trusted", "known", "ready"]
"""How far a device can be reached: it was `heard` of; it `answers`; its certificate is `trusted`, or it needs none; it told
who it is, so its credentials are right (`known`); and a part of it gave a picture or opened (`ready`)."""
Setting = str | int | bool | None
"""What a wire's settings hold, one by one."""
LADDER: Final[tuple[Reach, ...]] = get_args(Reach)
CANDIDATES_MOST: Final = 512
PARTS_MOST: Final = 64


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Name a camera or a door of a device, with what an adopted one needs to know of it."""

    id: str
    """The device's own name for it: a token, or a door id."""
    kind: Literal["camera", "door", "relay"]
    name: str = ""
    url: str = ""
    """Of a camera: the address of the smaller stream."""
    main_url: str = ""
    codec: str = ""
    width_px: int = 0
    height_px: int = 0
    capabilities: tuple[str, ...] = ()
    settings: dict[str, Setting] = {}
    """What `Door.driver` or `Camera.device` will say of it, credentials apart."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Say of one wire why a search of it found no more."""

    wire: Wire
    detail: str
    code: str = ""
    """A stable word for `detail`, where there is one."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Describe a device that was found on a wire; nothing of it is used before somebody adopts it."""

    id: str
    """The same each time it is found: by serial or endpoint where it says one, else by address."""
    wire: Wire
    address: str
    reach: Reach = "heard"
    trouble: str = ""
    """Why it is no further up the ladder, as a stable word: unreachable, credentials, certificate, unsupported, clock; `moved` if
    it was heard at another address than the one that its credentials are kept for, `another_device` if that one answers now."""
    detail: str = ""
    code: str = ""
    """A stable word for `detail`, where there is one: no_connection, wrong_login, wrong_path, unvouched, …"""
    maker: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    fingerprint: str = ""
    """Hex SHA-256 of the certificate that it showed; pinned at adoption."""
    clock_off_s: float | None = None
    parts: tuple[Part, ...] = ()
    seen_at: datetime | None = None


def drives(
    driver: Mapping[str, object], door_id: str, *, part: str, wire: Wire, settings: Mapping[str, Setting]
) -> bool:
    """Return whether a door with these driver settings is a part of a device; by MQTT a door's name on the wire is its id."""
    if driver.get("kind", "mqtt") != wire:
        return False
    if wire == "mqtt":
        return door_id == part
    if wire == "osdp":
        # One that names the device which holds its key is that device's, whoever answers at its address now.
        mine = (one.get("address", 0) for one in readers_of(driver, door_id) if not isinstance(one.get("device"), str))
        same_line = whereabouts(driver.get("port")) == whereabouts(settings.get("port"))
        return same_line and settings.get("address") in mine
    told = {name: value for name, value in settings.items() if name not in _NOT_WHICH}
    same = all(whereabouts(driver.get(name)) == whereabouts(value) for name, value in told.items())
    return bool(told) and same


def readers_of(driver: Mapping[str, object], door_id: str) -> list[Mapping[str, object]]:
    """Return the readers that an OSDP door's driver names as its own: those in its list, or the one beside the port."""
    given = driver.get("readers")
    if given is None:
        return [driver]
    listed = given if isinstance(given, list | tuple) else []
    return [one for one in listed if isinstance(one, Mapping) and one.get("door", door_id) == door_id]


def lent(wire: Wire, *, user: str, password: str) -> dict[str, str]:
    """Return a device's credentials as the settings of its wire name them; an OSDP reader's password is its key."""
    named = {"key": password} if wire == "osdp" else {"user": user, "password": password}
    return {name: value for name, value in named.items() if value}


_NOT_WHICH: Final = frozenset({"kind", "user", "password", "fingerprint"})
_PORTS: Final = {"http": 80, "https": 443}


def whereabouts(value: object) -> object:
    """Return the host and port of an address however it is written, no name resolved, and any other value as it is."""
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        parts = urlsplit(value)
        return (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return value
