"""Turn the entries of a site file into the records of the house. Reads secret files, touches no database."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from config.settings import secret
from config.site_entries import SiteFile
from config.site_fields import EVERY_DOOR
from config.site_people import (
    AssessmentEntry,
    CalendarEntry,
    GroupEntry,
    NoticeEntry,
    PermitEntry,
    PersonEntry,
    ScheduleEntry,
    WindowEntry,
)
from config.site_places import CameraEntry, CardFormatEntry, ControllerEntry, DoorEntry, RegisterEntry
from models import places
from models.assessments import Assessment, Topics
from models.cards import CardFormat
from models.notices import Notice, NoticeText
from models.people import Consent, Group, Occupancy, Permit, Person, canonical_pin
from models.schedules import EVERY_DAY, Calendar, Schedule, SpecialDay, Window, named_by_content

READER_ID_CHARS = places.ID_LIMIT - 2


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a site file as the records of the house. `cards`, `pins` and `duress_pins` are pairs: person, value."""

    site: places.Site
    areas: tuple[places.Area, ...]
    companies: tuple[places.Company, ...]
    flats: tuple[places.Flat, ...]
    controllers: tuple[places.Controller, ...]
    card_formats: tuple[CardFormat, ...]
    doors: tuple[places.Door, ...]
    cameras: tuple[places.Camera, ...]
    calendars: tuple[Calendar, ...]
    schedules: tuple[Schedule, ...]
    """Those that the file names, and those that permits describe, under ids of their content."""
    groups: tuple[Group, ...]
    notices: tuple[Notice, ...]
    assessments: tuple[Assessment, ...]
    people: tuple[Person, ...]
    consents: tuple[Consent, ...]
    occupancies: tuple[Occupancy, ...]
    permits: tuple[Permit, ...]
    cards: tuple[tuple[str, str], ...]
    pins: tuple[tuple[str, str], ...]
    duress_pins: tuple[tuple[str, str], ...]


def seed(file: SiteFile) -> Seed:
    """Return the records that a site file describes.

    Raises:
        SettingsError: a password or PIN file cannot be read.
        InvalidInput: a PIN is not 4 to 12 digits.
    """
    site_id = file.site.id
    return Seed(
        site=site_from(file),
        areas=tuple(places.Area(**area.model_dump()) for area in file.areas),
        companies=tuple(places.Company(**company.model_dump()) for company in file.companies),
        flats=tuple(places.Flat(site_id=site_id, **flat.model_dump()) for flat in file.flats),
        controllers=tuple(controller_from(entry, site_id) for entry in file.controllers),
        card_formats=tuple(card_format_from(entry, site_id) for entry in file.card_formats),
        doors=tuple(door_from(entry, site_id) for entry in file.doors),
        cameras=tuple(_camera(entry, site_id) for entry in file.cameras),
        calendars=tuple(calendar_from(entry, site_id) for entry in file.calendars),
        schedules=tuple(_schedules(file)),
        groups=tuple(_group(entry, file) for entry in file.groups),
        notices=tuple(notice_from(entry, site_id) for entry in file.notices),
        assessments=tuple(assessment_from(entry, site_id) for entry in file.assessments),
        people=tuple(_person(who, site_id) for who in file.people),
        consents=tuple(
            Consent(person_id=who.id, **consent.model_dump()) for who in file.people for consent in who.consents
        ),
        occupancies=tuple(
            Occupancy(id=f"seed-{who.id}", person_id=who.id, flat_id=who.flat)
            for who in file.people
            if who.flat is not None
        ),
        permits=tuple(_permit(entry, file) for entry in file.permits),
        cards=tuple((who.id, card) for who in file.people for card in who.cards),
        pins=tuple(_pins(file)),
        duress_pins=tuple(_duress_pins(file)),
    )


def site_from(file: SiteFile) -> places.Site:
    """Return the record of the site."""
    return places.Site(company_id=file.site.company, **file.site.model_dump(exclude={"company"}))


def controller_from(entry: ControllerEntry, site_id: str) -> places.Controller:
    """Return the record of a controller."""
    return places.Controller(site_id=site_id, edge_id=entry.edge, **entry.model_dump(exclude={"edge"}))


def card_format_from(entry: CardFormatEntry, site_id: str) -> CardFormat:
    """Return the record of a card format."""
    return CardFormat(site_id=site_id, **entry.model_dump())


def door_from(entry: DoorEntry, site_id: str) -> places.Door:
    """Return the record of a door."""
    return places.Door(
        site_id=site_id,
        edge_id=entry.edge,
        controller_id=entry.controller,
        camera_id=entry.camera,
        readers=tuple(
            places.Reader(
                id=reader.id or f"{entry.id[:READER_ID_CHARS]}-{number}",
                side=reader.side,
                kinds=reader.kinds,
                name=reader.name,
                format=reader.format,
            )
            for number, reader in enumerate(entry.readers, 1)
        ),
        **entry.model_dump(exclude={"edge", "controller", "camera", "readers"}),
    )


def _camera(entry: CameraEntry, site_id: str) -> places.Camera:
    return places.Camera(
        site_id=site_id,
        edge_id=entry.edge,
        door_id=entry.door,
        password=secret(entry.password, entry.password_file, key=f"cameras.{entry.id}.password_file") or "",
        register=None if entry.register_entry is None else register_from(entry.register_entry),
        **entry.model_dump(exclude={"edge", "door", "password", "password_file", "register_entry"}),
    )


def register_from(entry: RegisterEntry) -> places.CameraRegister:
    """Return the record of a camera's register entry."""
    return places.CameraRegister(**entry.model_dump())


def assessment_from(entry: AssessmentEntry, site_id: str) -> Assessment:
    """Return the record of an approved assessment."""
    topics = Topics(**entry.topics.model_dump())
    return Assessment(site_id=site_id, state="approved", topics=topics, **entry.model_dump(exclude={"topics"}))


def notice_from(entry: NoticeEntry, site_id: str) -> Notice:
    """Return the record of a published notice."""
    return Notice(
        id=entry.id, site_id=site_id, purpose_kind=entry.purpose, version=entry.version, renews=entry.renews,
        zh=NoticeText(**entry.zh.model_dump()), en=NoticeText(**entry.en.model_dump()), published_at=entry.published_at,
    )  # fmt: skip


def calendar_from(entry: CalendarEntry, site_id: str) -> Calendar:
    """Return the record of a calendar."""
    days = tuple(SpecialDay(**day.model_dump()) for day in entry.days)
    return Calendar(id=entry.id, site_id=site_id, name=entry.name, days=days)


def schedule_from(entry: ScheduleEntry, file: SiteFile) -> Schedule:
    """Return the record of a schedule."""
    holidays = entry.holiday_windows
    return Schedule(
        id=entry.id, site_id=file.site.id, name=entry.name, timezone=entry.timezone or file.site.timezone,
        windows=_windows(entry.windows), calendars=entry.calendars,
        holiday_windows=None if holidays is None else _windows(holidays),
    )  # fmt: skip


def _windows(entries: tuple[WindowEntry, ...]) -> tuple[Window, ...]:
    return tuple(Window(**entry.model_dump()) for entry in entries)


def _schedules(file: SiteFile) -> Iterator[Schedule]:
    yield from (schedule_from(entry, file) for entry in file.schedules)
    yield from {one.id: one for entry in file.permits if (one := _own_schedule(entry, file))}.values()


def always(entry: PermitEntry) -> bool:
    """Return whether a permit's weekdays and times leave nothing out."""
    return sorted(entry.weekdays) == list(EVERY_DAY) and entry.from_time == entry.until_time


def _own_schedule(entry: PermitEntry, file: SiteFile) -> Schedule | None:
    """Return the schedule that a permit describes, under an id of its content, or None if it always holds."""
    if always(entry):
        return None
    window = Window(weekdays=entry.weekdays, from_time=entry.from_time, until_time=entry.until_time)
    plain = Schedule(site_id=file.site.id, timezone=file.site.timezone, windows=(window,))
    return named_by_content(plain)


def _doors(named: tuple[str, ...] | str, file: SiteFile) -> tuple[str, ...]:
    return tuple(door.id for door in file.doors) if named == EVERY_DOOR else tuple(named)


def _group(entry: GroupEntry, file: SiteFile) -> Group:
    doors = _doors(entry.doors, file)
    return Group(id=entry.id, site_id=file.site.id, name=entry.name, doors=doors, schedule_id=entry.schedule)


def _person(entry: PersonEntry, site_id: str) -> Person:
    known = ("id", "name", "under_14", "born_on", "phone", "external_id")
    return Person(site_id=site_id, **entry.model_dump(include=set(known)))


def _permit(entry: PermitEntry, file: SiteFile) -> Permit:
    own = _own_schedule(entry, file)
    return Permit(
        id=entry.id, person_id=entry.person, group_id=entry.group, doors=_doors(entry.doors, file),
        schedule_id=entry.schedule if own is None else own.id, valid_from=entry.valid_from,
        valid_until=entry.valid_until,
    )  # fmt: skip


def _pins(file: SiteFile) -> Iterator[tuple[str, str]]:
    for who in file.people:
        pin = secret(who.pin, who.pin_file, key=f"people.{who.id}.pin_file")
        if pin is not None:
            yield who.id, canonical_pin(pin, where=f"people.{who.id}.pin")


def _duress_pins(file: SiteFile) -> Iterator[tuple[str, str]]:
    for who in file.people:
        pin = secret(who.duress_pin, who.duress_pin_file, key=f"people.{who.id}.duress_pin_file")
        if pin is not None:
            yield who.id, canonical_pin(pin, where=f"people.{who.id}.duress_pin")
