"""`card learn --door`: a reader's format from cards that are held up to it, with what happens there while one waits.

The numbers of the cards are asked for at the terminal, so that none is in a command line or its history.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import typer
import yaml

from gateway.commands.common import say, show
from gateway.commands.remote import ask
from models.cards import AS_IT_COMES, CardFormat, canonical_reading
from models.errors import GatehouseError, InvalidInput
from models.places import check_id

LOOK_S = 0.5
RUNNING = ("waiting", "running")
KINDS = {"bits": "bits", "hex": "hexadecimal digits", "decimal": "decimal digits", "other": "characters"}
PARITIES = {"right": ", parity right", "wrong": ", parity WRONG: noise, or a frame of the maker's own"}
FIELDS = ("notation", "frame", "width", "reverse", "keep", "keep_from")
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

    Whatever ends it before (an interruption too) calls it off, and what was read is forgotten. A reader of the site file
    is changed there: what to write is printed instead.
    """
    from_file = bool(ask("GET", f"doors/{body['door_id']}/settings", **about)["seeded"])
    if from_file and not as_json:
        say("the site file describes this reader: what fits is printed for it, and nothing is set here")
    lesson = ask("POST", "card-lessons", json=body, **about)
    path = f"card-lessons/{lesson['id']}"
    try:
        lesson = _gathered(lesson, path, about=about, quiet=as_json)
        cards = _named(lesson["presented"], desk=desk, about=about)
        proposal = ask("POST", f"{path}/propose", json={"cards": cards}, **about)
        if not as_json:
            say("\n".join(_proof(proposal)))
        _check_fits(proposal)
        if from_file:
            _call_off(path, about=about)
            _for_site_file(proposal, lesson, given=given, as_json=as_json)
            return
        if not yes:
            typer.confirm(f"set it on reader {lesson['reader']!r} of door {lesson['door_id']}?", abort=True, err=True)
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


def _named(presented: list[dict[str, Any]], *, desk: str | None, about: dict[str, str]) -> list[dict[str, Any]]:
    """Ask which card each presentation was; what cannot be read is asked again."""
    by = msgspec.convert(ask("GET", f"card-formats/{desk}", **about), CardFormat) if desk else AS_IT_COMES
    cards: list[dict[str, Any]] = []
    for number, shape in enumerate(presented, start=1):
        asked = ASKED.format(number, _shaped(shape))
        while (told := typer.prompt(asked, default="", show_default=False, err=True).strip()) != "":
            try:
                cards.append({"presented": number, **_card(told, by=by)})
                break
            except InvalidInput as error:
                say(f"card {number}: {error.what}; type it again")
    return cards


def _card(told: str, *, by: CardFormat) -> dict[str, str]:
    """Return the card that somebody typed. Raises `InvalidInput` if it cannot be read."""
    if told.startswith(PERSONS):
        return {"credential_id": check_id(told.removeprefix(PERSONS).strip(), "credential")}
    canonical_reading(told, by, where="number")
    return {"number": told, **({"format": by.id} if by.id else {})}


def _check_fits(proposal: dict[str, Any]) -> None:
    if not proposal["fits"]:
        raise InvalidInput("cards", proposal["advice"])


def _for_site_file(
    proposal: dict[str, Any], lesson: dict[str, Any], *, given: dict[str, str | None], as_json: bool
) -> None:
    """Print the lines of the site file by which a reader of it reads the plainest format that fits."""
    door, side, fit = lesson["door_id"], lesson["reader"], proposal["fits"][0]
    where = f"reader {side!r} of door {door}"
    if not fit["needed"]:
        show({"proposal": proposal, "card_formats": []}, f"{where} needs no format", as_json=as_json)
        return
    named = {"id": given["id"] or f"{door}-{side}"[:64], "name": given["name"] or f"{door} {side}, learnt"}
    bare = msgspec.to_builtins(msgspec.convert({name: fit[name] for name in FIELDS} | {"id": ""}, CardFormat))
    formats = [named | {name: value for name, value in bare.items() if name != "id"}]
    lines = yaml.safe_dump({"card_formats": formats}, sort_keys=False, allow_unicode=True).rstrip()
    text = f"write this into the site file, there `format: {named['id']}` at {where}, and `gatehouse apply`:\n{lines}"
    show({"proposal": proposal, "card_formats": formats}, text, as_json=as_json)


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
