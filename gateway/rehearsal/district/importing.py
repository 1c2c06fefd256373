"""Benchmark of an import: ten thousand residents from a workbook into an empty site, card and flat for each. Makes no report."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from pathlib import Path

from openpyxl import Workbook

from gateway.auth.roles import Caller
from gateway.bulk.importing import begin, carry_out
from gateway.bulk.undo import undo
from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.places import put_flat, put_site
from models.benchmarks import Benchmark
from models.errors import InvalidInput
from models.places import Flat, Site

RESIDENTS = 10_000
FLATS = 3_200
TARGET_MS = 20_000.0
SITE = "district-site"
COLUMNS = ("external_id", "name", "building", "unit", "room", "relation", "phone", "born_on", "card")


def workbook_of(residents: int) -> bytes:
    """Return an XLSX file with so many residents of the benchmark's flats."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(COLUMNS))
    for number in range(residents):
        building, unit, room = _flat(number % FLATS)
        born = f"{1940 + number % 70}-{1 + number % 12:02d}-{1 + number % 28:02d}"
        phone, card = f"139{number:08d}", f"{0xA0000000 + number:08X}"
        name = f"住户{number}"
        sheet.append([f"R{number:05d}", name, building, unit, room, "family", phone, born, card])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _flat(number: int) -> tuple[str, str, str]:
    return str(1 + number // 160), str(1 + number // 40 % 4), str(101 + number % 40)


def furnish(connection: Connection) -> None:
    """Write the site of the benchmark and its flats."""
    put_site(connection, Site(id=SITE, name="Benchmark", community="310104005012"))
    for number in range(FLATS):
        building, unit, room = _flat(number)
        flat = Flat(id=f"flat-{number}", site_id=SITE, building=building, unit=unit, room=room)
        put_flat(connection, flat)


def bench_import(residents: int = RESIDENTS, *, url: str | None = None) -> list[Benchmark]:
    """Measure an import and its undo.

    Args:
        residents: how many rows the workbook has.
        url: an empty database to import into; a fresh SQLite file if left out.

    Raises:
        InvalidInput: a row was rejected, so that the figure would be about less than it says.
    """
    with tempfile.TemporaryDirectory(prefix="gatehouse-import-") as folder:
        store = Store(url or f"sqlite:///{Path(folder) / 'import.db'}")
        try:
            store.migrate()
            store.write_now(furnish)
            return asyncio.run(_measure(Runtime(store=store), residents))
        finally:
            store.close()


async def _measure(runtime: Runtime, residents: int) -> list[Benchmark]:
    content = workbook_of(residents)
    caller = Caller(id="bench", username="bench", role="manager", sites=frozenset({SITE}))
    started_s = time.perf_counter()
    await begin(runtime, content, site_id=SITE, caller=caller)
    read_s = time.perf_counter() - started_s
    view = await carry_out(runtime, runtime.imports.get_nowait())
    took_ms = (time.perf_counter() - started_s) * 1000
    if view.state != "done" or view.report.added != residents:
        raise InvalidInput("bench", f"{view.report.added} of {residents} residents were imported")
    begun_s = time.perf_counter()
    await undo(runtime, view.id, caller=caller)
    undone_ms = (time.perf_counter() - begun_s) * 1000
    target_ms = TARGET_MS * residents / RESIDENTS
    what = f"{residents} residents with flat and card from a workbook, {read_s:.1f} s of it reading; one audit row each"
    back = f"the same import taken back, every change compared with what stands now ({view.report.added} people)"
    return [
        Benchmark(
            name="import_10k", unit="ms", ours=took_ms, target=target_ms, met=took_ms <= target_ms, samples=(took_ms,),
            detail=what,
        ),
        Benchmark(
            name="import_10k_undo", unit="ms", ours=undone_ms, target=target_ms, met=undone_ms <= target_ms,
            samples=(undone_ms,), detail=back,
        ),
    ]  # fmt: skip
