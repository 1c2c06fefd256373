"""`discover` and `device …`: find cameras and doors, try them and adopt them, through the gateway's HTTP API.

Passwords come from a file or the environment, never from the command line, where every user of the machine could read them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.common import Json, say, show
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask, ask_bytes
from models.errors import InvalidInput

device = typer.Typer(
    help="Devices that were found: list, ask, try, adopt, replace and remove them.", no_args_is_help=True
)
LOOK_S = 0.5
PATIENCE_S = 45.0
PASSWORD = "GATEHOUSE_DEVICE_PASSWORD"  # noqa: S105 - the name of a variable
Edge = Annotated[str, typer.Option("--edge", help="id of the edge that looks")]
User = Annotated[str, typer.Option("--user", help="user of the device")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help=f"file with its password (default: ${PASSWORD})")
]
Part = Annotated[str, typer.Option("--part", help="which part of it (default: the only one)")]
Why = Annotated[str, typer.Option("--reason", help="why: it goes on record, needed")]
Pause = Annotated[
    bool, typer.Option("--pause", help="of readers: let doors that their line serves stand still for a moment")
]
Strike = Annotated[
    int | None, typer.Option("--strike", min=0, max=255, help="of a reader: the output that the lock hangs on")
]
LADDER = {
    "heard": "1/5 heard of", "answers": "2/5 answers", "trusted": "3/5 certificate trusted or none needed",
    "known": "4/5 credentials are right", "ready": "5/5 tried",
}  # fmt: skip
TROUBLES = {
    "unreachable": "it does not answer: is it on, and can the edge reach it?",
    "credentials": "give --user and a password",
    "certificate": "compare the fingerprint with the device's own, then `device probe ID --trust`",
    "unsupported": "it speaks, but not what is needed",
    "clock": "set its clock",
    "moved": "it was heard elsewhere: `device probe ADDRESS` with its user and password",
    "another_device": "not this device: find it anew, or let the one that is there replace it",
}


def discover(
    edge: Edge, *,
    wire: Annotated[list[str] | None, typer.Option(help="wire to search: onvif or mqtt (default: all)")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="address or network to ask one by one as well, as 192.0.2.0/24")
    ] = None,
    for_s: Annotated[float, typer.Option("--for", min=3, max=120, help="seconds to search")] = 15.0,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Search the wires of an edge for cameras and doors."""
    if "osdp" in (wire or []):
        raise InvalidInput("--wire", f"card readers are asked on their line: `device probe PORT --edge {edge}`")
    body = {"edge_id": edge, "wires": wire or [], "networks": network or [], "for_s": for_s}
    order = _ordered("devices/discover", body, reason=reason, url=url, token=token, within_s=for_s + 10)
    found = [ask("GET", f"devices/{key}", url=url, token=token) for key in order["devices"]]
    fresh = [one for one in found if one["state"] != "removed"]
    text = "\n".join(_lines(one) for one in fresh) or "nothing was found"
    show({"order": order, "items": fresh}, "\n".join(filter(None, (text, order["detail"]))), as_json=as_json)
    if order["state"] != "confirmed":
        raise typer.Exit(1)


@device.command("list")
def list_(
    *, removed: Annotated[bool, typer.Option(help="list those that were removed")] = False, url: Url = LOCAL,
    token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """List the devices that were found, how far each was reached, and what it is here."""
    found = ask("GET", f"devices{'?state=removed' if removed else ''}", url=url, token=token)
    show(found, "\n".join(_lines(one) for one in found["items"]) or "no devices", as_json=as_json)


@device.command("probe")
def probe(
    target: Annotated[
        str,
        typer.Argument(help="id of a device, or with --edge an address; of card readers /dev/ttyUSB0 or tcp://HOST:PORT"),
    ], *,
    edge: Annotated[str, typer.Option("--edge", help="id of the edge that asks, for an address")] = "",
    user: User = "", password_file: PasswordFile = None,
    trust: Annotated[bool, typer.Option("--trust", help="trust the certificate that it shows from now on")] = False,
    pass_on: Annotated[
        bool, typer.Option("--pass-on", help="have its doors and cameras here take these credentials over")
    ] = False,
    pause: Pause = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Ask a device, or a line of card readers, what it is, with credentials if it wants some; they are kept sealed."""
    if edge and trust:
        raise InvalidInput("--trust", "ask without it first, compare the fingerprint, then `device probe ID --trust`")
    if edge and pass_on:
        raise InvalidInput("--pass-on", "ask without it first, then `device probe ID --pass-on`")
    if not edge and ("://" in target or target.startswith("/")):
        raise InvalidInput("--edge", "say which edge asks this address; of a device that was found, give its id")
    body: dict[str, Any] = {"user": user, "password": _password(password_file), "pause": pause}
    if edge:
        path = "devices/probe"
        body |= {"edge_id": edge, "wire": _wire(target), "address": target}
    else:
        path = f"devices/{target}/probe"
        body |= {"trust": trust, "pass_on": pass_on}
    order = _ordered(path, body, reason=reason, url=url, token=token)
    if not order["devices"]:
        raise InvalidInput(target, order["detail"] or order["reason"] or order["state"])
    told = [ask("GET", f"devices/{key}", url=url, token=token) for key in order["devices"]]
    lines = [_lines(one) for one in told]
    if (user or body["password"]) and not pass_on:
        lines += [_kept_theirs(one) for one in told if one["wire"] != "osdp"]
    show(told[0] if len(told) == 1 else {"items": told}, "\n".join(filter(None, lines)), as_json=as_json)
    if any(one["trouble"] for one in told):
        raise typer.Exit(1)


@device.command("key")
def key(
    device_id: str, *, reason: Why, pause: Pause = False, url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Give a card reader in install mode a key of its own: do it where nobody else is at the cable."""
    order = _ordered(f"devices/{device_id}/key", {"pause": pause}, reason=reason, url=url, token=token)
    done = order["state"] == "confirmed"
    show(order, "it has its key" if done else _ended(order), as_json=as_json)
    if not done:
        raise typer.Exit(1)


@device.command("try")
def try_(
    device_id: str, *, reason: Why, part: Part = "",
    signal: Annotated[bool, typer.Option("--signal", help="of a reader: light and sound, its door stays shut")] = False,
    strike: Strike = None, pause: Pause = False,
    out: Annotated[Path, typer.Option("--out", help="file for a camera's still")] = Path("still.jpg"),
    url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Try a part of a device once: a still of a camera, without faces; an unlock of a door; light and sound at a reader."""
    chosen = _part(ask("GET", f"devices/{device_id}", url=url, token=token), part)
    act = "still" if chosen["kind"] == "camera" else "signal" if signal else "unlock"
    body: dict[str, Any] = {"part": chosen["id"], "act": act, "pause": pause}
    if strike is not None:
        body["strike"] = strike
    order = _ordered(f"devices/{device_id}/try", body, reason=reason, url=url, token=token)
    done = order["state"] == "confirmed"
    if done and act == "still":
        out.write_bytes(ask_bytes(f"devices/orders/{order['id']}/picture", url=url, token=token, reason=reason))
    text = f"{chosen['id']}: {'done' if done else _ended(order)}"
    show(order, f"{text}{f', see {out}' if done and act == 'still' else ''}", as_json=as_json)
    if not done:
        raise typer.Exit(1)


@device.command("adopt")
def adopt(
    device_id: str, *, part: Part = "",
    as_id: Annotated[str, typer.Option("--as", help="id of the door or camera here (default: a random one)")] = "",
    name: Annotated[str, typer.Option(help="what people call it")] = "",
    door: Annotated[
        str, typer.Option(help="of a camera: the door that it looks at; of a reader: the door that gets it as well")
    ] = "",
    side: Annotated[str, typer.Option(help="of a reader: in or out")] = "in",
    strike: Strike = None,
    no_strike: Annotated[bool, typer.Option("--no-strike", help="of a reader: the lock hangs on none of it")] = False,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="of a reader: WHAT=NUMBER, as open=0")] = None,
    keypad: Annotated[str, typer.Option(help="of a reader: pin, flat_pin or off")] = "pin",
    plain: Annotated[bool, typer.Option("--plain", help="of a reader: speak in clear, without a key")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Make a door or camera of a part of a device; a camera stays off until it has its register entry."""
    found = ask("GET", f"devices/{device_id}", url=url, token=token)
    chosen = _part(found, part)
    given = {"id": as_id, "name": name, "door_id": door}
    wired = {name: int(number) for name, number in map(_input, inputs or [])}
    wiring: dict[str, Any] = {"side": side, "inputs": wired, "keypad": keypad, "plain": plain}
    if strike is not None or no_strike:
        wiring["strike"] = None if no_strike else strike
    body: dict[str, Any] = {"part": chosen["id"]} | {key: value for key, value in given.items() if value}
    if found["wire"] == "osdp":
        body["wiring"] = wiring
    kept = ask("POST", f"devices/{device_id}/adopt", url=url, token=token, reason=reason, json=body)
    text = _lines(kept)
    if chosen["kind"] == "camera":
        text += "\n    off: its stream starts once it has its register entry (console: Find and adopt devices, Register many)"
    show(kept, text, as_json=as_json)


@device.command("replace")
def replace(
    device_id: str, by: str, *,
    part: Annotated[list[str] | None, typer.Option(help="OLD=NEW where it is not plain which part becomes which")] = None,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Let another device take over the doors and cameras of one: their ids, rights and history stay."""
    pairs = dict(_pair(text) for text in part or [])
    body = {"by": by, "parts": pairs}
    kept = ask("POST", f"devices/{device_id}/replace", url=url, token=token, reason=reason, json=body)
    show(kept, _lines(kept), as_json=as_json)


@device.command("remove")
def remove(device_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Remove a device that is no door or camera here; searches do not offer it again, and its credentials are destroyed."""
    ask("DELETE", f"devices/{device_id}", url=url, token=token, reason=reason)
    say("removed")


@device.command("offer")
def offer(device_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """Offer a device again that was removed."""
    kept = ask("POST", f"devices/{device_id}/offer", url=url, token=token, reason=reason)
    show(kept, _lines(kept), as_json=as_json)


def _ordered(
    path: str, body: dict[str, Any], *, reason: str, url: str, token: str, within_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Give an order to an edge, wait until it has ended and return how it stands."""
    order: dict[str, Any] = ask("POST", path, url=url, token=token, reason=reason, json=body)
    until_s = time.monotonic() + within_s
    while order["state"] == "waiting" and time.monotonic() < until_s:
        time.sleep(LOOK_S)
        order = ask("GET", f"devices/orders/{order['id']}", url=url, token=token)
    return order


def _password(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(PASSWORD)
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("--password-file", f"{file} cannot be read: {error}") from error


def _part(found: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Return a part of a device: the one that is named, or the only one."""
    parts: list[dict[str, Any]] = [one for one in found["parts"] if not wanted or one["id"] == wanted]
    if len(parts) != 1:
        names = ", ".join(one["id"] for one in found["parts"]) or "none: ask it what it is with `device probe`"
        raise InvalidInput("--part", f"name one of its parts: {names}")
    return parts[0]


def _wire(address: str) -> str:
    if address.startswith(("/", "tcp://")):
        return "osdp"
    return "rtsp" if address.startswith(("rtsp://", "rtsps://")) else "onvif"


def _ended(order: dict[str, Any]) -> str:
    return f"{order['reason'] or order['state']} {order['detail']}".rstrip()


def _input(text: str) -> tuple[str, str]:
    name, equals, number = text.partition("=")
    if not (name and equals and number.isascii() and number.isdigit()):
        raise InvalidInput("--input", f"write WHAT=NUMBER, as open=0, not {text[:80]!r}")
    return name, number


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise InvalidInput("--part", f"write OLD=NEW, not {text[:80]!r}")
    return old, new


def _kept_theirs(one: dict[str, Any]) -> str:
    """Return which doors and cameras of a device went on with the credentials that they have; nothing if it is none here."""
    ours = ", ".join(sorted(part["adopted_as"] for part in one["parts"] if part["adopted_as"]))
    told = f"    unchanged: {ours}; to have them take these credentials over: `device probe {one['id']} --pass-on`"
    return told if ours else ""


def _lines(one: dict[str, Any]) -> str:
    """Return a device for people: how far up the ladder, why no further and what to do, then its parts."""
    about = " ".join(filter(None, (one["maker"], one["model"], one["serial"])))
    head = f"{one['id']}  {one['wire']:5} {one['address']}  {about}  {one['state']}, {LADDER[one['reach']]}"
    lines = [head]
    if one["trouble"]:
        told = TROUBLES.get(one["trouble"], one["trouble"])
        if one["wire"] == "osdp" and one["trouble"] == "credentials":
            told = f"it has another key: put it in install mode, then `device key {one['id']} --reason …`"
        lines.append(f"    stopped: {told}" + (f" ({one['detail']})" if one["detail"] else ""))
    if one["wire"] == "osdp" and one["reach"] == "answers" and not one["trouble"]:
        lines.append(f"    next: put it in install mode, then `device key {one['id']} --reason …`")
    if one["trouble"] == "certificate":
        lines.append(f"    fingerprint: {one['fingerprint']}")
    for part in one["parts"]:
        size = f" {part['width_px']}x{part['height_px']}" if part["width_px"] else ""
        here = f", here {part['adopted_as']}" if part["adopted_as"] else ""
        lines.append(f"    {part['kind']:6} {part['id']}  {part['name']}{size}{here}")
    return "\n".join(lines)
