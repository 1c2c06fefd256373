"""Queries about orders at which somebody looks: enrolments at a door's camera, and card lessons at its reader.

How far one is, and that it was called off. No picture and no reading of a card is ever here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec
from sqlalchemy import Connection, select, update

from gateway.store.tables import commands
from gateway.store.types import as_text
from models.card_lessons import LearnCards
from models.cards import READING_CHARS
from models.errors import InvalidInput, NotFound
from models.link import PICTURES_MOST, EnrolAtDoor, Progress, Result

ALONE: Final = timedelta(seconds=15)
"""An order at which nobody has looked for so long is called off: nobody who walks up next is enrolled or gathered unseen."""
LEARNS: Final = "learn_cards"
LOOKED: Final = timedelta(seconds=3)
"""Looks closer together than this are one."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what an edge last said about a command; once called off it stays so."""

    progress: Progress | None = None
    called_off: bool = False
    why: str = ""
    """Why it was called off if nobody did so: nobody looked (`alone`), or its edge began anew (`restarted`)."""
    looked_at: datetime | None = None
    """When somebody last asked how far it is."""


C = TypeVar("C", EnrolAtDoor, LearnCards)


class Watched(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Hold one order at which somebody looks, and what became of it so far."""

    command: C
    asked_at: datetime
    kept: Kept
    result: Result | None


DoorEnrolment = Watched[EnrolAtDoor]
KeptLesson = Watched[LearnCards]


def keep_progress(connection: Connection, told: Progress, *, edge_id: str, at: datetime) -> bool:
    """Keep how far a command of an edge is; return False if it was called off, or nobody looks any more.

    What a reader read is not kept. An edge that begins a card lesson anew has lost what it had gathered: that ends it.

    Raises:
        InvalidInput: the numbers or the readings cannot be.
    """
    if not 0 <= told.done <= told.wanted <= PICTURES_MOST or told.again < 0:
        raise InvalidInput("done", f"{told.done} of {told.wanted} cannot be")
    own = (commands.c.id == told.command_id) & (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    columns = (commands.c.progress, commands.c.created_at, commands.c.kind)
    row = connection.execute(select(*columns).where(own).with_for_update()).first()
    if row is None or _kept(row.progress).called_off:
        return False
    _check_readings(told, learns=row.kind == LEARNS)
    kept = _kept(row.progress)
    anew = kept.progress is not None and kept.progress.since != told.since
    alone = at - max(kept.looked_at or row.created_at, row.created_at) > ALONE
    why = "restarted" if anew else "alone" if alone else ""
    without = msgspec.structs.replace(told, readings=())
    kept = msgspec.structs.replace(kept, progress=without, called_off=bool(why), why=why)
    connection.execute(update(commands).where(own).values(progress=as_text(kept)))
    return not why


def _check_readings(told: Progress, *, learns: bool) -> None:
    if len(told.readings) != (told.done if learns else 0):
        raise InvalidInput("readings", "there is one for each card that a lesson has gathered, and none otherwise")
    if any(not (0 < len(one) <= READING_CHARS and one.isprintable()) for one in told.readings):
        raise InvalidInput("readings", f"each has 1 to {READING_CHARS} printable characters")


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


def use(connection: Connection, command_id: str) -> bool:
    """Note that what a command gathered is used and no more wanted; return False if it was already, or was called off."""
    its = commands.c.id == command_id
    row = connection.execute(select(commands.c.progress, commands.c.ended_at).where(its).with_for_update()).one()
    kept = _kept(row.progress)
    if kept.called_off or kept.why:
        return False
    going = row.ended_at is None
    used = msgspec.structs.replace(kept, called_off=going, why="" if going else "used")
    connection.execute(update(commands).where(its).values(progress=as_text(used)))
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
    return _watched(connection, command_id, EnrolAtDoor, what="face enrolment")


def card_lesson(connection: Connection, command_id: str) -> KeptLesson:
    """Return an order to learn at a reader; whether the caller may see its door is the caller's to ask.

    Raises:
        NotFound: there is none, or it is forgotten.
    """
    return _watched(connection, command_id, LearnCards, what="card lesson")


def _watched(connection: Connection, command_id: str, type_: type[C], *, what: str) -> Watched[C]:
    one = (commands.c.id == command_id) & (commands.c.kind == str(type_.__struct_config__.tag))
    row = connection.execute(select(commands).where(one)).first()
    if row is None:
        raise NotFound(what, command_id)
    result = None if row.result is None else msgspec.json.decode(row.result, type=Result)
    command = msgspec.json.decode(row.body, type=type_)
    return Watched(command=command, asked_at=row.created_at, kept=_kept(row.progress), result=result)


def _kept(text: str | None) -> Kept:
    return Kept() if text is None else msgspec.json.decode(text, type=Kept)
