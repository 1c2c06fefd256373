"""What must hold between the entries of a site file: ids once, names of something, policies that are allowed. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from config.reading import Key, Mistake
from config.site_entries import EVERY_DOOR, SiteFile
from config.site_records import door_from, register_from
from models import places
from models.errors import InvalidInput


def mistakes(file: SiteFile) -> Iterator[Mistake]:
    """Yield what is wrong between keys: ids given twice, names of nothing, doors whose policy is not allowed."""
    for group in ("areas", "flats", "doors", "cameras", "assessments", "people", "permits"):
        yield from _doubled(
            group, [getattr(entry, "code" if group == "areas" else "id") for entry in getattr(file, group)]
        )
    yield from _area_mistakes(file)
    for index, door in enumerate(file.doors):
        yield from _complaints(("doors", index), partial(places.check_door, door_from(door, file.site.id)))
    yield from _register_mistakes(file)
    yield from _assessment_mistakes(file)
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
