"""Consents of a person and their refusals. Withdrawing is as easy as giving."""

from __future__ import annotations

from datetime import datetime, timedelta
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
from gateway.store.consents import add_consent, consent_view, consents_of, note_refusal, refused_at, withdraw_consent
from gateway.store.people import guardians_of, known_on, local_day, person_by_id
from gateway.withdrawal import order_erasure
from models.errors import Conflict, InvalidInput
from models.people import Consent

PAPER_LIFE = timedelta(days=366)
"""How much older than its record a consent on paper may be."""
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
    given_at: Moment | None = None
    """When a consent on paper was signed, if that was before today; else it is given now."""
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
    given_at = _given_at(connection, person_id, body=body, at=at)
    consent = Consent(
        id=new_id("c"), person_id=person_id, purpose=body.purpose,
        doors=check_doors(connection, body.doors, site_id=person.site_id), text_version=body.text_version,
        text_sha256=agreed_text(
            connection, person.site_id, purpose=body.purpose, version=body.text_version, given=body.text_sha256
        ),
        given_at=given_at, channel=body.channel, evidence=body.evidence, guardian=body.guardian,
        expires_at=body.expires_at,
    )  # fmt: skip
    add_consent(connection, consent)
    note(connection, caller, action="consent.give", subject=person_id, at=at, consent=consent.id,
         text=consent.text_sha256, channel=consent.channel)  # fmt: skip
    return consent_view(consent, at=at)


def _given_at(connection: Connection, person_id: str, *, body: ConsentBody, at: datetime) -> datetime:
    """Return when a consent was given: now, or earlier on paper; never before a no of the same person (R3).

    Raises:
        InvalidInput: it lies in the future, is no paper's, or the person withdrew or refused since.
    """
    given_at = body.given_at
    if given_at is None:
        return at
    if body.channel != "paper" or not at - PAPER_LIFE <= given_at <= at:
        raise InvalidInput(
            "given_at", f"only a consent on paper is older than its record, by {PAPER_LIFE.days} days at most"
        )
    same = [one for one in consents_of(connection, person_id) if one.purpose == body.purpose]
    noes = [one.withdrawn_at for one in same] + [refused_at(connection, person_id, purpose=body.purpose)]
    if any(no is not None and given_at <= no for no in noes):
        raise InvalidInput("given_at", "the person withdrew or refused after that: only a new consent counts")
    if any(one.superseded_at is not None and given_at <= one.superseded_at for one in same):
        raise InvalidInput("given_at", "the notice was renewed after that: only a consent to the new one counts")
    return given_at


def _check_guardian(connection: Connection, person_id: str, *, guardian: str | None, young: bool) -> None:
    if young and guardian is None:
        raise InvalidInput("guardian", "a person under 14 needs a guardian's consent: name the guardian")
    if not young and guardian is not None:
        raise InvalidInput("guardian", "who is 14 or older consents for themselves: leave guardian out")
    if guardian is not None and guardian not in guardians_of(connection, person_id):
        raise InvalidInput(
            "guardian", "this is no guardian on record: name one with `gatehouse person guardian CHILD GUARDIAN`"
        )


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
