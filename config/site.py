"""The site file, `site.yaml`: a seed of areas, doors, cameras and people for the gateway's database.

`gatehouse apply` stores it idempotently; `gatehouse check` reads it with the same strictness as the settings. Nothing
here touches a database, and a door's `driver` section stays opaque: the edge that will use it validates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from config.reading import Key, Mistake, parse, read, text_of
from config.site_entries import SiteFile
from config.site_places import CameraEntry, DoorEntry
from config.site_records import Seed, seed
from config.site_rules import mistakes, warnings
from models.errors import SettingsFault

__all__ = [
    "DeviceTold",
    "Mistake",
    "Seed",
    "SiteFile",
    "devices_told",
    "doubts",
    "mistakes",
    "placed",
    "read_site",
    "seed",
]

ID_CHARS: Final = 64


def read_site(path: Path, *, environment: Mapping[str, str]) -> SiteFile:
    """Read `site.yaml`.

    Raises:
        SettingsError: with every fault of the file, each with line, key and suggestion.
    """
    return read(path, SiteFile, environment=environment, rules=mistakes)


def doubts(path: Path, *, environment: Mapping[str, str]) -> list[SettingsFault]:
    """Return what in a right `site.yaml` works, but perhaps not as it is meant, each with line, key and suggestion.

    Raises:
        SettingsError: the file is wrong.
    """
    return placed(path, warnings(read_site(path, environment=environment)), environment=environment)


class DeviceTold(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the settings of a door's driver, or of the device around a camera: where they stand, and whose they are."""

    key: Key
    id: str
    edge: str
    settings: dict[str, object]


def devices_told(path: Path, *, environment: Mapping[str, str]) -> list[DeviceTold]:
    """Return what a `site.yaml`, right or wrong, says of devices; what has not the form of an entry is left out.

    Raises:
        SettingsError: the file cannot be read.
    """
    value = parse(text_of(path), file=str(path), environment=environment).value
    found: dict[tuple[str, str], DeviceTold] = {}
    for name, part, usual in (("doors", "driver", DoorEntry), ("cameras", "device", CameraEntry)):
        entries = value.get(name) if isinstance(value, dict) else None
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            told, settings = (entry.get("id"), entry.get(part)) if isinstance(entry, dict) else (None, None)
            if isinstance(told, str) and 0 < len(told) <= ID_CHARS and isinstance(settings, dict) and settings:
                edge = str(entry.get("edge", usual.model_fields["edge"].default))
                one = DeviceTold(key=(name, index, part), id=told, edge=edge, settings=settings)
                found.setdefault((name, told), one)
    return list(found.values())


def placed(path: Path, mistakes: Iterable[Mistake], *, environment: Mapping[str, str]) -> list[SettingsFault]:
    """Return mistakes that were found in a `site.yaml` with the lines that they stand on."""
    document = parse(text_of(path), file=str(path), environment=environment)
    for mistake in mistakes:
        document.blame(mistake.key, mistake.message, suggestion=mistake.suggestion)
    return sorted(document.faults, key=lambda fault: (fault.line, fault.path))
