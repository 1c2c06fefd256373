"""`card learn --door`: a reader's format from cards that are held up to it, with what happens there while one waits.

The numbers of the cards are asked for at the terminal, so that none is in a command line or its history.
"""

from __future__ import annotations

import time
from typing import Any

import typer

from gateway.commands.common import say, show
from gateway.commands.remote import ask
from models.errors import GatehouseError, InvalidInput
from models.places import check_id

LOOK_S = 0.5
RUNNING = ("waiting", "running")
KINDS = {"bits": "bits", "hex": "hexadecimal digits", "decimal": "decimal digits", "other": "characters"}
PARITIES = {"right": ", parity right", "wrong": ", parity WRONG: noise, or a frame of the maker's own"}
PERSONS = "credential "
ASKED = f"card {{}} ({{}}): its number, `{PERSONS}ID` of whose it is, or nothing to leave it out"


def learn_at_door(
    body: dict[str, Any],
    *,
    desk: str | None,
    given: dict[str, str | None],
    yes: bool,
    about: dict[str, str],
    as_json: bool,
) -> None:
    """Gather cards at a reader, have them named, show what fits, and set it once that is confirmed.

    Whatever ends it before (an interruption too) calls it off, and what was read is forgotten.
    """
    lesson = ask("POST", "card-lessons", json=body, **about)
    path = f"card-lessons/{lesson['id']}"
    try:
        lesson = _gathered(lesson, path, about=about, quiet=as_json)
        cards = _named(lesson["presented"], desk=desk)
        proposal = ask("POST", f"{path}/propose", json={"cards": cards}, **about)
        if not as_json:
            say("\n".join(_proof(proposal)))
        _confirm(proposal, lesson, yes=yes)
        chosen = {name: value for name, value in given.items() if value is not None}
        made = ask("POST", f"{path}/set", json=chosen, **about)
    except BaseException:
        _call_off(path, about=about)
        raise
    named = made["format"]
    text = f"{made['reader']['id']} reads by {named['id']}" if named else f"{made['reader']['id']} needs no format"
    show({"proposal": proposal, **made}, text, as_json=as_json)


def _gathered(lesson: dict[str, Any], path: str, *, about: dict[str, str], quiet: bool) -> dict[str, Any]:
    """Say what happens at the reader until there are enough cards, and return the lesson."""
    seen, again, waited = 0, 0, False
    while True:
        if not quiet and lesson["state"] == "running" and not waited:
            waited = True
            say(f"hold {lesson['wanted']} different cards up to the reader, one by one; they open nothing meanwhile")
        for number, shape in enumerate(lesson["presented"][seen:], start=seen + 1):
            seen = number
            if not quiet:
                say(f"card {number} of {lesson['wanted']}: {_shaped(shape)}")
        if lesson["again"] > again and not quiet:
            say("that card was held up before: take another one")
        again = lesson["again"]
        if lesson["state"] not in RUNNING:
            break
        time.sleep(LOOK_S)
        lesson = ask("GET", path, **about)
    if lesson["state"] != "confirmed":
        told = {"expired": "the edge did not answer in time: is it up?"}.get(lesson["state"], "begin again")
        raise InvalidInput("door", f"{lesson['reason'] or lesson['state']}: {lesson['detail'] or told}")
    return lesson


def _named(presented: list[dict[str, Any]], *, desk: str | None) -> list[dict[str, Any]]:
    """Ask which card each presentation was."""
    cards: list[dict[str, Any]] = []
    for number, shape in enumerate(presented, start=1):
        told = typer.prompt(ASKED.format(number, _shaped(shape)), default="", show_default=False, err=True).strip()
        if told.startswith(PERSONS):
            held = check_id(told.removeprefix(PERSONS).strip(), "credential")
            cards.append({"presented": number, "credential_id": held})
        elif told:
            cards.append({"presented": number, "number": told, **({"format": desk} if desk else {})})
    return cards


def _confirm(proposal: dict[str, Any], lesson: dict[str, Any], *, yes: bool) -> None:
    if not proposal["fits"]:
        raise InvalidInput("cards", proposal["advice"])
    if not yes:
        typer.confirm(f"set it on reader {lesson['reader']!r} of door {lesson['door_id']}?", abort=True, err=True)


def _proof(proposal: dict[str, Any]) -> list[str]:
    lines = [f"fits: {described(one) if one['needed'] else 'the reader gives the cards as they are kept, no format'}"
             for one in proposal["fits"]]  # fmt: skip
    tried = (one for one in proposal["tried"] if one["why"])
    lines += [f"not {described(one) if one['needed'] else 'without a format'}: {one['why']}" for one in tried]
    return lines


def _shaped(shape: dict[str, Any]) -> str:
    return f"{shape['length']} {KINDS[shape['kind']]}{PARITIES.get(shape['parity'], '')}"


def _call_off(path: str, *, about: dict[str, str]) -> None:
    try:
        ask("DELETE", path, **about)
    except GatehouseError as error:
        say(f"it could not be called off ({error}): it ends by itself within 15 s")


def described(one: dict[str, Any]) -> str:
    """Return a card format in one line."""
    parts = [{"hex": "hexadecimal", "facility": "facility code and number"}.get(one["notation"], one["notation"])]
    if one["frame"]:
        parts.append(f"Wiegand {one['frame']}")
    if one["width"]:
        parts.append(f"{one['width']} bytes")
    if one["reverse"]:
        parts.append("bytes reversed")
    if one["keep"]:
        parts.append(f"{'first' if one['keep_from'] == 'start' else 'last'} {one['keep']} bytes kept")
    return ", ".join(parts)
