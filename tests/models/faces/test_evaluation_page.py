"""The page of an evaluation shows what was measured, says what was not, and trusts no name of a file."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from models.evidence import count_evidence
from models.faces.evaluation import measure
from models.faces.evaluation_page import Sample, page, thumbnail
from models.faces.evaluation_report import DATA_NOTE, Failure, Report, Throughput, lines

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def report() -> Report:
    """Return a report on forty people with one picture each, of whom two look alike."""
    rows = np.random.default_rng(1).normal(size=(40, 128)).astype(np.float32) / 16
    rows[1] = rows[0] + 0.02
    names = [f"p{n}" for n in range(40)]
    evidence = count_evidence(names, rows, evidence_id="x", contract="m", source="labelled", at=AT)
    return Report(
        at=AT, contract="m", machine="x", persons=40, pictures=41, usable=40,
        failures=(Failure(reason="no_face", pictures=1),), not_enrolled=(), warnings=("left out: 1 <links>",),
        evidence=evidence, measured=measure(names, rows, evidence=evidence),
        throughput=Throughput(threads=1, pictures=41, took_s=0.0), note=DATA_NOTE,
    )  # fmt: skip


def test_a_page_says_what_was_not_measured(report: Report) -> None:
    text = page(report, [])
    assert "nobody has a second usable picture" in text
    assert "asks for 149,927 pairs of persons" in text
    assert text.count("<svg") == 2, "no trade-off without a second picture"
    assert "<script" not in text


def test_names_of_files_and_warnings_are_text(report: Report) -> None:
    text = page(report, [Sample(reason="no_face", name="<b>/1.jpg", picture=b"")])
    assert "&lt;b&gt;/1.jpg" in text
    assert "1 &lt;links&gt;" in text
    assert "<b>" not in text


def test_a_terminal_reads_the_same(report: Report) -> None:
    told = "\n".join(lines(report))
    assert "failure to detect: 1 of 41 pictures (2.44 %)" in told
    assert "radius 0.40: FMR 0.128 % (0 % to " in told
    assert "FNMR not measured" in told


def test_a_report_without_gaps_has_no_list_of_them(report: Report) -> None:
    whole = msgspec.structs.replace(report, measured=msgspec.structs.replace(report.measured, not_measured=()))
    assert "<h2>Not measured</h2>" in page(report, [])
    assert "<h2>Not measured</h2>" not in page(whole, [])


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff broken", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_has_no_thumbnail(content: bytes) -> None:
    assert thumbnail(content) == b""
