"""`calibration …`: counted evidence of false matches, through the gateway's HTTP API with a machine's token."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.common import Json, show
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask
from models.errors import InvalidInput

calibration = typer.Typer(help="Counted evidence that decides where a face alone may open.", no_args_is_help=True)
MAX_BYTES = 64 * 1024
LOOK_S = 0.5
WRITTEN = "name a file that `evaluate faces --calibration` wrote"


@calibration.command("list")
def list_(site: str, *, url: Url = LOCAL, token: Token = "", as_json: Json = False) -> None:
    """List what was counted for a site, and the radius that it carries for galleries of several sizes."""
    found = ask("GET", f"sites/{site}/calibrations", url=url, token=token)
    show(found, "\n".join(_line(one) for one in found["items"]) or "nothing was counted yet", as_json=as_json)


@calibration.command("count")
def count(
    site: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "",
    for_s: Annotated[float, typer.Option("--for", min=0, help="seconds to wait for the edges")] = 60.0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Have the edges of a site count false matches within their own consented galleries; only counts leave them."""
    path = f"sites/{site}/calibrations/count"
    found = ask("POST", path, url=url, token=token, reason=reason)
    until_s = time.monotonic() + for_s
    while any(one["state"] == "waiting" for one in found["items"]) and time.monotonic() < until_s:
        time.sleep(LOOK_S)
        found = ask("GET", path, url=url, token=token)
    show(found, "\n".join(_end(one) for one in found["items"]), as_json=as_json)
    if not any(one["state"] == "confirmed" for one in found["items"]):
        raise typer.Exit(1)


@calibration.command("add")
def add(
    site: str, file: Annotated[Path, typer.Argument(help="what `evaluate faces --calibration` wrote")], *,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Add what labelled photos prove to a site."""
    kept = ask("POST", f"sites/{site}/calibrations", url=url, token=token, reason=reason, json=_read(file))
    show(kept, _line(kept), as_json=as_json)


@calibration.command("remove")
def remove(site: str, calibration_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "") -> None:
    """Remove a count; the one before it holds again."""
    ask("DELETE", f"sites/{site}/calibrations/{calibration_id}", url=url, token=token, reason=reason)
    show({}, "removed", as_json=False)


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InvalidInput(str(file), f"has more than {MAX_BYTES} bytes: {WRITTEN}")
    try:
        return json.loads(content)
    except ValueError as error:
        raise InvalidInput(str(file), f"{error}: {WRITTEN}") from error


def _line(one: dict[str, Any]) -> str:
    where = one["edge_id"] or "labelled photos"
    radii = "; ".join(
        f"{carried['people']}: {carried['radius']:.2f}" if carried["radius"]
        else f"{carried['people']}: none, {carried['needed_pairs']:,} pairs are needed"
        for carried in one["carries"]
    )  # fmt: skip
    pairs = "1 pair" if one["pairs"] == 1 else f"{one['pairs']:,} pairs"
    state = "in force" if one["in_force"] else "replaced"
    return f"{one['id']}  {where}, {one['persons']} persons, {pairs}, {state}; radius by people: {radii}"


def _end(one: dict[str, Any]) -> str:
    if one["state"] == "confirmed":
        return f"{one['edge_id']}: counted, {one['calibration_id']}"
    if one["state"] == "waiting":
        return f"{one['edge_id']}: has not answered yet"
    return f"{one['edge_id']}: {one['reason'] or one['state']}, {one['detail'] or 'is it online?'}"
