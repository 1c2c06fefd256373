"""Carry out imports: check a file, queue it, write its residents in batches, each in a transaction of its own.

Batches leave the database free for alerts in between, and a crash leaves whole batches: sending the file again goes on where
it stopped, since every person is known by their external id. The file itself is never kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from config.process import Good
from gateway.auth.roles import Caller
from gateway.bulk.apart import read_apart
from gateway.bulk.planning import Batch, digest_of, plan
from gateway.bulk.reports import ImportReport, ImportView, with_faults
from gateway.bulk.rows import Resident, Rows, read_rows
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit, append_entries
from gateway.store.imports import (
    begin_import,
    known_about,
    note_import,
    running_imports,
    same_file,
    write_batch,
)
from gateway.store.places import credential_key, site_by_id
from models.errors import Conflict, StorageUnavailable

log = logging.getLogger("gatehouse.imports")
BATCH = 500
ABANDONED = timedelta(minutes=15)
"""How long another replica may take for what it has queued, before its imports count as interrupted."""
TRIES = 3


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what waits to be written: in memory only."""

    view: ImportView
    residents: tuple[Resident, ...]


async def begin(runtime: Runtime, content: bytes, *, site_id: str, caller: Caller) -> ImportView:
    """Check a file and queue its residents; return the import as it stands, or the earlier one of the same file.

    Raises:
        InvalidInput: the file cannot be read, with what to do.
        Conflict: too many imports wait.
        NotFound: there is no such site.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    earlier = await runtime.store.read(same_file, sha256, site_id=site_id)
    if earlier is not None:
        return msgspec.structs.replace(earlier, repeated=True)
    rows = await _rows(runtime, content, site_id=site_id)
    view = ImportView(
        id=f"i-{uuid.uuid4().hex}", site_id=site_id, created_by=caller.id, created_at=runtime.clock(), sha256=sha256,
        state="running", done=rows.total - len(rows.residents), total=rows.total,
        report=with_faults(ImportReport(), rows.faults),
    )  # fmt: skip
    if runtime.imports.full():
        raise Conflict("several imports wait already: send this file when one of them is done")
    await runtime.store.write(_begin, view, reason=caller.reason)
    try:
        runtime.imports.put_nowait(ImportJob(view=view, residents=rows.residents))
    except asyncio.QueueFull as error:
        await runtime.store.write(
            note_import, view.id, state="failed", report=_failed(view.report, "others came first")
        )
        raise Conflict("several imports wait already: send this file when one of them is done") from error
    return view


def _begin(connection: Connection, view: ImportView, *, reason: str) -> None:
    begin_import(connection, view)
    detail = {
        "site": view.site_id,
        "rows": str(view.total),
        "rejected": str(view.report.rejected),
        "sha256": view.sha256,
    }
    entry = AuditEntry(
        actor=view.created_by, action="import.begin", subject=view.id, detail=detail, reason=reason
    )  # fmt: skip
    append_audit(connection, entry, at=view.created_at)


async def _rows(runtime: Runtime, content: bytes, *, site_id: str) -> Rows:
    site = await runtime.store.read(site_by_id, site_id)
    zone = ZoneInfo(site.timezone)
    today = runtime.clock().astimezone(zone).date()
    async with runtime.reading:
        sheet = await read_apart(content)
        return await asyncio.to_thread(read_rows, sheet, zone=zone, today=today)


async def check(runtime: Runtime, content: bytes, *, site_id: str, caller: Caller) -> ImportView:
    """Return what an import of a file would do, without doing it.

    Raises:
        InvalidInput: the file cannot be read, with what to do.
        NotFound: there is no such site.
    """
    rows = await _rows(runtime, content, site_id=site_id)
    report = with_faults(ImportReport(), rows.faults)
    for some in _batches(rows.residents):
        report = await runtime.store.read(_weigh, some, report=report, site_id=site_id, runtime=runtime)
    at = runtime.clock()
    detail = {"site": site_id, "rows": str(rows.total), "rejected": str(report.rejected)}
    entry = AuditEntry(actor=caller.id, action="import.check", subject=site_id, detail=detail, reason=caller.reason)
    await runtime.store.write(append_audit, entry, at=at)
    return ImportView(
        id="", site_id=site_id, created_by=caller.id, created_at=at, sha256=hashlib.sha256(content).hexdigest(),
        state="checked", done=rows.total, total=rows.total, report=report,
    )  # fmt: skip


def _weigh(
    connection: Connection, some: tuple[Resident, ...], *, report: ImportReport, site_id: str, runtime: Runtime
) -> ImportReport:
    key = bytes.fromhex(credential_key(connection, site_id))
    batch = _planned(connection, some, site_id=site_id, key=key, runtime=runtime)
    return _counted(report, batch)


def _planned(
    connection: Connection, some: tuple[Resident, ...], *, site_id: str, key: bytes, runtime: Runtime
) -> Batch:
    ids = [resident.external_id for resident in some]
    digests = [digest for resident in some if (digest := digest_of(resident, key))]
    known = known_about(connection, ids, site_id=site_id, digests=digests)
    return plan(some, known, site_id=site_id, key=key, at=runtime.clock())


def _counted(report: ImportReport, batch: Batch) -> ImportReport:
    counted = msgspec.structs.replace(
        report, added=report.added + batch.added, changed=report.changed + batch.changed,
        unchanged=report.unchanged + batch.unchanged,
    )  # fmt: skip
    return with_faults(counted, tuple(batch.faults))


def _batches(residents: tuple[Resident, ...]) -> Iterator[tuple[Resident, ...]]:
    for first in range(0, len(residents), BATCH):
        yield residents[first : first + BATCH]


async def run_imports(runtime: Runtime, good: Good) -> None:
    """Carry out queued imports one after the other, until cancelled."""
    before = runtime.clock() if runtime.store.sqlite else runtime.clock() - ABANDONED
    await runtime.store.write(note_interrupted, before=before)
    while True:
        good()
        job = await runtime.imports.get()
        await carry_out(runtime, job)


async def carry_out(runtime: Runtime, job: ImportJob) -> ImportView:
    """Write the residents of one import, and return how it ended."""
    view = job.view
    try:
        for some in _batches(job.residents):
            view = await _write(runtime, view, some)
        view = msgspec.structs.replace(view, state="done", done=view.total)
    except (Conflict, StorageUnavailable) as error:
        log.warning("import %s ended before its end: %s", view.id, error)
        view = msgspec.structs.replace(
            view, state="failed", report=_failed(view.report, "the database did not take it")
        )
    await runtime.store.write(_end, view, runtime=runtime)
    runtime.bells.policies_changed()
    return view


def _failed(report: ImportReport, why: str) -> ImportReport:
    return msgspec.structs.replace(report, problem=f"{why}: send the file again to go on where it stopped")


async def _write(runtime: Runtime, view: ImportView, some: tuple[Resident, ...]) -> ImportView:
    for left in reversed(range(TRIES)):
        try:
            return await runtime.store.write(_write_batch, view, some=some, runtime=runtime)
        except Conflict:  # somebody wrote the same card or person in between: look again
            if not left:
                raise
    return view


def _write_batch(
    connection: Connection, view: ImportView, *, some: tuple[Resident, ...], runtime: Runtime
) -> ImportView:
    at = runtime.clock()
    key = bytes.fromhex(credential_key(connection, view.site_id))
    batch = _planned(connection, some, site_id=view.site_id, key=key, runtime=runtime)
    write_batch(connection, batch, site_id=view.site_id, import_id=view.id, at=at)
    after = msgspec.structs.replace(view, done=view.done + len(some), report=_counted(view.report, batch))
    note_import(connection, view.id, state="running", done=after.done, report=after.report)
    append_entries(connection, list(_entries(batch, view)), at=at)
    return after


def _entries(batch: Batch, view: ImportView) -> Iterator[AuditEntry]:
    detail = {"import": view.id}
    new = {person.id for person in batch.people}
    touched = [after.id for _, after in batch.people_set]
    touched += [one.person_id for one in batch.occupancies] + [after.person_id for _, after in batch.occupancies_set]
    touched += [one.person_id for one in batch.cards]
    for person_id in sorted(new):
        yield AuditEntry(actor=view.created_by, action="person.add", subject=person_id, detail=detail)
    for person_id in sorted(set(touched) - new):
        yield AuditEntry(actor=view.created_by, action="person.change", subject=person_id, detail=detail)


def _end(connection: Connection, view: ImportView, *, runtime: Runtime) -> None:
    note_import(connection, view.id, state=view.state, done=view.done, report=view.report)
    report = view.report
    counts = {name: str(getattr(report, name)) for name in ("added", "changed", "unchanged", "rejected")}
    entry = AuditEntry(actor=view.created_by, action="import.end", subject=view.id, result=view.state, detail=counts)
    append_audit(connection, entry, at=runtime.clock())


def note_interrupted(connection: Connection, *, before: datetime) -> int:
    """Say of imports that began before a time and never ended that they failed; return how many there were."""
    found = [view for view in running_imports(connection) if view.created_at < before]
    for view in found:
        note_import(connection, view.id, state="failed", report=_failed(view.report, "the gateway was restarted"))
    return len(found)
