"""Read a folder of labelled photos, one sub-folder per person, as evidence wants them: bounded, and each picture once.

It only reads. What does not belong there is told and left out: links, other files, and pictures that stand in the
folders of two persons, of whom at least one is named wrongly.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import msgspec

from models.errors import InvalidInput
from models.evidence import MAX_PERSONS
from models.faces.images import MAX_BYTES

MAX_PICTURES: Final = 100_000
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png"})
_LEAST: Final = 2


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Name a picture of a person: the sub-folder is the person."""

    person: str
    path: Path


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the pictures of a folder in their order, and what was left out of it, in words."""

    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...] = ()


def labelled(folder: Path) -> Labelled:
    """Return the pictures of a folder.

    Raises:
        InvalidInput: it is no folder, has no pictures of two persons or more, or has too many.
    """
    if not folder.is_dir():
        raise InvalidInput(str(folder), "is no folder: name one with a sub-folder of photos for each person")
    left_out: Counter[str] = Counter()
    found: list[Picture] = []
    try:
        for entry in sorted(folder.iterdir()):
            if _stays_out(entry, left_out):
                continue
            if not entry.is_dir():
                left_out["files beside the persons' folders"] += 1
                continue
            found += [Picture(person=entry.name, path=path) for path in _pictures(entry, left_out)]
            if len(found) > MAX_PICTURES:
                raise InvalidInput(str(folder), f"holds more than {MAX_PICTURES} pictures: take a part of it")
    except OSError as error:
        raise InvalidInput(str(folder), f"cannot be read: {error.strerror}") from error
    kept = _once(found, left_out)
    persons = len({one.person for one in kept})
    if not _LEAST <= persons <= MAX_PERSONS:
        what = f"has pictures of {persons} persons: 2 to {MAX_PERSONS} sub-folders with photos are needed"
        raise InvalidInput(str(folder), what)
    return Labelled(pictures=tuple(kept), warnings=tuple(f"left out: {n} {what}" for what, n in left_out.items()))


def _stays_out(entry: Path, left_out: Counter[str]) -> bool:
    if entry.is_symlink():
        left_out["links, which lead elsewhere"] += 1
        return True
    return entry.name.startswith(".")


def _pictures(folder: Path, left_out: Counter[str]) -> list[Path]:
    kept = []
    for path in sorted(folder.iterdir()):
        if _stays_out(path, left_out):
            continue
        if path.is_dir():
            left_out["folders within a person's folder"] += 1
        elif not path.is_file() or path.suffix.lower() not in ENDINGS:
            left_out["files that are neither JPEG nor PNG"] += 1
        else:
            kept.append(path)
    return kept


def _once(found: list[Picture], left_out: Counter[str]) -> list[Picture]:
    """Return each picture once; one that two persons share is nobody's."""
    owners: dict[str, set[str]] = defaultdict(set)
    digests = [digest_of(one.path) for one in found]
    for one, digest in zip(found, digests, strict=True):
        owners[digest].add(one.person)
    kept: dict[str, Picture] = {}
    for one, digest in zip(found, digests, strict=True):
        if len(owners[digest]) > 1:
            left_out["pictures that stand in the folders of several persons"] += 1
        elif digest in kept:
            left_out["repetitions of a picture of the same person"] += 1
        else:
            kept[digest] = one
    return list(kept.values())


def content_of(path: Path) -> bytes:
    """Return a picture's bytes, of a file that is too large only so many as show it."""
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def digest_of(path: Path) -> str:
    """Return the hex SHA-256 of a picture."""
    return hashlib.sha256(content_of(path)).hexdigest()
