"""Read the cells of a spreadsheet that somebody sent: CSV in UTF-8 or GB18030, or XLSX. Knows no column and no resident.

Everything is bounded: bytes, rows, columns, characters. What cannot be read with certainty is refused with what to do; a
single bad cell is handed on as `Unusable`, so that its row can be reported and the others go on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec

from models.errors import InvalidInput

MAX_BYTES = 8 * 1024 * 1024
MAX_ROWS = 50_000
MAX_COLUMNS = 64
MAX_CHARS = 256
MAX_TEXT = 8 * 1024 * 1024
"""Characters of all cells: a workbook may name one long text from every cell."""
BLANK_ROWS = 250_000
"""Rows without any content that are passed over before the file is refused."""
SEPARATORS = (",", ";", "\t")
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
TWO_BYTE_MARKS = (b"\xff\xfe", b"\xfe\xff")
FORMULA_SIGNS = ("=", "@")


class Unusable(msgspec.Struct, frozen=True):
    """Stand for a cell that cannot be taken as text; `what` says why and what to do."""

    what: str


Cell = str | Unusable


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one row: its number as the spreadsheet program shows it, and its cells without surrounding space."""

    number: int
    cells: tuple[Cell, ...]

    @property
    def blank(self) -> bool:
        """True if no cell holds anything."""
        return not any(self.cells)


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a read spreadsheet: the cells of its first row with content, and the rows below it that hold something."""

    header: Line
    lines: tuple[Line, ...]
    encoding: str
    """utf-8, gb18030 or xlsx."""


def read_sheet(content: bytes) -> Sheet:
    """Return the rows of a CSV or XLSX file; which of the two is told by its bytes, not by a name.

    Raises:
        InvalidInput: it is empty, too large, of another kind or encoding, or cannot be read.
    """
    from gateway.bulk.workbook import workbook_lines

    if not content:
        raise InvalidInput("file", "it is empty: send a CSV or XLSX file")
    if len(content) > MAX_BYTES:
        raise InvalidInput("file", f"it has more than {MAX_BYTES // 1024 // 1024} MiB: split it")
    if content.startswith(OLD_OFFICE):
        raise InvalidInput("file", "it is an old .xls file or has a password: save it as .xlsx without one")
    if is_workbook(content):
        return _sheet(workbook_lines(content), "xlsx")
    text, encoding = decode(content)
    return _sheet(_csv_lines(text), encoding)


def is_workbook(content: bytes) -> bool:
    """Return whether a file begins as an XLSX file does."""
    return content.startswith(b"PK\x03\x04")


def _sheet(lines: Iterator[Line], encoding: str) -> Sheet:
    filled: list[Line] = []
    blank = size = 0
    for line in lines:
        if line.blank:
            blank += 1
            if blank > BLANK_ROWS:
                raise InvalidInput("file", f"it has more than {BLANK_ROWS} empty rows: delete them")
            continue
        filled.append(line)
        size += sum(len(cell) if isinstance(cell, str) else len(cell.what) for cell in line.cells)
        if size > MAX_TEXT:
            raise InvalidInput("file", f"its cells hold more than {MAX_TEXT} characters: split it")
        if len(filled) > MAX_ROWS + 1:
            raise InvalidInput("file", f"it has more than {MAX_ROWS} rows: split it")
    if not filled:
        raise InvalidInput("file", "it has no row: the first names the columns")
    return Sheet(header=filled[0], lines=tuple(filled[1:]), encoding=encoding)


def decode(content: bytes) -> tuple[str, str]:
    """Return the text of a CSV file and its encoding: UTF-8 (with or without its mark), else GB18030.

    Raises:
        InvalidInput: it is neither, or holds NUL bytes.
    """
    if content.startswith(TWO_BYTE_MARKS) or b"\x00" in content:
        raise InvalidInput(
            "file", "it is no CSV in UTF-8 or GB18030: choose 'CSV UTF-8' when you save it, or send .xlsx"
        )
    for encoding, name in (("utf-8-sig", "utf-8"), ("gb18030", "gb18030")):
        try:
            return content.decode(encoding), name
        except UnicodeDecodeError:
            continue
    raise InvalidInput(
        "file", "its text is neither UTF-8 nor GB18030: choose 'CSV UTF-8' when you save it, or send .xlsx"
    )


def _csv_lines(text: str) -> Iterator[Line]:
    head = text.lstrip("\r\n").partition("\n")[0]
    separator = max(SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begun = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InvalidInput(
                f"line {begun}", f"the quotes do not pair or a cell is huge: mend the file ({error})"
            ) from error
        if cells is None:
            return
        if len(cells) > MAX_COLUMNS:
            raise InvalidInput(f"line {begun}", f"it has more than {MAX_COLUMNS} columns: is the separator right?")
        yield Line(number=begun, cells=tuple(_csv_cell(cell) for cell in cells))
        begun = reader.line_num + 1


def _csv_cell(value: str) -> Cell:
    text = value.strip()
    if text.startswith(FORMULA_SIGNS):
        return Unusable("it begins like a formula: write the value itself")
    return bounded(text)


def bounded(text: str) -> Cell:
    """Return a cell's text if it is short enough."""
    return text if len(text) <= MAX_CHARS else Unusable(f"it has more than {MAX_CHARS} characters")
