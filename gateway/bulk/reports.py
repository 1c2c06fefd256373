"""What an import says about itself: counts, faults and conflicts by line and id, never what stood in a cell."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from gateway.bulk.rows import Fault

FAULTS_SHOWN = 1000
CONFLICTS_SHOWN = 1000
ImportState = Literal["checked", "running", "done", "failed", "undoing", "undone"]


class ChangeConflict(msgspec.Struct, frozen=True, kw_only=True):
    """Name something that an undo left as it is, because somebody changed it since, and why."""

    kind: str
    object_id: str
    why: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Count what became of the rows of one file; the first thousand faults and conflicts are named."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    """Rows with a fault; a row may have several."""
    faults: tuple[Fault, ...] = ()
    more_faults: int = 0
    undone: int = 0
    """What an undo took back: people, flats of people, cards."""
    conflicts: tuple[ChangeConflict, ...] = ()
    more_conflicts: int = 0
    problem: str = ""
    """Why an import ended before its end."""


class ImportView(msgspec.Struct, frozen=True, kw_only=True):
    """Show one import: how far it is, what it did, and what it rejected."""

    id: str
    site_id: str
    created_by: str
    created_at: datetime
    sha256: str
    state: ImportState
    done: int
    total: int
    report: ImportReport
    undone_at: datetime | None = None
    repeated: bool = False
    """True if the same file had been imported before: nothing was done again."""


def with_faults(report: ImportReport, faults: tuple[Fault, ...]) -> ImportReport:
    """Return the report with more faults: rows counted once, the first thousand faults in full."""
    room = max(0, FAULTS_SHOWN - len(report.faults))
    return msgspec.structs.replace(
        report,
        rejected=report.rejected + len({fault.line for fault in faults}),
        faults=(*report.faults, *faults[:room]),
        more_faults=report.more_faults + max(0, len(faults) - room),
    )


def with_conflicts(report: ImportReport, conflicts: tuple[ChangeConflict, ...]) -> ImportReport:
    """Return the report with more conflicts, the first thousand in full."""
    room = max(0, CONFLICTS_SHOWN - len(report.conflicts))
    return msgspec.structs.replace(
        report,
        conflicts=(*report.conflicts, *conflicts[:room]),
        more_conflicts=report.more_conflicts + max(0, len(conflicts) - room),
    )
