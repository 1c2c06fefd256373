"""The site file, `site.yaml`: a seed of areas, doors, cameras and people for the gateway's database.

`gatehouse apply` stores it idempotently; `gatehouse check` reads it with the same strictness as the settings. Nothing
here touches a database, and a door's `driver` section stays opaque: the edge that will use it validates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from config.reading import Mistake, parse, read
from config.site_entries import SiteFile
from config.site_records import Seed, seed
from config.site_rules import mistakes, warnings
from models.errors import SettingsFault

__all__ = ["Mistake", "Seed", "SiteFile", "doubts", "mistakes", "placed", "read_site", "seed"]


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


def placed(path: Path, mistakes: Iterable[Mistake], *, environment: Mapping[str, str]) -> list[SettingsFault]:
    """Return mistakes that were found in a right `site.yaml` with the lines that they stand on."""
    document = parse(path.read_text("utf-8-sig"), file=str(path), environment=environment)
    for mistake in mistakes:
        document.blame(mistake.key, mistake.message, suggestion=mistake.suggestion)
    return sorted(document.faults, key=lambda fault: (fault.line, fault.path))
