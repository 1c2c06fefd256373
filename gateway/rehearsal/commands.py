"""`gatehouse demo`, `selftest` and `bench` on the command line. Heavy modules are imported when a command runs."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from models.benchmarks import Benchmark

TOPICS = ("faces", "match", "latency", "faults", "district", "events", "cameras")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]
Keep = Annotated[Path | None, typer.Option("--keep", help="Keep data and logs in this new folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("demo")(demo)
    app.command("selftest")(selftest)
    app.command("bench")(bench)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """Give a folder for a run: the one to keep, which must be new, or a temporary one that is removed."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise typer.BadParameter(f"{keep} is not empty: name a new folder")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def demo(
    *,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
    for_s: Annotated[float | None, typer.Option("--for", min=1, help="Seconds to play for.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the console; 0 takes a free one.")] = 8440,
    keep: Keep = None,
) -> None:
    """Start the whole system on this machine with simulated cameras and doors, and play a scenario in a loop."""
    from gateway.rehearsal.demo import run_demo
    from gateway.rehearsal.layout import port_or_free

    _tell("Starting Gatehouse with simulated cameras, doors and centre; the first time converts the face networks.")
    with _workplace(keep) as folder:
        asyncio.run(run_demo(folder, tell=_tell, port=port_or_free(port), for_s=for_s, browse=not headless))


def selftest(*, as_json: Json = False, keep: Keep = None) -> None:
    """Start everything on free ports with simulators, check the main job end to end, and print timings."""
    from gateway.rehearsal.selftest import run_selftest

    _tell("Self-test: the whole system on free ports of this machine, with simulators; this takes a few minutes.")
    with _workplace(keep) as folder:
        report = asyncio.run(run_selftest(folder, tell=_tell))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        for name in ("unlock_ms", "alert_to_console_ms", "alert_to_centre_ms"):
            timing = getattr(report, name)
            typer.echo(f"{name}: p50 {timing.p50}, p95 {timing.p95}, n {timing.n}")
        typer.echo("ok" if report.ok else "FAILED: " + ", ".join(step.name for step in report.steps if not step.ok))
    raise typer.Exit(0 if report.ok else 1)


def bench(
    topic: Annotated[str, typer.Argument(help=f"{', '.join(TOPICS)} or all")],
    *,
    as_json: Json = False,
    facts: Annotated[int, typer.Option(min=1000, help="How many facts the topic `events` puts in.")] = 1_000_000,
    templates: Annotated[
        int, typer.Option(min=1000, help="How many templates the topic `match` searches.")
    ] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=5, help="How long the topic `cameras` measures each part for.")] = 60.0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report with plots to this file.")] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write tables and JSON into this folder of docs.")
    ] = None,
    keep: Keep = None,
) -> None:
    """Measure against the targets and the peers, on this machine in this run. Publishes what falls short as such."""
    from rich.console import Console

    from gateway.rehearsal.publish import publish
    from gateway.rehearsal.report import document, page, show

    if topic not in (*TOPICS, "all"):
        raise typer.BadParameter(f"{topic!r} is not a benchmark: use {', '.join(TOPICS)} or all")
    with _workplace(keep) as folder:
        found = {
            name: _measure(name, folder / name, facts=facts, templates=templates, seconds=seconds)
            for name in (TOPICS if topic == "all" else (topic,))
        }
    rows = [row for own in found.values() for row in own]
    if write is not None:
        for name, own in found.items():
            publish(write, name, rows=own, today=datetime.now(UTC).date())
        _tell(f"written: {write}")
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(rows), "utf-8")
        _tell(f"report: {html}")
    if as_json:
        typer.echo(msgspec.json.encode(document(rows)).decode())
    else:
        show(rows, Console())


def _measure(topic: str, folder: Path, *, facts: int, templates: int, seconds: float) -> list[Benchmark]:
    from gateway.rehearsal import bench as benches

    _tell(f"bench {topic}")
    if topic == "faces":
        return benches.faces(tell=_tell)
    if topic == "match":
        return benches.match(tell=_tell, rows=templates)
    if topic == "cameras":
        return benches.cameras(tell=_tell, seconds=seconds)
    folder.mkdir(parents=True, exist_ok=True)
    if topic == "district":
        from gateway.rehearsal.district.commands import district

        return district(folder, tell=_tell)
    if topic == "events":
        from gateway.rehearsal.district.queries import bench_events

        return [*benches.doors(tell=_tell), *bench_events(folder, facts=facts, tell=_tell)]
    run = benches.latency if topic == "latency" else benches.faults
    return asyncio.run(run(folder, tell=_tell))
