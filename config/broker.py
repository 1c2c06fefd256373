"""The files that a Mosquitto of ours starts with: configuration, passwords, and the rights of each door.

It writes files and starts nothing: `gatehouse up` and the set-up of the containers do that.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

import yaml

from config.settings import BrokerSettings, TlsSettings
from models.errors import InvalidInput, SettingsError, SettingsFault
from models.places import check_id

TEMPLATE = Path(__file__).with_name("mosquitto.conf")
ROUNDS = 101  # mosquitto_passwd's own default: log-ins are random secrets, not chosen words
ROOT = "gatehouse/v1/doors"
DOOR_WRITES = ("hello", "state", "event", "request", "result", "online")
DOOR_READS = ("ack", "command", "mode")


def broker_users(settings: BrokerSettings) -> dict[str, str]:
    """Return the doors' log-ins, name to password, from the broker's users file; none if it has no such file.

    Raises:
        SettingsError: the file is not a YAML mapping of door ids to passwords.
    """
    if settings.users_file is None:
        return {}
    path = settings.users_file
    try:
        users = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}  # noqa: S506 - plain texts only
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(path, "cannot be read as YAML", "write one `door-id: password` a line") from error
    if not isinstance(users, dict) or not all(isinstance(value, str) and value for value in users.values()):
        raise _unusable(path, "must be a mapping of door ids to passwords", "write one `door-id: password` a line")
    for name in users:
        try:
            check_id(name, "name")
        except InvalidInput as error:
            raise _unusable(path, error.what, "a door logs in with its id") from error
    return users


def _unusable(path: Path, message: str, suggestion: str) -> SettingsError:
    fault = SettingsFault(file=str(path), line=1, path="broker.users_file", message=message, suggestion=suggestion)
    return SettingsError([fault])


def mosquitto_files(
    folder: Path,
    *,
    listen: tuple[str, int],
    edge: tuple[str, str],
    doors: Mapping[str, str],
    tls: TlsSettings | None = None,
    account: str | None = None,
    salt: Callable[[int], bytes] = secrets.token_bytes,
) -> Path:
    """Write configuration, passwords and rights into a folder and return the path of the configuration.

    Args:
        folder: where the files and the broker's persistence go.
        listen: host and port.
        edge: log-in and password of the edge.
        doors: log-in (the door's id) and password of each door.
        tls: certificates of the listener; with `ca_file` a door must show a certificate too.
        account: the system account that the broker runs as, our own if absent: a broker that changed its account would
            outlive us.
        salt: a source of random bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host, port = listen
    users = {**doors, edge[0]: edge[1]}
    _write(folder / "passwords", "".join(f"{name}:{hashed(word, salt=salt(12))}\n" for name, word in users.items()))
    _write(folder / "acl", _rights(edge[0]))
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        account=account or getpass.getuser(), host=host, port=port, folder=folder.absolute(), tls=_tls(tls)
    )
    return _write(folder / "mosquitto.conf", text)


def hashed(password: str, *, salt: bytes) -> str:
    """Return a password as Mosquitto keeps it: `$7$rounds$salt$PBKDF2-HMAC-SHA512`, salt and key in base64."""
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS, 64)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def _rights(edge: str) -> str:
    """A door writes and reads under its own id only; the edge speaks to every door, and `#` is nobody's."""
    lines = [f"user {edge}", f"topic readwrite {ROOT}/#", ""]
    lines += [f"pattern write {ROOT}/%u/{topic}" for topic in DOOR_WRITES]
    lines += [f"pattern read {ROOT}/%u/{topic}" for topic in DOOR_READS]
    return "\n".join(lines) + "\n"


def _tls(tls: TlsSettings | None) -> str:
    if tls is None or tls.cert_file is None or tls.key_file is None:
        return "# no TLS: this listener stays on loopback"
    lines = [f"certfile {tls.cert_file}", f"keyfile {tls.key_file}", "tls_version tlsv1.2"]
    if tls.ca_file is not None:
        lines += [f"cafile {tls.ca_file}", "require_certificate true"]
    return "\n".join(lines)


def _write(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return path
