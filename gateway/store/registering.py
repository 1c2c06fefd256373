"""One form for many cameras: the register entry that they share, their names by a pattern, how much of them is decoded.

Each camera is written for itself, so that one that cannot be registered takes nothing from the others, unless whoever
asks wants all or none. A preview writes everything and takes it back: what it shows is what would be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection

from gateway.place_views import CameraSettings, RegisteredRow
from gateway.store.devices import CAMERAS
from gateway.store.kept import Act
from models.errors import Conflict, Forbidden, GatehouseError, InvalidInput, NotFound

NAME_CHARS: Final = 128
PLACES: Final = ("{n}", "{name}", "{id}")
"""What a pattern of names may hold: a number that counts up, the name until now, the camera's id."""
_PLACE: Final = re.compile("|".join(map(re.escape, PLACES)))
REASONS: Final[Mapping[type[GatehouseError], str]] = {
    NotFound: "not_found", Conflict: "conflict", Forbidden: "forbidden", InvalidInput: "invalid_input"
}  # fmt: skip


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Say what many cameras get.

    Args:
        entry: their register entry as JSON values, masks apart.
        anew: whether one that has an entry gets this one; else it is left as it is.
        name: a pattern for their names; empty leaves them.
        first: the number of the first one that is changed.
        rate: how much of them is decoded; None leaves that.
        masks: for those that have none: each keeps its own.
    """

    entry: Mapping[str, Any]
    anew: bool = False
    name: str = ""
    first: int = 1
    rate: Literal["auto", "full", "key"] | None = None
    masks: tuple[tuple[float, float, float, float], ...] = ()


def register_many(
    connection: Connection, camera_ids: Sequence[str], *, form: Form, each: bool = False, preview: bool = False, by: Act
) -> list[RegisteredRow]:
    """Give cameras what a form says, and return what became of each.

    Args:
        connection: a writing one.
        camera_ids: which; one that is named twice counts once.
        form: what they get.
        each: tell of a camera that cannot be registered in its row and go on; else that is raised, nothing written.
        preview: write nothing in the end.
        by: who wants it.

    Raises:
        InvalidInput: the pattern would give many cameras one name; or without `each`, the entry is not complete.
        NotFound: without `each`, one of them is none that the caller may see.
        Conflict: without `each`, one of them comes from the site file.
    """
    wanted = tuple(dict.fromkeys(camera_ids))
    if form.name and len(wanted) > 1 and not any(place in form.name for place in PLACES):
        raise InvalidInput("name", "put {n}, {name} or {id} into it, or all get one name").because("one_name")
    rows: list[RegisteredRow] = []
    with connection.begin_nested() as whole:
        number = form.first
        for camera_id in wanted:
            one = _tried if each else _registered
            row = one(connection, camera_id, form=form, number=number, by=by)
            number += row.state == "changed"
            rows.append(row)
        if preview:
            whole.rollback()
    return rows


def _tried(connection: Connection, camera_id: str, *, form: Form, number: int, by: Act) -> RegisteredRow:
    """Register one camera, or say why not and leave it as it was."""
    try:
        with connection.begin_nested():
            return _registered(connection, camera_id, form=form, number=number, by=by)
    except (NotFound, Conflict, Forbidden, InvalidInput) as error:
        reason = error.reason or REASONS[type(error)]
        return RegisteredRow(camera_id=camera_id, state="refused", name="", reason=reason, detail=str(error)[:300])


def _registered(connection: Connection, camera_id: str, *, form: Form, number: int, by: Act) -> RegisteredRow:
    view: CameraSettings = CAMERAS.shown(connection, camera_id, caller=by.caller)
    if view.register is not None and not form.anew:
        return RegisteredRow(camera_id=camera_id, state="kept", name=view.name, camera=view)
    own = () if view.register is None else view.register.privacy_masks
    changes: dict[str, Any] = {"register": {**form.entry, "privacy_masks": own or form.masks}}
    if form.name:
        changes["name"] = _name(form.name, view, number=number)
    if form.rate is not None:
        changes["rate"] = form.rate
    after = CAMERAS.changed(connection, camera_id, changes=changes, by=by)
    return RegisteredRow(camera_id=camera_id, state="changed", name=after.name, camera=after)


def _name(pattern: str, view: CameraSettings, *, number: int) -> str:
    """Return the name that a pattern gives a camera; what is put in is not read as a pattern again."""
    pieces = {"{n}": str(number), "{name}": view.name, "{id}": view.id}
    name = _PLACE.sub(lambda found: pieces[found.group()], pattern).strip()
    if not 0 < len(name) <= NAME_CHARS:
        raise InvalidInput("name", f"would have {len(name)} characters: give a shorter pattern").because("name_length")
    return name
