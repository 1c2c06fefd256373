"""Moving in and out of a flat: each one act and one transaction."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Moment, Shared, new_id, once
from gateway.api.people import Day, Id, Line, Phone, Writer, check_born_on
from gateway.api.replies import reply, reply_once, shows
from gateway.api.rights import CredentialBody
from gateway.auth.roles import Caller
from gateway.moves import Ended, Household, Mover, move_in, move_out
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.people import local_day, person_by_id, site_of_flat
from models.errors import InvalidInput
from models.people import Person, Relation

router = APIRouter(prefix="/api/v1/flats", tags=["moves"])


class MoverBody(BaseModel):
    """Name somebody who moves in: a new person by `name`, or one on record by `person_id`."""

    model_config = ConfigDict(extra="forbid")
    person_id: Id | None = None
    id: Id | None = None
    name: Line | None = None
    born_on: Day | None = None
    under_14: bool = False
    phone: Phone | None = None
    external_id: Id | None = None
    relation: Relation = "family"
    guardians: Annotated[list[Id], Field(max_length=4)] = []
    credentials: Annotated[list[CredentialBody], Field(max_length=4)] = []


class MoveIn(BaseModel):
    """Say who moves in, from when until when (a tenancy); the oldest first, so that a child's guardian is known."""

    model_config = ConfigDict(extra="forbid")
    people: Annotated[list[MoverBody], Field(min_length=1, max_length=20)]
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class MoveOut(BaseModel):
    """Say who moves out (nobody named: everybody who belongs to the flat) and when (left out: now)."""

    model_config = ConfigDict(extra="forbid")
    people: Annotated[list[Id], Field(min_length=1, max_length=50)] | None = None
    at: Moment | None = None


class MovedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Show what ended for each."""

    flat_id: str
    people: tuple[Ended, ...]


@router.post("/{flat_id}/move-in", **shows(Household, 201))
async def move_people_in(
    flat_id: str, body: MoveIn, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Let people belong to a flat, with their cards and PINs: one act. A made-up PIN is shown in this answer only."""

    async def work() -> Response:
        done = await runtime.store.write(_move_in, flat_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        silent = tuple(
            msgspec.structs.replace(
                one, credentials=tuple(msgspec.structs.replace(given, pin=None) for given in one.credentials)
            )
            for one in done.people
        )
        return reply_once(done, 201, kept=msgspec.structs.replace(done, people=silent))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _move_in(connection: Connection, flat_id: str, *, body: MoveIn, caller: Caller, runtime: Runtime) -> Household:
    at = runtime.clock()
    site_id = site_of_flat(connection, flat_id, site_ids=caller.sites)
    today = local_day(connection, site_id, at=at)
    movers = []
    for told in body.people:
        if (told.person_id is None) == (told.name is None):
            raise InvalidInput("people", "give each either a name or a person_id")
        if told.person_id is not None:
            person = person_by_id(connection, told.person_id, site_ids=frozenset({site_id}))
        else:
            person = Person(
                id=told.id or new_id("p"), site_id=site_id, name=told.name or "", phone=told.phone,
                born_on=check_born_on(told.born_on, on=today), under_14=told.under_14, external_id=told.external_id,
            )  # fmt: skip
        issues = tuple(credential.wanted() for credential in told.credentials)
        movers.append(
            Mover(
                person=person, known=told.person_id is not None, relation=told.relation,
                guardians=tuple(told.guardians), issues=issues,
            )
        )  # fmt: skip
    return move_in(
        connection, flat_id, movers=tuple(movers), since=body.valid_from, until=body.valid_until, caller=caller, at=at
    )


@router.post("/{flat_id}/move-out", **shows(MovedOut))
async def move_people_out(
    flat_id: str, body: MoveOut, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Let people leave a flat: one act. Who belongs to no other flat loses cards, permits, consents, face and passes."""

    def act(connection: Connection) -> MovedOut:
        at = runtime.clock()
        site_of_flat(connection, flat_id, site_ids=caller.sites)
        named = None if body.people is None else tuple(body.people)
        ended = move_out(connection, flat_id, person_ids=named, when=body.at or at, caller=caller, at=at)
        return MovedOut(flat_id=flat_id, people=tuple(ended))

    async def work() -> Response:
        done = await runtime.store.write(act)
        runtime.bells.policies_changed()
        return reply(done)

    return await once(request, runtime, caller=caller, key=key, work=work)
