"""Modes of doors: lock-down, evacuation and holding open are wishes that the policy carries and that end as they should."""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.policy import DesiredMode, Policy
from tests.gateway.support import Clock, SigningEdge

WHY = {"reason": "drill on Monday"}


async def modes_told(edge: SigningEdge) -> dict[str, DesiredMode]:
    policy = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    return {mode.door_id: mode for mode in policy.modes}


async def test_a_lock_down_reaches_the_policy_of_every_door_and_ends_at_once(
    operator: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime
) -> None:
    before = await modes_told(edge)
    answer = await operator.post("/api/v1/sites/a/modes", json={"act": "lock_down", **WHY})
    assert answer.status_code == 200, answer.text
    assert {view["door_id"]: view["mode"] for view in answer.json()["items"]} == {
        "gate": "locked_down",
        "side": "locked_down",
    }
    assert not any(view["follows"] for view in answer.json()["items"]), "no door has said so yet"
    locked = await modes_told(edge)
    assert {mode.mode for mode in locked.values()} == {"locked_down"}
    assert all(locked[door].version > before[door].version + 1 for door in locked)
    await operator.post("/api/v1/sites/a/modes", json={"act": "end_lock_down", **WHY})
    assert {mode.mode for mode in (await modes_told(edge)).values()} == {"normal"}
    rows = await runtime.store.read(audit_rows)
    assert [row.detail["act"] for row in rows if row.action == "site.mode"] == ["end_lock_down", "lock_down"]
    assert all(row.detail["reason"] == WHY["reason"] for row in rows if row.action == "site.mode")


async def test_an_evacuation_goes_before_a_lock_down(operator: httpx.AsyncClient, edge: SigningEdge) -> None:
    await operator.post("/api/v1/sites/a/modes", json={"act": "lock_down", **WHY})
    await operator.post("/api/v1/sites/a/modes", json={"act": "evacuate", "doors": ["gate"], **WHY})
    told = await modes_told(edge)
    assert (told["gate"].mode, told["side"].mode) == ("evacuating", "locked_down")
    refused = await operator.post("/api/v1/sites/a/modes", json={"act": "lock_down", **WHY})
    assert refused.status_code == 409
    assert "end the evacuation" in refused.json()["detail"]
    await operator.post("/api/v1/sites/a/modes", json={"act": "end_evacuation", **WHY})
    told = await modes_told(edge)
    assert (told["gate"].mode, told["side"].mode) == ("locked_down", "locked_down"), "the lock-down outlasts it"


async def test_a_lock_down_that_ends_during_an_evacuation_does_not_come_back(
    operator: httpx.AsyncClient, edge: SigningEdge
) -> None:
    for act in ("lock_down", "evacuate"):
        await operator.post("/api/v1/sites/a/modes", json={"act": act, **WHY})
    views = (await operator.post("/api/v1/sites/a/modes", json={"act": "end_lock_down", **WHY})).json()["items"]
    assert {(view["mode"], view["after"]) for view in views} == {("evacuating", None)}
    await operator.post("/api/v1/sites/a/modes", json={"act": "evacuate", **WHY})
    await operator.post("/api/v1/sites/a/modes", json={"act": "end_evacuation", **WHY})
    assert {mode.mode for mode in (await modes_told(edge)).values()} == {"normal"}


async def test_a_door_that_is_held_open_is_normal_again_by_itself(
    operator: httpx.AsyncClient, edge: SigningEdge, clock: Clock
) -> None:
    until = clock.at + timedelta(minutes=20)
    body = {"mode": "held_open", "until": until.isoformat(), **WHY}
    shown = (await operator.put("/api/v1/doors/gate/mode", json=body)).json()
    assert shown["mode"] == "held_open"
    told = (await modes_told(edge))["gate"]
    assert told.until == until
    after = told.now(until)
    assert (after.mode, after.version) == ("normal", told.version + 1)
    clock.turn(minutes=20)
    (gate,) = [v for v in (await operator.get("/api/v1/sites/a/modes")).json()["items"] if v["door_id"] == "gate"]
    assert (gate["mode"], gate["until"]) == ("normal", None)
    again = (await operator.put("/api/v1/doors/gate/mode", json={"mode": "normal", **WHY})).json()
    assert again["version"] > after.version, "the edge's own version is never used again"


@pytest.mark.parametrize("hours", [-1, 24 * 8, None])
async def test_a_door_is_held_open_only_until_a_time_ahead(
    operator: httpx.AsyncClient, clock: Clock, hours: int | None
) -> None:
    until = None if hours is None else (clock.at + timedelta(hours=hours)).isoformat()
    refused = await operator.put("/api/v1/doors/gate/mode", json={"mode": "held_open", "until": until, **WHY})
    assert refused.status_code == 422
    assert refused.json()["where"] == "until"


async def test_a_locked_door_is_not_opened_by_holding_it(operator: httpx.AsyncClient, clock: Clock) -> None:
    await operator.post("/api/v1/sites/a/modes", json={"act": "lock_down", **WHY})
    until = (clock.at + timedelta(hours=1)).isoformat()
    body = {"mode": "held_open", "until": until, **WHY}
    assert (await operator.put("/api/v1/doors/gate/mode", json=body)).status_code == 409


async def test_another_sites_doors_do_not_exist(operator: httpx.AsyncClient) -> None:
    assert (await operator.post("/api/v1/sites/b/modes", json={"act": "lock_down", **WHY})).status_code == 404
    body = {"act": "lock_down", "doors": ["gate", "far"], **WHY}
    assert (await operator.post("/api/v1/sites/a/modes", json=body)).status_code == 404
    assert (await operator.put("/api/v1/doors/far/mode", json={"mode": "normal", **WHY})).status_code == 404
    assert (await operator.get("/api/v1/sites/b/modes")).status_code == 404
    assert all(v["mode"] == "normal" for v in (await operator.get("/api/v1/sites/a/modes")).json()["items"])
