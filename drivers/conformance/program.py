"""`python -m drivers conformance run`: examine a driver against its simulator, or a real device, and print the report.

The report is one JSON object on standard output; each step is told on standard error as it ends. Exit status 1: a step
failed. A real device is never opened without `--unlock`, and nobody is asked to act at it.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from drivers.catalog import kinds, open_door
from drivers.conformance.records import Conformance, StepReport, Verdict
from drivers.conformance.rigs import RIGS, Runner, running
from drivers.conformance.steps import STEPS, NotAsked, Step
from drivers.conformance.subject import NotSo, Remote, Subject
from drivers.door import DoorDriver
from models.errors import GatehouseError, InvalidInput

STEP_S: Final = 90.0
SETTINGS_BYTES: Final = 65_536
SECRET_WORDS: Final = ("password", "key", "secret", "token")
Tell = Callable[[StepReport], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a conformance run."""
    parser.description = "Ask a door driver, or a real device through it, for each promise of the driver contract."
    add = parser.add_argument
    add("--kind", default="", help="a driver: examined against its own simulator")
    add(
        "--settings",
        type=Path,
        metavar="FILE",
        help="JSON of a door's `driver` section: examine this device; - is standard input",
    )
    add(
        "--simulator",
        default="",
        help="command of a simulator: its ready line says `control` and the driver's `settings`",
    )
    add("--door", default="gate", help="id of the door (default: %(default)s)")
    add("--unlock", action="store_true", help="open a real door, too: somebody should stand there")


async def main(args: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    try:
        report = await _run(args)
    except GatehouseError as error:
        sys.stderr.write(f"conformance: {error}\n")
        return 2
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0 if report.ok else 1


async def _run(args: argparse.Namespace) -> Conformance:
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        async with running(new_secret=lambda: secrets.token_urlsafe(18)) as runner:
            settings, remote = await _subject(args, runner, Path(folder))
            subject = Subject(
                open=_opener(settings, door_id=args.door),
                door_id=args.door,
                remote=remote,
                may_unlock=remote is not None or args.unlock,
            )
            subject.open()  # settings that cannot be used end the run before its first step
            return await examine(subject, driver=str(settings["kind"]), against=_address(settings), tell=_tell)


async def _subject(
    args: argparse.Namespace, runner: Runner, folder: Path
) -> tuple[Mapping[str, object], Remote | None]:
    if args.settings is not None:
        return _settings(args.settings), None
    if args.simulator:
        card = await runner.start(shlex.split(args.simulator))
        if not isinstance(card.get("settings"), dict):
            raise InvalidInput("--simulator", "its ready line must say the driver's `settings`")
        settings: Mapping[str, object] = card["settings"]
    elif args.kind in RIGS:
        settings, card = await RIGS[args.kind](runner, folder, door_id=args.door)
    else:
        known = ", ".join(sorted(kinds()))
        raise InvalidInput(
            "--kind", f"no simulator of {args.kind!r} ships; name one with --simulator (drivers here: {known})"
        )
    return settings, Remote(str(card.get("control", "")), door_id=args.door)


def _settings(path: Path) -> dict[str, object]:
    try:
        content = sys.stdin.buffer.read(SETTINGS_BYTES) if str(path) == "-" else path.read_bytes()[:SETTINGS_BYTES]
        settings = msgspec.json.decode(content, type=dict[str, object])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput("--settings", f"{path} is not a JSON object: {error}") from error
    if not isinstance(settings.get("kind"), str):
        raise InvalidInput("--settings", f"say `kind`: one of {', '.join(sorted(kinds()))}")
    return settings


def _opener(settings: Mapping[str, object], *, door_id: str) -> Callable[[], DoorDriver]:
    return lambda: open_door(
        settings, doors=(door_id,), client_id="gatehouse-conformance", now=lambda: datetime.now(UTC)
    )


def _address(settings: Mapping[str, object]) -> str:
    """Return where a device is, without anything that could be a secret."""
    parts = [
        f"{name}={value}"
        for name, value in settings.items()
        if isinstance(value, str | int) and name != "kind" and not any(word in name for word in SECRET_WORDS)
    ]
    return ", ".join(parts)[:200]


def _tell(step: StepReport) -> None:
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "-   "}[step.verdict]
    sys.stderr.write(f"{mark} {step.asks} {step.detail} ({step.ms:.0f} ms)\n")
    sys.stderr.flush()


async def examine(subject: Subject, *, driver: str, against: str, tell: Tell) -> Conformance:
    """Ask each step of a subject, one after the other, and return the report."""
    at = datetime.now(UTC)
    steps: list[StepReport] = []
    for step in STEPS:
        if steps and steps[0].verdict == "failed":
            steps.append(StepReport(name=step.name, asks=step.asks, verdict="skipped", detail="it does not connect"))
        else:
            steps.append(await _ask(step, subject))
        tell(steps[-1])
    able = next((one.detail for one in steps if one.name == "says_what_it_can_do" and one.verdict == "passed"), "")
    return Conformance(
        driver=driver, against=against, door_id=subject.door_id, at=at, steps=tuple(steps),
        capabilities=tuple(able.split(", ")) if able else (),
    )  # fmt: skip


async def _ask(step: Step, subject: Subject) -> StepReport:
    began = time.monotonic()
    verdict: Verdict = "passed"
    if barred := _barred(step, subject):
        return StepReport(name=step.name, asks=step.asks, verdict="skipped", detail=barred)
    try:
        async with asyncio.timeout(STEP_S):
            detail = await step.ask(subject)
    except NotAsked as error:
        verdict, detail = "skipped", str(error)
    except NotSo as error:
        verdict, detail = "failed", str(error)
    except GatehouseError as error:
        verdict, detail = "failed", f"the driver raised {type(error).__name__}: {error}"
    except TimeoutError:
        verdict, detail = "failed", f"it took longer than {STEP_S:.0f} s"
    ms = round((time.monotonic() - began) * 1000, 1)
    return StepReport(name=step.name, asks=step.asks, verdict=verdict, detail=detail[:400], ms=ms)


def _barred(step: Step, subject: Subject) -> str:
    """Return why a step is not asked of a subject; empty if it is."""
    if step.remote and subject.remote is None:
        return "nobody acts at this door: only a simulator can be asked"
    return "it would open the door: say --unlock" if step.unlocks and not subject.may_unlock else ""
