"""`gatehouse selftest`: start everything on free ports with simulators, check the main job end to end, and time it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.rehearsal.stage import Stage
from gateway.rehearsal.steps import STEPS, Step
from models.errors import GatehouseError


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report one step: its name, whether it held, how long it took, and what was seen or what is wrong."""

    name: str
    ok: bool
    ms: float
    detail: str


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the median and the 95th percentile in milliseconds over n samples; None without samples."""

    p50: float | None
    p95: float | None
    n: int


class SelftestReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what `gatehouse selftest --json` prints."""

    ok: bool
    steps: list[StepReport]
    unlock_ms: Timing
    alert_to_console_ms: Timing
    alert_to_centre_ms: Timing
    ready_s: float


def timing_of(samples: list[float]) -> Timing:
    """Return the percentiles of samples in milliseconds (nearest rank)."""
    if not samples:
        return Timing(p50=None, p95=None, n=0)
    ranked = sorted(samples)
    p95 = ranked[min(len(ranked) - 1, max(0, -(-len(ranked) * 95 // 100) - 1))]
    return Timing(p50=round(statistics.median(ranked), 1), p95=round(p95, 1), n=len(ranked))


async def run_selftest(
    directory: Path, *, tell: Callable[[str], None], stage_type: type[Stage] = Stage, steps: tuple[Step, ...] = STEPS
) -> SelftestReport:
    """Run the steps in order on a stage of its own and report each; a failed step does not hide the others.

    Args:
        directory: an empty directory for the run's data and logs.
        tell: takes one line of progress at a time.
        stage_type: what builds the stage; tests pass one that sabotages a step.
        steps: the steps to run.
    """
    began = time.monotonic()
    async with stage_type(directory, tell=tell) as stage:
        ready_s = time.monotonic() - began
        reports = [await _run(step, stage, tell=tell) for step in steps]
        return SelftestReport(
            ok=all(report.ok for report in reports),
            steps=reports,
            unlock_ms=timing_of(stage.timings["unlock_ms"]),
            alert_to_console_ms=timing_of(stage.timings["alert_to_console_ms"]),
            alert_to_centre_ms=timing_of(stage.timings["alert_to_centre_ms"]),
            ready_s=round(ready_s, 2),
        )


async def _run(step: Step, stage: Stage, *, tell: Callable[[str], None]) -> StepReport:
    began = time.monotonic()
    try:
        async with asyncio.timeout(180):
            detail, ok = await step(stage), True
    except (GatehouseError, TimeoutError, OSError, KeyError) as error:
        detail, ok = f"{type(error).__name__}: {error}"[:2000], False
    took_ms = round((time.monotonic() - began) * 1000, 1)
    tell(f"{'ok  ' if ok else 'FAIL'} {step.__name__} ({took_ms / 1000:.1f} s): {detail}")
    return StepReport(name=step.__name__, ok=ok, ms=took_ms, detail=detail)
