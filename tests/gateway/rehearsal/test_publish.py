"""What is published says what was measured, leaves prose alone, and draws what grows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from gateway.rehearsal.publish import publish
from gateway.rehearsal.report import page
from models.benchmarks import Benchmark
from models.errors import InvalidInput

FAST = Benchmark(
    name="query", unit="ms", ours=2.0, peer="faiss", theirs=14.0, ratio=7.0, target=6.0, met=True, detail="a | b"
)
SLOW = Benchmark(name="build", unit="s", ours=12.5, target=10.0, met=False, samples=(12.0, 13.0))
GROWTH = Benchmark(
    name="scaling", unit="power of N", ours=0.5, target=1.0, met=True, curve=((1e4, 0.2), (1e5, 0.7), (1e6, 2.0))
)
DAY = date(2026, 11, 23)


def test_a_table_replaces_the_old_one_and_leaves_the_prose_around_it(tmp_path: Path) -> None:
    text = "# Benchmarks\n\n## match\n\nbefore\n<!-- bench match: written by the command -->\nold\n<!-- end of match -->\nafter\n"
    (tmp_path / "benchmarks.md").write_text(text, "utf-8")
    publish(tmp_path, "match", rows=[FAST, SLOW], today=DAY)
    publish(tmp_path, "match", rows=[FAST, SLOW], today=DAY)
    written = (tmp_path / "benchmarks.md").read_text("utf-8")

    assert written.startswith("# Benchmarks\n\n## match\n\nbefore\n<!-- bench match")
    assert written.endswith("<!-- end of match -->\nafter\n")
    assert "old" not in written
    assert "| `query` | 2 ms | faiss: 14 | 7.0× | 6 | yes | a \\| b |" in written
    assert "| `build` | 12.5 s |  |  | 10 | **no** |  |" in written
    assert "Falls short: `build`." in written
    assert "Measured on 2026-11-23" in written


def test_the_run_lies_beside_the_page_as_json(tmp_path: Path) -> None:
    publish(tmp_path, "match", rows=[GROWTH], today=DAY)
    run = msgspec.json.decode((tmp_path / "benchmarks" / "match.json").read_bytes())

    assert msgspec.convert(run["benchmarks"], list[Benchmark]) == [GROWTH]
    assert run["machine"]["cores"] >= 1
    assert "numpy" in run["versions"]
    assert "## `gatehouse bench match`" in (tmp_path / "benchmarks.md").read_text("utf-8")


def test_a_page_that_lost_a_mark_is_not_overwritten(tmp_path: Path) -> None:
    text = "<!-- bench match: written by the command -->\nprose\n"
    (tmp_path / "benchmarks.md").write_text(text, "utf-8")

    with pytest.raises(InvalidInput, match="end of match"):
        publish(tmp_path, "match", rows=[FAST], today=DAY)
    assert (tmp_path / "benchmarks.md").read_text("utf-8") == text


def test_the_report_draws_growth_and_samples() -> None:
    drawn = page([FAST, SLOW, GROWTH])

    assert drawn.count("<circle") == 3
    assert "1,000,000" in drawn
    assert drawn.count("<svg") == 2
