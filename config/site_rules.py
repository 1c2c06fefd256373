"""What must hold between the entries of a site file: ids once, names of something, policies that are allowed. Pure."""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from config.reading import Key, Mistake
from config.settings import secret
from config.site_entries import SiteFile
from config.site_fields import EVERY_DOOR
from config.site_people import PersonEntry
from config.site_places import DoorEntry
from config.site_records import (
    always,
    calendar_from,
    card_format_from,
    door_from,
    notice_from,
    register_from,
    schedule_from,
    site_from,
)
from models import places
from models.cards import check_format
from models.errors import InvalidInput, SettingsError
from models.notices import check_notice
from models.pins import check_pin
from models.schedules import check_calendar, check_schedule
from models.zones import check_zone

GROUPS = (
    "areas", "companies", "flats", "controllers", "card_formats", "doors", "cameras", "calendars", "schedules", "groups",
    "notices", "assessments", "people", "permits",
)  # fmt: skip


def mistakes(file: SiteFile) -> Iterator[Mistake]:
    """Yield what is wrong between keys: ids given twice, names of nothing, doors whose policy is not allowed."""
    for group in GROUPS:
        yield from _doubled(
            group, [getattr(entry, "code" if group == "areas" else "id") for entry in getattr(file, group)]
        )
    yield from _area_mistakes(file)
    yield from _flat_mistakes(file)
    yield from _door_mistakes(file)
    yield from _register_mistakes(file)
    yield from _rule_mistakes(file)
    yield from _assessment_mistakes(file)
    yield from _secret_mistakes(file)
    yield from _pin_mistakes(file)
    yield from _unknown_names(file)


def _doubled(group: str, ids: list[str]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, value in enumerate(ids):
        if value in seen:
            field = "code" if group == "areas" else "id"
            yield Mistake(key=(group, index, field), message=f"{value!r} is given twice", suggestion="choose another")
        seen.add(value)


def _complaints(key: Key, check: Callable[[], object], *, nested: bool = False) -> Iterator[Mistake]:
    try:
        check()
    except InvalidInput as error:
        parts = error.where.split(".")
        yield Mistake(key=(*key, *(parts if nested else parts[-1:])), message=error.what)


def _area_mistakes(file: SiteFile) -> Iterator[Mistake]:
    for index, area in enumerate(file.areas):
        yield from _complaints(("areas", index), partial(places.check_area, places.Area(**area.model_dump())))
    yield from _complaints(("site",), partial(places.check_site, site_from(file)))


def _flat_mistakes(file: SiteFile) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for index, flat in enumerate(file.flats):
        if flat.keypad and first.setdefault(flat.keypad, flat.id) != flat.id:
            message = f"flat {first[flat.keypad]!r} has this code already"
            yield Mistake(key=("flats", index, "keypad"), message=message, suggestion="choose another")


def _door_mistakes(file: SiteFile) -> Iterator[Mistake]:
    cameras = {camera.id: camera.edge for camera in file.cameras}
    boards = {board.id: board.edge for board in file.controllers}
    driven = Counter(door.controller for door in file.doors)
    for index, door in enumerate(file.doors):
        yield from _complaints(("doors", index), partial(places.check_door, door_from(door, file.site.id)))
        if door.controller is not None and driven[door.controller] > places.CONTROLLER_DOORS:
            message = f"one controller drives at most {places.CONTROLLER_DOORS} doors"
            yield Mistake(key=("doors", index, "controller"), message=message)
        for name, edges in (("camera", cameras), ("controller", boards)):
            if edges.get(getattr(door, name), door.edge) != door.edge:
                message = f"is on another edge than its {name}"
                yield Mistake(
                    key=("doors", index, "edge"), message=message, suggestion="what works together needs one edge"
                )
    yield from _sluice_mistakes(file)
    edges = {door.id: door.edge for door in file.doors}
    for index, camera in enumerate(file.cameras):
        if camera.door is not None and edges.get(camera.door, camera.edge) != camera.edge:
            message = "is on another edge than its door"
            yield Mistake(
                key=("cameras", index, "edge"), message=message, suggestion="what works together needs one edge"
            )


def _sluice_mistakes(file: SiteFile) -> Iterator[Mistake]:
    first: dict[str, DoorEntry] = {}
    for index, door in enumerate(file.doors):
        if door.interlock and (other := first.setdefault(door.interlock, door)).edge != door.edge:
            message = (
                f"sluice {door.interlock!r} has door {other.id!r} on edge {other.edge!r}, this one is on {door.edge!r}"
            )
            hint = "no edge sees whether another's door is shut: put the doors of a sluice on one edge"
            yield Mistake(key=("doors", index, "interlock"), message=message, suggestion=hint)


def _rule_mistakes(file: SiteFile) -> Iterator[Mistake]:
    for index, entry in enumerate(file.card_formats):
        yield from _complaints(("card_formats", index), partial(check_format, card_format_from(entry, file.site.id)))
    for index, calendar in enumerate(file.calendars):
        yield from _complaints(("calendars", index), partial(check_calendar, calendar_from(calendar, file.site.id)))
    for index, schedule in enumerate(file.schedules):
        yield from _complaints(("schedules", index), partial(check_schedule, schedule_from(schedule, file)))
    for index, notice in enumerate(file.notices):
        check = partial(check_notice, notice_from(notice, file.site.id))
        yield from _complaints(("notices", index), check, nested=True)
    for index, permit in enumerate(file.permits):
        if permit.schedule is not None and not always(permit):
            message = "given twice, also as weekdays and times"
            yield Mistake(key=("permits", index, "schedule"), message=message, suggestion="keep one of the two")


def _register_mistakes(file: SiteFile) -> Iterator[Mistake]:
    for index, camera in enumerate(file.cameras):
        if camera.register_entry is not None:
            entry = register_from(camera.register_entry)
            yield from _complaints(("cameras", index, "register_entry"), partial(places.check_register, entry, ""))


def _assessment_mistakes(file: SiteFile) -> Iterator[Mistake]:
    for index, entry in enumerate(file.assessments):
        if entry.approved_by == entry.drafted_by:
            message = "somebody else than its author approves an assessment"
            yield Mistake(key=("assessments", index, "approved_by"), message=message, suggestion="name another post")
        if entry.approved_at < entry.drafted_at:
            message = "it was approved before it was written"
            yield Mistake(key=("assessments", index, "approved_at"), message=message)
        if entry.valid_until is not None and entry.valid_until <= entry.approved_at:
            message = "it ends before it was approved"
            yield Mistake(key=("assessments", index, "valid_until"), message=message)


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


def _pin_mistakes(file: SiteFile) -> Iterator[Mistake]:
    """Yield PINs that are none, too short for how many open the same keypads, or too easy: those that the API refuses."""
    factors = {factor for door in file.doors for factor in door.factors}
    held = [(index, who.flat, *pin) for index, who in enumerate(file.people) for pin in _pins(who)]
    flats = Counter(flat for _, flat, _, _ in held)
    for index, flat, name, pin in held:
        there = flats[flat] if "flat_pin" in factors and flat is not None else 0
        holders = len(held) if "pin" in factors else there
        yield from _complaints(("people", index), partial(check_pin, pin, holders=holders, where=name))


def _pins(who: PersonEntry) -> Iterator[tuple[str, str]]:
    """Yield the PINs of somebody whose files can be read, each with its key."""
    for name, value, path in (("pin", who.pin, who.pin_file), ("duress_pin", who.duress_pin, who.duress_pin_file)):
        with contextlib.suppress(SettingsError):
            pin = secret(value, path, key=name)
            if pin is not None:
                yield name if value is not None else f"{name}_file", pin


def _unknown_names(file: SiteFile) -> Iterator[Mistake]:
    doors = {door.id for door in file.doors}
    cameras = {camera.id for camera in file.cameras}
    flats = {flat.id for flat in file.flats}
    people = {who.id for who in file.people}
    for index, door in enumerate(file.doors):
        yield from _unknown(("doors", index, "camera"), [door.camera], cameras)
        yield from _unknown(("doors", index, "controller"), [door.controller], {one.id for one in file.controllers})
        for place, reader in enumerate(door.readers):
            key = ("doors", index, "readers", place, "format")
            yield from _unknown(key, [reader.format or None], {one.id for one in file.card_formats})
    for index, camera in enumerate(file.cameras):
        yield from _unknown(("cameras", index, "door"), [camera.door], doors)
        try:
            check_zone(camera.near_zone)
        except InvalidInput as error:
            yield Mistake(
                key=("cameras", index, "near_zone"),
                message=error.what,
                suggestion="write left, top, right, bottom, or the corners x, y of a polygon in their order",
            )
    for index, who in enumerate(file.people):
        yield from _unknown(("people", index, "flat"), [who.flat], flats)
        for place, consent in enumerate(who.consents):
            yield from _unknown(("people", index, "consents", place, "doors"), consent.doors, doors)
    for index, permit in enumerate(file.permits):
        yield from _unknown(("permits", index, "person"), [permit.person], people)
        yield from _unknown(("permits", index, "doors"), () if permit.doors == EVERY_DOOR else permit.doors, doors)
    yield from _unknown_rules(file, doors)


def _unknown_rules(file: SiteFile, doors: set[str]) -> Iterator[Mistake]:
    schedules = {schedule.id for schedule in file.schedules}
    groups = {group.id for group in file.groups}
    for index, door in enumerate(file.doors):
        yield from _unknown(("doors", index, "free_schedule_id"), [door.free_schedule_id], schedules)
    for index, schedule in enumerate(file.schedules):
        yield from _unknown(
            ("schedules", index, "calendars"), schedule.calendars, {calendar.id for calendar in file.calendars}
        )
    for index, group in enumerate(file.groups):
        yield from _unknown(("groups", index, "schedule"), [group.schedule], schedules)
        yield from _unknown(("groups", index, "doors"), () if group.doors == EVERY_DOOR else group.doors, doors)
    for index, flat in enumerate(file.flats):
        yield from _unknown(("flats", index, "groups"), flat.groups, groups)
    for index, permit in enumerate(file.permits):
        yield from _unknown(("permits", index, "group"), [permit.group], groups)
        yield from _unknown(("permits", index, "schedule"), [permit.schedule], schedules)


def _unknown(key: Key, names: Iterable[str | None], known: set[str]) -> Iterator[Mistake]:
    for name in names:
        if name is not None and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "add it to this file"
            yield Mistake(key=key, message=f"there is no {name!r} in this file", suggestion=hint)


def warnings(file: SiteFile) -> Iterator[Mistake]:
    """Yield what works, but perhaps not as it is meant."""
    edges = {door.id: door.edge for door in file.doors}
    for index, group in enumerate(file.groups):
        used = sorted({edges[door] for door in (edges if group.doors == EVERY_DOOR else group.doors) if door in edges})
        if len(used) > 1:
            message = f"its doors are on several edges ({', '.join(used)}), which count apart"
            hint = "passes with counted uses, and what doors must know of one another, need doors of one edge"
            yield Mistake(key=("groups", index, "doors"), message=message, suggestion=hint)
    for index, camera in enumerate(file.cameras):
        if camera.register_entry is None:
            message = "has no register entry: its stream stays off"
            yield Mistake(key=("cameras", index), message=message, suggestion="add register_entry: …")
    assessed = {entry.subject for entry in file.assessments}
    for index, door in enumerate(file.doors):
        if "face" not in assessed and any("face" in factor for factor in door.factors):
            message = (
                "takes faces, and no assessment of this file allows them: they are not matched before one is approved"
            )
            yield Mistake(key=("doors", index, "factors"), message=message)
    yield from _idle_rules(file)


def _idle_rules(file: SiteFile) -> Iterator[Mistake]:
    """Yield rules of doors that do nothing as they stand, or more than is perhaps meant."""
    sluices = Counter(door.interlock for door in file.doors)
    with_holidays = {schedule.id for schedule in file.schedules if schedule.calendars}
    for index, door in enumerate(file.doors):
        if door.interlock and sluices[door.interlock] == 1:
            message = f"no other door of this file is in sluice {door.interlock!r}: alone it holds nothing back"
            hint = "name the other door's interlock alike, or leave this out"
            yield Mistake(key=("doors", index, "interlock"), message=message, suggestion=hint)
        if door.passback_reset_min and door.passback == "off":
            message = "does nothing while passback is off"
            yield Mistake(key=("doors", index, "passback_reset_min"), message=message, suggestion="add passback: soft")
        if "second_within_s" in door.model_fields_set and not door.two_person:
            message = "does nothing without two_person"
            yield Mistake(key=("doors", index, "second_within_s"), message=message, suggestion="add two_person: true")
        free = door.free_schedule_id
        if free is not None and not door.first_person and (door.high_security or free not in with_holidays):
            why = "security is high here" if door.high_security else "its schedule knows no holidays"
            message = f"stands unlocked by the clock though nobody has come, and {why}"
            hint = "first_person: true waits for the first who is let in"
            yield Mistake(key=("doors", index, "free_schedule_id"), message=message, suggestion=hint)
