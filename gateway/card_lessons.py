"""Learn how a reader writes from cards held up to it: order it, follow it, name the cards, set the format. Keeps no number.

The edge gathers what is read (edge.card_lessons); it stays in this process's memory (gateway.readings), of which people
are shown the shape alone, and only the learnt format is written.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.place_views import CardFormatView, DoorReader, DoorSettings, ReaderView
from gateway.readings import Held
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.card_formats import CARD_FORMATS, format_named, formats_of
from gateway.store.devices import DOORS, READERS
from gateway.store.edges import EdgeIdentity, add_command, edge_view
from gateway.store.enrolments import KeptLesson, call_off, card_lesson, look_at, use, was_called_off
from gateway.store.kept import Act
from gateway.store.places import credential_key
from gateway.store.rights import card_digest
from models.card_lessons import LearnCards, Named, Proof, Shape, propose, shape_of
from models.cards import AS_IT_COMES, CardFormat, canonical_reading
from models.errors import Conflict, InvalidInput, NotFound
from models.link import Result
from models.people import credential_digest
from models.places import Reader

LATE: Final = timedelta(seconds=5)
"""How long after the deadline the edge's answer may take on its way."""
OFF: Final = {
    "alone": "nobody looked for 15 s: it was called off",
    "restarted": "its edge was restarted meanwhile, what had been gathered is lost: begin again",
    "forgotten": "what was read is forgotten: begin again",
}
State = Literal["waiting", "running", "confirmed", "refused", "failed", "expired", "cancelled", "forgotten"]


class CardLesson(msgspec.Struct, frozen=True, kw_only=True):
    """Show a lesson at a reader: `waiting` for its edge, `running`, or how it ended. It holds no card's number."""

    id: str
    door_id: str
    reader: Literal["in", "out"]
    reader_id: str
    """Empty where the door has a reader of no id yet."""
    state: State
    presented: tuple[Shape, ...] = ()
    """How each different card was read, in order."""
    wanted: int
    again: int = 0
    """How often a card was held up that read like one before."""
    reason: str = ""
    """Why it ended without enough cards, as a stable word."""
    detail: str = ""
    asked_at: datetime
    until: datetime
    """When cards are decided on again at the latest."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Say at which reader to learn, from how many cards, and for how long."""

    door_id: str
    side: Literal["in", "out"]
    reader_id: str | None
    cards: int
    for_s: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Say which card a presentation was: by its number, in a desk reader's format or as it is kept, or by whose it is."""

    presented: int
    number: str = ""
    format: str | None = None
    credential_id: str | None = None

    def __repr__(self) -> str:
        return f"Card(presented={self.presented})"


class Set(msgspec.Struct, frozen=True, kw_only=True):
    """Show what a lesson came to: the reader, and the format that it names now; none if it gives the canonical form."""

    reader: ReaderView
    format: CardFormatView | None


async def learn_at_door(runtime: Runtime, wanted: Wanted, *, caller: Caller) -> CardLesson:
    """Have a door's edge gather the next cards at a reader, and return the order as it stands.

    Raises:
        NotFound: there is no such door in the caller's scope.
        InvalidInput: it has no such reader of cards, or several.
        Conflict: its edge cannot be reached now.
    """
    edge_id, lesson = await runtime.store.write(_begin, wanted, caller=caller, at=runtime.clock())
    runtime.bells.edge(edge_id).ring()
    return lesson


def _begin(connection: Connection, wanted: Wanted, *, caller: Caller, at: datetime) -> tuple[str, CardLesson]:
    door = DOORS.shown(connection, wanted.door_id, caller=caller)
    reader = _reader(door, wanted)
    _check_reachable(connection, door.edge_id, caller=caller, at=at)
    command = LearnCards(
        id=str(uuid.uuid4()), door_id=door.id, reader=reader.side, reader_id=reader.id, cards=wanted.cards,
        deadline=at + timedelta(seconds=wanted.for_s),
    )  # fmt: skip
    add_command(connection, command, edge_id=door.edge_id, at=at)
    detail = {"command": command.id, "site": door.site_id, "reader": reader.id or reader.side}
    entry = AuditEntry(
        actor=caller.id, action="card_format.learn", subject=door.id, result="sent", detail=detail, reason=caller.reason
    )
    append_audit(connection, entry, at=at)
    return door.edge_id, _shown(card_lesson(connection, command.id), None, at=at)


def _reader(door: DoorSettings, wanted: Wanted) -> Reader:
    """Return the reader of cards that is meant: the one that is named, or the only one on its side."""
    found = [one for one in door.readers if "card" in one.kinds]
    if wanted.reader_id is not None:
        found = [one for one in found if one.id == wanted.reader_id]
    else:
        found = [one for one in found if one.side == wanted.side]
    if not found:
        what = f"on side {wanted.side!r}" if wanted.reader_id is None else repr(wanted.reader_id)
        raise InvalidInput("reader", f"door {door.id!r} has no reader of cards {what}")
    if len(found) > 1:
        names = ", ".join(one.id or one.name or one.side for one in found)
        raise InvalidInput("reader_id", f"this side has several readers of cards, name one: {names}")
    return found[0]


def _check_reachable(connection: Connection, edge_id: str, *, caller: Caller, at: datetime) -> None:
    try:
        edge = edge_view(connection, edge_id, site_ids=caller.sites, at=at)
    except NotFound:
        edge = None
    if edge is None or edge.revoked_at is not None:
        raise Conflict(f"edge {edge_id!r} of this door is not set up yet: enrol it first")
    if not edge.online:
        raise Conflict(f"edge {edge_id!r} of this door is away: bring it back, then begin again")


async def show_lesson(runtime: Runtime, lesson_id: str, *, caller: Caller) -> CardLesson:
    """Return how far a lesson is; while somebody looks, it goes on.

    Raises:
        NotFound: there is none in the caller's scope.
    """
    at = runtime.clock()
    found = await runtime.store.write(_looked, lesson_id, caller=caller, at=at)
    return _shown(found, runtime.readings.of(lesson_id, at=at), at=at)


def _looked(connection: Connection, lesson_id: str, *, caller: Caller, at: datetime) -> KeptLesson:
    found = _found(connection, lesson_id, caller=caller)
    look_at(connection, lesson_id, at=at)
    return found


def _found(connection: Connection, lesson_id: str, *, caller: Caller) -> KeptLesson:
    found = card_lesson(connection, lesson_id)
    try:
        DOORS.shown(connection, found.command.door_id, caller=caller)
    except NotFound as error:
        raise NotFound("card lesson", lesson_id) from error
    return found


async def cancel_lesson(runtime: Runtime, lesson_id: str, *, caller: Caller) -> None:
    """Call a lesson off and forget what was read; its edge hears it at its next word.

    Raises:
        NotFound: there is none in the caller's scope.
    """
    await runtime.store.write(_cancel, lesson_id, caller=caller, at=runtime.clock())
    runtime.readings.forget(lesson_id)


def _cancel(connection: Connection, lesson_id: str, *, caller: Caller, at: datetime) -> None:
    found = _found(connection, lesson_id, caller=caller)
    if call_off(connection, lesson_id):
        note(connection, caller, action="card_format.learn_cancel", subject=found.command.door_id, at=at,
             command=lesson_id)  # fmt: skip


async def propose_format(runtime: Runtime, lesson_id: str, *, cards: Iterable[Card], caller: Caller) -> Proof:
    """Say which formats read the presentations as the cards that they were, and why others do not.

    Raises:
        NotFound: there is no such lesson or card in the caller's scope.
        Conflict: what was read is forgotten, or the lesson was called off.
        InvalidInput: too few cards are named, one cannot be read, or there was no such presentation.
        Forbidden: the caller names somebody's card and may not look at people.
    """
    named = tuple(cards)
    held = await _gathered(runtime, lesson_id, caller=caller)
    if any(one.credential_id is not None for one in named) and not caller.may("people:read"):
        entry = AuditEntry(
            actor=caller.id, action="refused", subject="people:read", result="forbidden",
            detail={"command": lesson_id}, reason=caller.reason,
        )  # fmt: skip
        await runtime.store.write(append_audit, entry, at=runtime.clock())
        caller.require("people:read")
    proof = await runtime.store.write(
        _prove, lesson_id, readings=held.readings, cards=named, caller=caller, at=runtime.clock()
    )
    held.fits = proof.fits
    return proof


async def _gathered(runtime: Runtime, lesson_id: str, *, caller: Caller) -> Held:
    lesson = await show_lesson(runtime, lesson_id, caller=caller)
    held = runtime.readings.of(lesson_id, at=runtime.clock())
    if held is None or lesson.state not in ("running", "confirmed"):
        raise Conflict(lesson.detail or "nothing was read in this lesson: begin again")
    return held


def _prove(
    connection: Connection,
    lesson_id: str,
    *,
    readings: tuple[str, ...],
    cards: tuple[Card, ...],
    caller: Caller,
    at: datetime,
) -> Proof:
    door = DOORS.shown(connection, card_lesson(connection, lesson_id).command.door_id, caller=caller)
    named = [_named(connection, card, readings=readings, site_id=door.site_id) for card in cards]
    proof = propose(named)
    told = {"command": lesson_id, "site": door.site_id, "cards": str(len(named)), "formats": str(len(proof.fits))}
    if whose := [card.credential_id for card in cards if card.credential_id is not None]:
        told["credentials"] = ",".join(whose)
    entry = AuditEntry(
        actor=caller.id, action="card_format.learn", subject=door.id, result=proof.hint or "ok", detail=told,
        reason=caller.reason,
    )  # fmt: skip
    append_audit(connection, entry, at=at)
    return proof


def _named(connection: Connection, card: Card, *, readings: tuple[str, ...], site_id: str) -> Named:
    """Return a presentation with the card that it was; numbers are compared as the site's cards are kept, by digest."""
    if not 1 <= card.presented <= len(readings):
        raise InvalidInput("presented", f"there were {len(readings)} presentations so far")
    reading, canonical = readings[card.presented - 1], ""
    key = bytes.fromhex(credential_key(connection, site_id))
    if card.credential_id is not None:
        digest = card_digest(connection, card.credential_id, site_id=site_id)
    else:
        by = AS_IT_COMES
        if card.format is not None:
            by = format_named(connection, card.format, site_id=site_id, where="format")
        canonical = canonical_reading(card.number, by, where="number")
        digest = credential_digest("card", canonical, key)

    def is_known(other: str) -> bool:
        return hmac.compare_digest(credential_digest("card", other, key), digest)

    return Named(reading=reading, is_known=is_known, card=digest, canonical=canonical)


async def set_format(
    runtime: Runtime, lesson_id: str, *, choice: int, name: str, format_id: str, caller: Caller
) -> Set:
    """Set a proposed format on the lesson's reader and forget what was read; a format that the site has is used again.

    Raises:
        NotFound: there is no such lesson in the caller's scope.
        Conflict: nothing was proposed, what was read is forgotten or used, or the site file describes the reader.
    """
    held = await _gathered(runtime, lesson_id, caller=caller)
    if not 0 <= choice < len(held.fits):
        raise Conflict("no such format was proposed: name the cards first")
    fit = msgspec.structs.replace(held.fits[choice], name=name)
    made = await runtime.store.write(
        _set, lesson_id, fit=fit, format_id=format_id, by=Act(caller=caller, at=runtime.clock())
    )
    runtime.readings.forget(lesson_id)
    runtime.bells.policies_changed()
    return made


def _set(connection: Connection, lesson_id: str, *, fit: CardFormat, format_id: str, by: Act) -> Set:
    if not use(connection, lesson_id):
        raise Conflict("this lesson was called off, or its format is set already: begin again").because("used")
    command = card_lesson(connection, lesson_id).command
    door = DOORS.shown(connection, command.door_id, caller=by.caller)
    reader = _reader_now(door, command)
    view = None if fit.id == AS_IT_COMES.id else _kept_format(connection, fit, door=door, format_id=format_id, by=by)
    named = "" if view is None else view.id
    if reader.id:
        return Set(reader=READERS.changed(connection, reader.id, changes={"format": named}, by=by), format=view)
    given = msgspec.structs.replace(reader, id=f"r-{uuid.uuid4().hex}", format=named)
    record = DoorReader(door_id=door.id, **msgspec.structs.asdict(given))
    return Set(reader=READERS.added(connection, record, by=by), format=view)


def _reader_now(door: DoorSettings, command: LearnCards) -> Reader:
    """Return the reader that a lesson was held at, as the door has it by now; a fresh one where it has none on that side."""
    if command.reader_id:
        return Reader(id=command.reader_id)
    there = [one for one in door.readers if one.side == command.reader and "card" in one.kinds]
    if len(there) > 1:
        raise Conflict("this side has several readers of cards by now: begin again at one of them").because("used")
    return there[0] if there else Reader(side=command.reader)


def _kept_format(
    connection: Connection, fit: CardFormat, *, door: DoorSettings, format_id: str, by: Act
) -> CardFormatView:
    """Return the site's format that reads alike; a new one if there is none."""
    for one in formats_of(connection, door.site_id):
        if _bare(one) == _bare(fit):
            return CARD_FORMATS.shown(connection, one.id, caller=by.caller)
    name = fit.name or f"{door.name or door.id}, learnt"
    record = msgspec.structs.replace(fit, id=format_id, site_id=door.site_id, name=name[:128])
    return CARD_FORMATS.added(connection, record, by=by)


def _bare(one: CardFormat) -> CardFormat:
    return msgspec.structs.replace(one, id="", site_id="", name="")


def note_lesson(
    connection: Connection, command: LearnCards, *, result: Result, edge: EdgeIdentity, at: datetime
) -> None:
    """Put on record how a lesson ended, since nobody waits for it: without what was read."""
    off = was_called_off(connection, command.id)
    ended = "cancelled" if off else "ok" if result.state == "confirmed" else (result.reason or result.state)[:64]
    detail = {"command": command.id, "site": edge.site_id}
    entry = AuditEntry(actor=edge.id, action="card_format.learn", subject=command.door_id, result=ended, detail=detail)
    append_audit(connection, entry, at=at)


def _shown(one: KeptLesson, held: Held | None, *, at: datetime) -> CardLesson:
    command = one.command
    state = _state(one, held, at=at)
    word = one.kept.why if one.kept.called_off else "forgotten" if state == "forgotten" else ""
    result = one.result if not one.kept.called_off and state in ("refused", "failed", "cancelled") else None
    return CardLesson(
        id=command.id, door_id=command.door_id, reader=command.reader, reader_id=command.reader_id, state=state,
        presented=() if held is None else tuple(shape_of(reading) for reading in held.readings),
        wanted=command.cards, again=0 if held is None else held.again,
        reason=word if result is None else result.reason or "",
        detail=OFF.get(word, "") if result is None else result.detail[:200],
        asked_at=one.asked_at, until=command.deadline,
    )  # fmt: skip


def _state(one: KeptLesson, held: Held | None, *, at: datetime) -> State:
    if one.kept.called_off:
        return "cancelled"
    if one.result is not None and one.result.state == "confirmed":
        return "confirmed" if held is not None else "forgotten"
    if one.result is not None:
        return "cancelled" if one.result.reason == "cancelled" else one.result.state
    if at > one.command.deadline + LATE:
        return "expired"
    return "waiting" if one.kept.progress is None else "running"
