"""`person …`: residents, through the gateway's HTTP API with a machine's token, so that rights and records are the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import Json, show
from gateway.commands.remote import LOCAL, Token, Url
from gateway.commands.remote import ask as _ask
from models.errors import InvalidInput

person = typer.Typer(help="Residents: add, consent, enrol, credential, permit, withdraw, show.", no_args_is_help=True)
Doors = Annotated[list[str], typer.Option("--door", help="id of a door; may be given several times")]
SomeDoors = Annotated[list[str] | None, typer.Option("--door", help="id of a door; may be given several times")]
When = Annotated[str | None, typer.Option(help="a time with its offset, as 2027-01-31T18:00:00+08:00")]
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


@person.command("add")
def add(
    name: str, *, person_id: Annotated[str | None, typer.Option("--id", help="id to give (default: a new one)")] = None,
    flat: Annotated[str | None, typer.Option(help="id of the flat that the person lives in")] = None,
    site: Annotated[str | None, typer.Option(help="id of the site (default: the token's, where it has one)")] = None,
    under_14: Annotated[bool, typer.Option("--under-14", help="a guardian consents for a child under 14")] = False,
    url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Add a person and print the id."""
    body = {"id": person_id, "name": name, "flat": flat, "site_id": site, "under_14": under_14}
    made = _ask("POST", "people", url=url, token=token, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("show")
def show_person(person_id: str, *, url: Url = LOCAL, token: Token = "") -> None:
    """Show a person with all that belongs to them, as JSON."""
    show(_ask("GET", f"people/{person_id}", url=url, token=token), "", as_json=True)


@person.command("consent")
def consent(
    person_id: str, *, door: Doors, evidence: Annotated[str, typer.Option(help="where the proof is kept")],
    text_version: Annotated[str, typer.Option(help="version of the text that was agreed to")] = "face-door-1",
    text_sha256: Annotated[str | None, typer.Option(help="digest of a text that does not ship with Gatehouse")] = None,
    channel: Annotated[str, typer.Option(help="office, phone_page or paper")] = "office",
    guardian: Annotated[str | None, typer.Option(help="who consents for a child under 14")] = None,
    expires_at: When = None, url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Record a separate consent to face matching at doors, and print its id."""
    body = {
        "doors": door, "evidence": evidence, "text_version": text_version, "text_sha256": text_sha256,
        "channel": channel, "guardian": guardian, "expires_at": expires_at,
    }  # fmt: skip
    made = _ask("POST", f"people/{person_id}/consents", url=url, token=token, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("enrol")
def enrol(person_id: str, photo: Path, *, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Enrol a face from a photo (JPEG or PNG, at most 4 MiB); the photo is not kept."""
    kind = TYPES.get(photo.suffix.lower())
    if kind is None:
        raise InvalidInput(str(photo), "use a .jpg or .png file")
    try:
        content = photo.read_bytes()
    except OSError as error:
        raise InvalidInput(str(photo), f"cannot be read: {error.strerror}") from error
    headers = {"Content-Type": kind}
    made = _ask("PUT", f"people/{person_id}/face", url=url, token=token, content=content, headers=headers)
    show(made, f"enrolled: receipt {made['receipt']['id']}, quality {made['receipt']['quality']:.2f}", as_json=as_json)


@person.command("credential")
def credential(
    person_id: str, kind: Annotated[str, typer.Argument(help="card or pin")], *, url: Url = LOCAL, token: Token = "",
    value: Annotated[str | None, typer.Option(help="the card number; a PIN is read from standard input")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Give a person a card or a PIN."""
    if kind == "card" and not value:
        raise InvalidInput("--value", "give the number of the card")
    text = value or sys.stdin.readline().strip()
    made = _ask("POST", f"people/{person_id}/credentials", url=url, token=token, json={"kind": kind, "value": text})
    show(made, made["id"], as_json=as_json)


@person.command("permit")
def permit(
    person_id: str, *, door: SomeDoors = None, valid_from: When = None, valid_until: When = None,
    url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Let a person through doors; without --door through all of the site."""
    body = {"doors": door or "all", "valid_from": valid_from, "valid_until": valid_until}
    made = _ask("POST", f"people/{person_id}/permits", url=url, token=token, json=body)
    show(made, made["id"], as_json=as_json)


@person.command("withdraw")
def withdraw(person_id: str, consent_id: str, *, url: Url = LOCAL, token: Token = "") -> None:
    """Withdraw a consent: matching stops at once and the template is destroyed."""
    _ask("DELETE", f"people/{person_id}/consents/{consent_id}", url=url, token=token)
    show({}, "withdrawn", as_json=False)
