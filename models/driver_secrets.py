"""Secrets in the driver settings of a door: taken out of the section for keeping, put back for its edge. Pure.

A secret is known by its name, wherever it stands in the section; the section stays opaque otherwise. An entry of a list
is known by its address where the entries have one each, so that a reader keeps its key when the list is sorted anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from models.errors import InvalidInput

NAMES: Final = frozenset({"password", "key"})
"""Names of settings whose values are secrets."""
DEVICE: Final = "device"
"""The setting that names the device whose credentials are used instead."""
_INSTEAD: Final = ("password_file", "key_file", "plain")
"""Settings that stand for a secret: beside one of them a secret that is left out is not meant."""
Path = tuple[str, ...]
Section = dict[str, Any]


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one secret and the place that it was taken from."""

    path: Path
    value: str | int | float

    def __repr__(self) -> str:
        return f"Secret({'.'.join(self.path)})"


def split(driver: Mapping[str, object]) -> tuple[Section, tuple[Secret, ...]]:
    """Return a driver's settings without their secrets, and these by place."""
    public = _copied(driver)
    taken = [
        Secret(path=(*path, name), value=section.pop(name))
        for path, section in _sections(public)
        for name in sorted(NAMES & section.keys())
        if isinstance(section[name], str | int | float)
    ]
    return public, tuple(sorted(taken, key=lambda one: one.path))


def unsaid(text: str, *, drivers: Iterable[Mapping[str, object]]) -> str:
    """Return a text in which no secret of these settings stands."""
    secrets = {str(secret.value) for driver in drivers for secret in split(driver)[1]}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def joined(public: Mapping[str, object], secrets: Iterable[Secret]) -> Section:
    """Return settings with their secrets in place again; a secret whose place is gone is left out."""
    driver = _copied(public)
    sections = dict(_sections(driver))
    for one in secrets:
        section = sections.get(one.path[:-1])
        if section is not None:
            section.setdefault(one.path[-1], one.value)
    return driver


def still_meant(held: Iterable[Secret], *, before: Mapping[str, object], after: Mapping[str, object]) -> list[Secret]:
    """Return which secrets new settings leave out and mean to keep.

    Those that have their place still, in settings of the same kind that name no device for its credentials. A secret
    is given up by `null` in its place, or by a file that takes it.
    """
    if before.get("kind", "mqtt") != after.get("kind", "mqtt") or DEVICE in after:
        return []
    sections = dict(_sections(_copied(after)))
    return [one for one in held if _is_left_out(sections.get(one.path[:-1]), one.path[-1])]


def _is_left_out(section: Section | None, name: str) -> bool:
    return section is not None and name not in section and not any(section.get(other) for other in _INSTEAD)


def check_same_host(kept: Iterable[Secret], *, before: Mapping[str, object], after: Mapping[str, object]) -> None:
    """Pass unless a secret that was given for one host would be sent to another.

    Raises:
        InvalidInput: it would; the text names the setting, never its value.
    """
    first = next(iter(kept), None)
    if first is not None and _host(before) != _host(after):
        where = ".".join(("driver", *first.path))
        raise InvalidInput(where, "the settings name another host: give the secret for it too")


def _host(driver: Mapping[str, object]) -> tuple[str, ...]:
    try:
        netloc = urlsplit(str(driver.get("url", ""))).netloc
    except ValueError:
        netloc = str(driver.get("url"))
    host = str(driver.get("host", ""))
    return netloc.lower(), host.lower(), str(driver.get("port", "")) if host else ""


def _copied(driver: Mapping[str, object]) -> Section:
    return msgspec.json.decode(msgspec.json.encode(driver), type=Section)


def _sections(driver: Section) -> Iterator[tuple[Path, Section]]:
    """Yield every section within settings with its path; without recursion, since they may nest as deep as JSON can."""
    waiting: list[tuple[Path, Any]] = [((), driver)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            yield path, node
            waiting.extend(((*path, name), value) for name, value in node.items() if isinstance(value, dict | list))
        elif isinstance(node, list):
            names = _names(node)
            waiting.extend(
                ((*path, name), value)
                for name, value in zip(names, node, strict=True)
                if isinstance(value, dict | list)
            )


def _names(entries: list[Any]) -> list[str]:
    addresses = [f"@{entry.get('address', 0)}" for entry in entries if isinstance(entry, dict)]
    if len(set(addresses)) == len(entries):
        return addresses
    return [str(place) for place in range(len(entries))]
