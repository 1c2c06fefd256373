"""The log-ins of the broker that `gatehouse up` starts, from our settings to the file that the broker's process reads.

The broker's own configuration and rights are written by that process (drivers/mqtt/broker.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from config.reading import Mistake
from config.settings import BrokerSettings, Settings
from config.site_entries import SiteFile
from models.errors import InvalidInput, SettingsError, SettingsFault
from models.places import check_id

HINT = "write one `door-id: password` a line, or `name: {password: …, topics: [prefix/#]}` for a device with a map"


class DeviceLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold how a device that speaks a vendor's words logs in, and the topics that are its own."""

    password: Annotated[str, msgspec.Meta(min_length=1)]
    topics: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)]


def broker_users(settings: BrokerSettings) -> tuple[dict[str, str], dict[str, DeviceLogin]]:
    """Return the log-ins of `broker.users_file`: doors by id, and vendors' devices by name; none without such a file.

    Raises:
        SettingsError: the file is not a YAML mapping of names to passwords or devices.
    """
    path = settings.users_file
    if path is None:
        return {}, {}
    try:
        # Plain texts only: a password of digits is no number.
        users = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}  # noqa: S506
        devices = {
            name: msgspec.convert(value, DeviceLogin) for name, value in users.items() if isinstance(value, dict)
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise _unusable(path, "cannot be read as YAML", HINT) from error
    except msgspec.ValidationError as error:
        raise _unusable(path, f"a device's log-in cannot be used: {error}", HINT) from error
    doors = {name: value for name, value in users.items() if name not in devices}
    if not all(isinstance(value, str) and value for value in doors.values()):
        raise _unusable(path, "must be a mapping of door ids to passwords", HINT)
    for name in users:
        try:
            check_id(name, "name")
        except InvalidInput as error:
            raise _unusable(path, error.what, "a door logs in with its id") from error
    return doors, devices


def write_users(settings: BrokerSettings, *, edge_password: str) -> Path:
    """Write `users.json` into the broker's folder, readable by its owner only, and return its path.

    Raises:
        SettingsError: the doors' log-ins cannot be read.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.data_dir / "users.json"
    fresh = path.with_name(".users.json.new")
    fresh.unlink(missing_ok=True)
    doors, devices = broker_users(settings)
    content = msgspec.json.encode({"edge": {"password": edge_password}, "doors": doors, "devices": devices})
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    return fresh.replace(path)


def _unusable(path: Path, message: str, suggestion: str) -> SettingsError:
    fault = SettingsFault(file=str(path), line=1, path="broker.users_file", message=message, suggestion=suggestion)
    return SettingsError([fault])


def without_account(settings: Settings, site: SiteFile) -> Iterator[Mistake]:
    """Yield the doors of a site that the broker of `gatehouse up` would not let in, because they have no log-in there.

    Those behind a controller and those with a map log in by another name than their own.

    Raises:
        SettingsError: the log-ins cannot be read.
    """
    if settings.broker.start == "none":
        return
    accounts, _ = broker_users(settings.broker)
    where = settings.broker.users_file
    for index, door in enumerate(site.doors):
        own_name = door.driver.get("kind") == "mqtt" and door.controller is None and not door.driver.get("map")
        if own_name and door.edge == settings.edge.id and door.id not in accounts:
            message = "no account at the broker that `gatehouse up` starts: it will stay offline"
            hint = f"add `{door.id}: PASSWORD` to {where or 'a file, and name that as broker.users_file'}"
            yield Mistake(key=("doors", index), message=message, suggestion=f"{hint}, then start `up` again")
