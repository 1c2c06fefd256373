"""Driver sections judged in a process of its own, because the gateway knows no drivers: `python -m drivers check`.

It opens no connection, so it takes well under a second. Whatever keeps it from its end is said, never passed over.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.runtime import Runtime
from models.driver_checks import Section, Verdict
from models.errors import InvalidInput, StorageUnavailable

LIMIT_S: Final = 20.0
"""Far more than it takes, for a machine that is busy."""
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
    """Return the verdicts on driver sections that have something to say.

    Raises:
        NotJudged: the check did not come to its end.
    """
    if not sections:
        return []
    told = b"".join(msgspec.json.encode(section) + b"\n" for section in sections)
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
    if section.settings == USUAL:
        return
    async with runtime.judging:
        verdicts = await asyncio.to_thread(judged, [section])
    for error in (error for verdict in verdicts for error in verdict.errors):
        raise InvalidInput(error.where, error.what)
