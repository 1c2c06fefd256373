"""`python -m drivers check`: judges driver sections as the edge's drivers would, and opens no connection and no file.

One section per line of JSON on standard input, one verdict per line on standard output (models.driver_checks). What only
an edge has (files, credentials that the gateway lends) is taken as right. A driver of a third party is judged by its own
builder, which must open nothing either (docs/drivers.md).
"""

from __future__ import annotations

import argparse
import difflib
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

import msgspec

from drivers.catalog import BUILDERS, LINES, PART_KEYS, kinds, open_camera_device, open_door, settings_known
from models.driver_checks import LINE_BYTES, SECTIONS_MOST, Finding, Section, Verdict
from models.driver_secrets import DEVICE, unsaid
from models.errors import GatehouseError, InvalidInput

log = logging.getLogger("gatehouse.drivers.checking")

CLIENT: Final = "gatehouse-check"
TEXT_CHARS: Final = 300
FILES: Final = frozenset({"ca_file", "cert_file", "key_file", "password_file"})
"""Settings that name files of the edge's machine."""
LENT: Final[Mapping[str, Mapping[str, object]]] = {"osdp": {"key": "0123456789abcdef" * 2}}
"""What stands for what only the edge has, on wires that want it."""
MISSING: Final = re.compile(r"Object missing required field `(\w{1,64})`")
UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]{1,64})`")
AT: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_section = msgspec.json.Decoder(Section)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take no arguments: sections come on standard input."""
    parser.description = "Judge driver sections: one JSON object per line in, one verdict per line out."


async def main(_args: argparse.Namespace) -> int:
    """Judge what standard input holds; exit status 2 if it cannot be read."""
    try:
        sections = list(_read(sys.stdin.buffer))
    except InvalidInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for verdict in judge(sections):
        sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    return 0


def _read(lines: IO[bytes]) -> Iterator[Section]:
    for number in range(1, SECTIONS_MOST + 2):
        line = lines.readline(LINE_BYTES + 1)
        if not line:
            return
        if len(line) > LINE_BYTES or number > SECTIONS_MOST:
            raise InvalidInput(f"line {number}", f"at most {SECTIONS_MOST} lines of {LINE_BYTES} bytes are read")
        try:
            yield _section.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise InvalidInput(f"line {number}", "is no section: id, part, edge and settings are needed") from None


def judge(sections: Iterable[Section]) -> Iterator[Verdict]:
    """Yield a verdict on each section, then one more on each that is right alone and not beside others of its wire."""
    wires: defaultdict[tuple[str, str, bytes], list[Section]] = defaultdict(list)
    lines: defaultdict[tuple[str, str, object], dict[bytes, Section]] = defaultdict(dict)
    for section in sections:
        verdict = _verdict(section)
        yield verdict
        if section.part == "driver" and not verdict.errors and not verdict.warnings:
            shared = msgspec.json.encode(_apart(_here(section))[0], order="deterministic")
            kind = str(section.settings.get("kind"))
            wires[section.edge, kind, shared].append(section)
            if kind in LINES:
                lines[section.edge, kind, section.settings.get(LINES[kind])].setdefault(shared, section)
    for group in wires.values():
        if len(group) > 1 and (beside := _together(group)) is not None:
            yield beside
    for (_, kind, _), unlike in lines.items():
        if len(unlike) > 1:
            first, *_, last = unlike.values()
            what = f"beside {first.id}: a {LINES[kind]} has one driver, so all else that its doors share must be alike there"
            yield Verdict(
                id=last.id, part="driver", errors=(Finding(where="driver", what=_plain(what, [first, last])),)
            )


def _together(group: list[Section]) -> Verdict | None:
    """Judge sections that share a wire and are right alone; None if they are right together, too."""
    try:
        error = _refusal(group)
    except Exception:  # whatever a third party's driver raises says nothing about the settings
        log.exception("the driver of %d doors on one wire failed", len(group))
        return _unchecked(group[-1])
    if error is None:
        return None
    return _told(group[-1], errors=[Finding(where="driver", what=_plain(f"beside {group[0].id}: {error.what}", group))])


def _verdict(section: Section) -> Verdict:
    kind = section.settings.get("kind", "mqtt" if section.part == "driver" else None)
    known = sorted(kinds() if section.part == "driver" else {"onvif"})
    if section.part == "driver" and isinstance(kind, str) and kind not in known:
        return _unknown_kind(section, kind, known=known)
    strange = next((name for name in FILES & section.settings.keys() if not _is_file(section.settings[name])), None)
    if strange is not None:
        what = "must be the path of a file on the edge's machine"
        return _told(section, errors=[Finding(where=f"{section.part}.{strange}", what=what)])
    try:
        error = _refusal([section])
    except Exception:
        log.exception("the driver of kind %s failed", kind)
        return _unchecked(section)
    return _told(section, errors=[] if error is None else [_explained(section, error)])


def _unchecked(section: Section) -> Verdict:
    """Say that a third party's driver failed, and so judges nothing."""
    kind = str(section.settings.get("kind", "mqtt"))[:80]
    what = f"the driver {kind!r} failed on this machine, so its settings were not checked"
    return _told(section, warnings=[Finding(where=f"{section.part}.kind", what=what)])


def _unknown_kind(section: Section, kind: str, *, known: list[str]) -> Verdict:
    """Judge a kind that is not known here: a slip of the pen is wrong, another driver may be installed at the edge."""
    close = difflib.get_close_matches(kind, known, n=1)
    if close:
        what = f"there is no driver {kind[:80]!r}: did you mean {close[0]!r}?"
        return _told(section, errors=[Finding(where="driver.kind", what=what)])
    what = f"no driver {kind[:80]!r} is installed on this machine ({', '.join(known)} are): it must be at its edge"
    return _told(section, warnings=[Finding(where="driver.kind", what=what)])


def _told(section: Section, *, errors: Iterable[Finding] = (), warnings: Iterable[Finding] = ()) -> Verdict:
    return Verdict(id=section.id, part=section.part, errors=tuple(errors), warnings=tuple(warnings))


def _refusal(group: list[Section]) -> InvalidInput | None:
    """Return why the settings of sections that share a wire cannot be used, or None."""
    settings = _here(group[0])
    try:
        if group[0].part == "device":
            open_camera_device(settings, now=_now)
            return None
        own, part = _apart(settings)
        if part:
            own["doors"] = {section.id: _apart(_here(section))[1] for section in group}
        open_door({"kind": "mqtt", **own}, doors=tuple(section.id for section in group), client_id=CLIENT, now=_now)
    except InvalidInput as error:
        return error
    except GatehouseError as error:
        return InvalidInput(group[0].part, str(error))
    return None


def _apart(settings: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Return what doors of one wire share, and what names a door's part of it."""
    names = PART_KEYS.get(str(settings.get("kind", "mqtt")), frozenset())
    shared = {name: value for name, value in settings.items() if name not in names}
    return shared, {name: value for name, value in settings.items() if name in names}


def _here(section: Section) -> dict[str, Any]:
    """Return settings without what only the edge has; a third party's driver is handed them as they are."""
    kind = str(section.settings.get("kind", "mqtt"))
    if section.part == "driver" and kind not in BUILDERS:
        return dict(section.settings)
    lent = LENT.get(kind, {})
    here = _without(section.settings, lent=lent)
    readers = here.get("readers")
    if isinstance(readers, list):
        here["readers"] = [_without(one, lent=lent) if isinstance(one, dict) else one for one in readers]
    return here


def _without(settings: Mapping[str, Any], *, lent: Mapping[str, object]) -> dict[str, Any]:
    gone = {name for name in (*FILES, DEVICE) if name in settings}
    return {name: value for name, value in settings.items() if name not in gone} | (dict(lent) if gone else {})


def _is_file(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 4096


def _explained(section: Section, error: InvalidInput) -> Finding:
    """Return a refusal in words for people: which setting, and what to do."""
    what, path = error.what, ""
    if (at := AT.search(what)) is not None:
        what, path = what[: at.start()], at[1]
    ours = error.where if "doors" in section.settings else error.where.replace(f"driver.doors.{section.id}", "driver")
    where = [section.part + ours.removeprefix("driver").removeprefix("device"), *_steps(path, section)]
    if (missing := MISSING.fullmatch(what)) is not None:
        what = f"{missing[1]!r} is missing: add it"
    elif (unknown := UNKNOWN.fullmatch(what)) is not None:
        where.append(unknown[1])
        kind = str(section.settings.get("kind", "mqtt"))[:80]
        close = difflib.get_close_matches(unknown[1].lower(), sorted(settings_known(kind)), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "correct its name, or leave it out (docs/drivers.md)"
        what = f"the driver {kind!r} has no such setting: {hint}"
    return Finding(where=_plain(".".join(where), [section]), what=_plain(what, [section]))


def _steps(path: str, section: Section) -> list[str]:
    steps = [step for step in re.split(r"[.\[\]]+", path) if step and step != "..."]
    if steps[:1] == ["readers"] and "readers" not in section.settings:
        return steps[2:]  # a reader that is named without a list
    return steps[1:] if steps[:1] == ["doors"] and "doors" not in section.settings else steps


def _plain(text: str, sections: Iterable[Section]) -> str:
    text = unsaid(text, drivers=[section.settings for section in sections])
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= TEXT_CHARS else f"{line[: TEXT_CHARS - 1]}…"


def _now() -> datetime:
    return datetime.now(UTC)
