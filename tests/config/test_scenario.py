"""A scenario is read strictly: every mistake at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.scenario import read_scenario
from models.errors import SettingsError

SHIPPED = Path(__file__).resolve().parents[2] / "config/scenarios/bad-day.yaml"


def test_the_shipped_scenario_is_right() -> None:
    scenario = read_scenario(SHIPPED, environment={})
    assert {device.kind for device in scenario.devices} == {"camera", "onvif"}
    assert max(step.at_s for step in scenario.timeline) < (scenario.repeat_s or 0)


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "repeat_s: 10\n"
        "devices:\n"
        "  - {id: one, kind: door, options: {Port: 1}}\n"
        "  - {id: two, kind: kettle}\n"
        "timeline:\n"
        "  - {at_s: -1, device: one, order: {act: open}}\n",
        "utf-8",
    )
    with pytest.raises(SettingsError) as told:
        read_scenario(file, environment={})
    assert {fault.line for fault in told.value.faults} == {3, 4, 6}


def test_what_only_the_whole_shows_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "repeat_s: 10\n"
        "devices:\n"
        "  - {id: one, kind: door}\n"
        "  - {id: one, kind: broker}\n"
        "  - {id: eye, kind: camera}\n"
        "timeline:\n"
        "  - {at_s: 1, device: gate, order: {act: open}}\n"
        "  - {at_s: 1, device: eye, order: {act: misbehave, fault: cut}, for_s: 2}\n"
        "  - {at_s: 9, device: eye, order: {act: open}, for_s: 2}\n",
        "utf-8",
    )
    with pytest.raises(SettingsError) as told:
        read_scenario(file, environment={})
    assert [(fault.line, fault.message) for fault in told.value.faults] == [
        (4, "'one' is named twice"),
        (7, "there is no device 'gate'"),
        (8, "only a misbehaviour ends after a time"),
        (9, "it ends after the scenario is played again"),
        (9, "only a misbehaviour ends after a time"),
    ]
