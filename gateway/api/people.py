"""People: persons, the flats they belong to, who answers for a child. Every look is on record; who may not look sees nothing."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.api.deps import Key, Moment, Shared, allowed, new_id, once
from gateway.api.places import site_of
from gateway.api.replies import Page, etag_of, reply, reply_once, shows, version_in
from gateway.auth.roles import Caller
from gateway.moves import end_residence
from gateway.on_record import note
from gateway.person_views import PersonRow, PersonView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.people import (
    add_guardian,
    add_person,
    change_person,
    end_occupancy,
    local_day,
    occupancies_of,
    people_of,
    person_by_id,
    person_view,
    put_occupancy,
    remove_guardian,
)
from gateway.store.places import doors_named, flat_is_at
from models.errors import InvalidInput
from models.people import Occupancy, Person, Relation
from models.places import check_id

router = APIRouter(prefix="/api/v1/people", tags=["people"])
Reader = Annotated[Caller, Depends(allowed("people:read"))]
Writer = Annotated[Caller, Depends(allowed("people:write"))]
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
ExternalId = Annotated[str, Field(pattern=r"^[\w./-]{1,64}$")]
"""What an import takes as a number of another register, too."""
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Phone = Annotated[str, Field(pattern=r"^[0-9+() -]{3,32}$")]
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2200, 1, 1))]
Doors = Annotated[list[Id], Field(min_length=1, max_length=500)]
Cursor = Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")]
Limit = Annotated[int, Query(ge=1, le=500)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=64)]


class PersonBody(BaseModel):
    """Name a person. `site_id` may be left out by who has one site in scope."""

    model_config = ConfigDict(extra="forbid")
    id: Id | None = None
    name: Line
    flat: Id | None = None
    relation: Relation = "family"
    born_on: Day | None = None
    under_14: bool = False
    phone: Phone | None = None
    external_id: Id | None = None
    site_id: Id | None = None


class PersonChange(BaseModel):
    """Change what is sent, leave the rest; null takes a date, phone or external id away."""

    model_config = ConfigDict(extra="forbid")
    name: Line | None = None
    born_on: Day | None = None
    under_14: bool | None = None
    phone: Phone | None = None
    external_id: Id | None = None


class OccupancyBody(BaseModel):
    """Say to which flat a person belongs, how, and from when until when."""

    model_config = ConfigDict(extra="forbid")
    flat: Id
    relation: Relation = "family"
    valid_from: Moment | None = None
    valid_until: Moment | None = None


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


def check_born_on(born_on: date | None, *, on: date) -> date | None:
    """Return a date of birth that is not later than a day.

    Raises:
        InvalidInput: nobody is born yet then.
    """
    if born_on is not None and born_on > on:
        raise InvalidInput("born_on", "the date of birth is in the future")
    return born_on


def without_names(view: PersonView) -> PersonView:
    """Return what may be written down outside the tables of people: no name, date of birth, phone or number."""
    return msgspec.structs.replace(view, name="", born_on=None, phone=None, external_id=None)


@router.post("", **shows(PersonView, 201))
async def create_person(
    body: PersonBody, request: Request, *, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Write a new person. A repetition with the same Idempotency-Key answers without the name."""
    site_id = site_of(caller, body.site_id)
    person = Person(
        id=check_id(body.id, "id") if body.id else new_id("p"), site_id=site_id, name=body.name, born_on=body.born_on,
        under_14=body.under_14, phone=body.phone, external_id=body.external_id,
    )  # fmt: skip

    async def work() -> Response:
        view = await runtime.store.write(_create, person, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply_once(view, 201, kept=without_names(view), headers=etag_of(view.version))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _create(
    connection: Connection, person: Person, *, body: PersonBody, caller: Caller, runtime: Runtime
) -> PersonView:
    at = runtime.clock()
    check_born_on(person.born_on, on=local_day(connection, person.site_id, at=at))
    if body.flat is not None and not flat_is_at(connection, body.flat, site_id=person.site_id):
        raise InvalidInput("flat", f"there is no flat {body.flat!r} at this site")
    add_person(connection, person, at=at)
    note(connection, caller, action="person.add", subject=person.id, at=at)
    if body.flat is not None:
        wanted = OccupancyBody(flat=body.flat, relation=body.relation)
        _belong(connection, person, body=wanted, caller=caller, at=at)
    return person_view(connection, person.id, site_ids=caller.sites, at=at)


@router.get("", **shows(Page[PersonRow]))
async def list_people(
    caller: Reader, runtime: Shared, *, cursor: Cursor = "", limit: Limit = 100, flat: Id | None = None,
    name: Line | None = None, external_id: ExternalId | None = None,
) -> Response:  # fmt: skip
    """List people in scope by id, without what belongs to them: all, those of a flat, or those whose name holds a text."""
    asked = {"flat_id": flat, "name": name, "external_id": external_id}
    page = await runtime.store.write(_list, asked, after=cursor, limit=limit, caller=caller, runtime=runtime)
    return reply(page)


def _list(
    connection: Connection, asked: dict[str, Any], *, after: str, limit: int, caller: Caller, runtime: Runtime
) -> Page[PersonRow]:
    found = people_of(connection, site_ids=caller.sites, at=runtime.clock(), after=after, limit=limit + 1, **asked)
    items = found[:limit]
    by = ",".join(sorted(what for what, value in asked.items() if value is not None))
    note(connection, caller, action="person.list", subject=str(asked["flat_id"] or ""), at=runtime.clock(),
         people=[one.id for one in items], count=str(len(items)), by=by)  # fmt: skip
    return Page(items=items, next=items[-1].id if len(found) > limit else None)


@router.get("/{person_id}", **shows(PersonView))
async def show_person(person_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a person with consents, proofs of templates, credentials and permits."""
    view = await runtime.store.write(_look_up, person_id, caller=caller, runtime=runtime)
    return reply(view, headers=etag_of(view.version))


def _look_up(connection: Connection, person_id: str, *, caller: Caller, runtime: Runtime) -> PersonView:
    at = runtime.clock()
    view = person_view(connection, person_id, site_ids=caller.sites, at=at)
    note(connection, caller, action="person.look_up", subject=person_id, at=at)
    return view


@router.patch("/{person_id}", **shows(PersonView))
async def update_person(
    person_id: str, body: PersonChange, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Correct a person's name, date of birth, phone or external id."""
    version = version_in(if_match)
    view = await runtime.store.write(_change, person_id, body=body, version=version, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


def _change(
    connection: Connection, person_id: str, *, body: PersonChange, version: int | None, caller: Caller,
    runtime: Runtime,
) -> PersonView:  # fmt: skip
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    changes = {name: getattr(body, name) for name in sorted(body.model_fields_set)}
    for name in ("name", "under_14"):
        if name in changes and changes[name] is None:
            raise InvalidInput(name, "it may be changed, not taken away")
    check_born_on(changes.get("born_on"), on=local_day(connection, person.site_id, at=at))
    change_person(connection, msgspec.structs.replace(person, **changes), version=version)
    note(connection, caller, action="person.change", subject=person_id, at=at, fields=",".join(changes))
    return person_view(connection, person_id, site_ids=caller.sites, at=at)


@router.post("/{person_id}/occupancies", **shows(Occupancy, 201))
async def create_occupancy(
    person_id: str, body: OccupancyBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Let a person belong to a flat: what its groups permit follows at once."""

    async def work() -> Response:
        made = await runtime.store.write(_occupy, person_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(made, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _occupy(
    connection: Connection, person_id: str, *, body: OccupancyBody, caller: Caller, runtime: Runtime
) -> Occupancy:
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    return _belong(connection, person, body=body, caller=caller, at=runtime.clock())


def _belong(
    connection: Connection, person: Person, *, body: OccupancyBody, caller: Caller, at: datetime
) -> Occupancy:  # fmt: skip
    made = Occupancy(
        id=new_id("o"), person_id=person.id, flat_id=body.flat, relation=body.relation, valid_from=body.valid_from,
        valid_until=body.valid_until,
    )  # fmt: skip
    put_occupancy(connection, made, at=at)
    note(connection, caller, action="occupancy.begin", subject=person.id, at=at, occupancy=made.id, flat=body.flat)
    return made


@router.delete("/{person_id}/occupancies/{occupancy_id}", status_code=204)
async def delete_occupancy(person_id: str, occupancy_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """End that a person belongs to a flat, now; who belongs to none any more loses what they held."""
    await runtime.store.write(_leave, person_id, occupancy_id=occupancy_id, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return Response(status_code=204)


def _leave(connection: Connection, person_id: str, *, occupancy_id: str, caller: Caller, runtime: Runtime) -> None:
    at = runtime.clock()
    person_by_id(connection, person_id, site_ids=caller.sites)
    before = occupancies_of(connection, person_id)
    ended = end_occupancy(connection, occupancy_id, person_id=person_id, at=at)
    note(connection, caller, action="occupancy.end", subject=person_id, at=at, occupancy=occupancy_id)
    if ended not in before:  # one that was over already takes nothing away from who holds a caretaker's card since
        end_residence(connection, person_id, actor=caller.id, at=at)


@router.put("/{person_id}/guardians/{guardian_id}", status_code=204)
async def put_guardian(person_id: str, guardian_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Say who may consent for a child under 14: an adult on record at the same site."""
    await runtime.store.write(_link, person_id, guardian_id=guardian_id, caller=caller, runtime=runtime)
    return Response(status_code=204)


def _link(connection: Connection, person_id: str, *, guardian_id: str, caller: Caller, runtime: Runtime) -> None:
    at = runtime.clock()
    child = person_by_id(connection, person_id, site_ids=caller.sites)
    guardian = person_by_id(connection, guardian_id, site_ids=caller.sites)
    add_guardian(connection, child, guardian=guardian, on=local_day(connection, child.site_id, at=at), at=at)
    note(connection, caller, action="guardian.link", subject=person_id, at=at, guardian=guardian_id)


@router.delete("/{person_id}/guardians/{guardian_id}", status_code=204)
async def delete_guardian(person_id: str, guardian_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Say that somebody may consent for a child no more; what they consented to holds until it is withdrawn."""
    await runtime.store.write(_unlink, person_id, guardian_id=guardian_id, caller=caller, runtime=runtime)
    return Response(status_code=204)


def _unlink(connection: Connection, person_id: str, *, guardian_id: str, caller: Caller, runtime: Runtime) -> None:
    person_by_id(connection, person_id, site_ids=caller.sites)
    remove_guardian(connection, person_id, guardian_id=guardian_id)
    note(connection, caller, action="guardian.unlink", subject=person_id, at=runtime.clock(), guardian=guardian_id)
