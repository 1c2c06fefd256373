"""Read the cells of an XLSX file with openpyxl, one row at a time. Computes no formula and guesses no lost digit.

The file is untrusted: it is a ZIP archive of XML, so its unpacked size and its parts are bounded before it is opened.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook
from openpyxl.utils.cell import range_boundaries

from gateway.bulk.reading import MAX_COLUMNS, Cell, Line, Unusable, bounded
from models.errors import InvalidInput

MAX_UNPACKED = 64 * 1024 * 1024
MAX_PARTS = 500
MAX_MERGED = 10_000
MAX_MERGED_CELLS = 200_000
"""Cells that all merged cells of a workbook cover together."""
EXACT = 10**15
"""Spreadsheet programs keep numbers as binary64: whole ones are exact up to 15 digits."""
MERGED = re.compile(rb"<(?:\w{1,40}:)?mergeCell\s[^<>]{0,200}?\bref=\"([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})\"")
"""Every try ends at the next tag or after 200 characters, so that a hostile sheet costs no more than an honest one."""
CHUNK = 64 * 1024
OVERLAP = 512
"""More than the longest match: one that lies across two chunks is found in the second."""
BROKEN = (
    zipfile.BadZipFile, zlib.error, ParseError, KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError,
    OSError, NotImplementedError, RuntimeError, OverflowError, AssertionError,
)  # fmt: skip
"""What zipfile, ElementTree and openpyxl raise at damaged files."""


def workbook_lines(content: bytes) -> Iterator[Line]:
    """Yield the rows of the only sheet that holds anything.

    Raises:
        InvalidInput: the file is damaged, unpacks to too much, or several sheets hold rows.
    """
    try:
        merged = _survey(content)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            sheets = list(book.worksheets)
            if not sheets:
                raise InvalidInput("file", "the workbook has no sheet with rows")
            filled = [sheet for sheet in sheets if _holds_something(sheet)]
            if len(filled) > 1:
                raise InvalidInput("file", "several sheets hold rows: keep the one to import and delete the others")
            yield from _lines(filled[0] if filled else sheets[0], merged)
        finally:
            book.close()
    except BROKEN as error:
        raise InvalidInput(
            "file", f"the workbook is damaged ({type(error).__name__}): save it again as .xlsx"
        ) from error


def _survey(content: bytes) -> dict[int, set[int]]:
    """Return the columns of merged cells by row, after a look at what the archive holds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
            limit = MAX_UNPACKED // 1024 // 1024
            raise InvalidInput(
                "file", f"the workbook unpacks to more than {limit} MiB or {MAX_PARTS} parts: send a CSV"
            )
        sheets = [
            part for part in parts if part.filename.startswith("xl/worksheets/") and part.filename.endswith(".xml")
        ]
        return _spanned(_merged_in(archive, sheets))


def _merged_in(archive: zipfile.ZipFile, sheets: list[zipfile.ZipInfo]) -> set[str]:
    found: set[str] = set()
    for part in sheets:
        tail = b""
        with archive.open(part) as stream:
            while chunk := stream.read(CHUNK):
                found |= {match.decode() for match in MERGED.findall(tail + chunk)}
                if len(found) > MAX_MERGED:
                    raise InvalidInput("file", f"it has more than {MAX_MERGED} merged cells: unmerge them")
                tail = (tail + chunk)[-OVERLAP:]
    return found


def _spanned(references: set[str]) -> dict[int, set[int]]:
    merged: dict[int, set[int]] = {}
    cells = 0
    for reference in references:
        first_column, first_row, last_column, last_row = (int(bound or 0) for bound in range_boundaries(reference))
        columns = range(first_column, min(last_column, MAX_COLUMNS) + 1)
        rows = range(first_row, last_row + 1)
        cells += len(rows) * max(1, len(columns))
        if cells > MAX_MERGED_CELLS:  # before they are spread out in memory
            raise InvalidInput("file", f"its merged cells span more than {MAX_MERGED_CELLS} cells: unmerge them")
        for row in rows:
            merged.setdefault(row, set()).update(columns)
    return merged


def _holds_something(sheet: Any) -> bool:
    sheet.reset_dimensions()  # what a file says about its own size is not believed
    rows = sheet.iter_rows(max_col=MAX_COLUMNS + 1, values_only=True)
    return any(value is not None for row in zip(range(100), rows, strict=False) for value in row[1])


def _lines(sheet: Any, merged: dict[int, set[int]]) -> Iterator[Line]:
    for number, row in enumerate(sheet.iter_rows(max_col=MAX_COLUMNS + 1), 1):
        if len(row) > MAX_COLUMNS and row[MAX_COLUMNS].value is not None:
            raise InvalidInput(f"line {number}", f"it has more than {MAX_COLUMNS} columns: delete those without use")
        spanned = merged.get(number, set())
        cells = tuple(
            Unusable("it is part of a merged cell: unmerge it and fill every row") if column in spanned else _cell(cell)
            for column, cell in enumerate(row[:MAX_COLUMNS], 1)
        )
        yield Line(number=number, cells=cells)


def _cell(cell: Any) -> Cell:
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "f" or (isinstance(value, str) and value.startswith("=")):
        return Unusable("it holds a formula: paste its value instead")
    if cell.data_type == "e":
        return Unusable("it holds an error of the spreadsheet program: mend it there")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else Unusable("write a date without a time of day")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        return _number(value)
    return bounded(str(value).strip())


def _number(value: float) -> Cell:
    if value != value or value in {float("inf"), float("-inf")} or abs(value) >= EXACT:  # noqa: PLR0124 - NaN
        return Unusable("it is a number with more digits than the program keeps: format the column as text")
    if value != int(value):
        return Unusable("it is a number with a fraction: format the column as text")
    return str(int(value))
