"""`python -m edge evaluate faces DIR`: what the networks and a folder of labelled photos prove, as report and as evidence.

It reads photos that were given for this, on this machine, and stores none: the report shows small pictures of failures
only, unless told not to. `python -m edge evaluate liveness` is edge.evaluate_liveness.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from config.settings import FaceSettings, read_settings
from edge.labelled import Labelled, Picture, content_of, labelled, listed
from edge.own_models import own_models
from models.calibration import STEP, ImpostorEvidence
from models.errors import GatehouseError, ImageRejected, InvalidInput
from models.evidence import count_evidence, near_pairs
from models.faces.evaluation import Measured, measure
from models.faces.evaluation_page import Sample, page, thumbnail
from models.faces.evaluation_report import DATA_NOTE, Failure, Report, Throughput, counted, lines
from models.faces.pipeline import PHOTO_GATES, FacePipeline, PhotoFace
from models.recognition import QualityGates, unusable

TEMPLATES: Final = 5
"""How many pictures of a person count as evidence: as many as a gallery holds of one."""
ALIKE: Final = 0.25
"""Persons so near to each other are more often one person twice than two who look alike."""
ONE_TWICE: Final = (
    "this evidence counts the pairs above as false matches. If somebody has two folders, join them and evaluate again "
    "before `calibration add`"
)
SAMPLES_EACH: Final = 6
"""Pictures that the report shows of each kind of failure."""


class Embedded(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold what became of the pictures of a folder."""

    usable: list[Picture]
    faces: list[PhotoFace]
    failures: list[tuple[Picture, str]]
    not_enrolled: Counter[str]
    took_s: float


def embed(pictures: tuple[Picture, ...], pipeline: FacePipeline, *, console: Console) -> Embedded:
    """Take the one face of every picture, with a progress bar."""
    found = Embedded(usable=[], faces=[], failures=[], not_enrolled=Counter(), took_s=0.0)
    began = time.monotonic()
    for picture in track(pictures, description="embedding", console=console, disable=not console.is_terminal):
        try:
            face = pipeline.photo(content_of(picture.path), gates=QualityGates())
        except ImageRejected as error:
            found.failures.append((picture, error.reason))
            continue
        found.usable.append(picture)
        found.faces.append(face)
        reason = unusable(face.quality, PHOTO_GATES)
        if reason is not None:
            found.not_enrolled[reason] += 1
    return msgspec.structs.replace(found, took_s=time.monotonic() - began)


def evidence_from(embedded: Embedded, rows: NDArray[np.float32], *, contract: str, at: datetime) -> ImpostorEvidence:
    """Return what the first five usable pictures of each person prove about false matches.

    Raises:
        InvalidInput: fewer than two persons have a usable picture.
    """
    kept = _first(embedded)
    seen = {embedded.usable[index].person for index in kept}
    if len(seen) < 2:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(why for _, why in embedded.failures).items())
        what = counted(len(seen), "person has a usable face", "persons have a usable face")
        raise InvalidInput("photos", f"{what}, two or more are needed ({reasons})")
    return count_evidence(
        [embedded.usable[index].person for index in kept], rows[kept], evidence_id=f"labelled-{uuid.uuid4().hex}",
        contract=contract, source="labelled", at=at,
    )  # fmt: skip


def _first(embedded: Embedded) -> list[int]:
    """Return which usable pictures count as evidence: the first of each person, as many as a gallery holds."""
    seen: Counter[str] = Counter()
    kept = []
    for index, picture in enumerate(embedded.usable):
        seen[picture.person] += 1
        if seen[picture.person] <= TEMPLATES:
            kept.append(index)
    return kept


def _doubts(embedded: Embedded, rows: NDArray[np.float32], *, alike: int) -> list[str]:
    """Say which folders gave no usable picture, and which are so near that they may be one person's."""
    doubts = []
    usable = {one.person for one in embedded.usable}
    failed: dict[str, set[str]] = {}
    for picture, reason in embedded.failures:
        failed.setdefault(picture.person, set()).add(reason)
    nobody = [f"{name} ({', '.join(sorted(why))})" for name, why in failed.items() if name not in usable]
    if nobody:
        doubts.append(f"{counted(len(nobody), 'folder')} gave no person, no picture being usable: {listed(nobody)}")
    if alike:
        persons = [embedded.usable[index].person for index in _first(embedded)]
        near, names = near_pairs(persons, rows[_first(embedded)]), np.unique(np.asarray(persons, dtype=str))
        nearest = [index for index in np.argsort(near.step, kind="stable") if near.step[index] < round(ALIKE / STEP)]
        pairs = [f"{names[near.first[index]]} and {names[near.second[index]]}" for index in nearest]
        are = counted(alike, "pair of persons is", "pairs of persons are")
        doubts.append(f"{are} within {ALIKE}: look whether somebody has two folders: {listed(pairs)}")
    return doubts


def _alike(evidence: ImpostorEvidence) -> int:
    return evidence.matched[round(ALIKE / STEP) - 1]


def evaluate(
    folder: Labelled, pipeline: FacePipeline, *, threads: int, seed: int, console: Console
) -> tuple[Report, Embedded]:
    """Embed and measure a folder, and return the report with what became of the pictures.

    Raises:
        InvalidInput: fewer than two persons have a usable picture.
    """
    embedded = embed(folder.pictures, pipeline, console=console)
    rows = np.array([face.embedding for face in embedded.faces], np.float32)
    at = datetime.now(UTC).replace(microsecond=0)
    evidence = evidence_from(embedded, rows, contract=pipeline.contract.id, at=at)
    doubts = _doubts(embedded, rows, alike=_alike(evidence))
    folder = msgspec.structs.replace(folder, warnings=(*folder.warnings, *doubts))
    for doubt in doubts:
        console.print(doubt, markup=False, soft_wrap=True)
    with console.status("comparing everybody with everybody"):
        measured = measure([one.person for one in embedded.usable], rows, evidence=evidence, seed=seed)
    return _report(folder, embedded, measured=measured, evidence=evidence, threads=threads), embedded


def _report(
    folder: Labelled, embedded: Embedded, *, measured: Measured, evidence: ImpostorEvidence, threads: int
) -> Report:
    reasons = Counter(reason for _, reason in embedded.failures)
    return Report(
        at=evidence.at, contract=evidence.contract, machine=f"{platform.machine()}, {os.cpu_count()} CPUs",
        persons=len({one.person for one in folder.pictures}), pictures=len(folder.pictures), usable=len(embedded.usable),
        failures=tuple(Failure(reason=reason, pictures=n) for reason, n in reasons.most_common()),
        not_enrolled=tuple(Failure(reason=reason, pictures=n) for reason, n in embedded.not_enrolled.most_common()),
        warnings=folder.warnings, evidence=evidence, measured=measured,
        throughput=Throughput(threads=threads, took_s=round(embedded.took_s, 2), pictures=len(folder.pictures)),
        note=DATA_NOTE,
    )  # fmt: skip


def _samples(embedded: Embedded) -> list[Sample]:
    shown: Counter[str] = Counter()
    samples = []
    for picture, reason in embedded.failures:
        shown[reason] += 1
        if shown[reason] <= SAMPLES_EACH:
            small = thumbnail(content_of(picture.path))
            samples.append(Sample(reason=reason, name=f"{picture.person}/{picture.path.name}", picture=small))
    return samples


def main(argv: list[str]) -> int:
    """Run one evaluation: `faces` or `liveness`."""
    if argv[:1] == ["liveness"]:
        from edge import evaluate_liveness

        return evaluate_liveness.main(argv[1:])
    parser = argparse.ArgumentParser(prog="python -m edge evaluate")
    parser.add_argument("topic", choices=("faces", "liveness"))
    parser.add_argument("folder", type=Path, help="one sub-folder of photos per person")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report with plots here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here; - prints them")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="write the evidence for `calibration add` here"
    )
    parser.add_argument("--threads", type=int, default=1, choices=range(1, 17), metavar="1..16")
    parser.add_argument("--seed", type=int, default=1, help="of the people drawn for intervals (default: %(default)s)")
    parser.add_argument("--no-pictures", action="store_true", help="show no pictures of failures in the report")
    parser.add_argument("--config", type=Path, metavar="FILE", help="gatehouse.yaml, for networks of one's own")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="converted networks; else as configured")
    try:
        return _run(parser.parse_args(argv))
    except (GatehouseError, OSError) as error:
        sys.stderr.write(f"evaluate faces: {error}\n")
        return 1


def _run(arguments: argparse.Namespace) -> int:
    console = Console(stderr=True)
    folder = labelled(arguments.folder)
    for warning in folder.warnings:
        console.print(warning, markup=False, soft_wrap=True)
    settings = FaceSettings()
    if arguments.config is not None:
        settings = read_settings(arguments.config, environment=os.environ).edge.faces
    cache_dir = (arguments.cache_dir or settings.cache_dir).expanduser()
    pipeline = FacePipeline(cache_dir=cache_dir, threads=arguments.threads, own=own_models(settings.models))
    report, embedded = evaluate(folder, pipeline, threads=arguments.threads, seed=arguments.seed, console=console)
    as_json = msgspec.json.format(msgspec.json.encode(report)) + b"\n"
    printed = arguments.json == Path("-")
    if arguments.json is not None and not printed:
        arguments.json.write_bytes(as_json)
    if arguments.calibration is not None:
        arguments.calibration.write_bytes(msgspec.json.encode(report.evidence) + b"\n")
        if _alike(report.evidence):
            console.print(f"{arguments.calibration}: {ONE_TWICE}", markup=False, soft_wrap=True)
    if arguments.html is not None:
        arguments.html.write_text(page(report, [] if arguments.no_pictures else _samples(embedded)), "utf-8")
    sys.stdout.write(as_json.decode() if printed else "\n".join(lines(report)) + "\n")
    return 0
