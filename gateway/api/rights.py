"""What a person holds and may: cards, PINs, QR and permits. Values are digested at once and never kept or shown."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.api.deps import Key, Moment, Shared, new_id, once
from gateway.api.people import Doors, Id, IfMatch, Writer, check_doors
from gateway.api.replies import etag_of, reply, reply_once, shows, version_in
from gateway.auth.roles import Caller
from gateway.issuing import Issue, issue_credential, mint_for_person
from gateway.moves import Replaced, replace_credential
from gateway.on_record import note
from gateway.person_views import CredentialView, PermitView, TicketView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.people import person_by_id
from gateway.store.places import doors_of_site, site_by_id
from gateway.store.rights import (
    add_permit,
    credential_of,
    permit_view,
    remove_credential,
    remove_permit,
    set_credential_state,
)
from gateway.store.schedules import group_by_id, put_schedule, schedule_by_id
from models.errors import InvalidInput
from models.people import Permit
from models.schedules import EVERY_DAY, Schedule, Window, named_by_content

router = APIRouter(prefix="/api/v1/people", tags=["credentials", "permits"])
Label = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class CredentialBody(BaseModel):
    """Give a card number (hexadecimal, or read by the card format `format`) or a PIN; without a value one is made up."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["card", "pin"]
    value: Annotated[SecretStr, Field(min_length=1, max_length=64)] | None = None
    format: Id | None = None
    label: Label = ""
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    duress: bool = False
    """A second PIN of the person: the door does as always, and a silent alarm is raised."""

    def wanted(self) -> Issue:
        """Return what to issue.

        Raises:
            InvalidInput: a card has no number.
        """
        if self.kind == "card" and self.value is None:
            raise InvalidInput("value", "give the number of the card")
        return Issue(
            kind=self.kind, value=self.value.get_secret_value() if self.value else None, label=self.label,
            valid_from=self.valid_from, valid_until=self.valid_until, duress=self.duress, format=self.format,
        )  # fmt: skip


class CredentialState(BaseModel):
    """Report a credential lost, block it, or set it active again."""

    model_config = ConfigDict(extra="forbid")
    state: Literal["active", "lost", "blocked"]


class Replacement(BaseModel):
    """Say why a credential is shut out, and which one stands in for it; without one it is only shut out."""

    model_config = ConfigDict(extra="forbid")
    why: Literal["lost", "stolen", "broken", "changed"] = "lost"
    new: CredentialBody | None = None


class Minting(BaseModel):
    """Ask for a QR: for how long it may be shown, and whether earlier ones shall be worth nothing."""

    model_config = ConfigDict(extra="forbid")
    valid_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    renew: bool = False


class ScheduleBody(BaseModel):
    """Say when a permit holds: weekdays (0 is Monday) and a daily window; equal ends are the whole day."""

    model_config = ConfigDict(extra="forbid")
    weekdays: Annotated[list[Annotated[int, Field(ge=0, le=6)]], Field(min_length=1, max_length=7)] = list(EVERY_DAY)
    from_time: time = time(0, 0)
    until_time: time = time(0, 0)


class PermitBody(BaseModel):
    """Let a person through a group's doors, through doors by id, or through `all` of the site."""

    model_config = ConfigDict(extra="forbid")
    doors: Literal["all"] | Doors | None = None
    group: Id | None = None
    schedule: ScheduleBody | None = None
    schedule_id: Id | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None


def shown_once(view: CredentialView, *, status: int = 201) -> Response:
    """Answer with a credential whose made-up PIN is in this answer only."""
    return reply_once(view, status, kept=msgspec.structs.replace(view, pin=None), headers=etag_of(view.version))


@router.post("/{person_id}/credentials", **shows(CredentialView, 201))
async def create_credential(
    person_id: str, body: CredentialBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Give a person a card or a PIN."""
    wanted = body.wanted()

    async def work() -> Response:
        view = await runtime.store.write(_credential, person_id, wanted=wanted, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return shown_once(view)

    return await once(request, runtime, caller=caller, key=key, work=work)


def _credential(
    connection: Connection, person_id: str, *, wanted: Issue, caller: Caller, runtime: Runtime
) -> CredentialView:
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    return issue_credential(connection, person, wanted=wanted, caller=caller, at=runtime.clock())


@router.patch("/{person_id}/credentials/{credential_id}", **shows(CredentialView))
async def update_credential(
    person_id: str, credential_id: str, *, body: CredentialState, caller: Writer, runtime: Shared,
    if_match: IfMatch = None,
) -> Response:  # fmt: skip
    """Report a card, PIN or QR lost, block it, or set it active again; edges learn of it at once."""
    version = version_in(if_match)

    def act(connection: Connection) -> CredentialView:
        at = runtime.clock()
        person_by_id(connection, person_id, site_ids=caller.sites)
        held = credential_of(connection, credential_id, person_id=person_id)
        view = set_credential_state(connection, held, state=body.state, at=at, version=version)
        note(connection, caller, action="credential.change", subject=person_id, at=at, credential=credential_id,
             state=body.state)  # fmt: skip
        return view

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


@router.post("/{person_id}/credentials/{credential_id}/replace", **shows(Replaced))
async def replace(
    person_id: str, credential_id: str, *, body: Replacement, request: Request, caller: Writer, runtime: Shared,
    key: Key = None,
) -> Response:  # fmt: skip
    """Shut out a lost, stolen or broken card, PIN or QR and give another in its place: one act."""
    wanted = body.new.wanted() if body.new else None

    def act(connection: Connection) -> Replaced:
        person = person_by_id(connection, person_id, site_ids=caller.sites)
        return replace_credential(
            connection, person, credential_id=credential_id, why=body.why, wanted=wanted, caller=caller,
            at=runtime.clock(),
        )  # fmt: skip

    async def work() -> Response:
        done = await runtime.store.write(act)
        runtime.bells.policies_changed()
        silent = done.new and msgspec.structs.replace(done.new, pin=None)
        return reply_once(done, kept=msgspec.structs.replace(done, new=silent))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.delete("/{person_id}/credentials/{credential_id}", status_code=204)
async def delete_credential(person_id: str, credential_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Delete a card or a PIN, so that its number may be given to somebody else."""
    await runtime.store.write(_remove, person_id, kind="credential", key=credential_id, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return Response(status_code=204)


@router.post("/{person_id}/qr", **shows(TicketView, 201))
async def mint_qr(person_id: str, body: Minting, *, caller: Writer, runtime: Shared) -> Response:
    """Return what a person's QR says, for at most a day. It opens what the person may; edges check it offline."""

    def act(connection: Connection) -> TicketView:
        person = person_by_id(connection, person_id, site_ids=caller.sites)
        span = timedelta(minutes=body.valid_minutes)
        return mint_for_person(connection, person, valid_for=span, renew=body.renew, caller=caller, at=runtime.clock())

    view = await runtime.store.write(act)
    runtime.bells.policies_changed()
    return reply(view, 201, headers={"Cache-Control": "no-store"})


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


def _permit(
    connection: Connection, person_id: str, *, body: PermitBody, caller: Caller, runtime: Runtime
) -> PermitView:
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    if body.valid_from is not None and body.valid_until is not None and body.valid_from >= body.valid_until:
        raise InvalidInput("valid_until", "it must be after valid_from")
    if (body.doors is None) == (body.group is None):
        raise InvalidInput("doors", "name either doors or a group")
    if body.schedule is not None and body.schedule_id is not None:
        raise InvalidInput("schedule_id", "name either schedule_id or a schedule")
    permit = Permit(
        id=new_id("pt"), person_id=person_id, group_id=_group(connection, body.group, site_id=person.site_id),
        doors=_doors(connection, body, site_id=person.site_id),
        schedule_id=_schedule_id(connection, body, site_id=person.site_id),
        valid_from=body.valid_from, valid_until=body.valid_until,
    )  # fmt: skip
    add_permit(connection, permit, at=at)
    note(connection, caller, action="permit.give", subject=person_id, at=at, permit=permit.id,
         doors=str(len(permit.doors)), group=permit.group_id or "")  # fmt: skip
    return permit_view(permit)


def _group(connection: Connection, group_id: str | None, *, site_id: str) -> str | None:
    return None if group_id is None else group_by_id(connection, group_id, site_ids=frozenset({site_id})).id


def _doors(connection: Connection, body: PermitBody, *, site_id: str) -> tuple[str, ...]:
    if body.doors is None:
        return ()
    if body.doors == "all":
        return doors_of_site(connection, site_id)
    return check_doors(connection, list(body.doors), site_id=site_id)


def _schedule_id(connection: Connection, body: PermitBody, *, site_id: str) -> str | None:
    """Return the id of the schedule that a body names or describes, written if it is new; None if it always holds."""
    if body.schedule_id is not None:
        return schedule_by_id(connection, body.schedule_id, site_ids=frozenset({site_id})).id
    told = body.schedule or ScheduleBody()
    if sorted(set(told.weekdays)) == list(EVERY_DAY) and told.from_time == told.until_time:
        return None
    if told.from_time.tzinfo is not None or told.until_time.tzinfo is not None:
        raise InvalidInput("schedule", "a time of day has no zone of its own: it is the site's")
    window = Window(weekdays=tuple(sorted(set(told.weekdays))), from_time=told.from_time, until_time=told.until_time)
    timezone = site_by_id(connection, site_id).timezone
    schedule = named_by_content(Schedule(site_id=site_id, timezone=timezone, windows=(window,)))
    put_schedule(connection, schedule)
    return schedule.id


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
    note(connection, caller, action=f"{kind}.take", subject=person_id, at=runtime.clock(), **{kind: key[:64]})
