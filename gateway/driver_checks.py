"""Driver sections judged in a process of its own, because the gateway knows no drivers: `python -m drivers check`.

It opens no connection, so it takes well under a second. Whatever keeps it from its end is said, never passed over. A door is
judged beside the others of its line, since one that does not fit would take them all out of service.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.door_secrets import doors_sharing, whole_doors
from models.driver_checks import Finding, Section, Verdict
from models.errors import Conflict, InvalidInput, StorageUnavailable
from models.places import Door

T = TypeVar("T")
LIMIT_S: Final = 20.0
"""Far more than it takes, for a machine that is busy."""
MORE_S: Final = 0.02
"""What each section may take beside that: five times what it does."""
ATTEMPTS: Final = 4
"""How often a write is judged anew because others changed the same line meanwhile."""
LINES: Final[Mapping[str, str]] = {"osdp": "port", "onvif": "url"}
"""The setting by which doors of a kind share one driver at their edge."""
ARGV: Final = (sys.executable, "-m", "drivers", "check")
USUAL: Final = {"kind": "mqtt"}
"""What most doors say: their edge's own broker, by the door contract."""
_verdicts = msgspec.json.Decoder(Verdict)


class NotJudged(StorageUnavailable):
    """Report that driver sections could not be judged; nothing was stored."""

    def __init__(self, why: str) -> None:
        told = f"the settings of the driver could not be checked ({why}): nothing was stored, try again shortly"
        super().__init__(f"driver sections were not checked: {why}", told=told)


def judged(sections: Sequence[Section], *, argv: Sequence[str] = ARGV, limit_s: float = LIMIT_S) -> list[Verdict]:
    """Return the verdicts on driver sections that have something to say; many of them may take longer than `limit_s`.

    Raises:
        NotJudged: the check did not come to its end.
    """
    if not sections:
        return []
    told = b"".join(msgspec.json.encode(section) + b"\n" for section in sections)
    limit_s += MORE_S * (len(sections) - 1)
    try:
        ran = subprocess.run(argv, input=told, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise NotJudged(f"no answer within {limit_s:.0f} s") from None
    except OSError as error:
        raise NotJudged(str(error.strerror)) from None
    try:
        verdicts = _verdicts.decode_lines(ran.stdout)
    except msgspec.MsgspecError:
        raise NotJudged("its answer cannot be read") from None
    if ran.returncode != 0 or {(one.id, one.part) for one in sections} - {(one.id, one.part) for one in verdicts}:
        raise NotJudged(f"it ended with status {ran.returncode} before it had judged all")
    return [verdict for verdict in verdicts if verdict.errors or verdict.warnings]


async def check_section(runtime: Runtime, section: Section) -> None:
    """Pass unless no edge could use a driver section; what only some could (a driver that is not here) passes.

    Raises:
        InvalidInput: it cannot be used; the text says which setting, and what to do.
        NotJudged: the check did not come to its end.
    """
    for error in await _errors(runtime, [section], of={section.id}):
        raise InvalidInput(error.where, error.what)


async def _errors(runtime: Runtime, sections: Sequence[Section], *, of: Container[str]) -> list[Finding]:
    async with runtime.judging:
        verdicts = await asyncio.to_thread(judged, sections)
    return [error for verdict in verdicts if verdict.id in of for error in verdict.errors]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the driver sections that a write leaves on one line: those that it wrote, and those that were there."""

    wrote: tuple[Section, ...]
    beside: tuple[Section, ...] = ()


class _Unjudged(Conflict):
    """Undo a write whose driver sections were not judged as it leaves them."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__("the doors of this line were changed meanwhile: read them again")
        self.because("changed_meanwhile")
        self.lines = lines


async def write_judged(runtime: Runtime, act: Callable[[Connection], T], *, wrote: Callable[[T], Iterable[str]]) -> T:
    """Run a query that writes doors in one transaction, once their drivers are judged exactly as it leaves them.

    It is run and undone to see what it leaves; what was judged is written only if the line is still the same.

    Args:
        runtime: the gateway's.
        act: the query; it may run several times.
        wrote: the ids of the doors whose driver or edge it wrote.

    Raises:
        InvalidInput: no edge could use what it leaves; the text says which setting, and what to do.
        Conflict: others changed the same line all the time.
        NotJudged: the check did not come to its end.
    """
    lines: list[Line] = []
    for _ in range(ATTEMPTS):
        try:
            return await runtime.store.write(_as_judged, act, wrote=wrote, lines=lines)
        except _Unjudged as error:
            lines, again = error.lines, error
        for line in lines:
            await _check_line(runtime, line)
    raise again


def _as_judged(
    connection: Connection, act: Callable[[Connection], T], *, wrote: Callable[[T], Iterable[str]], lines: list[Line]
) -> T:
    made = act(connection)
    leaves = _lines(connection, list(wrote(made)))
    if leaves != lines:
        raise _Unjudged(leaves)
    return made


def _lines(connection: Connection, door_ids: Sequence[str]) -> list[Line]:
    """Return the lines of doors as they stand, without those that say what most do."""
    lines: dict[tuple[str, str, str], list[Door]] = {}
    for door in whole_doors(connection, door_ids):
        if door.driver != USUAL:
            kind = str(door.driver.get("kind", "mqtt"))
            line = str(door.driver.get(LINES[kind])) if kind in LINES else f"of {door.id}"
            lines.setdefault((door.edge_id, kind, line), []).append(door)
    return [
        Line(wrote=tuple(map(_section, wrote)), beside=tuple(map(_section, _beside(connection, wrote, name=name))))
        for name, wrote in lines.items()
    ]


def _beside(connection: Connection, wrote: Sequence[Door], *, name: tuple[str, str, str]) -> list[Door]:
    """Return the other doors of a line."""
    edge_id, kind, line = name
    if kind not in LINES:
        return []
    ours = {door.id for door in wrote}
    found = doors_sharing(connection, LINES[kind], value=line, kind=kind, edge_id=edge_id)
    return [door for door in found if door.id not in ours]


def _section(door: Door) -> Section:
    return Section(id=door.id, part="driver", edge=door.edge_id, settings=door.driver)


async def _check_line(runtime: Runtime, line: Line) -> None:
    """Pass unless what was written cannot be used, alone or beside the others of its line.

    A line that was out of service already may be put right door by door.
    """
    ours = {section.id for section in line.wrote}
    found = await _errors(runtime, [*line.beside, *line.wrote], of=ours)
    if found and line.beside and await _errors(runtime, line.beside, of={section.id for section in line.beside}):
        found = await _errors(runtime, line.wrote, of=ours)
    for error in found:
        raise InvalidInput(error.where, error.what).because("driver_refused")
