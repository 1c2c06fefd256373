"""Turn the entries of a site file into the records of the house. Reads secret files, touches no database."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from config.settings import secret
from config.site_entries import (
    EVERY_DOOR,
    AssessmentEntry,
    CameraEntry,
    DoorEntry,
    PermitEntry,
    RegisterEntry,
    SiteFile,
)
from models import places
from models.assessments import Assessment, Topics
from models.people import Consent, Occupancy, Permit, Person, canonical_pin
from models.schedules import EVERY_DAY, Schedule, Window, named_by_content


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a site file as the records of the house. `cards` and `pins` are (person id, canonical value) pairs."""

    site: places.Site
    areas: tuple[places.Area, ...]
    flats: tuple[places.Flat, ...]
    doors: tuple[places.Door, ...]
    cameras: tuple[places.Camera, ...]
    assessments: tuple[Assessment, ...]
    people: tuple[Person, ...]
    consents: tuple[Consent, ...]
    occupancies: tuple[Occupancy, ...]
    schedules: tuple[Schedule, ...]
    permits: tuple[Permit, ...]
    cards: tuple[tuple[str, str], ...]
    pins: tuple[tuple[str, str], ...]


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
        doors=tuple(door_from(entry, site_id) for entry in file.doors),
        cameras=tuple(_camera(entry, site_id) for entry in file.cameras),
        assessments=tuple(assessment_from(entry, site_id) for entry in file.assessments),
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


def door_from(entry: DoorEntry, site_id: str) -> places.Door:
    """Return the record of a door."""
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
