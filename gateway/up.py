"""`gatehouse up`: broker, gateway and edge of one box as supervised children of one process, ready when all three are.

The children read an effective copy of the settings in which what was left open is filled in: free ports, the broker's
password, the edge's enrolment token. The copy holds no secret: secrets stay in their files and in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from config.broker import write_users
from config.process import Command, Supervisor
from config.settings import Settings, read_settings, secret
from gateway.files import write_private
from models.errors import InvalidInput

MARK = "DEMO"
MOSQUITTO_PATH = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/usr/bin", "/bin"))
ENVIRONMENT_PREFIX = "GATEHOUSE_UP_"


def check_marks(settings: Settings, *, demo: bool) -> None:
    """Pass if the data folders fit the kind of run: a demo's folders are never used for real, nor the other way round.

    Raises:
        InvalidInput: they do not.
    """
    for key, folder in (("gateway.data_dir", settings.gateway.data_dir), ("edge.data_dir", settings.edge.data_dir)):
        marked = (folder / MARK).exists()
        if marked and not demo:
            raise InvalidInput(key, f"{folder} holds a demo's simulated devices: choose another folder for a real site")
        if demo and not marked:
            raise InvalidInput(
                key, f"a demo needs a folder marked {MARK}, and {folder} is not: `gatehouse demo` makes one"
            )


def effective(settings: Settings, *, environment: dict[str, str]) -> dict[str, Any]:
    """Return the settings as plain values, with open ports chosen and files named; secrets move into `environment`."""
    plain: dict[str, Any] = _plain(settings, environment)
    gateway, edge = plain["gateway"], plain["edge"]
    gateway["port"] = gateway["port"] or free_port(settings.gateway.host)
    edge["token_file"] = edge["token_file"] or str(_absolute(settings.edge.data_dir / "enrolment.token"))
    broker = edge["broker"]
    broker["port"] = broker["port"] or free_port(settings.edge.broker.host)
    if broker["password"] is None and broker["password_file"] is None:
        file = _absolute(settings.broker.data_dir / "edge.password")
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        broker["password_file"] = str(file)
    return plain


def _plain(value: object, environment: dict[str, str]) -> Any:
    match value:
        case BaseModel():
            return {name: _plain(getattr(value, name), environment) for name in type(value).model_fields}
        case SecretStr():
            name = f"{ENVIRONMENT_PREFIX}{len(environment)}"
            environment[name] = value.get_secret_value()
            return f"${{{name}}}"
        case Path():
            return str(_absolute(value))
        case tuple():
            return [_plain(item, environment) for item in value]
        case _:
            return value


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def free_port(host: str) -> int:
    """Return a TCP port of an address that is free now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def run_up(settings: Settings, *, demo: bool, tell: Callable[[str], None]) -> None:
    """Run broker, gateway and edge until cancelled.

    Args:
        settings: all settings of the file.
        demo: whether the data folders are a demo's.
        tell: takes one line for people.

    Raises:
        InvalidInput: the data folders do not fit, or Mosquitto is asked for and not installed.
        SettingsError: a file that the settings name cannot be used.
    """
    check_marks(settings, demo=demo)
    added: dict[str, str] = {}
    plain = effective(settings, environment=added)
    file = _absolute(settings.edge.data_dir / "up.yaml")
    write_private(file, yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))
    environment = {**os.environ, **added}
    chosen = read_settings(file, environment=environment)
    waiting = asyncio.Event()
    parts = {name: asyncio.Event() for name in _names(chosen)}
    async with Supervisor() as family:
        for command in _commands(chosen, file=file, environment=environment, parts=parts):
            family.keep(command)
        for ready in parts.values():
            await ready.wait()
        url = chosen.gateway.base_url()
        sys.stdout.write(json.dumps({"ready": True, "part": "up", "url": url, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        tell(f"ready: {url}  (broker {chosen.edge.broker.host}:{chosen.edge.broker.port}, edge {chosen.edge.id})")
        await waiting.wait()


def _names(settings: Settings) -> tuple[str, ...]:
    return ("gateway", "edge") if settings.broker.start == "none" else ("broker", "gateway", "edge")


def _commands(
    settings: Settings, *, file: Path, environment: dict[str, str], parts: dict[str, asyncio.Event]
) -> list[Command]:
    argvs = {
        "gateway": ["gateway", "serve", "--config", str(file), "--edge-token-file", str(settings.edge.token_file)],
        "edge": ["edge", "worker", "--config", str(file)],
    }
    if "broker" in parts:
        argvs["broker"] = _broker(settings)
    return [
        Command(
            name=name,
            argv=[sys.executable, "-m", *argvs[name]],
            environment=environment,
            on_line=_watch(parts[name]),
        )
        for name in parts
    ]


def _broker(settings: Settings) -> list[str]:
    """Write the broker's users and return how it is started.

    Raises:
        InvalidInput: Mosquitto is asked for and not installed.
    """
    link, own = settings.edge.broker, settings.broker
    password = secret(link.password, link.password_file, key="edge.broker.password_file") or ""
    users = write_users(own, edge_password=password)
    argv = ["drivers", "mqtt", "broker", "--dir", str(users.parent), "--host", link.host, "--port", str(link.port)]
    if own.start == "embedded":
        argv.append("--embedded")
    if own.start == "mosquitto" and not (shutil.which("mosquitto") or shutil.which("mosquitto", path=MOSQUITTO_PATH)):
        raise InvalidInput("broker.start", "Mosquitto is not installed: install it, or use auto or embedded")
    if own.tls is not None:
        for option, path in (("cert", own.tls.cert_file), ("key", own.tls.key_file), ("ca", own.tls.ca_file)):
            argv += [f"--{option}-file", str(path)] if path is not None else []
    return argv


def _watch(ready: asyncio.Event) -> Callable[[str], bool]:
    """Return what looks for a child's ready line and swallows it."""

    def look(line: str) -> bool:
        if not line.startswith('{"ready"'):
            return False
        ready.set()
        return True

    return look
