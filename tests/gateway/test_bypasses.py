"""Bypasses of a door's alarms: facts go on, alerts wait, the end comes by itself and hides nothing that still stands."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from gateway.bypassing import end_what_is_over
from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.audit import AuditRow, audit_rows
from gateway.store.tables_events import facts
from models.events import (
    BatteryGood,
    BatteryLow,
    DeviceLost,
    DoorFaultCleared,
    DoorFaulted,
    DoorTampered,
    DuressReported,
)
from models.link import DoorStatus, EdgeStatus
from tests.gateway.households import call
from tests.gateway.placing import API
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, forced, machine_token

WORK: dict[str, Any] = {"kinds": ["door_forced", "door_tampered"], "minutes": 10, "reason": "new hinges"}


async def kinds(client: httpx.AsyncClient) -> list[str]:
    """Return what the open alerts are."""
    return sorted(one["kind"] for one in (await call(client, "GET", "alerts"))["items"])


def noted(runtime: Runtime) -> list[AuditRow]:
    return [row for row in runtime.store.read_now(audit_rows) if row.action == "door.bypass"][::-1]


async def stand(edge: SigningEdge, clock: Clock, **how: Any) -> None:
    """Have the edge say how the gate stands."""
    values = {"online": True, "contact": "closed", "lock": "locked", "mode": "normal", "tamper": False, "alarm": "none"}
    door = DoorStatus(**{"door_id": "gate", "at": clock(), **values, **how})
    status = EdgeStatus(edge_id=EDGE, at=clock(), backlog=0, doors=(door,), cameras=(), counters={}, policy=(0, 0))
    assert (await edge.send("POST", "/edge/v1/status", status)).status_code == 204


async def test_bypassed_alarms_raise_no_alert_while_facts_go_on_and_others_are_raised(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    begun = await call(operator, "POST", "doors/gate/bypass", 201, json=WORK)
    assert (begun["kinds"], begun["by"]) == (["door_forced", "door_tampered"], "operator")
    shown = (await call(operator, "GET", "doors/gate"))["bypass"]
    assert (shown["until"], shown["reason"]) == (begun["until"], "new hinges")
    clock.turn(minutes=1)
    at = clock()
    threat = DuressReported(id="duress", at=at, door_id="gate")
    await edge.report(forced(n=1, at=at), forced("side", n=2, at=at), threat)
    assert await kinds(operator) == ["door_forced", "duress"], "the side door's, and what nobody can bypass"
    with runtime.store.engine.connect() as connection:
        assert len(connection.execute(facts.select()).all()) == 3
    clock.turn(minutes=10)
    await edge.report(forced(n=3, at=at), DoorTampered(id="late", at=at, door_id="gate", late=True))
    assert await kinds(operator) == ["door_forced", "duress"], "they happened while the bypass was in force"
    await edge.report(forced(n=4, at=clock()))
    assert await kinds(operator) == ["door_forced", "door_forced", "duress"]


async def test_what_happened_before_a_bypass_is_raised_though_it_comes_during_it(
    edge: SigningEdge, operator: httpx.AsyncClient, clock: Clock
) -> None:
    clock.turn(minutes=5)
    await call(operator, "POST", "doors/gate/bypass", 201, json=WORK)
    await edge.report(forced(at=BEGINNING))
    assert await kinds(operator) == ["door_forced"]


async def test_it_ends_by_itself_and_what_still_stands_is_raised_then(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await call(operator, "POST", "doors/gate/bypass", 201, json=WORK)
    await end_what_is_over(runtime)
    assert (await call(operator, "GET", "doors/gate"))["bypass"] is not None
    clock.turn(minutes=10)
    await stand(edge, clock, alarm="held", tamper=True, contact="open")
    await end_what_is_over(runtime)
    assert (await call(operator, "GET", "doors/gate"))["bypass"] is None
    assert await kinds(operator) == ["door_tampered"], "held open was not bypassed: its own fact raises it"
    assert [(row.actor == "system", row.result) for row in noted(runtime)] == [(False, "ok"), (True, "over")]
    assert noted(runtime)[0].detail["reason"] == "new hinges"
    await end_what_is_over(runtime)
    assert len(noted(runtime)) == 2, "it ends once"


async def test_a_fault_and_a_weak_battery_that_were_not_taken_back_are_raised_at_the_end(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await edge.report(DoorFaulted(id="f0", at=clock(), door_id="side"))
    clock.turn(minutes=1)
    for door in ("gate", "side"):
        body = WORK | {"kinds": ["door_faulted", "battery_low"]}
        await call(operator, "POST", f"doors/{door}/bypass", 201, json=body)
    clock.turn(minutes=1)
    first = clock()
    await edge.report(DoorFaulted(id="f1", at=first, door_id="gate"), BatteryLow(id="b1", at=first, door_id="gate"))
    await edge.report(DoorFaulted(id="f2", at=first, door_id="side"), BatteryLow(id="b2", at=first, door_id="side"))
    clock.turn(minutes=1)
    over = (BatteryGood(id="b3", at=clock(), door_id="side"), DoorFaultCleared(id="f3", at=clock(), door_id="side"))
    await edge.report(*over)
    assert await kinds(operator) == ["door_faulted"], "the one from before, which is over: people see to it"
    clock.turn(minutes=10)
    await end_what_is_over(runtime)
    assert await kinds(operator) == ["battery_low", "door_faulted", "door_faulted"]


async def test_a_door_that_stayed_away_is_raised_at_the_end_and_one_that_is_away_for_a_moment_is_not(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    for door in ("gate", "side"):
        await call(operator, "POST", f"doors/{door}/bypass", 201, json=WORK | {"kinds": ["device_lost"]})
    clock.turn(minutes=1)
    await edge.report(DeviceLost(id="l1", at=clock(), door_id="side"))
    assert await kinds(operator) == []
    clock.turn(minutes=10)
    await stand(edge, clock, online=False)
    await end_what_is_over(runtime)
    (alert,) = (await call(operator, "GET", "alerts"))["items"]
    assert (alert["kind"], alert["place"]["door_id"]) == ("device_lost", "side"), "the edge holds the gate's loss off"


async def test_it_can_be_ended_before_its_time_and_another_takes_its_place(
    edge: SigningEdge, operator: httpx.AsyncClient, *, other: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    await call(operator, "DELETE", "doors/gate/bypass", 404)
    await call(operator, "POST", "doors/gate/bypass", 201, json=WORK)
    await call(operator, "POST", "doors/gate/bypass", 201, json=WORK | {"kinds": ["door_held_open"], "minutes": 1})
    clock.turn(seconds=10)
    await stand(edge, clock, alarm="held")
    await edge.report(forced(at=clock()))
    assert await kinds(operator) == ["door_forced"], "the first one is over"
    await call(other, "DELETE", "doors/gate/bypass", 404)
    await call(other, "POST", "doors/gate/bypass", 404, json=WORK)
    await call(operator, "DELETE", "doors/gate/bypass", 204)
    assert await kinds(operator) == ["door_forced", "door_held_open"]


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ["duress"]}, {"kinds": ["power_cut"]}, {"kinds": []}, {"minutes": 0}, {"minutes": 24 * 60 + 1},
        {"reason": "x"}, {"reason": "two\nlines"},
    ],
)  # fmt: skip
async def test_nobody_bypasses_a_threat_nor_for_ever_nor_without_a_reason(
    operator: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    assert (await operator.post(f"{API}/doors/gate/bypass", json=WORK | change)).status_code == 422


async def test_a_door_with_a_bypass_can_be_deleted(manager: httpx.AsyncClient) -> None:
    await call(manager, "POST", "doors", 201, json={"id": "new", "name": "New", "edge_id": EDGE})
    await call(manager, "POST", "doors/new/bypass", 201, json=WORK)
    await call(manager, "DELETE", "doors/new", 204)


async def test_alarms_are_bypassed_from_the_shell(url: str, *, runtime: Runtime, clock: Clock) -> None:
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock, role="operator")}

    async def shell(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["door", *arguments], env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    until = clock() + timedelta(minutes=10)
    line = await shell("bypass", "gate", "--kind", "door_forced", "--minutes", "10", "--reason", "new hinges")
    assert line == f"gate: door_forced bypassed until {msgspec.to_builtins(until)}"
    await shell("end-bypass", "gate")
    assert [row.result for row in noted(runtime)] == ["ok", "ended"]
