"""Turn rows of a spreadsheet into residents, or say of each what is wrong, where, and what to do. Knows no database.

No fault repeats what stands in a cell: it may be a name or a card number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import msgspec

from gateway.bulk.reading import Line, Sheet, Unusable
from models.errors import InvalidInput
from models.people import Relation, canonical_card

COLUMNS: dict[str, tuple[str, ...]] = {
    "external_id": ("编号", "住户编号", "人员编号"),
    "name": ("姓名",),
    "flat": ("房屋编号",),
    "building": ("楼栋", "楼号", "幢"),
    "unit": ("单元",),
    "room": ("房号", "室号", "室"),
    "relation": ("关系", "与户主关系", "身份"),
    "phone": ("电话", "手机", "手机号", "联系电话"),
    "born_on": ("出生日期",),
    "under_14": ("未满14岁", "未满十四岁"),
    "card": ("卡号",),
    "valid_from": ("起始日期", "入住日期"),
    "valid_until": ("截止日期", "到期日期"),
}
"""Every column that an import knows, with the Chinese names that it may have; the first two are needed."""
NEEDED = ("external_id", "name")
RELATIONS: dict[str, Relation] = {
    "业主": "owner", "租户": "tenant", "租客": "tenant", "承租人": "tenant", "家属": "family", "家庭成员": "family",
    "员工": "staff", "工作人员": "staff",
}  # fmt: skip
TRUE = frozenset({"yes", "true", "y", "1", "是"})
FALSE = frozenset({"no", "false", "n", "0", "否"})
DAY = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
PHONE = re.compile(r"\+?[0-9]{5,20}")
EXTERNAL_ID = re.compile(r"[\w./-]{1,64}")
NAME_CHARS = 64
STRANGE = frozenset({"Cc", "Cn", "Co", "Cs", "So", "Sk", "Sc", "Sm", "Nl", "No"})
"""Categories of characters that no name has; they show that a file was read in the wrong encoding."""
EARLIEST = 1900


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Say why a row was rejected: its line, the column, and what to do; never what stood in the cell."""

    line: int
    column: str
    what: str


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one row that can be imported; None is a cell that was left blank, which changes nothing."""

    line: int
    external_id: str
    name: str
    flat: str | tuple[str, str, str] | None = None
    """The id of a flat, or building, unit and room."""
    relation: Relation | None = None
    phone: str | None = None
    born_on: date | None = None
    under_14: bool | None = None
    card: str | None = None
    """In canonical form."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what was read: residents to import, and the faults of rows that cannot be."""

    residents: tuple[Resident, ...]
    faults: tuple[Fault, ...]
    total: int
    """How many rows the file has below its header."""


class _Bad(Exception):  # noqa: N818 - never seen outside
    """Carry why one cell cannot be taken."""


def read_rows(sheet: Sheet, *, zone: ZoneInfo, today: date) -> Rows:
    """Return the residents of a spreadsheet and the faults of all other rows.

    Args:
        sheet: what was read.
        zone: where the days of `valid_from` and `valid_until` begin and end.
        today: the day there, after which nobody was born.

    Raises:
        InvalidInput: the first row does not name the columns.
    """
    columns = header_of(sheet.header)
    residents: list[Resident] = []
    seen: dict[tuple[str, str], int] = {}
    faults: list[Fault] = []
    for line in sheet.lines:
        found = list(_read(line, columns, zone=zone, today=today))
        wrong = [one for one in found if isinstance(one, Fault)]
        for made in (one for one in found if isinstance(one, Resident)):
            wrong += _repeated(made, seen)
            if not wrong:
                residents.append(made)
        faults += wrong
    return Rows(residents=tuple(residents), faults=tuple(faults), total=len(sheet.lines))


def _repeated(resident: Resident, seen: dict[tuple[str, str], int]) -> Iterator[Fault]:
    for column in ("external_id", "card"):
        value = getattr(resident, column)
        before = seen.setdefault((column, value), resident.line) if value else resident.line
        if before != resident.line:
            what = f"line {before} has the same: give everybody their own"
            yield Fault(line=resident.line, column=column, what=what)


def header_of(line: Line) -> tuple[str | None, ...]:
    """Return which column stands where; None is a column without a name.

    Raises:
        InvalidInput: a column is unknown, named twice or missing.
    """
    known = {alias: name for name, aliases in COLUMNS.items() for alias in (name, *aliases)}
    names: list[str | None] = []
    for cell in line.cells:
        if isinstance(cell, Unusable):
            raise InvalidInput(f"line {line.number}", "the first row must name the columns, each in a cell of its own")
        word = unicodedata.normalize("NFKC", cell).strip().lower().replace(" ", "_")
        if word and word not in known:
            raise InvalidInput(
                f"line {line.number}", f"column {cell[:40]!r} is not kept; known are {', '.join(COLUMNS)}"
            )
        name = known.get(word)
        if name is not None and name in names:
            raise InvalidInput(f"line {line.number}", f"column {name} is there twice: keep one")
        names.append(name)
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise InvalidInput(
            f"line {line.number}", f"the first row names no column {missing[0]} ({COLUMNS[missing[0]][0]})"
        )
    return tuple(names)


def _read(line: Line, columns: tuple[str | None, ...], *, zone: ZoneInfo, today: date) -> Iterator[Fault | Resident]:
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for number, cell in enumerate(line.cells):
        name = columns[number] if number < len(columns) else None
        if isinstance(cell, Unusable):
            faults.append(Fault(line=line.number, column=name or f"column {number + 1}", what=cell.what))
        elif name is None and cell:
            what = "the first row gives this column no name: name it or empty it"
            faults.append(Fault(line=line.number, column=f"column {number + 1}", what=what))
        elif name is not None:
            values[name] = cell
    taken: dict[str, object] = {}
    told = {fault.column for fault in faults}
    for name, take in _TAKERS.items():
        try:
            wanted = values.get(name) or (name in NEEDED and name not in told)
            taken[name] = take(values.get(name, ""), zone, today) if wanted else None
        except _Bad as bad:
            faults.append(Fault(line=line.number, column=name, what=str(bad)))
    yield from faults
    if not faults:
        yield from _resident(line.number, values, taken)


def _resident(number: int, values: dict[str, str], taken: dict[str, object]) -> Iterator[Fault | Resident]:
    place = tuple(unicodedata.normalize("NFKC", values.get(part, "")) for part in ("building", "unit", "room"))
    flat = unicodedata.normalize("NFKC", values.get("flat", ""))
    begins, ends = taken["valid_from"], taken["valid_until"]
    if any(place) and not (place[0] and place[2]):
        yield Fault(line=number, column="building", what="a flat needs building and room: fill both or neither")
    elif flat and any(place):
        yield Fault(line=number, column="flat", what="give the flat's id or its building and room, not both")
    elif not flat and not any(place) and any(values.get(name) for name in ("relation", "valid_from", "valid_until")):
        yield Fault(line=number, column="room", what="relation and dates belong to a flat: name the flat")
    elif isinstance(begins, datetime) and isinstance(ends, datetime) and ends <= begins:
        yield Fault(line=number, column="valid_until", what="it is before valid_from")
    else:
        where = flat or (place if any(place) else None)
        yield msgspec.convert({**taken, "line": number, "flat": where}, Resident)


def _plain(value: str) -> str:
    return unicodedata.normalize("NFKC", value).strip()


def _external_id(value: str, _zone: ZoneInfo, _today: date) -> str:
    text = _plain(value)
    if not EXTERNAL_ID.fullmatch(text):
        raise _Bad(
            "write the number that your register knows this person by: 1 to 64 letters, digits, '-', '.', '/', '_'"
        )
    return text


def _name(value: str, _zone: ZoneInfo, _today: date) -> str:
    text = " ".join(unicodedata.normalize("NFC", value).split())
    if not 1 <= len(text) <= NAME_CHARS:
        raise _Bad(f"a name has 1 to {NAME_CHARS} characters")
    if text[0] in "+-" or any(unicodedata.category(char) in STRANGE or char == "\ufffd" for char in text):
        raise _Bad("it holds characters that no name has: was the file saved in another encoding?")
    return text


def _relation(value: str, _zone: ZoneInfo, _today: date) -> Relation:
    word = _plain(value).lower()
    for relation in get_args(Relation):
        if word == relation:
            return relation  # type: ignore[no-any-return]
    if word not in RELATIONS:
        raise _Bad(f"use one of {', '.join(get_args(Relation))} (业主, 租户, 家属, 员工)")
    return RELATIONS[word]


def _phone(value: str, _zone: ZoneInfo, _today: date) -> str:
    text = re.sub(r"[\s()-]", "", _plain(value))
    if not PHONE.fullmatch(text) or not text.isascii():
        raise _Bad("write 5 to 20 digits, with + before a country's code")
    return text


def _day(value: str) -> date:
    match = DAY.fullmatch(_plain(value))
    try:
        return date(*(int(part) for part in match.groups())) if match else _no_day()
    except ValueError:
        return _no_day()


def _no_day() -> date:
    raise _Bad("write a day as 2026-03-31")


def _born_on(value: str, _zone: ZoneInfo, today: date) -> date:
    day = _day(value)
    if day.year < EARLIEST or day > today:
        raise _Bad(f"a date of birth lies between {EARLIEST} and today")
    return day


def _under_14(value: str, _zone: ZoneInfo, _today: date) -> bool:
    word = _plain(value).lower()
    if word not in TRUE | FALSE:
        raise _Bad("write yes or no (是, 否)")
    return word in TRUE


def _card(value: str, _zone: ZoneInfo, _today: date) -> str:
    try:
        return canonical_card(_plain(value))
    except InvalidInput as error:
        raise _Bad(error.what) from error


def _begins(value: str, zone: ZoneInfo, _today: date) -> datetime:
    return _midnight(_day(value), zone)


def _ends(value: str, zone: ZoneInfo, _today: date) -> datetime:
    day = _day(value)
    return _midnight(day + timedelta(days=1) if day < date.max else day, zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    if not EARLIEST <= day.year <= 2200:
        raise _Bad(f"use a day from {EARLIEST} to 2200")
    return datetime(day.year, day.month, day.day, tzinfo=zone)


_TAKERS = {
    "external_id": _external_id, "name": _name, "relation": _relation, "phone": _phone, "born_on": _born_on,
    "under_14": _under_14, "card": _card, "valid_from": _begins, "valid_until": _ends,
}  # fmt: skip
