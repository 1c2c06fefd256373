"""The site file, `site.yaml`: a seed of areas, doors, cameras and people for the gateway's database.

`gatehouse apply` stores it idempotently; `gatehouse check` reads it with the same strictness as the settings. Nothing
here touches a database, and a door's `driver` section stays opaque: the edge that will use it validates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.reading import read
from config.site_entries import SiteFile
from config.site_records import Seed, seed
from config.site_rules import mistakes

__all__ = ["Seed", "SiteFile", "mistakes", "read_site", "seed"]


def read_site(path: Path, *, environment: Mapping[str, str]) -> SiteFile:
    """Read `site.yaml`.

    Raises:
        SettingsError: with every fault of the file, each with line, key and suggestion.
    """
    return read(path, SiteFile, environment=environment, rules=mistakes)
