"""`person move-in|move-out|replace|qr|guardian|refuse` and `visitor …`: households and their guests, through the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.common import Json, show
from gateway.commands.person import Relation, SomeDoors, When, credential_value, person
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask

visitor = typer.Typer(help="Passes for visitors.", no_args_is_help=True)
Some = Annotated[list[str] | None, typer.Option("--person", help="id of a person; may be given several times")]


@person.command("move-in")
def move_in(
    flat: str, person_id: str, *, relation: Relation = "family", valid_from: When = None, valid_until: When = None,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Let a person on record belong to a flat: what the flat's groups permit follows at once."""
    body = {
        "people": [{"person_id": person_id, "relation": relation}],
        "valid_from": valid_from,
        "valid_until": valid_until,
    }
    done = ask("POST", f"flats/{flat}/move-in", url=url, token=token, reason=reason, json=body)
    show(done, done["people"][0]["occupancy_id"], as_json=as_json)


@person.command("move-out")
def move_out(
    flat: str, *, person_id: Some = None, at: When = None, reason: Reason = "", url: Url = LOCAL, token: Token = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Let people leave a flat, everybody if nobody is named; who belongs to no flat any more loses what they held."""
    body = {"people": person_id, "at": at}
    done = ask("POST", f"flats/{flat}/move-out", url=url, token=token, reason=reason, json=body)
    left = sum(one["left"] for one in done["people"])
    show(done, f"{len(done['people'])} moved out, {left} of them lost cards, permits and consents", as_json=as_json)


@person.command("replace")
def replace(
    person_id: str, credential_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "",
    why: Annotated[str, typer.Option(help="lost, stolen, broken or changed")] = "lost",
    kind: Annotated[str | None, typer.Option(help="card or pin: what stands in for it (default: nothing)")] = None,
    value: Annotated[str | None, typer.Option(help="the card number; a PIN is read from standard input")] = None,
    make_up: Annotated[bool, typer.Option("--make-up", help="make up a PIN and print it, once")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Shut a lost card or PIN out and put another in its place, in one act."""
    new = None if kind is None else {"kind": kind, "value": credential_value(kind, value, make_up=make_up)}
    path = f"people/{person_id}/credentials/{credential_id}/replace"
    done = ask("POST", path, url=url, token=token, reason=reason, json={"why": why, "new": new})
    made = done["new"] or done["old"]
    show(done, made["pin"] or made["id"], as_json=as_json)


@person.command("qr")
def qr(
    person_id: str, *, valid_minutes: Annotated[int, typer.Option(help="for how long it may be shown")] = 15,
    renew: Annotated[bool, typer.Option("--renew", help="make all earlier tickets worthless")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Print what a person's QR code says, for a day at most."""
    body = {"valid_minutes": valid_minutes, "renew": renew}
    made = ask("POST", f"people/{person_id}/qr", url=url, token=token, reason=reason, json=body)
    show(made, made["ticket"], as_json=as_json)


@person.command("guardian")
def guardian(
    child_id: str, guardian_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = ""
) -> None:  # fmt: skip
    """Say that an adult may consent for a child under 14."""
    ask("PUT", f"people/{child_id}/guardians/{guardian_id}", url=url, token=token, reason=reason)
    show({}, "linked", as_json=False)


@person.command("refuse")
def refuse(person_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Remember that a person refused face matching: nobody asks them again, and nothing else changes for them."""
    ask("POST", f"people/{person_id}/refusals", url=url, token=token, reason=reason, json={})
    show({}, "remembered", as_json=False)


@visitor.command("add")
def add(
    valid_until: Annotated[str, typer.Argument(help="a time with its offset, as 2027-01-31T18:00:00+08:00")], *,
    host: Annotated[str | None, typer.Option(help="id of the resident who is visited (default: the desk)")] = None,
    name: Annotated[str | None, typer.Option(help="name of the visitor")] = None, door: SomeDoors = None,
    valid_from: When = None, uses: Annotated[int, typer.Option(help="how often; 0 is any number of times")] = 1,
    with_pin: Annotated[bool, typer.Option("--with-pin", help="make up a PIN and print it, once")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Make a pass for a visitor and print its id, and its PIN if there is one."""
    body = {
        "valid_until": valid_until, "host": host, "visitor": name, "doors": door, "valid_from": valid_from,
        "uses": uses, "with_pin": with_pin,
    }  # fmt: skip
    made = ask("POST", "visitors", url=url, token=token, reason=reason, json=body)
    show(made, f"{made['id']} {made['pin'] or ''}".strip(), as_json=as_json)


@visitor.command("qr")
def visitor_qr(
    pass_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """Print what a visitor's QR code says, for a day of the pass at most."""
    made = ask("POST", f"visitors/{pass_id}/qr", url=url, token=token, reason=reason)
    show(made, made["ticket"], as_json=as_json)


@visitor.command("revoke")
def revoke(pass_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Revoke a visitor's pass: edges take neither its QR nor its PIN from now on."""
    ask("DELETE", f"visitors/{pass_id}", url=url, token=token, reason=reason)
    show({}, "revoked", as_json=False)
