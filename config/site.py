"""The site file, `site.yaml`: a seed of areas, doors, cameras and people for the gateway's database.

`gatehouse apply` stores it idempotently; `gatehouse check` reads it with the same strictness as the settings. Nothing
here touches a database, and a door's `driver` section stays opaque: the edge that will use it validates it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, StringConstraints

from config.reading import Key, LocalPath, Mistake, Strict, read
from config.settings import secret
from models import places
from models.errors import InvalidInput
from models.people import Consent, Occupancy, Permit, Person, canonical_card, canonical_pin
from models.schedules import EVERY_DAY, Schedule, Window, named_by_content

EVERY_DOOR = "all"
PASSWORD_LIMIT = 256


def _id(value: str) -> str:
    try:
        return places.check_id(value, "id")
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _camera_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"rtsp", "rtsps"} or not parts.hostname:
        raise ValueError("must be an address that begins with rtsp:// or rtsps://")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "must not carry a user or password: use user and password_file, any character is allowed there"
        )
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("must be a time zone such as Asia/Shanghai") from error
    return value


def _card(value: str) -> str:
    try:
        return canonical_card(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _mqtt() -> dict[str, object]:
    return {"kind": "mqtt"}


Id = Annotated[str, AfterValidator(_id)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Card = Annotated[str, AfterValidator(_card)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class AreaEntry(Strict):
    """One node of the area tree."""

    code: str = Field(description="Official code: 6 digits for a district, 9, 12 and 15 below it.")
    name: Name = Field(description="Name of the area.")
    level: Literal["district", "subdistrict", "community", "grid"] = Field(description="Level of the area.")
    parent: str | None = Field(None, description="Code of the area above.")
    valid_from: date | None = Field(None, description="First day on which the code is in force.")
    valid_until: date | None = Field(None, description="Day on which the code ceases to be in force.")
    successor: str | None = Field(None, description="Code that replaces this one.")


class SiteEntry(Strict):
    """The compound."""

    id: Id = Field(description="Id of the site.")
    name: Name = Field(description="Name of the site.")
    community: str = Field(description="Code of the community that the site lies in, 12 digits.")
    grid: str | None = Field(None, description="Code of the grid that the site lies in, 15 digits.")
    address: str = Field("", max_length=256, description="Postal address.")
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        "Asia/Shanghai", description="Time zone of its schedules."
    )
    lat: float | None = Field(None, ge=-90, le=90, description="Latitude in degrees.")
    lon: float | None = Field(None, ge=-180, le=180, description="Longitude in degrees.")
    datum: Literal["WGS-84", "GCJ-02", "CGCS2000"] = Field("WGS-84", description="Datum of the coordinates.")


class FlatEntry(Strict):
    """One flat."""

    id: Id = Field(description="Id of the flat.")
    building: str = Field(min_length=1, max_length=32, description="Building, as written on the door plate.")
    unit: str = Field("", max_length=32, description="Unit (staircase) of the building.")
    room: str = Field(min_length=1, max_length=32, description="Room.")


class ReaderEntry(Strict):
    """One reader of a door."""

    side: Literal["in", "out"] = Field("in", description="Whether it lets people in or out.")
    kinds: tuple[Literal["card", "pin", "flat_pin", "qr", "button", "call"], ...] = Field(
        ("card", "pin", "button"), description="What it can take."
    )


class DoorEntry(Strict):
    """One door."""

    id: Id = Field(description="Id of the door; it is also its name on the MQTT broker.")
    name: Name = Field(description="Name of the door.")
    edge: Id = Field("edge-1", description="Id of the edge that serves it.")
    address: str = Field("", max_length=256, description="Where it is, for those who are sent there.")
    controller: Id | None = Field(None, description="Id of the board that drives it.")
    exit_kind: places.ExitKind = Field("button", description="How people leave: sensor, button, mechanical or none.")
    held_open_s: float = Field(30, ge=1, le=3600, description="Seconds open after which it is held open.")
    unlock_s: float = Field(5, ge=1, le=60, description="Seconds for which an unlock lasts.")
    factors: tuple[places.Factor, ...] = Field(
        ("card", "pin"), min_length=1, description="What opens it; face never alone in the list."
    )
    hands_free: bool = Field(False, description="Whether a face opens it without an act at the door first.")
    impact_assessment: str | None = Field(None, description="Id of the impact assessment that allows hands_free.")
    high_security: bool = Field(False, description="Whether a face needs a card or PIN with it.")
    camera: Id | None = Field(None, description="Id of the camera that sees who stands there.")
    readers: tuple[ReaderEntry, ...] = Field((ReaderEntry(),), max_length=8, description="Its readers.")
    driver: dict[str, object] = Field(
        default_factory=_mqtt, description="Settings of its driver, read by its edge only."
    )


class CameraEntry(Strict):
    """One camera."""

    id: Id = Field(description="Id of the camera.")
    name: Name = Field(description="Name of the camera.")
    edge: Id = Field("edge-1", description="Id of the edge that watches it.")
    url: Annotated[str, AfterValidator(_camera_url)] = Field(description="RTSP address, without user and password.")
    user: str = Field("", max_length=PASSWORD_LIMIT, description="Name to log in to the camera with.")
    password: SecretStr | None = Field(None, description="Password of the camera, as ${NAME} from the environment.")
    password_file: LocalPath | None = Field(None, description="File that holds the password of the camera.")
    transport: Literal["tcp", "udp"] = Field("tcp", description="How its pictures travel.")
    door: Id | None = Field(None, description="Id of the door it looks at; a camera without a door recognises nobody.")
    near_zone: tuple[Fraction, Fraction, Fraction, Fraction] = Field(
        (0.0, 0.0, 1.0, 1.0), description="Left, top, right, bottom of the near zone, as fractions of the picture."
    )
    min_eye_px: float = Field(
        30, ge=10, le=500, description="Least distance between the eyes in pixels of a usable face."
    )
    lost_after_s: float = Field(20, ge=1, le=600, description="Seconds without a picture after which it is lost.")


class ConsentEntry(Strict):
    """One separate consent of a person to face matching."""

    id: Id = Field(description="Id of the consent.")
    doors: tuple[Id, ...] = Field(min_length=1, description="Ids of the doors it names.")
    text_version: str = Field(min_length=1, max_length=64, description="Version of the text that was agreed to.")
    text_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that text.")
    given_at: AwareDatetime = Field(description="When it was given, with the offset from UTC.")
    channel: Literal["office", "phone_page", "paper", "demo"] = Field(description="How it was given.")
    evidence: str = Field(min_length=1, max_length=256, description="Where the proof is kept.")
    guardian: str | None = Field(None, max_length=128, description="Who consented for a person under 14.")
    expires_at: AwareDatetime | None = Field(None, description="When it ends by itself.")


class PersonEntry(Strict):
    """One person."""

    id: Id = Field(description="Id of the person.")
    name: Name = Field(description="Name of the person.")
    flat: Id | None = Field(None, description="Id of the person's flat.")
    under_14: bool = Field(False, description="Whether the person is under 14.")
    cards: tuple[Card, ...] = Field((), max_length=8, description="Card numbers in hexadecimal.")
    pin: SecretStr | None = Field(None, description="PIN, as ${NAME} from the environment.")
    pin_file: LocalPath | None = Field(None, description="File that holds the PIN.")
    consents: tuple[ConsentEntry, ...] = Field((), max_length=16, description="Consents to face matching.")


class PermitEntry(Strict):
    """One right to pass."""

    id: Id = Field(description="Id of the permit.")
    person: Id = Field(description="Id of the person.")
    doors: tuple[Id, ...] | Literal["all"] = Field(description="Ids of the doors, or all.")
    weekdays: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(
        (0, 1, 2, 3, 4, 5, 6), min_length=1, description="Days of the week, 0 is Monday."
    )
    from_time: time = Field(time(0, 0), description="Time of day from which it holds.")
    until_time: time = Field(time(0, 0), description="Time of day until which it holds; equal times mean all day.")
    valid_from: AwareDatetime | None = Field(None, description="When it begins to hold.")
    valid_until: AwareDatetime | None = Field(None, description="When it ceases to hold.")


class SiteFile(Strict):
    """The whole file."""

    site: SiteEntry = Field(description="The compound.")
    areas: tuple[AreaEntry, ...] = Field((), max_length=10_000, description="Areas that the database may not know yet.")
    flats: tuple[FlatEntry, ...] = Field((), max_length=20_000, description="Flats.")
    doors: tuple[DoorEntry, ...] = Field((), max_length=1000, description="Doors.")
    cameras: tuple[CameraEntry, ...] = Field((), max_length=1000, description="Cameras.")
    people: tuple[PersonEntry, ...] = Field((), max_length=20_000, description="People.")
    permits: tuple[PermitEntry, ...] = Field((), max_length=100_000, description="Rights to pass.")


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a site file as the records of the house. `cards` and `pins` are (person id, canonical value) pairs."""

    site: places.Site
    areas: tuple[places.Area, ...]
    flats: tuple[places.Flat, ...]
    doors: tuple[places.Door, ...]
    cameras: tuple[places.Camera, ...]
    people: tuple[Person, ...]
    consents: tuple[Consent, ...]
    occupancies: tuple[Occupancy, ...]
    schedules: tuple[Schedule, ...]
    permits: tuple[Permit, ...]
    cards: tuple[tuple[str, str], ...]
    pins: tuple[tuple[str, str], ...]


def read_site(path: Path, *, environment: Mapping[str, str]) -> SiteFile:
    """Read `site.yaml`.

    Raises:
        SettingsError: with every fault of the file, each with line, key and suggestion.
    """
    return read(path, SiteFile, environment=environment, rules=mistakes)


def seed(file: SiteFile) -> Seed:
    """Return the records that a site file describes.

    Raises:
        SettingsError: a password or PIN file cannot be read.
        InvalidInput: a PIN is not 4 to 12 digits.
    """
    site_id = file.site.id
    return Seed(
        site=places.Site(**file.site.model_dump()),
        areas=tuple(places.Area(**area.model_dump()) for area in file.areas),
        flats=tuple(places.Flat(site_id=site_id, **flat.model_dump()) for flat in file.flats),
        doors=tuple(_door(entry, site_id) for entry in file.doors),
        cameras=tuple(_camera(entry, site_id) for entry in file.cameras),
        people=tuple(Person(id=who.id, site_id=site_id, name=who.name, under_14=who.under_14) for who in file.people),
        consents=tuple(
            Consent(person_id=who.id, **consent.model_dump()) for who in file.people for consent in who.consents
        ),
        occupancies=tuple(
            Occupancy(id=f"seed-{who.id}", person_id=who.id, flat_id=who.flat)
            for who in file.people
            if who.flat is not None
        ),
        schedules=tuple({one.id: one for entry in file.permits if (one := _schedule(entry, file))}.values()),
        permits=tuple(_permit(entry, file) for entry in file.permits),
        cards=tuple((who.id, card) for who in file.people for card in who.cards),
        pins=tuple(_pins(file)),
    )


def _door(entry: DoorEntry, site_id: str) -> places.Door:
    return places.Door(
        site_id=site_id,
        edge_id=entry.edge,
        controller_id=entry.controller,
        camera_id=entry.camera,
        readers=tuple(places.Reader(side=reader.side, kinds=reader.kinds) for reader in entry.readers),
        **entry.model_dump(exclude={"edge", "controller", "camera", "readers"}),
    )


def _camera(entry: CameraEntry, site_id: str) -> places.Camera:
    return places.Camera(
        site_id=site_id,
        edge_id=entry.edge,
        door_id=entry.door,
        password=secret(entry.password, entry.password_file, key=f"cameras.{entry.id}.password_file") or "",
        **entry.model_dump(exclude={"edge", "door", "password", "password_file"}),
    )


def _schedule(entry: PermitEntry, file: SiteFile) -> Schedule | None:
    """Return the schedule of a permit under an id of its content, or None if it always holds."""
    if sorted(entry.weekdays) == list(EVERY_DAY) and entry.from_time == entry.until_time:
        return None
    window = Window(weekdays=entry.weekdays, from_time=entry.from_time, until_time=entry.until_time)
    plain = Schedule(site_id=file.site.id, timezone=file.site.timezone, windows=(window,))
    return named_by_content(plain)


def _permit(entry: PermitEntry, file: SiteFile) -> Permit:
    return Permit(
        id=entry.id,
        person_id=entry.person,
        doors=tuple(door.id for door in file.doors) if entry.doors == EVERY_DOOR else tuple(entry.doors),
        schedule_id=None if (schedule := _schedule(entry, file)) is None else schedule.id,
        valid_from=entry.valid_from,
        valid_until=entry.valid_until,
    )


def _pins(file: SiteFile) -> Iterator[tuple[str, str]]:
    for who in file.people:
        pin = secret(who.pin, who.pin_file, key=f"people.{who.id}.pin_file")
        if pin is not None:
            yield who.id, canonical_pin(pin, where=f"people.{who.id}.pin")


def mistakes(file: SiteFile) -> Iterator[Mistake]:
    """Yield what is wrong between keys: ids given twice, names of nothing, doors whose policy is not allowed."""
    for group in ("areas", "flats", "doors", "cameras", "people", "permits"):
        yield from _doubled(
            group, [getattr(entry, "code" if group == "areas" else "id") for entry in getattr(file, group)]
        )
    yield from _area_mistakes(file)
    for index, door in enumerate(file.doors):
        yield from _complaints(("doors", index), partial(places.check_door, _door(door, file.site.id)))
    yield from _secret_mistakes(file)
    yield from _unknown_names(file)


def _doubled(group: str, ids: list[str]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, value in enumerate(ids):
        if value in seen:
            field = "code" if group == "areas" else "id"
            yield Mistake(key=(group, index, field), message=f"{value!r} is given twice", suggestion="choose another")
        seen.add(value)


def _complaints(key: Key, check: Callable[[], object]) -> Iterator[Mistake]:
    try:
        check()
    except InvalidInput as error:
        yield Mistake(key=(*key, error.where.rsplit(".", 1)[-1]), message=error.what)


def _area_mistakes(file: SiteFile) -> Iterator[Mistake]:
    for index, area in enumerate(file.areas):
        yield from _complaints(("areas", index), partial(places.check_area_code, area.code, area.level))
    for level in ("community", "grid"):
        code: str | None = getattr(file.site, level)
        complaints = _complaints((), partial(places.check_area_code, code, level)) if code is not None else ()
        for mistake in complaints:
            yield Mistake(key=("site", level), message=mistake.message)


def _secret_mistakes(file: SiteFile) -> Iterator[Mistake]:
    entries: list[tuple[Key, SecretStr | None, Path | None]] = [
        (("cameras", index, "password"), camera.password, camera.password_file)
        for index, camera in enumerate(file.cameras)
    ]
    entries += [(("people", index, "pin"), who.pin, who.pin_file) for index, who in enumerate(file.people)]
    for key, value, path in entries:
        if value is not None and path is not None:
            yield Mistake(key=key, message=f"given twice, also as {key[-1]}_file", suggestion="keep one of the two")
        if path is not None and not path.is_file():
            yield Mistake(
                key=(*key[:-1], f"{key[-1]}_file"),
                message="there is no such file",
                suggestion="create it with mode 0600",
            )


def _unknown_names(file: SiteFile) -> Iterator[Mistake]:
    doors = {door.id for door in file.doors}
    cameras = {camera.id for camera in file.cameras}
    flats = {flat.id for flat in file.flats}
    people = {who.id for who in file.people}
    for index, door in enumerate(file.doors):
        yield from _unknown(("doors", index, "camera"), [door.camera], cameras)
    for index, camera in enumerate(file.cameras):
        yield from _unknown(("cameras", index, "door"), [camera.door], doors)
        left, top, right, bottom = camera.near_zone
        if left >= right or top >= bottom:
            yield Mistake(
                key=("cameras", index, "near_zone"), message="is empty", suggestion="write left, top, right, bottom"
            )
    for index, who in enumerate(file.people):
        yield from _unknown(("people", index, "flat"), [who.flat], flats)
        for place, consent in enumerate(who.consents):
            yield from _unknown(("people", index, "consents", place, "doors"), consent.doors, doors)
    for index, permit in enumerate(file.permits):
        yield from _unknown(("permits", index, "person"), [permit.person], people)
        yield from _unknown(("permits", index, "doors"), () if permit.doors == EVERY_DOOR else permit.doors, doors)


def _unknown(key: Key, names: Iterable[str | None], known: set[str]) -> Iterator[Mistake]:
    for name in names:
        if name is not None and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "add it to this file"
            yield Mistake(key=key, message=f"there is no {name!r} in this file", suggestion=hint)
