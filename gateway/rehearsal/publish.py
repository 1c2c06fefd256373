"""Write what `gatehouse bench` measured into the documentation: the run as JSON, and its table between two marks.

Prose around the marks stays, so that people say there what figures mean; nobody types a figure.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec

from gateway.rehearsal.report import document, machine, number
from models.benchmarks import Benchmark
from models.errors import InvalidInput

PAGE = "benchmarks.md"


def publish(folder: Path, topic: str, *, rows: list[Benchmark], today: date) -> None:
    """Write `folder/benchmarks/<topic>.json`, and the topic's table into `folder/benchmarks.md`.

    Raises:
        InvalidInput: The page has the first mark of the topic and not the second.
    """
    target = folder / "benchmarks" / f"{topic}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(msgspec.json.format(msgspec.json.encode(document(rows)), indent=1) + b"\n")
    page = folder / PAGE
    old = page.read_text("utf-8") if page.exists() else "# Benchmarks\n"
    page.write_text(_replaced(old, topic, _block(topic, rows, today)), "utf-8")


def _replaced(page: str, topic: str, block: str) -> str:
    """Return a page with the topic's block in the place of the old one; a topic that is new comes last."""
    begin, end = f"<!-- bench {topic}: written by the command -->\n", f"<!-- end of {topic} -->\n"
    if begin not in page:
        return f"{page.rstrip()}\n\n## `gatehouse bench {topic}`\n\n{begin}{block}{end}"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise InvalidInput(PAGE, f"the mark {end.strip()!r} is missing: put it behind the table of {topic}")
    return before + begin + block + end + after


def _block(topic: str, rows: list[Benchmark], today: date) -> str:
    """Return the sentence of when and where, the table, and what falls short."""
    about = machine()
    lines = [
        f"Measured on {today.isoformat()} ({about['cpu']}, {about['cores']} cores, {about['memory_gb']:.0f} GB;",
        f"[JSON](benchmarks/{topic}.json)).",
        "",
        "| benchmark | ours | peer | ratio | target | met | what |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
    ]
    short = [f"`{row.name}`" for row in rows if not row.met]
    if short:
        lines += ["", f"Falls short: {', '.join(short)}."]
    return "\n".join(lines) + "\n"


def _line(row: Benchmark) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.1f}×"
    peer = f"{row.peer}: {number(row.theirs)}" if row.peer else ""
    met = "yes" if row.met else "**no**"
    ours = f"{number(row.ours)} {row.unit}"
    cells = (f"`{row.name}`", ours, peer, ratio, number(row.target), met, row.detail)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
