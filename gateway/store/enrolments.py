"""Queries about enrolments at a door's camera: how far one is, and that it was called off. No picture is ever here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection, select, update

from gateway.store.tables import commands
from gateway.store.types import as_text
from models.errors import InvalidInput, NotFound
from models.link import PICTURES_MOST, EnrolAtDoor, Progress, Result

ALONE: Final = timedelta(seconds=15)
"""An order at which nobody has looked for so long is called off: whoever walks up next must not be enrolled unseen."""
LOOKED: Final = timedelta(seconds=3)
"""Looks closer together than this are one."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what an edge last said about a command; once called off it stays so."""

    progress: Progress | None = None
    called_off: bool = False
    looked_at: datetime | None = None
    """When somebody last asked how far it is."""


class DoorEnrolment(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one order to enrol at a door, and what became of it so far."""

    command: EnrolAtDoor
    asked_at: datetime
    kept: Kept
    result: Result | None


def keep_progress(connection: Connection, told: Progress, *, edge_id: str, at: datetime) -> bool:
    """Keep how far a command of an edge is; return False if it was called off, or nobody looks any more.

    Raises:
        InvalidInput: the numbers cannot be.
    """
    if not 0 <= told.done <= told.wanted <= PICTURES_MOST:
        raise InvalidInput("done", f"{told.done} of {told.wanted} cannot be")
    own = (commands.c.id == told.command_id) & (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.progress, commands.c.created_at).where(own).with_for_update()).first()
    if row is None or _kept(row.progress).called_off:
        return False
    kept = _kept(row.progress)
    alone = at - max(kept.looked_at or row.created_at, row.created_at) > ALONE
    kept = msgspec.structs.replace(kept, progress=told, called_off=alone)
    connection.execute(update(commands).where(own).values(progress=as_text(kept)))
    return not alone


def look_at(connection: Connection, command_id: str, *, at: datetime) -> None:
    """Note that somebody asked how far a command is that has not ended."""
    still = (commands.c.id == command_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.progress).where(still).with_for_update()).first()
    if row is None:
        return
    kept = _kept(row.progress)
    if kept.looked_at is None or at - kept.looked_at >= LOOKED:
        seen = msgspec.structs.replace(kept, looked_at=at)
        connection.execute(update(commands).where(still).values(progress=as_text(seen)))


def call_off(connection: Connection, command_id: str) -> bool:
    """Note that a command is not wanted any more, for its edge to hear; return False if it has ended."""
    still = (commands.c.id == command_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.progress).where(still).with_for_update()).first()
    if row is None:
        return False
    off = msgspec.structs.replace(_kept(row.progress), called_off=True)
    connection.execute(update(commands).where(still).values(progress=as_text(off)))
    return True


def was_called_off(connection: Connection, command_id: str) -> bool:
    """Return whether a command was called off before it ended."""
    text = connection.execute(select(commands.c.progress).where(commands.c.id == command_id)).scalar()
    return _kept(text).called_off


def door_enrolment(connection: Connection, command_id: str) -> DoorEnrolment:
    """Return an order to enrol at a door; whether the caller may see its person is the caller's to ask.

    Raises:
        NotFound: there is none, or it is forgotten.
    """
    one = (commands.c.id == command_id) & (commands.c.kind == "enrol_at_door")
    row = connection.execute(select(commands).where(one)).first()
    if row is None:
        raise NotFound("face enrolment", command_id)
    result = None if row.result is None else msgspec.json.decode(row.result, type=Result)
    command = msgspec.json.decode(row.body, type=EnrolAtDoor)
    return DoorEnrolment(command=command, asked_at=row.created_at, kept=_kept(row.progress), result=result)


def _kept(text: str | None) -> Kept:
    return Kept() if text is None else msgspec.json.decode(text, type=Kept)
