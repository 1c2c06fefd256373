"""Take an import back, the latest change first. What somebody changed since stays as it is and is named as a conflict."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import msgspec

from gateway.auth.roles import Caller
from gateway.bulk.reports import ChangeConflict, ImportReport, ImportView, with_conflicts
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit, append_entries
from gateway.store.imports import Change, forget_changes, import_by_id, last_changes, note_import
from gateway.store.undoing import (
    built_upon,
    delete_cards,
    delete_occupancies,
    delete_people,
    occupancies_now,
    people_now,
    restore_rows,
)
from models.errors import Conflict
from models.people import Occupancy, Person

STEP = 500
CHANGED = "somebody changed it since"


async def undo(runtime: Runtime, import_id: str, *, caller: Caller) -> ImportView:
    """Take an import back in steps, and return what was left because of later changes.

    Raises:
        NotFound: there is no such import in the caller's scope.
        Conflict: it is still running, was undone before, or is so old that it is forgotten how.
    """
    view = await runtime.store.write(_begin, import_id, caller=caller, runtime=runtime)
    while view.state == "undoing":
        view = await runtime.store.write(_step, view, caller=caller, runtime=runtime)
    runtime.bells.policies_changed()
    return view


def _begin(connection: Connection, import_id: str, *, caller: Caller, runtime: Runtime) -> ImportView:
    view = import_by_id(connection, import_id, site_ids=caller.sites, alone=True)
    if view.state in {"running", "undone"}:
        raise Conflict("this import is still running: wait for its end" if view.state == "running" else "it was undone")
    if not last_changes(connection, import_id, limit=1) and view.report.added + view.report.changed:
        raise Conflict("it is forgotten how to undo this import: it is too old, or its people were erased")
    note_import(connection, import_id, state="undoing", report=view.report)
    note(connection, caller, action="import.undo", subject=import_id, at=runtime.clock())
    return msgspec.structs.replace(view, state="undoing")


def _step(connection: Connection, view: ImportView, *, caller: Caller, runtime: Runtime) -> ImportView:
    at = runtime.clock()
    view = import_by_id(connection, view.id, site_ids=caller.sites, alone=True)
    if view.state != "undoing":  # somebody else undoes it at the same time and came to its end
        return view
    changes = last_changes(connection, view.id, limit=STEP)
    why: dict[int, str] = {}
    for _, some in itertools.groupby(changes, key=lambda change: change.kind):
        why |= _take_back(connection, list(some))
    undone = [change for change in changes if change.number not in why]
    conflicts = [
        ChangeConflict(kind=change.kind, object_id=change.object_id, why=why[change.number])
        for change in changes
        if change.number in why
    ]
    forget_changes(connection, view.id, numbers=[change.number for change in changes])
    report = with_conflicts(view.report, tuple(conflicts))
    report = msgspec.structs.replace(report, undone=report.undone + len(undone))
    append_entries(connection, [_entry(change, view, caller) for change in undone], at=at)
    if len(changes) == STEP:
        note_import(connection, view.id, state="undoing", report=report)
        return msgspec.structs.replace(view, report=report)
    return _end(connection, view, report=report, caller=caller, at=at)


def _end(connection: Connection, view: ImportView, *, report: ImportReport, caller: Caller, at: datetime) -> ImportView:
    note_import(connection, view.id, state="undone", report=report, at=at)
    counts = {"undone": str(report.undone), "conflicts": str(len(report.conflicts) + report.more_conflicts)}
    entry = AuditEntry(actor=caller.id, reason=caller.reason, action="import.undone", subject=view.id, detail=counts)
    append_audit(connection, entry, at=at)
    return msgspec.structs.replace(view, state="undone", report=report, undone_at=at)


def _entry(change: Change, view: ImportView, caller: Caller) -> AuditEntry:
    action = "person.remove" if change.kind == "person.add" else "person.change"
    detail = {"import": view.id, "undo": change.kind}
    return AuditEntry(actor=caller.id, reason=caller.reason, action=action, subject=_subject(change), detail=detail)


def _subject(change: Change) -> str:
    if change.kind == "card.add":
        return change.after
    if change.kind.startswith("occupancy"):
        return msgspec.json.decode(change.after, type=Occupancy).person_id
    return change.object_id


def _take_back(connection: Connection, changes: list[Change]) -> dict[int, str]:
    """Take back changes of one kind; return by number why not, of those that cannot be."""
    kind, ids = changes[0].kind, [change.object_id for change in changes]
    if kind == "card.add":
        gone = delete_cards(connection, {change.object_id: change.after for change in changes})
        return {change.number: CHANGED for change in changes if change.object_id not in gone}
    record: Any = Person if kind.startswith("person") else Occupancy
    now: dict[str, Any] = (people_now if record is Person else occupancies_now)(connection, ids)
    why: dict[int, str] = {}
    for change in changes:
        if now.get(change.object_id) != msgspec.json.decode(change.after, type=record):
            why[change.number] = CHANGED if change.object_id in now else "it is gone"
    if kind == "person.add":
        words = built_upon(connection, ids)
        for change in changes:
            if change.object_id in words and change.number not in why:
                why[change.number] = f"the person has {words[change.object_id]} that this import did not give"
    free = [change for change in changes if change.number not in why]
    if kind.endswith(".set"):
        restore_rows(connection, [msgspec.json.decode(change.before or "", type=record) for change in free])
    else:
        (delete_people if record is Person else delete_occupancies)(connection, [one.object_id for one in free])
    return why
