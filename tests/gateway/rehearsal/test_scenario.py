"""A scenario on real simulators: what is done when, what they answer, and that nothing stays behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from config.scenario import DeviceEntry, ScenarioFile, StepEntry
from gateway.rehearsal.processes import descendants
from gateway.rehearsal.scenario import Told, arguments_of, equip, play
from models.errors import GatehouseError
from tests.edge.rig import free_port

PANEL = DeviceEntry(id="panel", kind="onvif", options={"port": 0, "door": ["gate", "side"]})


def step(at_s: float, *, for_s: float | None = None, **order: Any) -> StepEntry:
    return StepEntry(at_s=at_s, device="panel", order=order, for_s=for_s)


def test_options_become_the_simulator_s_own() -> None:
    options: Any = {"port": 0, "door": ["a", "b"], "too_long-s": 2.5, "tls": True, "plain": False}
    device = DeviceEntry(id="x", kind="onvif", options=options)
    wanted = ["--port", "0", "--door", "a", "--door", "b", "--too-long-s", "2.5", "--tls"]
    assert arguments_of(device) == wanted


async def test_what_the_time_line_says_is_done_in_its_order_and_a_misbehaviour_ends(tmp_path: Path) -> None:
    timeline = (step(0.2, act="force", door="gate"), step(0.0, for_s=0.1, act="misbehave", fault="slow"))
    told: list[Told] = []
    cards: dict[str, dict[str, object]] = {}
    failed = await play(
        ScenarioFile(devices=(PANEL,), timeline=timeline), log_dir=tmp_path, tell=told.append, ready=cards.__setitem__
    )
    assert (failed, list(cards)) == (0, ["panel"])
    done = [(one.order["act"], one.order.get("on"), one.ok) for one in told]
    assert done == [("misbehave", True, True), ("misbehave", False, True), ("force", None, True)]
    assert [one.at_s for one in told] == sorted(one.at_s for one in told)
    assert not any("drivers simulate onvif" in command for command in descendants(os.getpid()).values())


async def test_an_order_that_cannot_be_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    timeline = (step(0.0, act="force", door="nowhere"), step(0.1, act="force", door="gate"))
    told: list[Told] = []
    scenario = ScenarioFile(devices=(PANEL,), timeline=timeline)
    assert await play(scenario, log_dir=tmp_path, tell=told.append, ready=lambda _id, _card: None) == 1
    assert [one.ok for one in told] == [False, True]
    assert "nowhere" in str(told[0].answer["error"])


async def test_a_simulator_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    wrong = DeviceEntry(id="panel", kind="onvif", options={"colour": "green"})
    with pytest.raises(GatehouseError, match="unrecognized arguments: --colour"):
        await play(
            ScenarioFile(devices=(wrong,)), log_dir=tmp_path, tell=lambda _told: None, ready=lambda _id, _card: None
        )


async def test_a_broker_without_a_folder_knows_the_doors_of_its_scenario(tmp_path: Path) -> None:
    port = free_port()
    broker = DeviceEntry(id="broker", kind="broker", options={"port": port})
    doors = DeviceEntry(id="doors", kind="door", options={"broker": f"127.0.0.1:{port}", "door": ["gate", "side"]})
    wait: dict[str, Any] = {"act": "wait", "until": "connected", "timeout_s": 20}
    timeline = tuple(StepEntry(at_s=0, device="doors", order=wait | {"door": door}) for door in ("gate", "side"))
    told: list[Told] = []
    cards: dict[str, dict[str, object]] = {}
    scenario = ScenarioFile(devices=(broker, doors), timeline=timeline)
    assert await play(scenario, log_dir=tmp_path, tell=told.append, ready=cards.__setitem__) == 0, told
    assert [one.ok for one in told] == [True, True]
    assert not Path(str(cards["broker"]["dir"])).exists(), "nothing stays behind"


def test_only_doors_of_a_broker_without_users_of_their_own_are_given_some(tmp_path: Path) -> None:
    devices = (
        DeviceEntry(id="ours", kind="broker"),
        DeviceEntry(id="theirs", kind="broker", options={"port": 1884, "dir": "folder"}),
        DeviceEntry(id="one", kind="door"),
        DeviceEntry(id="two", kind="door", options={"door": ["a", "b"], "users": "mine.json"}),
        DeviceEntry(id="three", kind="door", options={"door": "c", "broker": "127.0.0.1:1884"}),
    )
    folders = equip(ScenarioFile(devices=devices), tmp_path)
    assert list(folders) == ["ours"]
    users = json.loads((folders["ours"] / "users.json").read_text())
    assert (list(users["doors"]), len({*users["doors"].values(), users["edge"]["password"]})) == (["gate"], 2)
