"""Read a folder of labelled photos, one sub-folder per person, as evidence wants them: bounded, and each picture once.

It only reads. What does not belong there is told and left out: links, other files, and pictures that stand in the
folders of two persons, of whom at least one is named wrongly.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from models.errors import InvalidInput
from models.evidence import MAX_PERSONS
from models.faces.evaluation_report import counted
from models.faces.images import MAX_BYTES

MAX_PICTURES: Final = 100_000
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png"})
NAMED: Final = 10
"""As many files, folders or pairs of them does a warning name."""
LINKS: Final = ("link, which leads elsewhere", "links, which lead elsewhere")
BESIDE: Final = ("file beside the persons' folders", "files beside the persons' folders")
FOLDERS: Final = ("folder within a person's folder", "folders within a person's folder")
OTHERS: Final = ("file that is neither JPEG nor PNG", "files that are neither JPEG nor PNG")
SHARED: Final = (
    "picture that stands in the folders of several persons", "pictures that stand in the folders of several persons",
)  # fmt: skip
AGAIN: Final = ("repetition of a picture of the same person", "repetitions of a picture of the same person")
_LEAST: Final = 2
LeftOut = defaultdict[tuple[str, str], list[Path]]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Name a picture of a person: the sub-folder is the person."""

    person: str
    path: Path


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the pictures of a folder in their order, and what was left out of it, in words."""

    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...] = ()


def listed(names: Sequence[str]) -> str:
    """Return the first names as one text that a terminal may show, and how many more there are."""
    shown = ", ".join("".join(sign if sign.isprintable() else "?" for sign in name) for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def labelled(folder: Path) -> Labelled:
    """Return the pictures of a folder.

    Raises:
        InvalidInput: it is no folder, has no pictures of two persons or more, or has too many.
    """
    if not folder.is_dir():
        raise InvalidInput(str(folder), "is no folder: name one with a sub-folder of photos for each person")
    left_out: LeftOut = defaultdict(list)
    loose: list[Path] = []
    found: dict[str, list[Picture]] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if _stays_out(entry, left_out):
                continue
            if not entry.is_dir():
                (loose if entry.suffix.lower() in ENDINGS else left_out[BESIDE]).append(entry)
                continue
            found[entry.name] = [Picture(person=entry.name, path=path) for path in _pictures(entry, left_out)]
            if sum(map(len, found.values())) > MAX_PICTURES:
                raise InvalidInput(str(folder), f"holds more than {MAX_PICTURES} pictures: take a part of it")
        kept = _once([one for pictures in found.values() for one in pictures], left_out)
    except OSError as error:
        raise InvalidInput(str(folder), f"cannot be read: {error.strerror}") from error
    nobody = _nobody(folder, found, {one.person for one in kept})
    persons = len(found) - len(nobody)
    warnings = _warnings(folder, left_out, loose=loose, nobody=nobody)
    if not _LEAST <= persons <= MAX_PERSONS:
        what = f"has pictures of {counted(persons, 'person')}: 2 to {MAX_PERSONS} sub-folders with photos are needed"
        raise InvalidInput(str(folder), "; ".join((what, *warnings)))
    return Labelled(pictures=tuple(kept), warnings=warnings)


def _nobody(folder: Path, found: dict[str, list[Picture]], persons: set[str]) -> list[str]:
    """Return the sub-folders that gave no person, each with the reason."""
    why = []
    for name, pictures in found.items():
        if name not in persons:
            empty = "no JPEG or PNG" if any((folder / name).iterdir()) else "empty"
            why.append(f"{name} ({'only pictures that other folders hold too' if pictures else empty})")
    return why


def _warnings(folder: Path, left_out: LeftOut, *, loose: list[Path], nobody: list[str]) -> tuple[str, ...]:
    told = [
        f"left out: {counted(len(paths), *what)}: {listed([path.relative_to(folder).as_posix() for path in paths])}"
        for what, paths in left_out.items()
    ]
    if loose:
        lie = counted(len(loose), "photo lies", "photos lie")
        told.append(f"left out: {lie} in the folder itself: put each person's into a sub-folder")
    if nobody:
        told.append(f"{counted(len(nobody), 'folder')} gave no person: {listed(nobody)}")
    return tuple(told)


def _stays_out(entry: Path, left_out: LeftOut) -> bool:
    if entry.is_symlink():
        left_out[LINKS].append(entry)
        return True
    return entry.name.startswith(".")


def _pictures(folder: Path, left_out: LeftOut) -> list[Path]:
    kept = []
    for path in sorted(folder.iterdir()):
        if _stays_out(path, left_out):
            continue
        if path.is_dir():
            left_out[FOLDERS].append(path)
        elif not path.is_file() or path.suffix.lower() not in ENDINGS:
            left_out[OTHERS].append(path)
        else:
            kept.append(path)
    return kept


def _once(found: list[Picture], left_out: LeftOut) -> list[Picture]:
    """Return each picture once; one that two persons share is nobody's."""
    owners: dict[str, set[str]] = defaultdict(set)
    digests = [digest_of(one.path) for one in found]
    for one, digest in zip(found, digests, strict=True):
        owners[digest].add(one.person)
    kept: dict[str, Picture] = {}
    for one, digest in zip(found, digests, strict=True):
        if len(owners[digest]) > 1:
            left_out[SHARED].append(one.path)
        elif digest in kept:
            left_out[AGAIN].append(one.path)
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
