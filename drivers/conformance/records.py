"""What a conformance run reports: each step with its verdict, and the whole. Records only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Verdict = Literal["passed", "failed", "skipped"]


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report one step: what was asked, how it went, and why it failed or was not asked."""

    name: str
    asks: str
    verdict: Verdict
    detail: str = ""
    ms: float = 0.0


class Conformance(msgspec.Struct, frozen=True, kw_only=True):
    """Report a run. `against` is the simulator's kind, or the device's address without credentials."""

    driver: str
    against: str
    door_id: str
    at: datetime
    steps: tuple[StepReport, ...]
    capabilities: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether nothing failed."""
        return not any(step.verdict == "failed" for step in self.steps)
