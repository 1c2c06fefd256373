"""Orders to unlock as objects: how far each came, by what a door confirmed it, and one row of the audit log for all of it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec

from gateway.closing import close_orders
from gateway.orders import UNLOCK_VALID
from gateway.runtime import Runtime
from gateway.store.audit import AuditRow, audit_rows
from gateway.store.edges import commands_wait, waiting_commands
from models.events import DoorOpened
from models.link import DoorStatus, EdgeStatus, Result, Unlock
from tests.gateway.households import call
from tests.gateway.support import EDGE, Clock, SigningEdge, until

WHY = {"reason": "a parcel"}


async def asked(client: httpx.AsyncClient, runtime: Runtime, clock: Clock) -> tuple[asyncio.Task[httpx.Response], str]:
    """Have somebody ask for the gate to be unlocked; return the request, which waits, and the id of the order."""
    waits = asyncio.create_task(client.post("/api/v1/doors/gate/unlock", json=WHY))
    await until(lambda: runtime.store.read_now(commands_wait, EDGE, at=clock()))
    (order,) = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert isinstance(order, Unlock)
    return waits, order.id


async def answered(edge: SigningEdge, command_id: str, clock: Clock, **more: Any) -> None:
    result = Result(**{"command_id": command_id, "state": "confirmed", "at": clock(), **more})
    assert (await edge.send("POST", "/edge/v1/results", result)).status_code == 204


async def stand(edge: SigningEdge, clock: Clock, *, lock: str = "locked", mode: str = "normal", **more: Any) -> None:
    """Have the edge say how the gate stands."""
    values = {"contact": "closed", "tamper": False, "alarm": "none", "online": True, "door_id": "gate", **more}
    door = msgspec.convert({**values, "lock": lock, "mode": mode, "at": clock()}, DoorStatus)
    status = EdgeStatus(edge_id=EDGE, at=clock(), backlog=0, doors=(door,), cameras=(), counters={}, policy=(0, 0))
    assert (await edge.send("POST", "/edge/v1/status", status)).status_code == 204


def records(runtime: Runtime) -> list[AuditRow]:
    return [row for row in runtime.store.read_now(audit_rows) if row.action == "door.unlock"][::-1]


async def test_an_order_is_seen_from_sent_to_confirmed_by_the_contact_and_is_on_record_as_a_whole(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    waits, key = await asked(operator, runtime, clock)
    order = await call(operator, "GET", f"commands/{key}")
    assert (order["state"], order["asked_by"], order["reason"]) == ("sent", "operator", "a parcel")
    assert order["deadline"] == msgspec.to_builtins(clock() + UNLOCK_VALID)
    clock.turn(seconds=1)
    await answered(edge, key, clock)
    assert (await waits).json()["command_id"] == key
    accepted = await call(operator, "GET", f"commands/{key}")
    assert (accepted["state"], accepted["confirmed_at"]) == ("accepted", None), "nothing was seen to move yet"
    clock.turn(seconds=1)
    opened = DoorOpened(id="o", at=clock(), door_id="gate", cause="granted", attempt=key)
    await edge.report(opened, msgspec.structs.replace(opened, id="o2", attempt="a card's attempt"))
    done = await call(operator, "GET", f"commands/{key}")
    assert (done["state"], done["confirmed_by"]) == ("confirmed", "contact")
    assert accepted["accepted_at"] == done["accepted_at"] < done["confirmed_at"]
    await close_orders(runtime)
    assert [row.result for row in records(runtime)] == ["sent"], "its life is not over"
    clock.turn(seconds=20)
    await close_orders(runtime)
    await close_orders(runtime)
    sent, whole = records(runtime)
    assert (sent.result, whole.result, whole.actor) == ("sent", "confirmed", sent.actor)
    assert whole.detail.keys() == {
        "command", "reason", "asked", "deadline", "accepted", "confirmed", "confirmed_by", "ended"
    }  # fmt: skip
    assert (whole.detail["command"], whole.detail["reason"]) == (key, "a parcel")


async def test_a_lock_that_says_unlocked_confirms_an_order_that_left_for_it(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    waits, key = await asked(operator, runtime, clock)
    await stand(edge, clock, lock="unlocked")
    await answered(edge, key, clock)
    assert (await waits).status_code == 200
    assert (await call(operator, "GET", f"commands/{key}"))["state"] == "accepted", (
        "the report was older than the order"
    )
    target = "/edge/v1/commands"
    async with edge.client.stream("GET", target, headers=edge.headers("GET", target)):
        waits, key = await asked(operator, runtime, clock)
        await until(lambda: _delivered(runtime, key))
        await stand(edge, clock, lock="unlocked", door_id="side")
        await answered(edge, key, clock)
        await waits
        assert (await call(operator, "GET", f"commands/{key}"))["state"] == "accepted", "that was another door"
        await stand(edge, clock, lock="unlocked")
    done = await call(operator, "GET", f"commands/{key}")
    assert (done["state"], done["confirmed_by"]) == ("confirmed", "lock")
    newest = (await call(operator, "GET", "doors/gate/commands"))["items"]
    assert {one["id"]: one["state"] for one in newest}[key] == "confirmed"
    assert len(newest) == 2


def _delivered(runtime: Runtime, key: str) -> bool:
    with runtime.store.engine.connect() as connection:
        found = connection.exec_driver_sql(f"select delivered_at from commands where id = '{key}'").scalar()  # noqa: S608
    return found is not None


async def test_what_the_door_refuses_or_nobody_answers_is_shown_and_on_record(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    waits, refused = await asked(operator, runtime, clock)
    await answered(edge, refused, clock, state="refused", reason="locked_down")
    assert (await waits).status_code == 502
    order = await call(operator, "GET", f"commands/{refused}")
    assert (order["state"], order["why"], order["accepted_at"]) == ("refused", "locked_down", None)
    clock.turn(seconds=1)
    waits, silent = await asked(operator, runtime, clock)
    clock.turn(seconds=20)
    assert (await call(operator, "GET", f"commands/{silent}"))["why"] == "not_delivered"
    await close_orders(runtime)
    assert [(row.result, row.detail.get("why")) for row in records(runtime)][2:] == [
        ("refused", "locked_down"), ("expired", "not_delivered")
    ]  # fmt: skip
    assert runtime.store.read_now(waiting_commands, EDGE, at=clock()) == [], "it will never be delivered"
    await answered(edge, silent, clock)
    assert (await waits).status_code == 200
    assert (await call(operator, "GET", f"commands/{silent}"))["state"] == "accepted", (
        "an answer that was long on its way"
    )
    await close_orders(runtime)
    assert len(records(runtime)) == 4


async def test_an_order_of_another_site_does_not_exist(
    edge: SigningEdge, operator: httpx.AsyncClient, *, other: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    waits, key = await asked(operator, runtime, clock)
    await answered(edge, key, clock)
    await waits
    await call(other, "GET", f"commands/{key}", 404)
    await call(other, "GET", "doors/gate/commands", 404)
    await call(operator, "GET", "commands/nothing", 404)


async def test_doors_that_did_not_return_from_an_evacuation_are_listed(
    edge: SigningEdge, operator: httpx.AsyncClient, clock: Clock
) -> None:
    async def astray() -> list[str]:
        return [one["door_id"] for one in (await call(operator, "GET", "sites/a/modes?follows=false"))["items"]]

    for act in ("evacuate", "end_evacuation"):
        await call(operator, "POST", "sites/a/modes", json={"act": act, "reason": "a drill"})
        await stand(edge, clock, mode="evacuating")
        await stand(edge, clock, mode="evacuating", door_id="side")
    assert sorted(await astray()) == ["gate", "side"]
    await stand(edge, clock, mode="normal")
    assert await astray() == ["side"]
    assert len((await call(operator, "GET", "sites/a/modes"))["items"]) == 2
