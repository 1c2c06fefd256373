"""Archives of residents with photos: hostile ones are refused before anything is read; a workbook is split by its rows."""

from __future__ import annotations

import io
import stat
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from gateway.bulk.photos import PhotoArchive, split
from gateway.bulk.reading import read_sheet
from models.errors import InvalidInput

JPEG = b"\xff\xd8\xff\xe0 a photo"


def zipped(folder: Path, *entries: tuple[zipfile.ZipInfo | str, bytes], packed: int = zipfile.ZIP_STORED) -> Path:
    file = folder / "people.zip"
    with zipfile.ZipFile(file, "w", packed) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file


def link(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return made


SHEET = ("residents.csv", "编号,姓名,照片\nA-1,Lin,lin.jpg\n".encode())


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([SHEET, ("../lin.jpg", JPEG)], "leads out"), ([SHEET, ("/etc/lin.jpg", JPEG)], "leads out"),
        ([SHEET, ("a\\..\\lin.jpg", JPEG)], "leads out"), ([SHEET, ("c:/lin.jpg", JPEG)], "leads out"),
        ([SHEET, ("a//lin.jpg", JPEG)], "leads out"), ([SHEET, ("x" * 300 + ".jpg", JPEG)], "leads out"),
        ([SHEET, ("a\nb.jpg", JPEG)], "leads out"), ([SHEET, (link("lin.jpg"), b"/etc/passwd")], "a link"),
        ([SHEET, ("lin.jpg", JPEG), ("LIN.JPG", JPEG)], "twice"), ([("lin.jpg", JPEG)], "0 workbooks"),
        ([SHEET, ("other.xlsx", b"")], "2 workbooks"),
    ],
)  # fmt: skip
def test_an_archive_with_what_it_may_not_hold_is_refused(
    tmp_path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]], what: str
) -> None:
    with pytest.raises(InvalidInput, match=what):
        PhotoArchive(zipped(tmp_path, *entries))


def test_a_bomb_a_torso_and_a_locked_archive_are_refused(tmp_path: Path) -> None:
    bomb = zipped(tmp_path, SHEET, ("lin.jpg", bytes(4 * 1024 * 1024)), packed=zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidInput, match="far too much"):
        PhotoArchive(bomb)
    whole = zipped(tmp_path, SHEET, ("lin.jpg", JPEG)).read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"no archive"):
        bomb.write_bytes(torn)
        with pytest.raises(InvalidInput, match="cannot be read"):
            PhotoArchive(bomb)
    locked = bytearray(whole)
    for at, flags in ((whole.find(b"PK\x03\x04"), 6), (whole.find(b"PK\x01\x02"), 8)):
        locked[at + flags] |= 1
    bomb.write_bytes(locked)
    with pytest.raises(InvalidInput, match="password"):
        PhotoArchive(bomb)


def test_a_photo_is_read_within_its_limit_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    big = zipped(tmp_path, SHEET, ("big.jpg", b"\xff" * (4 * 1024 * 1024 + 1)), ("lin.jpg", JPEG + b"flipped"))
    damaged = big.read_bytes().replace(b"flipped", b"FLIPPED")
    big.write_bytes(damaged)
    with PhotoArchive(big) as opened:
        assert opened.sheet() == SHEET[1]
        for name, what in (("big.jpg", "4 MiB"), ("lin.jpg", "damaged"), ("../lin.jpg", "no file")):
            with pytest.raises(InvalidInput, match=what):
                opened.photo(name)


def test_a_workbook_is_split_and_its_rows_keep_their_numbers() -> None:
    book = Workbook()
    sheet_of: Any = book.active
    rows: list[list[Any]] = [
        ["external_id", "name", "photo", "Consent given at"], ["A-1", "Lin\nYue", "a.jpg； b.jpg"], [], ["A-2", "=1+1", "c.jpg"],
        ["A-3", "Wei", "", date(2026, 2, 1)], ["A-4", "Bao", ";".join("abcdef")], ["A-5", "Chen", None],
    ]  # fmt: skip
    for row in rows:
        sheet_of.append(row)
    held = io.BytesIO()
    book.save(held)
    parts = split(read_sheet(held.getvalue()))
    assert [(row.line, row.external_id, row.photos) for row in parts.rows] == [(2, "A-1", ("a.jpg", "b.jpg"))]
    assert [(fault.line, fault.column) for fault in parts.faults] == [(4, "name"), (5, "photo"), (6, "photo")]
    sheet = read_sheet(parts.residents)
    assert [(line.number, line.cells) for line in sheet.lines] == [
        (2, ("A-1", "Lin Yue")), (5, ("A-3", "Wei")), (6, ("A-4", "Bao")), (7, ("A-5", "Chen"))
    ]  # fmt: skip


@pytest.mark.parametrize("header", ["编号,姓名\n", "编号,姓名,照片,photo\n"])
def test_a_workbook_without_a_column_of_photos_says_so(header: str) -> None:
    with pytest.raises(InvalidInput, match="photo"):
        split(read_sheet((header + "A-1,Lin\n").encode()))
