"""What a site file may hold, entry by entry: pydantic models with bounds and a sentence each. Knows no other entry."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, StringConstraints

from config.reading import LocalPath, Strict
from models import assessments, places
from models.errors import InvalidInput
from models.people import canonical_card

EVERY_DOOR = "all"
PASSWORD_LIMIT = 256


def _id(value: str) -> str:
    try:
        return places.check_id(value, "id")
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _camera_url(value: str) -> str:
    try:
        return places.check_camera_url(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _timezone(value: str) -> str:
    try:
        return places.check_timezone(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


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
Topic = Annotated[
    str, StringConstraints(min_length=assessments.MIN_CHARS, max_length=assessments.MAX_CHARS, strip_whitespace=True)
]


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


class RegisterEntry(Strict):
    """The register entry of one camera."""

    purpose: Name = Field(description="What the camera is for.")
    place_class: places.PlaceClass = Field(
        description="Class of the place that it sees; decides on retention and filing."
    )
    sign_confirmed_on: date = Field(description="Day on which somebody saw that the sign hangs.")
    banned_area_checked: bool = Field(
        description="Whether somebody checked that it sees no banned area (Order 799 article 8)."
    )
    privacy_masks: tuple[tuple[Fraction, Fraction, Fraction, Fraction], ...] = Field(
        (), max_length=16, description="Rectangles that are blacked out: left, top, right, bottom, as fractions."
    )
    filed_on: date | None = Field(None, description="Day on which it was filed with the police.")
    responsible: str = Field("", max_length=128, description="Post, not person, that answers for the camera.")


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
    register_entry: RegisterEntry | None = Field(
        None, description="What the law asks to be on record; without it the stream stays off."
    )


class TopicsEntry(Strict):
    """The four topics of one impact assessment (FRM article 9)."""

    lawful_and_necessary: Topic = Field(description="Whether purpose and method are lawful, legitimate and necessary.")
    impact_and_risk: Topic = Field(description="What it does to people's rights, and whether the harm is kept low.")
    measures_fit: Topic = Field(description="Whether the protective measures are lawful, effective and fit the risk.")
    leak_and_misuse: Topic = Field(description="What leak or misuse would do, and what is done about it.")


class AssessmentEntry(Strict):
    """One approved impact assessment."""

    id: Id = Field(description="Id of the assessment; what is approved is never changed, a new one gets a new id.")
    subject: Literal["face", "recording"] = Field(description="What it lets go live: face or recording.")
    topics: TopicsEntry = Field(description="What it says about the four topics that the law names.")
    drafted_by: Id = Field(description="Who wrote it: a post, not a person's name.")
    drafted_at: AwareDatetime = Field(description="When it was written, with the offset from UTC.")
    approved_by: Id = Field(description="Who approved it: somebody else.")
    approved_at: AwareDatetime = Field(description="When it was approved, with the offset from UTC.")
    valid_until: AwareDatetime | None = Field(None, description="When it must have been done anew.")


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
    assessments: tuple[AssessmentEntry, ...] = Field((), max_length=100, description="Approved impact assessments.")
    people: tuple[PersonEntry, ...] = Field((), max_length=20_000, description="People.")
    permits: tuple[PermitEntry, ...] = Field((), max_length=100_000, description="Rights to pass.")
