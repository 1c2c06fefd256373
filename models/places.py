"""Places: area tree, sites, flats, controllers, doors, readers and cameras, as the gateway and the edges know them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from models.door_rules import check_rules
from models.errors import InvalidInput
from models.liveness import DECLARING, Provider, Species
from models.zones import WHOLE, Zone, check_zone

ExitKind = Literal["sensor", "button", "mechanical", "none"]
Factor = Literal["face", "card", "pin", "flat_pin", "qr", "face+card", "face+pin", "card+pin"]
Passback = Literal["off", "soft", "hard"]
Fail = Literal["secure", "safe"]
Hardware = Literal["none", "auto", "vaapi", "qsv", "cuda", "videotoolbox", "d3d11va"]
WhenPolicyEnds = Literal["credentials", "nothing"]
AREA_DIGITS = {"district": 6, "subdistrict": 9, "community": 12, "grid": 15}
AREA_LEVELS = tuple(AREA_DIGITS)
ID_LIMIT = 64
KEYPAD_LIMIT = 16
CONTROLLER_DOORS = 4
DOOR_READERS = 8
PlaceClass = Literal["public_art7", "key_unit_art7", "community_common", "private_common"]
"""Class of the place that a camera sees; it decides on retention and filing."""


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """Name one node of the area tree by its official code (GB/T 2260 and its extensions)."""

    code: str
    name: str
    level: Literal["district", "subdistrict", "community", "grid"]
    parent: str | None = None
    valid_from: date | None = None
    valid_until: date | None = None
    successor: str | None = None


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """Name one property company; a community's companies do not see one another."""

    id: str
    name: str
    contact: str = ""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Name one compound of one property company, below a community."""

    id: str
    name: str
    community: str
    grid: str | None = None
    company_id: str | None = None
    address: str = ""
    timezone: str = "Asia/Shanghai"
    lat: float | None = None
    lon: float | None = None
    datum: str = "WGS-84"


class Flat(msgspec.Struct, frozen=True, kw_only=True):
    """Name one flat by building, unit and room."""

    id: str
    site_id: str
    building: str
    unit: str
    room: str
    keypad: str = ""
    """The digits that stand for this flat at a keypad; unique within a site; empty if no PIN names it."""
    groups: tuple[str, ...] = ()
    """Permission groups of everybody who belongs to the flat."""


class Controller(msgspec.Struct, frozen=True, kw_only=True):
    """Name one board that drives one to four doors; its fault is one fact, not one per door."""

    id: str
    site_id: str
    edge_id: str
    name: str = ""
    model: str = ""
    serial: str = ""
    address: str = ""


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one reader of a door and what it can take."""

    id: str = ""
    side: Literal["in", "out"] = "in"
    kinds: tuple[str, ...] = ("card", "pin", "button")
    name: str = ""
    format: str = ""
    """Id of the site's card format that it reads numbers in; empty where it gives the canonical form (models.cards)."""


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one door: its exit kind, limits, accepted factors, and driver settings that only its edge reads.

    `face` needs `hands_free` with an impact assessment, or an act at the door first. `driver` is opaque to the gateway.
    """

    id: str
    site_id: str
    name: str
    edge_id: str
    address: str = ""
    controller_id: str | None = None
    exit_kind: ExitKind = "button"
    held_open_s: float = 30.0
    unlock_s: float = 5.0
    factors: tuple[Factor, ...] = ("card", "pin")
    hands_free: bool = False
    impact_assessment: str | None = None
    high_security: bool = False
    when_policy_ends: WhenPolicyEnds = "credentials"
    """What lets in from outside once the policy's validity is over (or the clock cannot tell): cards, PINs and tickets of
    residents, or nothing. The way out is never shut by it, nor is an unlock by hand."""
    camera_id: str | None = None
    liveness: Provider = "none"
    """Who tells a live face from a picture of one at this door."""
    liveness_covers: tuple[Species, ...] = ()
    """What `model` or `device` is declared to cover, after a measurement or by its maker."""
    liveness_basis: str = ""
    """On what that declaration rests: a report, a certificate, a data sheet."""
    passback: Passback = "off"
    """What happens to somebody who comes in again without having left: nothing, a note, or a refusal. Nobody is kept in."""
    passback_reset_min: int = 0
    """Minutes after which somebody counts as having left; 0 is never."""
    interlock: str = ""
    """Name of a sluice: of the doors of one edge with the same name, one at a time may be unlocked or open."""
    two_person: bool = False
    """Whether two different people who may pass must ask together."""
    second_within_s: float = 15.0
    free_schedule_id: str | None = None
    """In these times it stands unlocked; with `first_person`, once somebody who may pass has come in."""
    first_person: bool = False
    fail: Fail = "secure"
    """What the lock does without power, as it is built: `safe` stands open. It is told, not commanded."""
    since: datetime | None = None
    """When its device was adopted: what that had stored before is not about this door."""
    readers: tuple[Reader, ...] = (Reader(),)
    driver: dict[str, object] = msgspec.field(default_factory=lambda: {"kind": "mqtt"})


class CameraRegister(msgspec.Struct, frozen=True, kw_only=True):
    """Register one camera as the law asks (Order 799 articles 7 to 14, FRM 13; R34); without it the stream stays off."""

    purpose: str
    place_class: PlaceClass
    sign_confirmed_on: date
    """When somebody saw that the sign hangs."""
    banned_area_checked: bool
    """Somebody checked that it sees no hotel room, dormitory, changing or wash room, nor the inside of a home (799 art. 8)."""
    privacy_masks: tuple[tuple[float, float, float, float], ...] = ()
    """Rectangles x0, y0, x1, y1 in 0..1 that are blacked out."""
    filed_on: date | None = None
    """When it was filed with the police (799 art. 14: within 30 days)."""
    responsible: str = ""
    """The post (not a person's name) that answers for this camera."""


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one camera; `password` travels only to its edge. `near_zone`: see models.zones."""

    id: str
    site_id: str
    name: str
    edge_id: str
    url: str
    user: str = ""
    password: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    main_url: str = ""
    """Address of its main stream, for recording; `url` is the smaller one, which is looked at."""
    rate: Literal["auto", "full", "key"] = "auto"
    """What is decoded: all of it, key frames until something moves, or as its use wants (`auto`)."""
    hardware: Hardware = "none"
    """What decodes it besides the processor; falls back to the processor."""
    device: dict[str, object] | None = None
    """Settings of its ONVIF side (tamper, presets), which only its edge reads."""
    door_id: str | None = None
    near_zone: Zone = WHOLE
    """Where a face may be that acts at the door; whoever is outside is not looked at (R12)."""
    min_eye_px: float = 30.0
    lost_after_s: float = 20.0
    register: CameraRegister | None = None


def check_area_code(code: str, level: str, *, where: str = "code") -> str:
    """Return the code if it has the level's number of digits.

    Raises:
        InvalidInput: the level is unknown or the code does not fit it.
    """
    digits = AREA_DIGITS.get(level)
    if digits is None:
        raise InvalidInput("level", f"use one of {', '.join(AREA_DIGITS)}, not {level!r}")
    if len(code) != digits or not (code.isascii() and code.isdigit()):
        raise InvalidInput(where, f"a {level} code has {digits} digits, not {code!r}")
    return code


def check_area(area: Area) -> Area:
    """Return the area if its code fits its level, its parent and its days.

    Raises:
        InvalidInput: the code does not begin with its parent's, the successor is of another level or the area itself,
            or it ends before it begins.
    """
    check_area_code(area.code, area.level)
    if area.parent is not None:
        above = AREA_LEVELS.index(area.level) - 1
        if above < 0:
            raise InvalidInput("parent", "a district has no area above it here")
        if area.parent != area.code[: AREA_DIGITS[AREA_LEVELS[above]]]:
            raise InvalidInput("parent", f"the {AREA_LEVELS[above]} above it has the first digits of its code")
    if area.successor is not None:
        check_area_code(area.successor, area.level, where="successor")
        if area.successor == area.code:
            raise InvalidInput("successor", "no area replaces itself")
    if area.valid_from is not None and area.valid_until is not None and area.valid_until <= area.valid_from:
        raise InvalidInput("valid_until", "it must be after valid_from")
    return area


def followed(code: str, successors: Mapping[str, str]) -> tuple[str, ...]:
    """Return a code and those that replaced it, in their order; `successors` is code by replaced code."""
    chain = [code]
    while (after := successors.get(chain[-1])) is not None and after not in chain:
        chain.append(after)
    return tuple(chain)


def lineage(codes: Iterable[str], successors: Mapping[str, str]) -> frozenset[str]:
    """Return every code under which a place with these codes lies: those above, and what replaced any of them."""
    found: set[str] = set()
    waiting = list(codes)
    while waiting:
        code = waiting.pop()
        for above in (code[:digits] for digits in AREA_DIGITS.values() if digits <= len(code)):
            if above not in found:
                found.add(above)
                waiting += followed(above, successors)[1:]
    return frozenset(found)


def check_timezone(name: str) -> str:
    """Return the name of a time zone if there is such a zone.

    Raises:
        InvalidInput: there is none.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput("timezone", "must be a time zone such as Asia/Shanghai") from error
    return name


def check_site(site: Site) -> Site:
    """Return the site if its codes, its zone and its coordinates fit.

    Raises:
        InvalidInput: a code has other digits, the grid is not in the community, the zone is unknown, or one coordinate
            stands alone.
    """
    check_area_code(site.community, "community", where="community")
    if site.grid is not None:
        check_area_code(site.grid, "grid", where="grid")
        if not site.grid.startswith(site.community):
            raise InvalidInput("grid", "the grid's code begins with the community's")
    check_timezone(site.timezone)
    if (site.lat is None) != (site.lon is None):
        raise InvalidInput("lat", "give both lat and lon, or neither")
    return site


def check_keypad(code: str) -> str:
    """Return a flat's code at keypads if it can be typed before `#`: up to 16 of 0-9, A-Z, a-z and `-`.

    Raises:
        InvalidInput: it is longer or has another character.
    """
    typed = all(char.isascii() and (char.isalnum() or char == "-") for char in code)
    if len(code) > KEYPAD_LIMIT or not typed:
        raise InvalidInput("keypad", f"use at most {KEYPAD_LIMIT} digits (letters and '-' where keypads have them)")
    return code


def check_camera_url(url: str) -> str:
    """Return a camera's address if it is RTSP and carries neither user nor password.

    Raises:
        InvalidInput: it is another kind of address, or carries a secret.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"rtsp", "rtsps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not url.isprintable() or " " in url:
        raise InvalidInput("url", "must be an address that begins with rtsp:// or rtsps://")
    if "@" in parts.netloc:
        raise InvalidInput(
            "url", "must not carry a user or password: use user and password_file, any character is allowed there"
        )
    return url


def check_camera(camera: Camera) -> Camera:
    """Return the camera if its address and near zone are usable and its register entry, if any, is complete.

    Raises:
        InvalidInput: one of them is not.
    """
    check_camera_url(camera.url)
    if camera.main_url:
        check_camera_url(camera.main_url)
    check_zone(camera.near_zone)
    if camera.register is not None:
        check_register(camera.register, "register")
    return camera


def check_id(value: str, where: str) -> str:
    """Return an opaque id if it is safe in topics, paths and logs: 1 to 64 of a-z, A-Z, 0-9, '_', '-', '.'.

    Raises:
        InvalidInput: the id is empty, too long or has another character (`/`, `+`, `#`, space, …).
    """
    safe = all(char.isascii() and (char.isalnum() or char in "_-.") for char in value)
    if not value or len(value) > ID_LIMIT or not safe or value.startswith("."):
        raise InvalidInput(where, f"an id has 1 to {ID_LIMIT} of a-z, A-Z, 0-9, '_', '-', '.', not {value[:80]!r}")
    return value


def check_register(register: CameraRegister, where: str) -> CameraRegister:
    """Return the entry if it is complete.

    Raises:
        InvalidInput: it names no purpose, nobody checked the banned areas, the day of the sign is no day of our time, or
            a mask is no rectangle in 0..1.
    """
    if not register.purpose.strip():
        raise InvalidInput(f"{where}.purpose", "say what this camera is for").because("no_purpose")
    if not register.banned_area_checked:
        raise InvalidInput(
            f"{where}.banned_area_checked", "check first that it sees no banned area (Order 799 article 8)"
        ).because("unchecked_area")
    if not 1990 <= register.sign_confirmed_on.year <= 2200:
        what = "give the day on which somebody saw that the sign hangs"
        raise InvalidInput(f"{where}.sign_confirmed_on", what).because("no_sign_day")
    for x0, y0, x1, y1 in register.privacy_masks:
        if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):
            what = "a mask is x0, y0, x1, y1 in 0..1 with x0 < x1 and y0 < y1"
            raise InvalidInput(f"{where}.privacy_masks", what).because("bad_mask")
    return register


def check_door(door: Door) -> Door:
    """Return the door if its policy is allowed: face is never the only way in, nor alone where security is high.

    Raises:
        InvalidInput: the door takes only faces, takes a bare face at high security, is hands-free without an
            assessment, has no camera for its faces, declares a liveness without its basis, has rules that contradict one
            another, or a time out of bounds.
    """
    where = f"doors.{door.id}"
    if all("face" in factor for factor in door.factors):
        raise InvalidInput(f"{where}.factors", "face is never the only way in: add card, pin, flat_pin or qr")
    if door.high_security and "face" in door.factors:
        raise InvalidInput(f"{where}.factors", "a high-security door takes face only with card or pin: use face+card")
    if door.hands_free and not door.impact_assessment:
        raise InvalidInput(f"{where}.hands_free", "a hands-free door needs impact_assessment, the id of its assessment")
    if any("face" in factor for factor in door.factors) and not door.camera_id:
        raise InvalidInput(f"{where}.factors", "a door that takes faces needs camera_id")
    if door.liveness_covers and (door.liveness not in DECLARING or not door.liveness_basis.strip()):
        raise InvalidInput(
            f"{where}.liveness_covers",
            "only model and device declare what they cover, and only with liveness_basis, the report it rests on",
        )
    check_rules(door)
    if not 1.0 <= door.held_open_s <= 3600.0:
        raise InvalidInput(f"{where}.held_open_s", "use 1 to 3600 seconds")
    if not 1.0 <= door.unlock_s <= 60.0:
        raise InvalidInput(f"{where}.unlock_s", "use 1 to 60 seconds")
    return door
