"""`person …`: residents, through the gateway's HTTP API with a machine's token, so that rights and records are the same."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.commands.common import Json, show
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask
from models.errors import InvalidInput

person = typer.Typer(
    help="Residents: add, move in and out, consent, enrol, credentials, permits, show.", no_args_is_help=True
)
Doors = Annotated[list[str], typer.Option("--door", help="id of a door; may be given several times")]
SomeDoors = Annotated[list[str] | None, typer.Option("--door", help="id of a door; may be given several times")]
Relation = Annotated[str, typer.Option(help="owner, tenant, family or staff")]
CardValue = Annotated[
    str | None,
    typer.Option(help="the card number, - for a desk reader that types it; a PIN is read from standard input"),
]
When = Annotated[str | None, typer.Option(help="a time with its offset, as 2027-01-31T18:00:00+08:00")]


@person.command("add")
def add(
    name: str, *, person_id: Annotated[str | None, typer.Option("--id", help="id to give (default: a new one)")] = None,
    flat: Annotated[str | None, typer.Option(help="id of the flat that the person lives in")] = None,
    site: Annotated[str | None, typer.Option(help="id of the site (default: the token's, where it has one)")] = None,
    relation: Relation = "family",
    born_on: Annotated[str | None, typer.Option(help="date of birth, as 2015-06-30")] = None,
    under_14: Annotated[bool, typer.Option("--under-14", help="a guardian consents for a child under 14")] = False,
    phone: Annotated[str | None, typer.Option(help="telephone number")] = None,
    external_id: Annotated[str | None, typer.Option(help="number in another register")] = None,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Add a person and print the id."""
    body = {
        "id": person_id, "name": name, "flat": flat, "site_id": site, "under_14": under_14, "relation": relation,
        "born_on": born_on, "phone": phone, "external_id": external_id,
    }  # fmt: skip
    made = ask("POST", "people", url=url, token=token, reason=reason, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("show")
def show_person(person_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Show a person with all that belongs to them, as JSON."""
    show(ask("GET", f"people/{person_id}", url=url, token=token, reason=reason), "", as_json=True)


@person.command("consent")
def consent(
    person_id: str, *, door: Doors, evidence: Annotated[str, typer.Option(help="where the proof is kept")],
    text_version: Annotated[str, typer.Option(help="version of the text that was agreed to")] = "face-door-1",
    text_sha256: Annotated[str | None, typer.Option(help="digest of a text that does not ship with Gatehouse")] = None,
    channel: Annotated[str, typer.Option(help="office, phone_page or paper")] = "office",
    guardian: Annotated[str | None, typer.Option(help="id of the guardian who consents for a child under 14")] = None,
    own_request: Annotated[bool, typer.Option("--own-request", help="the person asks, after they refused")] = False,
    given_at: Annotated[str | None, typer.Option(help="when a consent on paper was signed, if earlier")] = None,
    expires_at: When = None, reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Record a separate consent to face matching at doors, and print its id."""
    body = {
        "doors": door, "evidence": evidence, "text_version": text_version, "text_sha256": text_sha256,
        "channel": channel, "guardian": guardian, "expires_at": expires_at,
        "own_request": own_request, "given_at": given_at,
    }  # fmt: skip
    made = ask("POST", f"people/{person_id}/consents", url=url, token=token, reason=reason, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("credential")
def credential(
    person_id: str, kind: Annotated[str, typer.Argument(help="card or pin")], *, reason: Reason = "", url: Url = LOCAL,
    token: Token = "", label: Annotated[str, typer.Option(help="what it looks like, for people")] = "",
    value: CardValue = None,
    card_format: Annotated[str | None, typer.Option("--format", help="id of the card format it is read in")] = None,
    make_up: Annotated[bool, typer.Option("--make-up", help="make up a PIN and print it, once")] = False,
    duress: Annotated[bool, typer.Option("--duress", help="a PIN that opens and raises a silent alarm")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Give a person a card or a PIN."""
    digits = credential_value(kind, value, make_up=make_up)
    body = {"kind": kind, "value": digits, "label": label, "duress": duress, "format": card_format}
    made = ask("POST", f"people/{person_id}/credentials", url=url, token=token, reason=reason, json=body)
    show(made, made["pin"] or made["id"], as_json=as_json)


def credential_value(kind: str, value: str | None, *, make_up: bool) -> str | None:
    """Return what to send as the value of a card or PIN: given, read from standard input, or nothing to make one up.

    Raises:
        InvalidInput: a card has no number.
    """
    if kind == "card" and not value:
        raise InvalidInput("--value", "give the number of the card, or - and hold it to the desk reader")
    return None if make_up else sys.stdin.readline().strip() if value in (None, "", "-") else value


@person.command("permit")
def permit(
    person_id: str, *, door: SomeDoors = None, valid_from: When = None, valid_until: When = None,
    group: Annotated[str | None, typer.Option(help="id of a permission group, in place of doors")] = None,
    schedule: Annotated[str | None, typer.Option(help="id of a schedule (default: always)")] = None,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Let a person through doors; without --door or --group through all of the site."""
    doors = None if group else door or "all"
    body = {
        "doors": doors,
        "group": group,
        "schedule_id": schedule,
        "valid_from": valid_from,
        "valid_until": valid_until,
    }
    made = ask("POST", f"people/{person_id}/permits", url=url, token=token, reason=reason, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("withdraw")
def withdraw(person_id: str, consent_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Withdraw a consent: matching stops at once and the template is destroyed."""
    ask("DELETE", f"people/{person_id}/consents/{consent_id}", url=url, token=token, reason=reason)
    show({}, "withdrawn", as_json=False)
