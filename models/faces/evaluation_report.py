"""The report of an evaluation of faces: its records, and the lines that a terminal shows. The page is evaluation_page's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from models.calibration import MAX_FPIR, ImpostorEvidence
from models.faces.evaluation import ErrorPoint, Measured, Rate

SHOWN: Final = (0.30, 0.35, 0.40, 0.45, 0.50, 0.60)
"""Radii of the short table."""
DATA_NOTE: Final = (
    "These figures hold for these photos and these networks. They say nothing about groups of people that are not among "
    "them, about other cameras, or about pictures held up to a camera (liveness)."
)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Count the pictures that failed for one reason."""

    reason: str
    pictures: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how long reading, detection, alignment and embedding of all pictures took, in wall time."""

    threads: int
    pictures: int
    took_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an evaluation of labelled photos.

    Attributes:
        at: When it was made.
        contract: `EmbedderContract.id` of the networks.
        machine: On which kind of machine.
        persons: Sub-folders with pictures.
        pictures: Pictures in them, each once.
        usable: Pictures with exactly one face that a door would take.
        failures: Why the others are not: `no_face` is a failure to detect.
        not_enrolled: Usable pictures that are not good enough for a template, by reason.
        warnings: What was left out of the folder.
        evidence: What the first five usable pictures of each person prove about false matches.
        measured: Errors of verification and identification.
        throughput: How fast it was.
        note: What the figures do not say.
    """

    at: datetime
    contract: str
    machine: str
    persons: int
    pictures: int
    usable: int
    failures: tuple[Failure, ...]
    not_enrolled: tuple[Failure, ...]
    warnings: tuple[str, ...]
    evidence: ImpostorEvidence
    measured: Measured
    throughput: Throughput
    note: str


def counted(number: int, one: str, *many: str) -> str:
    """Return a number with its noun: 1 person, 2 persons; `many` names a plural that is not the singular with an s."""
    return f"{number:,} {one if number == 1 else (*many, one + 's')[0]}"


def percent(rate: Rate | None) -> str:
    """Return a rate with its interval, or that it was not measured."""
    if rate is None:
        return "not measured"
    return f"{_share(rate.value)} ({_share(rate.low)} to {_share(rate.high)})"


def _share(value: float) -> str:
    if value == 0.0:
        return "0 %"
    return f"{value * 100:.3g} %" if value >= 1e-5 else f"{value:.1e}"


def shown_points(report: Report) -> Iterator[ErrorPoint]:
    """Yield the errors at the radii of the short table."""
    wanted = {round(radius, 2) for radius in SHOWN}
    return (point for point in report.measured.points if round(point.radius, 2) in wanted)


def failed(report: Report) -> list[tuple[str, str]]:
    """Return failures to detect and to enrol, in words and shares."""
    missed = sum(one.pictures for one in report.failures if one.reason == "no_face")
    unfit = report.pictures - report.usable + sum(one.pictures for one in report.not_enrolled)
    reasons = ", ".join(f"{one.reason} {one.pictures}" for one in (*report.failures, *report.not_enrolled))
    return [
        ("failure to detect", f"{missed} of {report.pictures} pictures ({_share(missed / report.pictures)})"),
        ("failure to enrol", f"{unfit} of {report.pictures} pictures ({_share(unfit / report.pictures)})"),
        ("reasons", reasons or "none"),
    ]


def lines(report: Report) -> Iterator[str]:
    """Yield what a terminal shows."""
    measured, evidence, speed = report.measured, report.evidence, report.throughput
    given = f"{counted(report.persons, 'person')}, {counted(report.pictures, 'picture')}"
    yield f"{given}, {report.usable} usable of {counted(evidence.persons, 'person')}; {report.contract}"
    yield from (f"{name}: {value}" for name, value in failed(report))
    pairs = counted(evidence.pairs, "pair of persons", "pairs of persons")
    yield f"{measured.genuine} genuine and {measured.impostor} impostor comparisons; {pairs}"
    yield from (
        f"radius {point.radius:.2f}: FMR {percent(point.fmr)}, FNMR {percent(point.fnmr)}"
        for point in shown_points(report)
    )
    for one in measured.identification:
        carried = f"{one.suggested:.2f}" if one.suggested else "not measured"
        yield f"N = {one.people}: radius for FPIR of {MAX_FPIR:.1%} {carried}; FPIR {percent(one.fpir)}, FNIR {percent(one.fnir)}"
    yield from (f"not measured: {what}" for what in measured.not_measured)
    rate = speed.pictures / speed.took_s if speed.took_s else 0.0
    yield f"{rate:.1f} pictures/s on {counted(speed.threads, 'thread')}"
