"""Enrol a person at a door's camera: order it, show how far it is, call it off. The edge takes the pictures and keeps none.

Templates are made by the door's edge alone. Other edges that held older ones of the person destroy them, and are given
the new ones sealed by the door's edge (gateway.joining).
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from gateway.auth.roles import Caller
from gateway.enrolment import said
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.assessments import assessed
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import consents_of
from gateway.store.edges import add_command
from gateway.store.enrolments import DoorEnrolment, call_off, door_enrolment, look_at
from gateway.store.people import known_on, local_day, person_by_id
from gateway.store.places import doors_named
from models.errors import Conflict, ImageRejected, InvalidInput
from models.link import EnrolAtDoor, FaceReceipt, Hint
from models.people import Person, face_allowed
from models.places import Door

STAND_FOR: Final = timedelta(seconds=90)
"""How long the door's camera looks for the person before the order is over."""
LATE: Final = timedelta(seconds=5)
"""How long after that the edge's answer may take on its way."""
State = Literal["waiting", "running", "confirmed", "refused", "failed", "expired", "cancelled"]


class FaceEnrolment(msgspec.Struct, frozen=True, kw_only=True):
    """Show an enrolment at a door: `waiting` for its edge, `running`, or how it ended. It holds no name and no picture."""

    id: str
    person_id: str
    consent_id: str
    door_id: str
    state: State
    done: int
    """Good pictures so far."""
    wanted: int
    hint: Hint = ""
    """What the person should do now."""
    reason: str | None = None
    """Why it was refused or failed, as a stable word; `similar_person` beside `confirmed` is a warning."""
    detail: str = ""
    similar_to: str | None = None
    """Another enrolled person who looks so much alike that one of them should use a card."""
    receipts: tuple[FaceReceipt, ...] = ()
    asked_at: datetime
    until: datetime
    """When the door's camera stops looking."""


async def enrol_at_door(
    runtime: Runtime, person_id: str, *, door_id: str, pictures: int, caller: Caller, anew: bool = False
) -> FaceEnrolment:
    """Have templates made of the person who stands before a door's camera, and return the order as it stands.

    They replace what is enrolled; somebody else is refused (`differs`), unless that was wrong or the person changed much
    (`anew`).

    Raises:
        NotFound: there is no such person in the caller's scope.
        InvalidInput: there is no such door at the person's site, or it has no camera.
        Conflict: no assessment of faces is in force at the person's site (R33).
        ImageRejected: no live consent names this door.
    """
    made = await runtime.store.write(
        _begin, person_id, door_id=door_id, pictures=pictures, anew=anew, caller=caller, runtime=runtime
    )
    if isinstance(made, str):
        if made == "not_assessed":
            raise Conflict("no impact assessment of faces is in force at this site: have one approved first")
        raise ImageRejected(
            "no_consent",
            f"no live consent allows this face at door {door_id}: record one with "
            f"`gatehouse person consent {person_id} --door {door_id}`",
        )
    edge_id, enrolment = made
    runtime.bells.edge(edge_id).ring()
    return enrolment


def _begin(
    connection: Connection,
    person_id: str,
    *,
    door_id: str,
    pictures: int,
    anew: bool,
    caller: Caller,
    runtime: Runtime,
) -> tuple[str, FaceEnrolment] | str:
    """Order it and return its edge, or the stable word of what must come first; both go on record."""
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    door = _door(connection, door_id, site_id=person.site_id)
    consent_id = _consent(connection, person, door_id=door_id, at=at)
    missing = None if assessed(connection, person.site_id, subject="face", at=at) else "not_assessed"
    missing = missing or (None if consent_id else "no_consent")
    if missing is not None:
        _record(connection, caller, person_id=person_id, at=at, result=missing, door=door_id)
        return missing
    command = EnrolAtDoor(
        id=str(uuid.uuid4()), person_id=person_id, consent_id=consent_id, door_id=door_id, pictures=pictures,
        deadline=at + STAND_FOR, anew=anew,
    )  # fmt: skip
    add_command(connection, command, edge_id=door.edge_id, at=at)
    _record(connection, caller, person_id=person_id, at=at, result="sent", door=door_id, consent=consent_id,
            command=command.id, **said(anew))  # fmt: skip
    return door.edge_id, _shown(door_enrolment(connection, command.id), at=at)


def _record(
    connection: Connection, caller: Caller, *, person_id: str, at: datetime, result: str, **detail: str
) -> None:
    entry = AuditEntry(
        actor=caller.id, action="face.enrol", subject=person_id, result=result, detail=detail, reason=caller.reason
    )
    append_audit(connection, entry, at=at)


def _door(connection: Connection, door_id: str, *, site_id: str) -> Door:
    door = next((one for one in doors_named(connection, [door_id]) if one.site_id == site_id), None)
    if door is None:
        raise InvalidInput("door_id", f"there is no door {door_id!r} at this person's site")
    if door.camera_id is None:
        raise InvalidInput("door_id", f"door {door_id!r} has no camera: name one that has, or send photos")
    return door


def _consent(connection: Connection, person: Person, *, door_id: str, at: datetime) -> str:
    """Return the id of the newest live consent that names the door, a guardian's under 14; empty without one."""
    known = known_on(person, local_day(connection, person.site_id, at=at))
    given = reversed(consents_of(connection, person.id))
    return next((one.id for one in given if face_allowed(known, (one,), door_id=door_id, at=at)), "")


def show_enrolment(connection: Connection, enrolment_id: str, *, caller: Caller, at: datetime) -> FaceEnrolment:
    """Return how far an enrolment is, for who may enrol its person; while somebody looks, it goes on.

    Raises:
        NotFound: there is none in the caller's scope.
    """
    found = door_enrolment(connection, enrolment_id)
    person_by_id(connection, found.command.person_id, site_ids=caller.sites)
    look_at(connection, enrolment_id, at=at)
    return _shown(found, at=at)


def cancel_enrolment(connection: Connection, enrolment_id: str, *, caller: Caller, at: datetime) -> None:
    """Call an enrolment off; its edge hears it at its next word. One that has ended stays as it ended.

    Raises:
        NotFound: there is none in the caller's scope.
    """
    found = door_enrolment(connection, enrolment_id)
    person_by_id(connection, found.command.person_id, site_ids=caller.sites)
    if call_off(connection, enrolment_id):
        note(connection, caller, action="face.enrol_cancel", subject=found.command.person_id, at=at,
             command=enrolment_id)  # fmt: skip


def _shown(one: DoorEnrolment, *, at: datetime) -> FaceEnrolment:
    command, told = one.command, one.kept.progress
    result = None if one.kept.called_off else one.result
    done = told.done if told is not None else 0
    if result is not None and result.state == "confirmed":
        done = len(result.receipts)
    shown = FaceEnrolment(
        id=command.id, person_id=command.person_id, consent_id=command.consent_id, door_id=command.door_id,
        state=_state(one, at=at), done=done, wanted=command.pictures, asked_at=one.asked_at, until=command.deadline,
        hint=told.hint if told is not None and one.result is None else "",
    )  # fmt: skip
    if result is None:
        return shown
    return msgspec.structs.replace(
        shown, reason=result.reason, detail=result.detail, similar_to=result.similar_to, receipts=result.receipts
    )


def _state(one: DoorEnrolment, *, at: datetime) -> State:
    if one.kept.called_off:
        return "cancelled"
    if one.result is not None:
        return "cancelled" if one.result.reason == "cancelled" else one.result.state
    if at > one.command.deadline + LATE:
        return "expired"
    return "waiting" if one.kept.progress is None else "running"
