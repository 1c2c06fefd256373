"""Queries about enrolments at a door's camera: how far one is, and that it was called off. No picture is ever here."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select, update

from gateway.store.tables import commands
from gateway.store.types import as_text
from models.errors import InvalidInput, NotFound
from models.link import PICTURES_MOST, EnrolAtDoor, Progress, Result


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what an edge last said about a command; once called off it stays so."""

    progress: Progress | None = None
    called_off: bool = False


class DoorEnrolment(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one order to enrol at a door, and what became of it so far."""

    command: EnrolAtDoor
    asked_at: datetime
    kept: Kept
    result: Result | None


def keep_progress(connection: Connection, told: Progress, *, edge_id: str) -> bool:
    """Keep how far a command of an edge is; return False if nobody wants it any more.

    Raises:
        InvalidInput: the numbers cannot be.
    """
    if not 0 <= told.done <= told.wanted <= PICTURES_MOST:
        raise InvalidInput("done", f"{told.done} of {told.wanted} cannot be")
    own = (commands.c.id == told.command_id) & (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.progress).where(own).with_for_update()).first()
    if row is None or _kept(row.progress).called_off:
        return False
    connection.execute(update(commands).where(own).values(progress=as_text(Kept(progress=told))))
    return True


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
