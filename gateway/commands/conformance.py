"""`gatehouse conformance`: ask a door driver, or a device, for each promise of the driver contract, and write a report."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from gateway.commands.common import say
from gateway.rehearsal.report import STYLE
from models.errors import GatehouseError, InvalidInput

WORDS: Final = {"passed": ("yes", "passed"), "failed": ("no", "FAILED"), "skipped": ("", "not asked")}
KEYED: Final = frozenset({"key", "key_file", "plain", "readers"})
"""Settings of which one says how a card reader is to be trusted."""
SCHEMES: Final = {"http": "onvif", "https": "onvif", "mqtt": "mqtt", "mqtts": "mqtt", "osdp": "osdp"}


def conformance(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DRIVER|ADDRESS",
            help="a driver (mqtt, onvif, osdp, or a third party's), or a device: http(s)://…, mqtt(s)://HOST:PORT, osdp:///dev/…",
        ),
    ],
    *,
    door: Annotated[str, typer.Option(help="id of the door")] = "gate",
    user: Annotated[str, typer.Option(help="name to log in with")] = "",
    password_file: Annotated[Path | None, typer.Option(help="file that holds the password")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="further setting of the driver, NAME=VALUE; may repeat")
    ] = None,
    simulator: Annotated[str, typer.Option(help="command of a third party's simulator (docs/drivers.md)")] = "",
    unlock: Annotated[
        bool, typer.Option("--unlock", help="open a real door, too: somebody should stand there")
    ] = False,
    html_file: Annotated[Path | None, typer.Option("--html", help="write the report to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Examine a driver against its simulator, or a real device without harm. Exit status 1: a promise is broken."""
    argv = [sys.executable, "-m", "drivers", "conformance", "run", "--door", door, *(["--unlock"] if unlock else [])]
    told = b""
    if "://" in target:
        settings = settings_of(target, user=user, password=_password(password_file)) | _further(setting or [])
        argv += ["--settings", "-"]
        told = json.dumps(_keyed(settings)).encode()
    else:
        argv += ["--kind", target, *(["--simulator", simulator] if simulator else [])]
    ran = subprocess.run(argv, input=told, stdout=subprocess.PIPE, check=False)
    if ran.returncode not in (0, 1) or not ran.stdout:
        raise GatehouseError("the conformance run did not come to its end: see the line above")
    report = json.loads(ran.stdout)
    if html_file is not None:
        html_file.parent.mkdir(parents=True, exist_ok=True)
        html_file.write_text(page(report), "utf-8")
        typer.echo(f"report: {html_file}", err=True)
    say(json.dumps(report) if as_json else summary(report))
    raise typer.Exit(ran.returncode)


def settings_of(address: str, *, user: str, password: str) -> dict[str, Any]:
    """Return the driver settings of a device at an address.

    Raises:
        InvalidInput: the address is of no wire that can be examined, or holds a secret.
    """
    try:
        parts = urlsplit(address)
        kind, port = SCHEMES[parts.scheme], parts.port
    except (ValueError, KeyError) as error:
        raise InvalidInput(
            "ADDRESS", f"use http(s)://…, mqtt(s)://HOST:PORT or osdp:///dev/…, not {address[:80]!r}"
        ) from error
    if "@" in parts.netloc:
        raise InvalidInput("ADDRESS", "must hold no user or password: give --user and --password-file")
    if kind == "osdp":
        return {"kind": kind, "port": parts.path or f"tcp://{parts.netloc}"}
    if kind == "onvif":
        return {"kind": kind, "url": address, "user": user, "password": password}
    login = {"username": user, "password": password} if user else {}
    secure = parts.scheme == "mqtts"
    tls = {"tls": True} if secure else {}
    return {"kind": kind, "host": parts.hostname or "", "port": port or (8883 if secure else 1883), **login, **tls}


def _keyed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are; raises `InvalidInput` for a card reader of which nobody says how it is to be trusted."""
    if settings["kind"] == "osdp" and not settings.keys() & KEYED:
        what = (
            "a card reader needs its key: --setting key_file=FILE; one without a secure channel: --setting plain=true"
        )
        raise InvalidInput("--setting", what)
    return settings


def _further(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InvalidInput("--setting", f"write NAME=VALUE, not {one[:80]!r}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _password(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").splitlines()[0]
    except OSError as error:
        raise InvalidInput("--password-file", f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, IndexError) as error:
        raise InvalidInput("--password-file", f"{file} has no password in its first line") from error


def summary(report: dict[str, Any]) -> str:
    """Return how a run ended, in a line."""
    first = report["steps"][0]
    if first["verdict"] == "failed":
        return f"{report['driver']} could not be examined: {first['detail']}"
    counts = {verdict: sum(step["verdict"] == verdict for step in report["steps"]) for verdict in WORDS}
    word = "conforms" if not counts["failed"] else "does NOT conform"
    asked = f"{counts['passed']} of {counts['passed'] + counts['failed']} promises kept"
    return f"{report['driver']}: {word}; {asked}, {counts['skipped']} not asked"


def page(report: dict[str, Any]) -> str:
    """Return the report as one self-contained page."""
    rows = "".join(_row(step) for step in report["steps"])
    can = ", ".join(report["capabilities"]) or "nothing known"
    about = [("device", report["against"]), ("door", report["door_id"]), ("when", report["at"]), ("can do", can)]
    facts = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in about)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Conformance: {html.escape(report['driver'])}</title><style>{STYLE}</style>"
        f"<h1>Conformance of {html.escape(report['driver'])}</h1><p>{html.escape(summary(report))}.</p>"
        f"<table>{facts}</table><h2>Promises</h2><table><tr><th>promise</th><th>verdict</th><th>seen</th><th>ms</th></tr>"
        f"{rows}</table><p>A door driver's promises are those of <code>drivers/door.py</code>. What was not asked is not shown "
        "to hold. This is Gatehouse's own examination, no certificate of any standard.</p></html>"
    )


def _row(step: dict[str, Any]) -> str:
    style, word = WORDS[step["verdict"]]
    seen = html.escape(step["detail"])
    return (
        f'<tr><td>{html.escape(step["asks"])}</td><td class="{style}">{word}</td><td>{seen}</td>'
        f'<td class="n">{step["ms"]:.0f}</td></tr>'
    )
