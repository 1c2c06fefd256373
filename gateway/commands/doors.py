"""`door …`: how doors stand, unlock, lock down, evacuate, hold open, bypass alarms, over HTTP with a machine's token.

An order to unlock waits for the door. Modes are wishes that the policy carries: they answer when kept, and wait for none.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.commands.common import Json, show
from gateway.commands.person import SomeDoors
from gateway.commands.remote import LOCAL, Token, Url, ask

door = typer.Typer(
    help="Doors: how they stand, unlock, lock down, evacuate, hold open, which doors follow, and bypassed alarms.",
    no_args_is_help=True,
)
Why = Annotated[str, typer.Option("--reason", help="why: it goes on record, needed")]
Until = Annotated[str, typer.Option(help="until when, with its offset, as 2027-01-31T18:00:00+08:00; at most a week")]

Kinds = Annotated[
    list[str],
    typer.Option(
        help="door_forced, door_held_open, door_tampered, door_faulted, device_lost, device_gap or battery_low; several times"
    ),
]
Minutes = Annotated[int, typer.Option(help="for how long, at most a day")]


@door.command("list")
def list_all(
    *, troubled: Annotated[bool, typer.Option("--troubled", help="only doors that their edge cannot serve")] = False,
    url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """List the doors: how each stands, why its edge cannot serve it (`not served: …`), and bypassed alarms."""
    found = ask("GET", "doors", url=url, token=token)
    found["items"] = [one for one in found["items"] if one.get("trouble") or not troubled]
    none = "every door is served" if troubled else "no doors"
    show(found, "\n".join(_standing(one) for one in found["items"]) or none, as_json=as_json)


@door.command("show")
def show_one(door_id: str, *, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Show how a door stands, why its edge cannot serve it, and which of its alarms are bypassed."""
    found = ask("GET", f"doors/{door_id}", url=url, token=token)
    show(found, _standing(found), as_json=as_json)


@door.command("open")
def unlock(door_id: str, *, reason: Why, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Unlock a door once, now; answers when the door took the order, or says which order it did not take."""
    done = ask("POST", f"doors/{door_id}/unlock", url=url, token=token, json={"reason": reason})
    show(done, f"{door_id} {done['state']}, order {done['command_id']}", as_json=as_json)


@door.command("order")
def order(command_id: str, *, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Show what became of an order to a door: how far it came, and why not further."""
    one = ask("GET", f"commands/{command_id}", url=url, token=token)
    why = " ".join(word for word in (one["why"], one["detail"]) if word)
    by = f" by the {one['confirmed_by']}" if one["confirmed_by"] else ""
    line = f"{one['door_id']} {one['state']}{by}{f': {why}' if why else ''}; {one['asked_by']}, {one['asked_at']}"
    show(one, line, as_json=as_json)


@door.command("modes")
def modes(
    site: str, *, astray: Annotated[bool, typer.Option("--astray", help="only doors that do not follow")] = False,
    url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """List the modes of a site's doors, and whether each door follows."""
    only = {"follows": "false"} if astray else {}
    found = ask("GET", f"sites/{site}/modes", url=url, token=token, params=only)
    none = "every door follows" if astray else "no doors"
    show(found, "\n".join(_line(one) for one in found["items"]) or none, as_json=as_json)


@door.command("lock-down")
def lock_down(
    site: str, *, reason: Why, some: SomeDoors = None, url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """Lock a site down, or some of its doors: no card, PIN or face lets in. Leaving stays the door hardware's."""
    _act("lock_down", site, url=url, token=token, reason=reason, some=some, as_json=as_json)


@door.command("end-lock-down")
def end_lock_down(
    site: str, *, reason: Why, some: SomeDoors = None, url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """End a lock-down; doors that evacuate go on."""
    _act("end_lock_down", site, url=url, token=token, reason=reason, some=some, as_json=as_json)


@door.command("evacuate")
def evacuate(
    site: str, *, reason: Why, some: SomeDoors = None, url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """Open a site, or some of its doors, for an evacuation; it goes before a lock-down."""
    _act("evacuate", site, url=url, token=token, reason=reason, some=some, as_json=as_json)


@door.command("end-evacuation")
def end_evacuation(
    site: str, *, reason: Why, some: SomeDoors = None, url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """End an evacuation; doors that were locked down before are so again."""
    _act("end_evacuation", site, url=url, token=token, reason=reason, some=some, as_json=as_json)


@door.command("hold")
def hold(
    door_id: str, *, until: Until, reason: Why, url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:
    """Hold a door open until a time; its edge ends that by itself."""
    body = {"mode": "held_open", "until": until, "reason": reason}
    kept = ask("PUT", f"doors/{door_id}/mode", url=url, token=token, json=body)
    show(kept, _line(kept), as_json=as_json)


@door.command("release")
def release(door_id: str, *, reason: Why, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Hold a door open no longer."""
    kept = ask("PUT", f"doors/{door_id}/mode", url=url, token=token, json={"mode": "normal", "reason": reason})
    show(kept, _line(kept), as_json=as_json)


@door.command("bypass")
def bypass(
    door_id: str, *, kind: Kinds, minutes: Minutes, reason: Why, url: Url = LOCAL, token: Token = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Let alarms of a door raise no alert for a while, because somebody works there; facts go on, and it ends by itself."""
    body = {"kinds": kind, "minutes": minutes, "reason": reason}
    begun = ask("POST", f"doors/{door_id}/bypass", url=url, token=token, json=body)
    show(begun, f"{door_id}: {', '.join(begun['kinds'])} bypassed until {begun['until']}", as_json=as_json)


@door.command("end-bypass")
def end_bypass(door_id: str, *, url: Url = LOCAL, token: Token = "") -> None:
    """End the bypass of a door now; what stands there still raises its alert."""
    ask("DELETE", f"doors/{door_id}/bypass", url=url, token=token)


def _act(act: str, site: str, *, url: str, token: str, reason: str, some: list[str] | None, as_json: bool) -> None:
    body = {"act": act, "doors": some, "reason": reason}
    kept = ask("POST", f"sites/{site}/modes", url=url, token=token, json=body)
    show(kept, "\n".join(_line(one) for one in kept["items"]) or "no doors", as_json=as_json)


def _standing(one: dict[str, Any]) -> str:
    if one.get("trouble"):
        stands = f"not served: {one['trouble']}"
    elif one["seen_at"] is None:
        stands = "its edge has said nothing of it yet"
    elif not one["online"]:
        stands = "offline"
    else:
        alarm = "" if one["alarm"] == "none" else f", {one['alarm']}"
        stands = f"{one['contact']}, {one['lock']}{alarm}{', tampered' if one['tamper'] else ''}"
    bypass = one.get("bypass")
    quiet = f"; {', '.join(bypass['kinds'])} bypassed until {bypass['until']}: {bypass['reason']}" if bypass else ""
    return f"{one['id']:24} {stands}{quiet}"


def _line(one: dict[str, Any]) -> str:
    follows = "follows" if one["follows"] else "does not follow yet" if one["online"] else "does not follow: offline"
    until = f" until {one['until']}" if one["until"] else ""
    return f"{one['door_id']:24} {one['mode']}{until}, {follows}"
