"""The selftest holds on a sound system, and each of its steps fails when what it checks is broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.rehearsal.actors import until
from gateway.rehearsal.selftest import SelftestReport, run_selftest
from gateway.rehearsal.stage import Stage, Visitor
from gateway.rehearsal.steps import STEPS
from models.device_clock import LATE_AFTER_S

pytestmark = [pytest.mark.timeout(600)]

PROMISED = {
    "resident_face_opens_door",
    "stranger_is_refused",
    "photo_attack_is_refused",
    "card_opens_door",
    "forced_door_reaches_console",
    "forced_door_reaches_centre",
    "centre_outage_loses_nothing",
    "kill_edge_loses_nothing",
    "withdrawn_consent_stops_matching",
}


class SabotagedStage(Stage):
    """A stage that breaks one thing per step, so that a step which cannot fail is found out."""

    step = ""

    async def visit(self, who: Visitor, *, seed: int = 1) -> dict[str, Any]:
        swapped = self.step in (
            "resident_face_opens_door", "stranger_is_refused", "photo_attack_is_refused", "kill_vision_recovers",
        )  # fmt: skip
        other: Visitor = "stranger" if who == "resident" else "resident"
        return await super().visit(other if swapped else who, seed=seed)

    async def present_card_eventually(self, door: str, value: str) -> dict[str, Any]:
        if self.step == "own_opening_is_never_forced":  # nobody was let in: what follows is an opening by force
            await until(lambda: self._unexplained(door), what="the end of earlier grants", within_s=60)
            return {"outcome": "unlocked"}
        return await super().present_card_eventually(door, value)

    async def _unexplained(self, door: str) -> bool:
        """Say whether no earlier grant can explain an opening any more, however late it is reported."""
        grants = await super().facts(door, "access_granted")
        last = max((datetime.fromisoformat(grant["at"]) for grant in grants), default=None)
        return last is None or datetime.now(UTC) - last > 2 * timedelta(seconds=LATE_AFTER_S)

    async def present_card(self, door: str, value: str) -> dict[str, Any]:
        return await super().present_card(door, "0BADCA4E" if self.step == "card_opens_door" else value)

    async def act(self, door: str, act: str) -> dict[str, Any]:
        if self.step == "own_opening_is_never_forced" and act == "open":
            return await super().act(door, "force")
        elsewhere = self.step == "forced_door_reaches_console" and act == "force"
        return await super().act("gate" if elsewhere else door, act)

    async def centre_event(self, alert_id: str, change: str, *, within_s: float = 15) -> dict[str, Any]:
        event = await super().centre_event(alert_id, change, within_s=within_s)
        return event | {"verified": self.step != "forced_door_reaches_centre"}

    async def centre_received(self) -> list[dict[str, Any]]:
        rows = await super().centre_received()
        if self.step != "centre_outage_loses_nothing":
            return rows
        return [*rows, *(row | {"event": row["event"] | {"id": "another"}} for row in rows)]

    async def facts(self, door: str, kind: str) -> list[dict[str, Any]]:
        facts = await super().facts(door, kind)
        lies = self.step.startswith("kill_") and kind == "exit_requested"
        return [*facts, *(fact | {"id": f"{fact['id']}-again"} for fact in facts)] if lies else facts

    async def withdraw_consent(self) -> None:
        if self.step != "withdrawn_consent_stops_matching":
            await super().withdraw_consent()


async def test_every_step_holds(tmp_path: Path) -> None:
    report = await run_selftest(tmp_path, tell=print)
    assert {step.name for step in report.steps} >= PROMISED
    assert report.ok, [step for step in report.steps if not step.ok]
    assert report.unlock_ms.n >= 3
    assert report.alert_to_console_ms.n >= 5
    assert report.alert_to_centre_ms.n >= 3


async def test_every_step_fails_when_what_it_checks_is_broken(tmp_path: Path) -> None:
    report = await _sabotaged(tmp_path)
    held = [step.name for step in report.steps if step.ok]
    assert held == [], f"these steps cannot fail: {held}"
    assert not report.ok


async def _sabotaged(directory: Path) -> SelftestReport:
    def breaking(step: Any) -> Any:
        async def broken(stage: Stage) -> str:
            assert isinstance(stage, SabotagedStage)
            stage.step = step.__name__
            detail: str = await step(stage)
            return detail

        broken.__name__ = step.__name__
        return broken

    steps = tuple(breaking(step) for step in STEPS)
    return await run_selftest(directory, tell=print, stage_type=SabotagedStage, steps=steps)
