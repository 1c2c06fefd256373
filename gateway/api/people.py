"""People: persons and their consents and faces. Every look at a person is on record; who may not look sees nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, allowed, new_id, once
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.consent_texts import text_digest
from gateway.enrolment import Enrolled, check_photo, enrol_face
from gateway.person_views import ConsentView, PersonView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import add_consent, consent_view, withdraw_consent
from gateway.store.people import add_person, people_of, person_by_id, person_view, put_occupancy
from gateway.store.places import doors_named, flat_is_at
from gateway.withdrawal import order_erasure
from models.errors import InvalidInput, NotFound
from models.people import Consent, Occupancy, Person
from models.places import check_id

router = APIRouter(prefix="/api/v1/people", tags=["people"])
Reader = Annotated[Caller, Depends(allowed("people:read"))]
Writer = Annotated[Caller, Depends(allowed("people:write"))]
Id = Annotated[str, Field(min_length=1, max_length=64)]
Doors = Annotated[list[Id], Field(min_length=1, max_length=500)]


class PersonBody(BaseModel):
    """Name a person. `site_id` may be left out by who has one site in scope."""

    model_config = ConfigDict(extra="forbid")
    id: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=128)]
    flat: Id | None = None
    under_14: bool = False
    site_id: Id | None = None


class ConsentBody(BaseModel):
    """Record a separate consent. `text_sha256` may be left out for a text that ships with Gatehouse."""

    model_config = ConfigDict(extra="forbid")
    purpose: Literal["door_face"] = "door_face"
    text_version: Annotated[str, Field(min_length=1, max_length=64)]
    text_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    channel: Literal["office", "phone_page", "paper", "demo"]
    evidence: Annotated[str, Field(min_length=1, max_length=256)]
    doors: Doors
    guardian: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    expires_at: AwareDatetime | None = None


def check_doors(connection: Connection, door_ids: list[str], *, site_id: str) -> tuple[str, ...]:
    """Return the ids without repetition if all are doors of the site.

    Raises:
        InvalidInput: one is not.
    """
    known = {door.id for door in doors_named(connection, door_ids) if door.site_id == site_id}
    unknown = [door_id for door_id in door_ids if door_id not in known]
    if unknown:
        raise InvalidInput("doors", f"there is no door {unknown[0][:64]!r} at this site")
    return tuple(dict.fromkeys(door_ids))


@router.post("", **shows(PersonView, 201))
async def create_person(
    body: PersonBody, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Write a new person."""
    site_id = body.site_id or next(iter(caller.sites)) if len(caller.sites) == 1 else body.site_id
    if site_id is None:
        raise InvalidInput("site_id", "say which site: you have several in scope")
    if site_id not in caller.sites:
        raise NotFound("site", site_id)
    person = Person(
        id=check_id(body.id, "id") if body.id else new_id("p"), site_id=site_id, name=body.name, under_14=body.under_14,
    )  # fmt: skip

    async def work() -> Response:
        return reply(await runtime.store.write(_create, person, flat_id=body.flat, caller=caller, runtime=runtime), 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _create(
    connection: Connection, person: Person, *, flat_id: str | None, caller: Caller, runtime: Runtime
) -> PersonView:
    at = runtime.clock()
    if flat_id is not None and not flat_is_at(connection, flat_id, site_id=person.site_id):
        raise InvalidInput("flat", f"there is no flat {flat_id!r} at this site")
    add_person(connection, person, at=at)
    if flat_id is not None:
        put_occupancy(connection, Occupancy(id=new_id("o"), person_id=person.id, flat_id=flat_id), at=at)
    append_audit(connection, AuditEntry(actor=caller.id, action="person.add", subject=person.id), at=at)
    return person_view(connection, person.id, site_ids=caller.sites, at=at)


@router.get("", **shows(Page[PersonView]))
async def list_people(
    caller: Reader, runtime: Shared, *, cursor: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List people in scope by id, without what belongs to them."""
    found = await runtime.store.read(people_of, site_ids=caller.sites, after=cursor, limit=limit + 1)
    items = found[:limit]
    entry = AuditEntry(actor=caller.id, action="person.list", detail={"count": str(len(items))})
    await runtime.store.write(append_audit, entry, at=runtime.clock())
    return reply(Page(items=items, next=items[-1].id if len(found) > limit else None))


@router.get("/{person_id}", **shows(PersonView))
async def show_person(person_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a person with consents, proofs of templates, credentials and permits."""
    return reply(await runtime.store.write(_look_up, person_id, caller=caller, runtime=runtime))


def _look_up(connection: Connection, person_id: str, *, caller: Caller, runtime: Runtime) -> PersonView:
    at = runtime.clock()
    view = person_view(connection, person_id, site_ids=caller.sites, at=at)
    append_audit(connection, AuditEntry(actor=caller.id, action="person.look_up", subject=person_id), at=at)
    return view


@router.post("/{person_id}/consents", **shows(ConsentView, 201))
async def create_consent(
    person_id: str, body: ConsentBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Record a consent; edges learn of it at once."""

    async def work() -> Response:
        view = await runtime.store.write(_consent, person_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(view, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _consent(
    connection: Connection, person_id: str, *, body: ConsentBody, caller: Caller, runtime: Runtime
) -> ConsentView:
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    if person.under_14 and body.guardian is None:
        raise InvalidInput("guardian", "a person under 14 needs a guardian's consent")
    if body.expires_at is not None and body.expires_at <= at:
        raise InvalidInput("expires_at", "the consent would be over already")
    consent = Consent(
        id=new_id("c"), person_id=person_id, purpose=body.purpose,
        doors=check_doors(connection, body.doors, site_id=person.site_id), text_version=body.text_version,
        text_sha256=text_digest(body.text_version, body.text_sha256), given_at=at, channel=body.channel,
        evidence=body.evidence, guardian=body.guardian, expires_at=body.expires_at,
    )  # fmt: skip
    add_consent(connection, consent)
    detail = {"consent": consent.id, "text": consent.text_sha256, "channel": consent.channel}
    append_audit(
        connection, AuditEntry(actor=caller.id, action="consent.give", subject=person_id, detail=detail), at=at
    )
    return consent_view(consent, at=at)


@router.delete("/{person_id}/consents/{consent_id}", status_code=204)
async def delete_consent(person_id: str, consent_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Withdraw a consent: edges stop matching at once and destroy the template."""
    await runtime.store.write(_withdraw, person_id, consent_id=consent_id, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return Response(status_code=204)


def _withdraw(
    connection: Connection, person_id: str, *, consent_id: str, caller: Caller, runtime: Runtime
) -> list[str]:
    at = runtime.clock()
    person_by_id(connection, person_id, site_ids=caller.sites)
    withdraw_consent(connection, consent_id, person_id=person_id, at=at)
    detail = {"consent": consent_id}
    entry = AuditEntry(actor=caller.id, action="consent.withdraw", subject=person_id, detail=detail)
    append_audit(connection, entry, at=at)
    return order_erasure(connection, person_id, actor=caller.id, at=at)


@router.put(
    "/{person_id}/face",
    openapi_extra={"requestBody": {"required": True, "content": {"image/jpeg": {}, "image/png": {}}}},
    **shows(Enrolled),
)
async def put_face(person_id: str, request: Request, *, caller: Writer, runtime: Shared) -> Response:
    """Enrol a face from one photo, sent as the raw body (never multipart, never written to a disk)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    photo = await request.body()
    check_photo(photo, media_type=media_type)
    return reply(await enrol_face(runtime, person_id, photo=photo, caller=caller))
