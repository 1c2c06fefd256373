"""`card …`: how readers write the numbers of cards, through the gateway's HTTP API with a machine's token. Keeps no number."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.commands.card_lessons import described, learn_at_door
from gateway.commands.common import Json, show
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask
from models.errors import InvalidInput
from models.people import canonical_card

card = typer.Typer(help="Card formats: how readers write the numbers of cards.", no_args_is_help=True)
Site = Annotated[str | None, typer.Option(help="id of the site (default: the token's, where it has one)")]
FormatId = Annotated[str | None, typer.Option("--id", help="id to give (default: a new one)")]


@card.command("list")
def list_formats(*, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """List the card formats of the sites in scope."""
    found = ask("GET", "card-formats", url=url, token=token, params={"limit": 500})
    lines = (f"{one['id']:24} {one['name']}: {described(one)}" for one in found["items"])
    show(found, "\n".join(lines) or "no card formats: readers give canonical numbers", as_json=as_json)


@card.command("add")
def add(
    name: str, *, format_id: FormatId = None, site: Site = None,
    notation: Annotated[str, typer.Option(help="hex, decimal or facility (such as 123,45678)")] = "hex",
    frame: Annotated[int, typer.Option(help="bits of the Wiegand frame: 26, 34 or 37; 0 is the number alone")] = 0,
    width: Annotated[int, typer.Option(help="bytes of the number: 3, 4, 5, 7, 8 or 10; 0 as many as come")] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="the first byte is the last of the number")] = False,
    keep: Annotated[int, typer.Option(help="bytes that are kept once they are in order; 0 is all")] = 0,
    keep_from: Annotated[str, typer.Option(help="which bytes are kept: start or end")] = "end",
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Add a card format and print its id; readers name it from then on."""
    body = {
        "id": format_id, "site_id": site, "name": name, "notation": notation, "frame": frame, "width": width,
        "reverse": reverse, "keep": keep, "keep_from": keep_from,
    }  # fmt: skip
    made = ask("POST", "card-formats", url=url, token=token, reason=reason, json=body)
    show(made, made["id"], as_json=as_json)


@card.command("learn")
def learn(
    *, save_as: Annotated[str | None, typer.Option("--save-as", help="name under which the plainest is added")] = None,
    format_id: FormatId = None, site: Site = None,
    door: Annotated[str, typer.Option("--door", help="id of a door: gather the cards at its reader")] = "",
    reader: Annotated[str, typer.Option("--reader", help="side (in or out), or id of the reader")] = "in",
    cards: Annotated[int, typer.Option("--cards", min=2, max=5, help="how many different cards")] = 2,
    desk: Annotated[str | None, typer.Option("--desk", help="id of the format that the numbers are typed in")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="set the plainest that fits without asking")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Learn how a reader writes from known cards: held up at its door, or two to five lines READING NUMBER on standard input."""
    about = {"url": url, "token": token, "reason": reason}
    if door:
        body = {"door_id": door, "cards": cards}
        body |= {"reader": reader} if reader in ("in", "out") else {"reader_id": reader}
        learn_at_door(body, desk=desk, given={"name": save_as, "id": format_id}, yes=yes, about=about, as_json=as_json)
        return
    _learn_typed(save_as, format_id=format_id, site=site, about=about, as_json=as_json)


def _learn_typed(
    save_as: str | None, *, format_id: str | None, site: str | None, about: dict[str, str], as_json: bool
) -> None:
    cards = []
    for count, line in enumerate(sys.stdin.read(10_000).splitlines(), start=1):
        reading, _, number = line.strip().rpartition(" ")
        if line.strip():
            if not reading.strip():
                raise InvalidInput(f"line {count}", "write READING NUMBER, with a blank between them")
            canonical_card(number, where=f"line {count}")
            cards.append({"reading": reading.strip(), "number": number})
    found = ask("POST", "card-formats/learn", json={"cards": cards}, **about)
    if not found["items"]:
        raise InvalidInput("cards", "no format reads these cards as these numbers: was each line the same card twice?")
    plainest = found["items"][0]
    if save_as is not None:
        body = {"id": format_id, "site_id": site, "name": save_as, **plainest}
        made = ask("POST", "card-formats", json=body, **about)
        show(made, f"{made['id']}: {described(made)}", as_json=as_json)
        return
    show(found, "\n".join(described(one) for one in found["items"]), as_json=as_json)


@card.command("remove")
def remove(format_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Remove a card format that no reader names."""
    ask("DELETE", f"card-formats/{format_id}", url=url, token=token, reason=reason)
