"""Enrol a face through the edges of the consented doors, and have it erased again. The photo stays in memory, here and there."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timedelta

import msgspec

from gateway.auth.roles import Caller
from gateway.orders import await_result, send_order
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.assessments import assessed
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import consents_of
from gateway.store.people import known_on, local_day, person_by_id
from gateway.store.places import doors_named
from models.errors import Conflict, DeviceRefused, DeviceUnreachable, Forbidden, ImageRejected
from models.link import EnrolFace, FaceReceipt, Result
from models.people import face_allowed

PATIENCE_S = 20.0
FORMATS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
IMAGE_REASONS = frozenset(
    {"no_face", "two_faces", "too_small", "too_large", "blurred", "unreadable", "no_consent", "cut_off", "too_dark", "too_bright",
     "turned_away", "face_unusable", "under_14", "differs", "too_many"}
)  # fmt: skip


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """Show the proofs that the edges gave: one for each edge of a consented door."""

    person_id: str
    consent_id: str
    receipt: FaceReceipt
    receipts: tuple[FaceReceipt, ...]
    similar_to: tuple[str, ...] = ()
    """Other enrolled persons who look so much alike that one of them should use a card."""


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    consent_id: str = ""
    edges: tuple[str, ...] = ()
    missing: str | None = None
    """The stable word of what must come first, if nothing can be planned."""


def check_photo(content: bytes, *, media_type: str) -> None:
    """Pass if bytes begin like the image that they claim to be; only the edge's face process looks further.

    Raises:
        ImageRejected: unsupported type, empty, or something else under its name.
    """
    magic = FORMATS.get(media_type)
    if magic is None:
        raise ImageRejected(
            "unreadable", f"send image/jpeg or image/png as the raw body, not {media_type[:80] or 'nothing'}"
        )
    if not content.startswith(magic):
        raise ImageRejected("unreadable", f"this is no {media_type.removeprefix('image/').upper()} picture")


async def enrol_face(
    runtime: Runtime, person_id: str, *, photo: bytes, caller: Caller, add: bool = False, anew: bool = False
) -> Enrolled:
    """Have a template made from a photo on every edge with a consented door, and return the proofs.

    With `add` it joins what was enrolled from other photos, else it replaces that; a photo of somebody else is refused
    (`differs`), unless what it replaces was wrong or the person changed much (`anew`).

    Raises:
        NotFound: there is no such person in the caller's scope.
        Conflict: no assessment of faces is in force at the person's site (R33).
        ImageRejected: no live consent, or the edge cannot use the photo, with the reason.
        DeviceUnreachable: an edge did not answer within 20 s.
        DeviceRefused: an edge cannot enrol now.
    """
    plan = await runtime.store.read(_plan, person_id, caller=caller, runtime=runtime)
    if plan.missing is not None:
        await _record(runtime, caller, person_id=person_id, result=plan.missing)
        if plan.missing == "not_assessed":
            raise Conflict("no impact assessment of faces is in force at this site: have one approved first")
        raise ImageRejected(
            "no_consent",
            "no live consent allows this face at any door: record one with `gatehouse person consent ID --door DOOR`",
        )
    results = await asyncio.gather(
        *(
            _enrol_at(runtime, person_id, edge_id=edge_id, plan=plan, photo=photo, caller=caller, add=add, anew=anew)
            for edge_id in plan.edges
        )
    )
    for edge_id, result in zip(plan.edges, results, strict=True):
        if result is None or result.state != "confirmed" or result.receipt is None:
            reason = "no_answer" if result is None else result.reason or result.state
            await _record(runtime, caller, person_id=person_id, result=reason[:64])
            raise _refusal(edge_id, result)
    if not await runtime.store.read(_still_agreed, person_id, consent_id=plan.consent_id, at=runtime.clock()):
        await _record(runtime, caller, person_id=person_id, result="no_consent")
        raise ImageRejected("no_consent", "the consent ended while the template was made: it is destroyed again")
    similar = tuple(sorted({result.similar_to for result in results if result is not None and result.similar_to}))
    await _record(runtime, caller, person_id=person_id, result="ok", similar_to=similar)
    receipts = tuple(result.receipt for result in results if result is not None and result.receipt is not None)
    return Enrolled(
        person_id=person_id, consent_id=plan.consent_id, receipt=receipts[0], receipts=receipts, similar_to=similar
    )


def said(anew: bool) -> dict[str, str]:
    """Return what goes on record of who said that the face enrolled may be replaced by another."""
    return {"anew": "yes"} if anew else {}


def _plan(connection: Connection, person_id: str, *, caller: Caller, runtime: Runtime) -> _Plan:
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    if not assessed(connection, person.site_id, subject="face", at=at):
        return _Plan(missing="not_assessed")
    person = known_on(person, local_day(connection, person.site_id, at=at))
    for consent in reversed(consents_of(connection, person_id)):
        allowed = [door for door in consent.doors if face_allowed(person, (consent,), door_id=door, at=at)]
        edges = tuple(sorted({door.edge_id for door in doors_named(connection, allowed)}))
        if edges:
            return _Plan(consent_id=consent.id, edges=edges)
    return _Plan(missing="no_consent")


def _still_agreed(connection: Connection, person_id: str, *, consent_id: str, at: datetime) -> bool:
    return any(consent.id == consent_id and consent.live(at) for consent in consents_of(connection, person_id))


async def _enrol_at(
    runtime: Runtime,
    person_id: str,
    *,
    edge_id: str,
    plan: _Plan,
    photo: bytes,
    caller: Caller,
    add: bool,
    anew: bool,
) -> Result | None:
    ticket = runtime.relay.leave(photo, edge_id=edge_id)
    if ticket is None:
        raise Forbidden("too many enrolments at once: try again in half a minute")
    deadline = runtime.clock() + timedelta(seconds=PATIENCE_S)
    command = EnrolFace(
        id=str(uuid.uuid4()), person_id=person_id, consent_id=plan.consent_id, relay_ticket=ticket, deadline=deadline,
        add=add, anew=anew,
    )  # fmt: skip
    entry = AuditEntry(
        actor=caller.id, reason=caller.reason, action="face.enrol", subject=person_id, result="sent",
        detail={"edge": edge_id, "consent": plan.consent_id, "command": command.id, **said(anew)},
    )  # fmt: skip
    try:
        await send_order(runtime, command, edge_id=edge_id, entry=entry)
        return await await_result(runtime, command, within_s=PATIENCE_S)
    finally:
        runtime.relay.forget(ticket)


async def _record(
    runtime: Runtime, caller: Caller, *, person_id: str, result: str, similar_to: tuple[str, ...] = ()
) -> None:
    detail = {"similar_to": " ".join(similar_to)} if similar_to else {}
    entry = AuditEntry(
        actor=caller.id, reason=caller.reason, action="face.enrol", subject=person_id, result=result, detail=detail
    )
    await runtime.store.write(append_audit, entry, at=runtime.clock())


def _refusal(edge_id: str, result: Result | None) -> ImageRejected | DeviceRefused | DeviceUnreachable:
    if result is None or result.state == "expired":
        return DeviceUnreachable(edge_id, f"no template within {PATIENCE_S:.0f} s: is the edge online?")
    reason = result.reason or result.state
    if result.state == "refused" or reason in IMAGE_REASONS:
        return ImageRejected(reason, result.detail or reason.replace("_", " "))
    return DeviceRefused(edge_id, f"{reason} {result.detail}".strip())
