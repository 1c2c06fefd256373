"""What a site file may say about places and devices, entry by entry: bounds and a sentence each. Knows no other entry."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, SecretStr

from config.reading import LocalPath, Strict
from config.site_fields import PASSWORD_LIMIT, CameraUrl, Fraction, Id, Keypad, Name, Zone
from models import cards, places
from models.liveness import Provider, Species
from models.zones import MAX_NUMBERS, WHOLE


def _mqtt() -> dict[str, object]:
    return {"kind": "mqtt"}


class AreaEntry(Strict):
    """One node of the area tree."""

    code: str = Field(description="Official code: 6 digits for a district, 9, 12 and 15 below it.")
    name: Name = Field(description="Name of the area.")
    level: Literal["district", "subdistrict", "community", "grid"] = Field(description="Level of the area.")
    parent: str | None = Field(None, description="Code of the area above.")
    valid_from: date | None = Field(None, description="First day on which the code is in force.")
    valid_until: date | None = Field(None, description="Day on which the code ceases to be in force.")
    successor: str | None = Field(None, description="Code that replaces this one.")


class CompanyEntry(Strict):
    """One property company."""

    id: Id = Field(description="Id of the company.")
    name: Name = Field(description="Name of the company.")
    contact: str = Field("", max_length=256, description="Office, not person, that answers for it.")


class SiteEntry(Strict):
    """The compound."""

    id: Id = Field(description="Id of the site.")
    name: Name = Field(description="Name of the site.")
    community: str = Field(description="Code of the community that the site lies in, 12 digits.")
    grid: str | None = Field(None, description="Code of the grid that the site lies in, 15 digits.")
    company: Id | None = Field(None, description="Id of the property company that runs it.")
    address: str = Field("", max_length=256, description="Postal address.")
    timezone: Zone = Field("Asia/Shanghai", description="Time zone of its schedules.")
    lat: float | None = Field(None, ge=-90, le=90, description="Latitude in degrees.")
    lon: float | None = Field(None, ge=-180, le=180, description="Longitude in degrees.")
    datum: Literal["WGS-84", "GCJ-02", "CGCS2000"] = Field("WGS-84", description="Datum of the coordinates.")


class FlatEntry(Strict):
    """One flat."""

    id: Id = Field(description="Id of the flat.")
    building: str = Field(min_length=1, max_length=32, description="Building, as written on the door plate.")
    unit: str = Field("", max_length=32, description="Unit (staircase) of the building.")
    room: str = Field(min_length=1, max_length=32, description="Room.")
    keypad: Keypad = Field("", description="Code that stands for it at keypads, unique at the site.")
    groups: tuple[Id, ...] = Field((), max_length=16, description="Ids of the groups of all who belong to it.")


class ControllerEntry(Strict):
    """One board that drives one to four doors."""

    id: Id = Field(description="Id of the board.")
    name: Name = Field(description="Name of the board.")
    edge: Id = Field("edge-1", description="Id of the edge that talks to it.")
    model: str = Field("", max_length=256, description="Maker and model.")
    serial: str = Field("", max_length=256, description="Serial number; change it when the board is replaced.")
    address: str = Field("", max_length=256, description="Where it hangs.")


class CardFormatEntry(Strict):
    """How readers write the numbers of cards."""

    id: Id = Field(description="Its id, which readers name.")
    name: str = Field("", max_length=128, description="Its name, for people.")
    notation: cards.Notation = Field(
        "hex", description="What they write: hex, decimal, or facility (facility code and number in decimal)."
    )
    frame: cards.Frame = Field(0, description="Bits of the Wiegand frame, parity included; 0 is the number alone.")
    width: cards.Width = Field(0, description="Bytes of the number; 0 as many as come.")
    reverse: bool = Field(False, description="Whether the first byte is the last of the number that is kept.")
    keep: cards.Width = Field(0, description="Bytes that are kept once they are in order; 0 is all.")
    keep_from: Literal["start", "end"] = Field("end", description="Which of them are kept.")


class ReaderEntry(Strict):
    """One reader of a door."""

    id: Id | None = Field(None, description="Id of the reader; by default the door's with a number.")
    name: str = Field("", max_length=128, description="Name of the reader.")
    side: Literal["in", "out"] = Field("in", description="Whether it lets people in or out.")
    kinds: tuple[Literal["card", "pin", "flat_pin", "qr", "button", "call"], ...] = Field(
        ("card", "pin", "button"), description="What it can take."
    )
    format: str = Field("", max_length=64, description="Id of the card format that it reads numbers in.")


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
        ("card", "pin"), min_length=1, description="What opens it, `+` together only; face never alone in the list."
    )
    hands_free: bool = Field(False, description="Whether a face opens it without an act at the door first.")
    impact_assessment: str | None = Field(None, description="Id of the impact assessment that allows hands_free.")
    high_security: bool = Field(False, description="Whether a face needs a card or PIN with it.")
    when_policy_ends: places.WhenPolicyEnds = Field(
        "credentials",
        description="What lets in when the gateway was not heard for so long that the policy ended: credentials or nothing.",
    )
    passback: places.Passback = Field(
        "off", description="Coming in again without having left: off, soft (noted) or hard (refused)."
    )
    passback_reset_min: int = Field(
        0, ge=0, le=10_080, description="Minutes after which somebody counts as having left; 0 is never."
    )
    interlock: str = Field("", max_length=64, description="Name of the sluice whose doors open one at a time.")
    two_person: bool = Field(False, description="Whether two people who may pass must ask together.")
    second_within_s: float = Field(15, ge=3, le=120, description="Seconds within which the second person must ask.")
    free_schedule_id: Id | None = Field(None, description="Id of the schedule in which it stands unlocked.")
    first_person: bool = Field(
        False, description="Whether it stands unlocked only once somebody who may pass has come in."
    )
    fail: places.Fail = Field("secure", description="What its lock does without power: secure or safe (open).")
    camera: Id | None = Field(None, description="Id of the camera that sees who stands there.")
    liveness: Provider = Field(
        "none", description="Who tells a face from a picture of one: none, parallax, model or device."
    )
    liveness_covers: tuple[Species, ...] = Field(
        (), max_length=2, description="Attacks (print, screen) that model or device is declared to cover."
    )
    liveness_basis: str = Field("", max_length=200, description="Report that this declaration rests on.")
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
    url: CameraUrl = Field(description="RTSP address, without user and password.")
    user: str = Field("", max_length=PASSWORD_LIMIT, description="Name to log in to the camera with.")
    password: SecretStr | None = Field(None, description="Password of the camera, as ${NAME} from the environment.")
    password_file: LocalPath | None = Field(None, description="File that holds the password of the camera.")
    transport: Literal["tcp", "udp"] = Field("tcp", description="How its pictures travel.")
    main_url: Literal[""] | CameraUrl = Field("", description="RTSP address of the main stream, for recording.")
    rate: Literal["auto", "full", "key"] = Field(
        "auto", description="What is decoded: full, key (key frames until something moves) or auto, as its use wants."
    )
    hardware: places.Hardware = Field("none", description="What decodes it besides the processor.")
    device: dict[str, object] | None = Field(None, description="Settings of its ONVIF side, read by its edge only.")
    door: Id | None = Field(None, description="Id of the door it looks at; a camera without a door recognises nobody.")
    near_zone: tuple[Fraction, ...] = Field(
        WHOLE,
        min_length=4,
        max_length=MAX_NUMBERS,
        description="Near zone as fractions of the picture: left, top, right, bottom, or the corners x, y of a polygon.",
    )
    min_eye_px: float = Field(
        30, ge=10, le=500, description="Least distance between the eyes in pixels of a usable face."
    )
    lost_after_s: float = Field(20, ge=1, le=600, description="Seconds without a picture after which it is lost.")
    register_entry: RegisterEntry | None = Field(
        None, description="What the law asks to be on record; without it the stream stays off."
    )
