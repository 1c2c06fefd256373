"""Read an archive of residents with their photos: one workbook, and pictures that its rows name. Unpacks nothing to a disk.

The archive is untrusted: how many files, how large, how tightly packed and under which names is judged before anything is
read, and each photo is read alone. It enrols nobody (gateway.commands.photos) and knows no database.
"""

from __future__ import annotations

import csv
import io
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

import msgspec

from gateway.bulk.reading import MAX_BYTES, Line, Sheet, Unusable
from gateway.bulk.rows import COLUMNS, Fault
from gateway.bulk.workbook import BROKEN
from models.errors import InvalidInput
from models.link import MAX_PHOTO_BYTES, PICTURES_MOST

MAX_FILES: Final = 20_000
MAX_TOTAL_BYTES: Final = 8 * 1024**3
MAX_RATIO: Final = 200
"""How many times its packed size a file may be: pictures hardly pack at all, workbooks some twenty times."""
MAX_NAME: Final = 240
SHEETS: Final = (".xlsx", ".csv")
EXTRA: Final[dict[str, tuple[str, ...]]] = {
    "photo": ("照片",),
    "consent_given_at": ("同意日期",),
    "consent_text_version": ("同意文本版本",),
    "consent_evidence": ("同意凭证",),
    "consent_doors": ("同意门",),
}
"""Columns besides those of an import of residents: file names of photos, and a consent on paper."""
CONSENT: Final = tuple(name for name in EXTRA if name != "photo")
SEVERAL: Final = re.compile(r"[;；]")
DAY: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")


class PaperConsent(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a consent on paper that a row tells of."""

    given_on: date
    text_version: str
    evidence: str
    doors: tuple[str, ...]

    @property
    def given_at(self) -> datetime:
        """Return the beginning of that day where this program runs."""
        return datetime(self.given_on.year, self.given_on.month, self.given_on.day).astimezone()


class PhotoRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one row says about a face: whose, which files, and the consent, if it tells of one."""

    line: int
    external_id: str
    photos: tuple[str, ...]
    consent: PaperConsent | None = None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a workbook in two: a CSV of residents whose rows keep their numbers, and what rows say about faces."""

    residents: bytes
    rows: tuple[PhotoRow, ...]
    faults: tuple[Fault, ...]


class PhotoArchive:
    """Hold an open archive. Use it with `with`."""

    def __init__(self, file: Path) -> None:
        """Open an archive and judge what it says about itself.

        Raises:
            InvalidInput: it cannot be read, or holds what it may not, with what to do.
        """
        try:
            self._archive = zipfile.ZipFile(file, metadata_encoding="gb18030")
        except (*BROKEN, UnicodeDecodeError) as error:
            raise InvalidInput(str(file), f"cannot be read as a ZIP archive ({type(error).__name__})") from error
        try:
            self._files = _judged(self._archive.infolist())
            self._sheet = _only_sheet(self._files)
        except InvalidInput:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        """Return the archive."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self._archive.close()

    def sheet(self) -> bytes:
        """Return the workbook's bytes.

        Raises:
            InvalidInput: it is too long or damaged.
        """
        return self._read(self._sheet, limit_bytes=MAX_BYTES)

    def photo(self, name: str) -> bytes:
        """Return the bytes of a photo that a row names, beside the workbook or from the archive's top.

        Raises:
            InvalidInput: there is none, or it is too long or damaged.
        """
        return self._read(self._key(name), limit_bytes=MAX_PHOTO_BYTES)

    def _key(self, name: str) -> str:
        beside = str(PurePosixPath(self._sheet).parent / _folded(name))
        for key in (beside, _folded(name)):
            if key in self._files:
                return key
        raise InvalidInput("photo", "the archive holds no file of this name")

    def _read(self, key: str, *, limit_bytes: int) -> bytes:
        try:
            with self._archive.open(self._files[key]) as stream:
                content = stream.read(limit_bytes + 1)
        except BROKEN as error:
            raise InvalidInput("photo", f"the file is damaged in the archive ({type(error).__name__})") from error
        if len(content) > limit_bytes:
            raise InvalidInput("photo", f"the file has more than {limit_bytes // 1024 // 1024} MiB")
        return content


def _only_sheet(files: dict[str, zipfile.ZipInfo]) -> str:
    sheets = [name for name in files if name.endswith(SHEETS)]
    if len(sheets) != 1:
        raise InvalidInput("archive", f"it holds {len(sheets)} workbooks: put one .xlsx or .csv into it")
    return sheets[0]


def _judged(entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by their folded names.

    Raises:
        InvalidInput: too many or too large, encrypted, links, or names that lead elsewhere or come twice.
    """
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        limit = MAX_TOTAL_BYTES // 1024**3
        raise InvalidInput("archive", f"it holds more than {MAX_FILES} files or {limit} GiB: split it")
    files: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename
        if entry.is_dir() or name.startswith("__MACOSX/") or PurePosixPath(name).name == ".DS_Store":
            continue
        problem = _problem(entry)
        key = _folded(name)
        if problem is None and key in files:
            problem = "its name comes twice"
        if problem is not None:
            raise InvalidInput("archive", f"{_shown(name)}: {problem}")
        files[key] = entry
    return files


def _problem(entry: zipfile.ZipInfo) -> str | None:
    parts = entry.filename.split("/")
    odd = any(unicodedata.category(char) in {"Cc", "Cs"} for char in entry.filename)
    if (
        len(entry.filename) > MAX_NAME
        or odd
        or "\\" in entry.filename
        or ":" in parts[0]
        or {"", ".", ".."} & set(parts)
    ):
        return "its name leads out of the archive or is none: pack the files anew"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a link: pack the file itself"
    if entry.flag_bits & 1:
        return "it has a password: pack without one"
    if entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        return "it unpacks to far too much"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:80])


def split(sheet: Sheet) -> Split:
    """Return a workbook in two; what is wrong with a photo or a consent is a fault of its row.

    Raises:
        InvalidInput: the first row names no column `photo`, or one twice.
    """
    names = [_extra(cell) for cell in sheet.header.cells]
    given = [name for name in names if name is not None]
    if "photo" not in given or len(set(given)) != len(given):
        raise InvalidInput(f"line {sheet.header.number}", "the first row must name a column photo (照片), once")
    rows: list[PhotoRow] = []
    faults: list[Fault] = []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    at = 1
    for line in (sheet.header, *sheet.lines):
        cells = _without(line, names)
        wrong = [Fault(line=line.number, column=column, what=cell.what) for column, cell in _unusable(line, sheet)]
        if line is not sheet.header and not wrong:
            found = list(_row(line, names, sheet.header))
            rows += [one for one in found if isinstance(one, PhotoRow)]
            faults += [one for one in found if isinstance(one, Fault)]
        faults += wrong
        if wrong:
            continue
        text.write("\n" * (line.number - at))
        writer.writerow(cells)
        at = line.number + 1
    return Split(residents=text.getvalue().encode(), rows=tuple(rows), faults=tuple(faults))


def _extra(cell: str | Unusable) -> str | None:
    if isinstance(cell, Unusable):
        return None
    word = _word(cell)
    return next((name for name, aliases in EXTRA.items() if word in (name, *aliases)), None)


def _word(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell).strip().lower().replace(" ", "_")


def _without(line: Line, names: list[str | None]) -> list[str]:
    """Return the cells of the columns of residents, each on one line, without the empty ones at the end."""
    own = [cell for n, cell in enumerate(line.cells) if n >= len(names) or names[n] is None]
    cells = [" ".join(cell.split()) if isinstance(cell, str) else "" for cell in own]
    filled = max((n for n, cell in enumerate(cells, 1) if cell), default=0)
    return cells[:filled]


def _unusable(line: Line, sheet: Sheet) -> Iterator[tuple[str, Unusable]]:
    for n, cell in enumerate(line.cells):
        if isinstance(cell, Unusable):
            named = sheet.header.cells[n] if n < len(sheet.header.cells) else ""
            yield (named[:40] if isinstance(named, str) and named else f"column {n + 1}"), cell


def _row(line: Line, names: list[str | None], header: Line) -> Iterator[PhotoRow | Fault]:
    """Yield what a row says about a face, or what is wrong with it; nothing where it says nothing."""
    told = {
        name: cell for name, cell in zip(names, line.cells, strict=False) if name is not None and isinstance(cell, str)
    }
    photos = tuple(name.strip() for name in SEVERAL.split(told.get("photo", "")) if name.strip())
    asked = [name for name in CONSENT if told.get(name)]
    if not photos:
        if asked:
            yield Fault(line=line.number, column="photo", what="a consent is told of, but no photo")
        return
    if len(photos) > PICTURES_MOST:
        yield Fault(line=line.number, column="photo", what=f"a person has at most {PICTURES_MOST} photos")
        return
    missing = [name for name in CONSENT if asked and not told.get(name)]
    if missing:
        yield Fault(line=line.number, column=missing[0], what="fill all columns of the consent, or none")
        return
    try:
        consent = _consent(told) if asked else None
    except ValueError:
        yield Fault(line=line.number, column="consent_given_at", what="write a day as 2026-03-31")
        return
    yield PhotoRow(line=line.number, external_id=_external_id(line, header), photos=photos, consent=consent)


def _consent(told: dict[str, str]) -> PaperConsent:
    match = DAY.fullmatch(unicodedata.normalize("NFKC", told["consent_given_at"]))
    if match is None:
        raise ValueError
    return PaperConsent(
        given_on=date(*(int(part) for part in match.groups())), text_version=told["consent_text_version"],
        evidence=told["consent_evidence"],
        doors=tuple(door.strip() for door in SEVERAL.split(told["consent_doors"]) if door.strip()),
    )  # fmt: skip


def _external_id(line: Line, header: Line) -> str:
    known = ("external_id", *COLUMNS["external_id"])
    for named, cell in zip(header.cells, line.cells, strict=False):
        if isinstance(named, str) and isinstance(cell, str) and _word(named) in known:
            return unicodedata.normalize("NFKC", cell).strip()
    return ""
