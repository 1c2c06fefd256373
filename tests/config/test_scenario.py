"""A scenario is read strictly: every mistake at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.scenario import read_scenario
from gateway.rehearsal.scenario import simulator_words
from models.errors import SettingsError

SHIPPED = Path(__file__).resolve().parents[2] / "config/scenarios/bad-day.yaml"


def test_the_shipped_scenario_is_right() -> None:
    scenario = read_scenario(SHIPPED, environment={}, words=simulator_words())
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


def test_what_no_simulator_understands_is_told_beside_all_else(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "devices:\n"
        "  - {id: broker, kind: broker, options: {embedded: 1}}\n"
        "  - {id: panel, kind: onvif, options: {prot: 8085, too_long-s: '2.5', door: [gate], tls: true}}\n"
        "  - {id: eye, kind: camera, options: {port: many, scene: quite, face: '1,2,3,4'}}\n"
        "  - {id: two, kind: kettle}\n"
        "timeline:\n"
        "  - {at_s: 1, device: panel, order: {act: forse}}\n"
        "  - {at_s: 1, device: panl, order: {act: force}}\n"
        "  - {at_s: 1, device: panel, order: {act: wait, timeout_s: '5'}}\n"
        "  - {at_s: 1, device: panel, order: {dor: gate, act: force}}\n"
        "  - {at_s: 1, device: eye, order: {fault: null, camera: eye}}\n"
        "  - {at_s: 1, device: panel, order: {door: gate}}\n"
        "  - {at_s: 1, device: panel, order: {act: card, value: '17', on: false}}\n",
        "utf-8",
    )
    with pytest.raises(SettingsError) as told:
        read_scenario(file, environment={}, words=simulator_words())
    found = [(fault.line, fault.path, fault.suggestion) for fault in told.value.faults]
    assert found == [
        (2, "devices[0].options.embedded", None),
        (3, "devices[1].options.prot", "did you mean 'port'?"),
        (4, "devices[2].options.port", None),
        (4, "devices[2].options.scene", "did you mean 'quiet'?"),
        (5, "devices[3].kind", None),
        (7, "timeline[0].order.act", "did you mean 'force'?"),
        (8, "timeline[1].device", "did you mean 'panel'?"),
        (9, "timeline[2].order", "add until: one of closed, locked, open, pulled, subscribed, unlocked"),
        (9, "timeline[2].order.timeout_s", None),
        (10, "timeline[3].order.dor", "did you mean 'door'?"),
        (12, "timeline[5].order", found[-1][2]),
    ]
    assert str(found[-1][2]).startswith("add act: one of blur, button, call, card")


def test_what_has_not_the_form_of_a_scenario_is_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    for text in (
        "devices: 3\ntimeline: [1, {device: [], order: []}]\n",
        "[]\n",
        "devices: [{id: {}, kind: [], options: 3}]",
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(SettingsError):
            read_scenario(file, environment={}, words=simulator_words())
