"""Consents of a person and their refusals. Withdrawing is as easy as giving."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Moment, Shared, new_id, once
from gateway.api.people import Doors, Id, Line, Writer, check_doors
from gateway.api.replies import reply_once, shows
from gateway.auth.roles import Caller
from gateway.consent_texts import agreed_text
from gateway.on_record import note
from gateway.person_views import ConsentView
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.consents import add_consent, consent_view, note_refusal, refused_at, withdraw_consent
from gateway.store.people import guardians_of, known_on, local_day, person_by_id
from gateway.withdrawal import order_erasure
from models.errors import Conflict, InvalidInput
from models.people import Consent

router = APIRouter(prefix="/api/v1/people", tags=["consents"])


class ConsentBody(BaseModel):
    """Record a separate consent. `text_sha256` may be left out for the site's notice or a text that ships with Gatehouse."""

    model_config = ConfigDict(extra="forbid")
    purpose: Literal["door_face"] = "door_face"
    text_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    text_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    channel: Literal["office", "phone_page", "paper", "demo"]
    evidence: Annotated[Line, Field(max_length=128)]
    doors: Doors
    guardian: Id | None = None
    """For a child under 14: the guardian's id."""
    expires_at: Moment | None = None
    own_request: bool = False
    """True if the person asks for it by themselves after they refused: nobody may ask them again."""


class RefusalBody(BaseModel):
    """Remember that a person said no; nothing else changes for them."""

    model_config = ConfigDict(extra="forbid")
    purpose: Literal["door_face"] = "door_face"


@router.post("/{person_id}/consents", **shows(ConsentView, 201))
async def create_consent(
    person_id: str, body: ConsentBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Record a consent; edges learn of it at once. Who refused is not asked again (409) unless they ask by themselves."""

    async def work() -> Response:
        view = await runtime.store.write(_consent, person_id, body=body, caller=caller, runtime=runtime)
        runtime.bells.policies_changed()
        return reply_once(view, 201, kept=msgspec.structs.replace(view, evidence=""))

    return await once(request, runtime, caller=caller, key=key, work=work)


def _consent(
    connection: Connection, person_id: str, *, body: ConsentBody, caller: Caller, runtime: Runtime
) -> ConsentView:
    at = runtime.clock()
    person = person_by_id(connection, person_id, site_ids=caller.sites)
    refused = refused_at(connection, person_id, purpose=body.purpose)
    if refused is not None and not body.own_request:
        raise Conflict(
            f"this person refused on {refused.date()}: do not ask again; if they ask themselves, send own_request"
        )
    young = known_on(person, local_day(connection, person.site_id, at=at)).under_14
    _check_guardian(connection, person_id, guardian=body.guardian, young=young)
    if body.expires_at is not None and body.expires_at <= at:
        raise InvalidInput("expires_at", "the consent would be over already")
    consent = Consent(
        id=new_id("c"), person_id=person_id, purpose=body.purpose,
        doors=check_doors(connection, body.doors, site_id=person.site_id), text_version=body.text_version,
        text_sha256=agreed_text(
            connection, person.site_id, purpose=body.purpose, version=body.text_version, given=body.text_sha256
        ),
        given_at=at, channel=body.channel, evidence=body.evidence, guardian=body.guardian,
        expires_at=body.expires_at,
    )  # fmt: skip
    add_consent(connection, consent)
    note(connection, caller, action="consent.give", subject=person_id, at=at, consent=consent.id,
         text=consent.text_sha256, channel=consent.channel)  # fmt: skip
    return consent_view(consent, at=at)


def _check_guardian(connection: Connection, person_id: str, *, guardian: str | None, young: bool) -> None:
    if young and guardian is None:
        raise InvalidInput("guardian", "a person under 14 needs a guardian's consent: name the guardian")
    if not young and guardian is not None:
        raise InvalidInput("guardian", "who is 14 or older consents for themselves: leave guardian out")
    if guardian is not None and guardian not in guardians_of(connection, person_id):
        raise InvalidInput("guardian", "this is no guardian of the child: PUT people/{id}/guardians/{guardian} first")


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
    note(connection, caller, action="consent.withdraw", subject=person_id, at=at, consent=consent_id)
    return order_erasure(connection, person_id, actor=caller.id, at=at)


@router.post("/{person_id}/refusals", status_code=204)
async def create_refusal(person_id: str, body: RefusalBody, *, caller: Writer, runtime: Shared) -> Response:
    """Remember that a person refused: `may_be_asked` leaves the purpose out from now on. Their rights stay as they are."""
    await runtime.store.write(_refuse, person_id, body=body, caller=caller, runtime=runtime)
    return Response(status_code=204)


def _refuse(connection: Connection, person_id: str, *, body: RefusalBody, caller: Caller, runtime: Runtime) -> None:
    at = runtime.clock()
    person_by_id(connection, person_id, site_ids=caller.sites)
    note_refusal(connection, person_id, purpose=body.purpose, at=at)
    note(connection, caller, action="consent.refuse", subject=person_id, at=at, purpose=body.purpose)
