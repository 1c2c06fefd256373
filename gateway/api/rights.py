"""What a person may: cards and PINs, and permits. Values are digested at once and never kept or shown."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from gateway.api.deps import Key, Shared, allowed, new_id, once
from gateway.api.people import Id, check_doors
from gateway.api.replies import reply, shows
from gateway.auth.roles import Caller
from gateway.person_views import CredentialView, PermitView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.people import person_by_id
from gateway.store.places import credential_key, doors_of_site, site_by_id
from gateway.store.rights import add_credential, add_permit, permit_view, remove_credential, remove_permit
from gateway.store.schedules import put_schedule
from models.errors import InvalidInput
from models.people import Credential, Permit, canonical_card, canonical_pin, credential_digest
from models.schedules import EVERY_DAY, Schedule, Window, named_by_content

router = APIRouter(prefix="/api/v1/people", tags=["credentials", "permits"])
Writer = Annotated[Caller, Depends(allowed("people:write"))]


class CredentialBody(BaseModel):
    """Give a card number (hexadecimal) or a PIN (4 to 12 digits)."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["card", "pin"]
    value: Annotated[SecretStr, Field(min_length=1, max_length=64)]


class ScheduleBody(BaseModel):
    """Say when a permit holds: weekdays (0 is Monday) and a daily window; equal ends are the whole day."""

    model_config = ConfigDict(extra="forbid")
    weekdays: Annotated[list[Annotated[int, Field(ge=0, le=6)]], Field(min_length=1, max_length=7)] = [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    from_time: time = time(0, 0)
    until_time: time = time(0, 0)


class PermitBody(BaseModel):
    """Let a person through doors: `doors` are ids or the word `all`."""

    model_config = ConfigDict(extra="forbid")
    doors: Literal["all"] | Annotated[list[Id], Field(min_length=1, max_length=500)]
    schedule: ScheduleBody = ScheduleBody()
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None


@router.post("/{person_id}/credentials", **shows(CredentialView, 201))
async def create_credential(
    person_id: str, body: CredentialBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Give a person a card or a PIN."""

    async def work() -> Response:
        view = await runtime.store.write(_credential, person_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(view, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _credential(
    connection: Connection, person_id: str, *, body: CredentialBody, caller: Caller, runtime: Runtime
) -> CredentialView:
    at, value = runtime.clock(), body.value.get_secret_value()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    canonical = canonical_card(value) if body.kind == "card" else canonical_pin(value)
    secret = bytes.fromhex(credential_key(connection, person.site_id))
    digest = credential_digest(body.kind, canonical, secret)
    credential = Credential(id=new_id("cr"), person_id=person_id, kind=body.kind, digest=digest)
    add_credential(connection, credential, site_id=person.site_id, at=at)
    detail = {"credential": credential.id, "kind": body.kind}
    append_audit(
        connection, AuditEntry(actor=caller.id, action="credential.give", subject=person_id, detail=detail), at=at
    )
    return CredentialView(id=credential.id, kind=body.kind, created_at=at)


@router.delete("/{person_id}/credentials/{credential_id}", status_code=204)
async def delete_credential(person_id: str, credential_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Take a card or a PIN away, for example because it was lost."""
    await runtime.store.write(_remove, person_id, kind="credential", key=credential_id, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return Response(status_code=204)


@router.post("/{person_id}/permits", **shows(PermitView, 201))
async def create_permit(
    person_id: str, body: PermitBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Let a person through doors."""

    async def work() -> Response:
        view = await runtime.store.write(_permit, person_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply(view, 201)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _schedule_id(connection: Connection, body: ScheduleBody, *, site_id: str) -> str | None:
    """Return the id of the schedule that a body describes, written if it is new; None if it always holds."""
    if sorted(body.weekdays) == list(EVERY_DAY) and body.from_time == body.until_time:
        return None
    window = Window(weekdays=tuple(body.weekdays), from_time=body.from_time, until_time=body.until_time)
    timezone = site_by_id(connection, site_id).timezone
    schedule = named_by_content(Schedule(site_id=site_id, timezone=timezone, windows=(window,)))
    put_schedule(connection, schedule)
    return schedule.id


def _permit(
    connection: Connection, person_id: str, *, body: PermitBody, caller: Caller, runtime: Runtime
) -> PermitView:
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    if body.valid_from is not None and body.valid_until is not None and body.valid_from >= body.valid_until:
        raise InvalidInput("valid_until", "it must be after valid_from")
    every = body.doors == "all"
    doors = doors_of_site(connection, person.site_id) if every else check_doors(
        connection, list(body.doors), site_id=person.site_id
    )  # fmt: skip
    schedule_id = _schedule_id(connection, body.schedule, site_id=person.site_id)
    permit = Permit(
        id=new_id("pt"), person_id=person_id, doors=doors, schedule_id=schedule_id, valid_from=body.valid_from,
        valid_until=body.valid_until,
    )  # fmt: skip
    add_permit(connection, permit, at=at)
    detail = {"permit": permit.id, "doors": str(len(doors))}
    append_audit(connection, AuditEntry(actor=caller.id, action="permit.give", subject=person_id, detail=detail), at=at)
    return permit_view(permit)


@router.delete("/{person_id}/permits/{permit_id}", status_code=204)
async def delete_permit(person_id: str, permit_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Take a permit away."""
    await runtime.store.write(_remove, person_id, kind="permit", key=permit_id, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return Response(status_code=204)


def _remove(
    connection: Connection,
    person_id: str,
    *,
    kind: Literal["credential", "permit"],
    key: str,
    caller: Caller,
    runtime: Runtime,
) -> None:
    person_by_id(connection, person_id, site_ids=caller.sites)
    (remove_credential if kind == "credential" else remove_permit)(connection, key, person_id=person_id)
    entry = AuditEntry(actor=caller.id, action=f"{kind}.take", subject=person_id, detail={kind: key[:64]})
    append_audit(connection, entry, at=runtime.clock())
