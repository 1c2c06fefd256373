"""What the commands share: options, settings, output, and the store. Does nothing by itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import InvalidInput

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.store import Store

PLACES = (Path("gatehouse.yaml"), Path("/etc/gatehouse/gatehouse.yaml"))
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="GATEHOUSE_CONFIG", help="gatehouse.yaml (default: here, then /etc/gatehouse)"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def settings_file(config: Path | None) -> Path:
    """Return the settings file that was named, or the one in a usual place.

    Raises:
        InvalidInput: there is none.
    """
    found = config or next((place for place in PLACES if place.is_file()), None)
    if found is None:
        raise InvalidInput("--config", f"no {PLACES[0]} here and no {PLACES[1]}: name your settings file")
    if not found.is_file():
        raise InvalidInput("--config", f"there is no file {found}")
    return found


def load(config: Path | None) -> Settings:
    """Return the settings.

    Raises:
        InvalidInput: there is no settings file.
        SettingsError: it cannot be used.
    """
    from config.settings import read_settings

    return read_settings(settings_file(config), environment=os.environ)


@contextmanager
def opened(config: Path | None) -> Iterator[Store]:
    """Open the gateway's database for a command, with its tables up to date."""
    from gateway.opening import open_store

    store = open_store(load(config).gateway)
    try:
        yield store
    finally:
        store.close()


def say(text: str) -> None:
    """Print a line for people."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(record: Any, text: str, *, as_json: bool) -> None:
    """Print a record as JSON, or its line for people."""
    say(json.dumps(record, ensure_ascii=False, default=str) if as_json else text)
