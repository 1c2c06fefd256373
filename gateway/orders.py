"""Give edges orders and wait for their end: unlock a door, enrol a face, erase one. Sends nothing past its deadline."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import msgspec

from gateway.auth.roles import Caller
from gateway.bells import heard
from gateway.calibrating import take_count
from gateway.card_lessons import note_lesson
from gateway.device_orders import take_devices
from gateway.erasing import take_erasure
from gateway.intake import check_time
from gateway.joining import check_receipt, take_adopted
from gateway.reader_keys import take_key
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import mark_face_erased
from gateway.store.edges import EdgeIdentity, add_command, keep_result, result_of
from gateway.store.enrolments import was_called_off
from gateway.store.people import person_by_id
from gateway.withdrawal import erase_at, forget_elsewhere, settle_receipts
from models.card_lessons import LearnCards
from models.device_orders import Discover, InstallKey, ProbeDevice, TryPart
from models.errors import CommandExpired, DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput, NotFound
from models.link import (
    PICTURES_MOST,
    AdoptTemplates,
    Command,
    CountImpostors,
    EnrolAtDoor,
    EnrolFace,
    EraseFace,
    FaceReceipt,
    Result,
    Unlock,
)
from models.places import Door, check_id

UNLOCK_VALID = timedelta(seconds=3)
UNLOCK_PATIENCE_S = 8.0
LOOK_S = 0.5
"""How often the database is asked whether a result came in by another replica."""


@contextmanager
def naming(command: Command) -> Iterator[None]:
    """Name the order in whatever goes wrong from here on, since it is given: the caller can ask what became of it."""
    try:
        yield
    except GatehouseError as error:
        error.command_id = command.id
        raise


async def unlock_door(runtime: Runtime, door: Door, *, reason: str, caller: Caller) -> Result:
    """Unlock a door and return how the door answered.

    The order is on record before it leaves, and as a whole once its life is over (gateway.closing).

    Raises:
        DeviceUnreachable: the edge did not answer in time.
        CommandExpired: the edge got it too late.
        DeviceRefused: the door answered no.
    """
    at = runtime.clock()
    command = Unlock(
        id=str(uuid.uuid4()), door_id=door.id, reason=reason, requested_by=caller.id, deadline=at + UNLOCK_VALID
    )
    entry = AuditEntry(
        actor=caller.id, action="door.unlock", subject=door.id, result="sent",
        detail={"command": command.id, "reason": reason},
    )  # fmt: skip
    await send_order(runtime, command, edge_id=door.edge_id, entry=entry)
    with naming(command):
        result = await await_result(runtime, command, within_s=UNLOCK_PATIENCE_S)
        if result is None:
            raise DeviceUnreachable(
                door.id, f"edge {door.edge_id!r} did not answer; the unlock expired and will not happen later"
            )
        if result.state == "expired":
            raise CommandExpired(command.id, max(0, int((result.at - command.deadline).total_seconds() * 1000)))
        if result.state != "confirmed":
            raise DeviceRefused(door.id, f"{result.state}: {result.reason or ''} {result.detail}".strip())
    return result


def _order(connection: Connection, command: Command, *, edge_id: str, entry: AuditEntry, runtime: Runtime) -> None:
    at = runtime.clock()
    append_audit(connection, entry, at=at)
    add_command(connection, command, edge_id=edge_id, at=at)


async def send_order(runtime: Runtime, command: Command, *, edge_id: str, entry: AuditEntry) -> None:
    """Put a command and its audit entry in the database and wake its edge."""
    await runtime.store.write(_order, command, edge_id=edge_id, entry=entry, runtime=runtime)
    runtime.bells.edge(edge_id).ring()


async def await_result(runtime: Runtime, command: Command, *, within_s: float) -> Result | None:
    """Wait for the end of a command; None if it does not come in time."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while True:
        ring = runtime.bells.results.next_ring()
        result = await runtime.store.read(result_of, command.id)
        left_s = until_s - loop.time()
        if result is not None or left_s <= 0 or runtime.bells.closing.is_set():
            return result
        await heard(ring, within_s=min(left_s, LOOK_S))


def take_result(connection: Connection, result: Result, *, edge: EdgeIdentity, runtime: Runtime) -> bool:
    """Keep the end of a command with what follows from it; return False if it is unknown or has ended before.

    Raises:
        InvalidInput: the receipt is not for this command or this edge, or a time cannot be.
    """
    check_time(result.at, where="at")
    result = _about_neighbours(connection, result, edge=edge)
    command = keep_result(connection, result, edge_id=edge.id)
    if command is None:
        return False
    at = runtime.clock()
    if isinstance(command, EnrolFace):
        _take_template(connection, command, result, edge=edge, at=at)
    if isinstance(command, EnrolAtDoor):
        _take_sitting(connection, command, result, edge=edge, at=at)
    if isinstance(command, LearnCards):
        note_lesson(connection, command, result=result, edge=edge, at=at)
    if isinstance(command, AdoptTemplates) and result.state == "confirmed":
        take_adopted(connection, result.receipts, edge=edge, command_id=command.id, at=at)
    if isinstance(command, CountImpostors) and result.evidence is not None:
        take_count(connection, result.evidence, edge=edge, command_id=command.id, at=at)
    if isinstance(command, Discover | ProbeDevice | TryPart):
        take_devices(connection, command, result=result, edge=edge, at=at)
    if isinstance(command, InstallKey):
        take_key(connection, command, result=result, edge=edge, at=at)
    if isinstance(command, EraseFace) and result.erasure is not None:
        take_erasure(connection, result.erasure, edge=edge, at=at, person_id=command.person_id)
    if isinstance(command, EraseFace) and result.state == "confirmed":
        mark_face_erased(connection, command.person_id, edge_id=edge.id, at=result.at)
        entry = AuditEntry(
            actor=edge.id, action="face.erased", subject=command.person_id, detail={"command": command.id}
        )
        append_audit(connection, entry, at=at)
    return True


def _about_neighbours(connection: Connection, result: Result, *, edge: EdgeIdentity) -> Result:
    """Return a result that names only somebody of the edge's own site as looking alike.

    Raises:
        InvalidInput: what it names is no id.
    """
    if result.similar_to is None:
        return result
    check_id(result.similar_to, "similar_to")
    try:
        person_by_id(connection, result.similar_to, site_ids=frozenset({edge.site_id}))
    except NotFound:
        return msgspec.structs.replace(result, similar_to=None)
    return result


def _take_template(
    connection: Connection, command: EnrolFace, result: Result, *, edge: EdgeIdentity, at: datetime
) -> None:
    """Keep the proof of a template that was made of a photo.

    Raises:
        InvalidInput: it is for another person or edge.
    """
    receipts = _proofs(command, result, edge=edge)
    if receipts:
        settle_receipts(connection, receipts, consent_id=command.consent_id, at=at, joining=command.add)


def _take_sitting(
    connection: Connection, command: EnrolAtDoor, result: Result, *, edge: EdgeIdentity, at: datetime
) -> None:
    """Keep the proofs of an enrolment at a door, and how it ended on record, since nobody waits for it.

    What was made although it was called off is ordered away; the person's older templates there had made room for it.

    Raises:
        InvalidInput: there are more than a person may have, or one is for another person or edge.
    """
    receipts = _proofs(command, result, edge=edge)
    off = was_called_off(connection, command.id)
    if receipts and off:
        mark_face_erased(connection, command.person_id, edge_id=edge.id, at=result.at)
        erase_at(connection, command.person_id, edge_id=edge.id, actor="system", at=at)
    elif receipts:
        settle_receipts(connection, receipts, consent_id=command.consent_id, at=at)
        forget_elsewhere(connection, command.person_id, edge_id=edge.id, at=at)
    ended = "ok" if result.state == "confirmed" else (result.reason or result.state)[:64]
    detail = {"command": command.id, "templates": str(0 if off else len(receipts))}
    detail |= {} if result.similar_to is None else {"similar_to": result.similar_to}
    entry = AuditEntry(
        actor=edge.id, action="face.enrol", subject=command.person_id, result="cancelled" if off else ended, detail=detail
    )  # fmt: skip
    append_audit(connection, entry, at=at)


def _proofs(command: EnrolFace | EnrolAtDoor, result: Result, *, edge: EdgeIdentity) -> tuple[FaceReceipt, ...]:
    """Return the proofs of an enrolment that was confirmed; one that ended otherwise proves nothing.

    Raises:
        InvalidInput: there are more than a person may have, or one is for another person or edge.
    """
    if result.state != "confirmed":
        return ()
    one = () if result.receipt is None else (result.receipt,)
    receipts = result.receipts if isinstance(command, EnrolAtDoor) else one
    if len(receipts) > PICTURES_MOST:
        raise InvalidInput("receipts", f"a person has at most {PICTURES_MOST} templates")
    for receipt in receipts:
        check_receipt(receipt, edge=edge)
        if receipt.person_id != command.person_id:
            raise InvalidInput("receipt", "it names another person than the command")
    return receipts
