"""`person enrol`: a face from photos, or from the camera of a door with hints while the person stands there."""

from __future__ import annotations

import time
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

from gateway.commands.common import Json, say, show
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask
from models.errors import ImageRejected, InvalidInput
from models.link import PICTURES_MOST

LOOK_S = 0.5
ALIKE = "looks like {}: the same person twice on record? Keep one record; else one of them should use a card"
"""What to do about two people who look alike; takes the other one's id."""
MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
NOT_THE_PHOTO = ("not_found:", "no_consent:", "conflict:", "under_14:")
"""Refusals that no other photo would change."""
RUNNING = ("waiting", "running")
HINTS = {
    "": "please wait", "come_closer": "come closer, face the camera", "step_back": "step back a little",
    "look_straight": "look straight into the camera", "turn_slightly": "turn your head slightly to one side",
    "more_light": "more light is needed", "less_light": "there is too much light", "hold_still": "hold still",
    "one_person_only": "only one person may stand there", "taken": "taken, thank you",
}  # fmt: skip


def enrol(
    person_id: str, *,
    photo: Annotated[list[Path] | None, typer.Option("--photo", help="JPEG or PNG file; may be given several times")] = None,
    door: Annotated[str | None, typer.Option("--door", help="id of the door whose camera the person stands before")] = None,
    pictures: Annotated[int, typer.Option(min=1, max=5, help="how many pictures the door's camera takes")] = 3,
    add: Annotated[bool, typer.Option("--add", help="add to the photos that are enrolled, in place of replacing them")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="the face enrolled was somebody else's, or the person changed much")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Enrol a face from photos (at most 4 MiB each, five in all) or at a door's camera, with hints; no photo is kept."""
    if bool(photo) == bool(door):
        raise InvalidInput("--photo", "give photos, or a door with --door")
    if add and (anew or door):
        raise InvalidInput("--add", "is for photos that join what is enrolled: leave out --add, or --anew and --door")
    about = {"url": url, "token": token, "reason": reason}
    if door is not None:
        _at_door(person_id, {"door_id": door, "pictures": pictures, "anew": anew}, about=about, as_json=as_json)
        return
    wanted = _wanted(photo or [])
    made, refused = _send(person_id, wanted, add=add, anew=anew, about=about, as_json=as_json)
    show(made, f"{len(made)} of {len(wanted)} photos enrolled", as_json=as_json)
    if refused:
        replaced = " (the photos that were enrolled replaced what was enrolled before)" if made and not add else ""
        raise InvalidInput("--photo", "; ".join(refused) + replaced)


def _send(
    person_id: str,
    wanted: list[tuple[Path, bytes, str]],
    *,
    add: bool,
    anew: bool,
    about: dict[str, str],
    as_json: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Enrol each photo and return the proofs, and a sentence for each that was refused."""
    made: list[dict[str, Any]] = []
    refused: list[str] = []
    for file, content, kind in wanted:
        joins = add or bool(made)
        try:
            told = send_photo(person_id, content, kind=kind, add=joins, anew=anew and not joins, about=about)
        except InvalidInput as error:
            if error.what.startswith(NOT_THE_PHOTO):
                raise
            refused.append(f"{file}: {error.what}")
            continue
        made.append(told)
        if not as_json:
            say(f"{file}: {_line(told)}")
    return made, refused


def _wanted(files: list[Path]) -> list[tuple[Path, bytes, str]]:
    """Read the photos, before any of them is sent."""
    if len(files) > PICTURES_MOST:
        raise InvalidInput(
            "--photo", f"{len(files)} photos are given; a person has at most {PICTURES_MOST}: choose the best"
        )
    wanted = [(file, *_read(file)) for file in files]
    first: dict[bytes, Path] = {}
    for file, content, _ in wanted:
        if content in first:
            raise InvalidInput("--photo", f"{file} is the same picture as {first[content]}: leave one out")
        first[content] = file
    return wanted


def _read(file: Path) -> tuple[bytes, str]:
    kind = media_type(file.name)
    try:
        return file.read_bytes(), kind
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error


def media_type(name: str) -> str:
    """Return the media type of a photo by its name.

    Raises:
        InvalidInput: it is no name of a JPEG or PNG file.
    """
    kind = MEDIA_TYPES.get(PurePath(name).suffix.lower())
    if kind is None:
        raise InvalidInput(name[:80], "use a .jpg or .png file")
    return kind


def send_photo(
    person_id: str, content: bytes, *, kind: str, add: bool, about: dict[str, str], anew: bool = False
) -> dict[str, Any]:
    """Enrol a face from one photo and return its proofs; `about` says where the gateway is and why.

    Raises:
        InvalidInput: it is refused, with the reason.
        DeviceUnreachable: the gateway or an edge does not answer.
    """
    params = {name: "true" for name, said in (("add", add), ("anew", anew)) if said}
    headers = {"Content-Type": kind}
    told: dict[str, Any] = ask(
        "PUT", f"people/{person_id}/face", content=content, headers=headers, params=params, **about
    )  # fmt: skip
    return told


def _line(told: dict[str, Any]) -> str:
    alike = "".join(f"; {ALIKE.format(other)}" for other in told["similar_to"])
    return f"enrolled, receipt {told['receipt']['id']}, quality {told['receipt']['quality']:.2f}{alike}"


def _at_door(person_id: str, body: dict[str, Any], *, about: dict[str, str], as_json: bool) -> None:
    """Order it, say what to do while it runs, and call it off when it is interrupted."""
    told = ask("POST", f"people/{person_id}/face/at-door", json=body, **about)
    path, said = f"face-enrolments/{told['id']}", ""
    try:
        while told["state"] in RUNNING:
            line = f"{told['done']} of {told['wanted']} pictures; {HINTS.get(told['hint'], told['hint'])}"
            if line != said and not as_json:
                say(line)
            said = line
            time.sleep(LOOK_S)
            told = ask("GET", path, **about)
    except KeyboardInterrupt:
        ask("DELETE", path, **about)
        told = ask("GET", path, **about)
    if told["state"] != "confirmed":
        raise ImageRejected(told["reason"] or told["state"], told["detail"] or "no template was made: try again")
    alike = f"; {ALIKE.format(told['similar_to'])}" if told["similar_to"] else ""
    show(told, f"enrolled from {told['done']} pictures{alike}", as_json=as_json)
