"""Reading spreadsheets: whatever a property company's file holds, every row is understood or told why not."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from gateway.bulk.apart import UNREADABLE, Limits, read_apart
from gateway.bulk.reading import MAX_BYTES, MAX_ROWS, MAX_TEXT, read_sheet
from gateway.bulk.rows import Rows, read_rows
from gateway.bulk.workbook import MAX_MERGED_CELLS, MERGED
from models.errors import InvalidInput

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 1)


def rows_of(content: bytes | str) -> Rows:
    raw = content.encode() if isinstance(content, str) else content
    return read_rows(read_sheet(raw), zone=SHANGHAI, today=TODAY)


def refused(content: bytes | str) -> str:
    with pytest.raises(InvalidInput) as caught:
        rows_of(content)
    return str(caught.value)


def workbook(*rows: list[Any], sheets: int = 1) -> Workbook:
    book = Workbook()
    for number in range(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        assert sheet is not None
        for row in rows:
            sheet.append(row)
    return book


def saved(book: Workbook) -> bytes:
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def faults_of(rows: Rows) -> list[tuple[int, str]]:
    return [(fault.line, fault.column) for fault in rows.faults]


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("gb18030", "gb18030"), ("gbk", "gb18030")]
)
def test_names_survive_every_encoding_of_a_chinese_office(encoding: str, told: str) -> None:
    content = "编号,姓名,楼栋,单元,房号\nA-1,欧阳·娜娜,3,1,101\n".encode(encoding)
    assert read_sheet(content).encoding == told
    (resident,) = rows_of(content).residents
    assert (resident.name, resident.flat) == ("欧阳·娜娜", ("3", "1", "101"))


def test_a_file_in_another_encoding_is_refused_with_what_to_do() -> None:
    assert "CSV UTF-8" in refused("external_id,name\n1,李\n".encode("utf-16"))
    assert "CSV UTF-8" in refused(b"external_id,name\n1,\x00\n")
    assert "UTF-8 nor GB18030" in refused(b"external_id,name\n1,Jos" + b"\xe9\n\xff\xff")


def test_text_that_decodes_to_nonsense_is_rejected_by_its_row() -> None:
    mojibake = b"external_id,name\n1," + b"\xaa\xa1\xfe\x50" + b"\n2,Lin\n"
    rows = rows_of(mojibake)
    assert faults_of(rows) == [(2, "name")]
    assert [resident.external_id for resident in rows.residents] == ["2"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_may_be_parted_as_the_office_is_used_to(separator: str) -> None:
    text = f"external_id{separator}name{separator}phone\n7{separator}Lin Yue{separator}+86 138-0000 0000\n"
    (resident,) = rows_of(text).residents
    assert resident.phone == "+8613800000000"


def test_a_formula_is_never_taken_for_its_value() -> None:
    book = workbook(["external_id", "name", "phone"], ["1", "Lin", "=1+1"], ["2", '=HYPERLINK("x")', 13800000000])
    assert faults_of(rows_of(saved(book))) == [(2, "phone"), (3, "name")]
    assert faults_of(rows_of("external_id,name\n1,=cmd|'/c calc'!A1\n2,@SUM(A1)\n3,+x\n")) == [
        (2, "name"), (3, "name"), (4, "name"),
    ]  # fmt: skip


def test_merged_cells_are_told_line_by_line() -> None:
    book = workbook(["external_id", "name", "building", "room"], *[[str(n), "Lin", "3", "101"] for n in range(4)])
    sheet = book.active
    assert sheet is not None
    sheet.merge_cells("C3:C4")
    rows = rows_of(saved(book))
    assert faults_of(rows) == [(3, "building"), (4, "building")]
    assert "unmerge" in rows.faults[0].what
    sheet.merge_cells("A1:B1")
    assert "each in a cell of its own" in refused(saved(book))


def with_part(content: bytes, name: str, *, text: str) -> bytes:
    """Return a workbook with one part of its archive replaced."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, text if part.filename == name else old.read(part))
    return stream.getvalue()


def test_the_search_for_merged_cells_stops_at_the_next_tag() -> None:
    reference = b'ref="A1:B2"'
    assert MERGED.findall(b"<x:mergeCell a='1' " + reference + b"/>") == [b"A1:B2"]
    assert MERGED.findall(b"<mergeCell " * 3 + reference) == [b"A1:B2"]
    assert MERGED.search(b"<mergeCell <mergeCell " + reference).start() == len(b"<mergeCell ")  # type: ignore[union-attr]
    assert MERGED.findall(b"<mergeCell " + b" " * 201 + reference) == []


def test_a_sheet_of_unfinished_merged_cells_is_damaged_and_costs_nothing() -> None:
    honest = saved(workbook(["external_id", "name"], ["1", "Lin"]))
    assert "damaged" in refused(with_part(honest, "xl/worksheets/sheet1.xml", text="<mergeCell " * 1_000_000))


def test_merged_cells_that_span_too_much_are_refused_before_they_are_spread_out() -> None:
    book = workbook(["external_id", "name"], ["1", "Lin"])
    refs = "".join(f'<mergeCell ref="A{n}:BL{n + 1999}"/>' for n in range(2, 3000, 2))
    text = f"<worksheet><sheetData/><mergeCells>{refs}</mergeCells></worksheet>"
    assert str(MAX_MERGED_CELLS) in refused(with_part(saved(book), "xl/worksheets/sheet1.xml", text=text))
    one = '<worksheet><sheetData/><mergeCells><mergeCell ref="A2:A9999999"/></mergeCells></worksheet>'
    assert str(MAX_MERGED_CELLS) in refused(with_part(saved(book), "xl/worksheets/sheet1.xml", text=one))


def test_one_long_text_in_every_cell_is_refused_before_it_fills_the_memory() -> None:
    book = workbook(["external_id", "name"], *[["x" * 256] * 20 for _ in range(MAX_TEXT // 256 // 20 + 1)])
    assert str(MAX_TEXT) in refused(saved(book))


async def test_a_workbook_is_read_in_a_process_of_its_own_as_it_is_read_here() -> None:
    book = workbook(["external_id", "name", "card"], ["1", "Lin", "=1+1"], ["2", "Wei", 4])
    assert await read_apart(saved(book)) == read_sheet(saved(book))
    with pytest.raises(InvalidInput, match="damaged"):
        await read_apart(saved(book)[:-40])


@pytest.mark.parametrize("limits", [Limits(cpu_s=2), Limits(wall_s=0.01), Limits(memory=100 * 1024**2)])
async def test_a_workbook_that_openpyxl_cannot_finish_costs_its_process_only(limits: Limits) -> None:
    book = workbook(["external_id", "name"], ["1", "Lin"])
    cell = book.worksheets[0]["A2"]
    cell.number_format = "[" * 1_000_000  # openpyxl's search for colours is quadratic in these
    with pytest.raises(InvalidInput, match=re.escape(UNREADABLE)):
        await read_apart(saved(book), limits)


def test_numbers_that_lost_digits_are_not_guessed() -> None:
    head = ["external_id", "name", "card", "phone"]
    rows = rows_of(saved(workbook(head, [1, "Lin", 12345678901234567890, 1.5], [2.0, "Wei", 1234, 13800000000])))
    assert faults_of(rows) == [(2, "phone"), (2, "card")] or faults_of(rows) == [(2, "card"), (2, "phone")]
    assert [(one.external_id, one.card, one.phone) for one in rows.residents] == [("2", "1234", "13800000000")]


def test_days_are_read_as_people_write_them_and_the_last_day_counts() -> None:
    text = "external_id,name,flat,born_on,valid_until\n1,A,f,2014年3月2日,2026/12/31\n2,B,f,2014-03-01,2026.2.30\n"
    rows = rows_of(text)
    assert rows.residents[0].born_on == date(2014, 3, 2)
    assert rows.residents[0].valid_until == datetime(2026, 12, 31, 16, tzinfo=UTC)
    assert faults_of(rows) == [(3, "valid_until")]
    book = workbook(["external_id", "name", "born_on"], ["1", "A", date(2000, 2, 29)], ["2", "B", date(2030, 1, 1)])
    assert faults_of(rows_of(saved(book))) == [(3, "born_on")]


def test_a_number_or_a_card_given_twice_is_rejected_the_second_time() -> None:
    rows = rows_of("external_id,name,card\n1,A,04:AB\n1,B,\n2,C,4ab\n3,D,4ac\n")
    assert faults_of(rows) == [(3, "external_id"), (4, "card")]
    assert [resident.external_id for resident in rows.residents] == ["1", "3"]


def test_columns_that_sort_people_are_refused() -> None:
    for column in ("性别", "民族", "gender", "note"):
        assert "is not kept" in refused(f"external_id,name,{column}\n1,A,x\n")


def test_the_first_row_must_name_the_columns() -> None:
    assert "no column name" in refused("external_id\n1\n")
    assert "twice" in refused("external_id,name,姓名\n1,A,B\n")
    assert "empty" in refused(b"")
    assert "no row" in refused("\n\n,,\n")


def test_half_a_flat_and_dates_without_a_flat_are_rejected() -> None:
    head = "external_id,name,flat,building,room,relation\n"
    rows = rows_of(head + "1,A,,3,,\n2,B,f,3,101,\n3,C,,,,owner\n4,D,,,,\n5,E,f,,,陌生人\n")
    assert faults_of(rows) == [(2, "building"), (3, "flat"), (4, "room"), (6, "relation")]


def test_cells_beside_the_named_columns_and_quotes_that_do_not_pair_are_told() -> None:
    assert faults_of(rows_of("external_id,name,\n1,A,stray\n")) == [(2, "column 3")]
    assert "quotes" in refused('external_id,name\n1,"A\n2,B\n')
    assert "columns" in refused("external_id,name\n" + "x," * 100 + "\n")
    assert faults_of(rows_of(f"external_id,name\n1,{'x' * 300}\n")) == [(2, "name")]


def test_no_fault_repeats_what_stood_in_a_cell() -> None:
    secret = "13912345678zz"
    text = f"external_id,name,phone,card,flat,valid_until\n1,=Zhang,{secret},{secret},f,{secret}\n"
    told = " ".join(fault.what for fault in rows_of(text).faults)
    assert told
    assert secret not in told
    assert "Zhang" not in told


def test_two_hundred_thousand_rows_are_refused_before_they_fill_the_memory() -> None:
    text = "external_id,name\n" + "".join(f"{number},Lin\n" for number in range(200_000))
    assert f"more than {MAX_ROWS} rows" in refused(text)
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for number in range(MAX_ROWS + 2):
        sheet.append(["external_id" if number == 0 else str(number), "name"])
    assert f"more than {MAX_ROWS} rows" in refused(saved(book))
    assert "MiB" in refused(b"x" * (MAX_BYTES + 1))


def test_a_workbook_that_unpacks_to_a_bomb_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"\0" * (70 * 1024 * 1024))
    assert len(stream.getvalue()) < MAX_BYTES
    assert "unpacks" in refused(stream.getvalue())


def test_old_protected_and_doubled_workbooks_are_refused_with_what_to_do() -> None:
    assert "save it as .xlsx" in refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512)
    assert "several sheets" in refused(saved(workbook(["external_id", "name"], ["1", "A"], sheets=2)))
    book = workbook(["external_id", "name"], ["1", "A"])
    book.create_sheet("Sheet2")
    assert len(rows_of(saved(book)).residents) == 1


SOUND = saved(workbook(["external_id", "name", "phone"], ["1", "Lin", "13800000000"], ["2", "Wei", ""]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=30), st.integers(0, len(SOUND))
)
def test_a_damaged_workbook_never_ends_in_anything_but_a_sentence(edits: list[tuple[int, int]], end: int) -> None:
    raw = bytearray(SOUND)
    for place, value in edits:
        raw[place] = value
    with contextlib.suppress(InvalidInput):
        rows_of(bytes(raw if edits else raw[:end]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_below_a_header_end_in_rows_or_a_sentence(tail: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        rows = rows_of(b"external_id,name,phone,card,flat,valid_until,born_on\n" + tail)
        assert len({fault.line for fault in rows.faults}) + len(rows.residents) == rows.total
