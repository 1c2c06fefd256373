"""Ask a gateway over its HTTP API with a machine's token: what the commands about people share. Prints nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from models.errors import DeviceUnreachable, Forbidden, InvalidInput, SettingsError

if TYPE_CHECKING:
    import httpx

URL_HELP = (
    "address of the gateway (default: as gatehouse.yaml says, here or in /etc/gatehouse, else http://127.0.0.1:8440)"
)
Url = Annotated[str, typer.Option("--url", envvar="GATEHOUSE_URL", help=URL_HELP)]
Token = Annotated[str, typer.Option("--token", envvar="GATEHOUSE_TOKEN", help="token of a machine, see `token add`")]
Reason = Annotated[str, typer.Option("--reason", help="why: it goes on record")]
LOCAL = ""
"""The gateway of the settings file here (`gateway_here`)."""
USUAL = "http://127.0.0.1:8440"
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
PATIENCE_S = 40.0


def ask(method: str, path: str, *, url: str, token: str, reason: str = "", **what: Any) -> Any:
    """Send a request and return the answer's JSON.

    Raises:
        DeviceUnreachable: the gateway does not answer.
        Forbidden: it refuses the token or the act.
        InvalidInput: it refuses what was sent.
    """
    content = _answer(method, path, url=url, token=token, reason=reason, **what)
    return json.loads(content) if content else {}


def ask_bytes(path: str, *, url: str, token: str, reason: str = "") -> bytes:
    """Fetch a file; raises what `ask` does."""
    return _answer("GET", path, url=url, token=token, reason=reason)


def gateway_here() -> str:
    """Return the address that the settings file of other commands gives the gateway; the usual one where there is none to read."""
    from gateway.commands.common import load

    named = os.environ.get("GATEHOUSE_CONFIG")
    try:
        own = load(Path(named) if named else None).gateway
    except (InvalidInput, SettingsError):
        return USUAL
    if own.public_url or not own.port:
        return own.public_url or USUAL
    host = ANYWHERE.get(own.host, f"[{own.host}]" if ":" in own.host else own.host)
    return f"{'https' if own.tls.cert_file else 'http'}://{host}:{own.port}"


def _answer(method: str, path: str, *, url: str, token: str, reason: str, **what: Any) -> bytes:
    import httpx

    if not token:
        raise InvalidInput("--token", "set GATEHOUSE_TOKEN or give --token; make one with `gatehouse token add`")
    url = url or gateway_here()
    headers = {"Authorization": f"Bearer {token}", **what.pop("headers", {})}
    if reason:
        headers["Gatehouse-Reason"] = quote(reason)
    patience_s = what.pop("patience_s", PATIENCE_S)
    try:
        answer = httpx.request(
            method, f"{url.rstrip('/')}/api/v1/{path}", headers=headers, timeout=patience_s, trust_env=False, **what
        )
    except httpx.HTTPError as error:
        where = "give its address by --url or GATEHOUSE_URL, or start it"
        raise DeviceUnreachable("gateway", f"{url}: {error}: {where}") from error
    if answer.is_error:
        raise _problem(answer)
    return answer.content


def _problem(answer: httpx.Response) -> Exception:
    try:
        told = answer.json()
    except json.JSONDecodeError:
        told = {}
    text = f"{told.get('reason') or told.get('code') or answer.status_code}: {told.get('detail', '')}"
    if told.get("command_id"):
        text += f" (`gatehouse door order {told['command_id']}` says what became of it)"
    return Forbidden(text) if answer.status_code in {401, 403} else InvalidInput("gateway", text)
