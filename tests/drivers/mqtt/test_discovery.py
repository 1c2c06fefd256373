"""Searching a broker: doors that introduce themselves are candidates, whatever else is on the broker."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from drivers.catalog import DISCOVERERS
from drivers.door import Executed, Warn
from drivers.mqtt.habits import Habits
from drivers.mqtt.store import EventStore
from drivers.mqtt.wire import ROOT
from models.devices import Candidate
from models.doors import Event, Snapshot
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from tests.drivers.contract import now, soon
from tests.drivers.mqtt.conftest import EDGE_PASSWORD, RunningBroker, connected, free_port

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")


def settings_of(broker: RunningBroker, **changes: Any) -> dict[str, object]:
    return {"kind": "mqtt", "port": broker.port, "username": "edge", "password": EDGE_PASSWORD, **changes}


async def found(broker: RunningBroker, *, until: set[tuple[str, str]], **changes: Any) -> dict[str, Candidate]:
    """Search until these doors were told with this reach; return the last word on each door."""
    seen: dict[str, Candidate] = {}
    search = DISCOVERERS["mqtt"]()(settings_of(broker, **changes), networks=(), now=now, limit_s=9.0)
    async for candidate in search:
        seen[candidate.parts[0].id] = candidate
        if until <= {(door, told.reach) for door, told in seen.items()}:
            break
    await search.aclose()  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
async def test_doors_that_introduce_themselves_are_found(request: pytest.FixtureRequest, kind: str) -> None:
    broker: RunningBroker = request.getfixturevalue(kind)
    here, away = next(broker.fresh), next(broker.fresh)
    hello = json.dumps({"model": "R1", "serial": "0815", "firmware": "2", "capabilities": ["relay"]})
    await asyncio.to_thread(broker.publish, f"{ROOT}/{away}/hello", hello, "-r", "-q", "1", user=away)
    with EventStore() as store:
        async with connected(broker.door(here, store=store)):
            seen = await found(broker, until={(here, "known"), (away, "heard")}, protocol=broker.protocol)
    assert seen[here].id == f"mqtt:{here}"
    assert (seen[here].model, seen[here].trouble, seen[here].parts[0].kind) == ("simulated", "", "door")
    assert {"contact", "feedback", "power"} <= set(seen[here].parts[0].capabilities)
    assert (seen[away].serial, seen[away].trouble, seen[away].parts[0].kind) == ("0815", "unreachable", "relay")
    assert seen[away].parts[0].settings == {"kind": "mqtt"}
    assert EDGE_PASSWORD not in repr(seen)


async def test_garbage_is_no_candidate_and_ends_no_search(mosquitto: RunningBroker) -> None:
    bad, good = next(mosquitto.fresh), next(mosquitto.fresh)
    for topic, payload in ((f"{bad}/hello", "{"), (f"{bad}/online", "perhaps"), ("a b/hello", '{"capabilities":[]}')):
        await asyncio.to_thread(mosquitto.publish, f"{ROOT}/{topic}", payload, "-r", "-q", "1", user="edge")
    with EventStore() as store:
        async with connected(mosquitto.door(good, store=store)):
            seen = await found(mosquitto, until={(good, "known")}, protocol="5")
    assert good in seen
    assert not {bad, "a b"} & seen.keys()


async def test_a_search_ends_by_itself_and_says_what_is_wrong(mosquitto: RunningBroker) -> None:
    async def all_of(settings: dict[str, object], limit_s: float = 0.3) -> list[Candidate]:
        search = DISCOVERERS["mqtt"]()(settings, networks=(), now=now, limit_s=limit_s)
        return [candidate async for candidate in search]

    assert isinstance(await soon(all_of(settings_of(mosquitto, protocol="5"))), list)
    with pytest.raises(DeviceUnreachable):
        await all_of({"port": free_port(), "timeout_s": 0.5})
    with pytest.raises(DeviceRefused):
        await all_of(settings_of(mosquitto, password="wrong", protocol="5"))
    with pytest.raises(InvalidInput):
        await all_of({"port": 0})


async def test_power_is_reported_as_events_and_in_the_state(mosquitto: RunningBroker) -> None:
    door_id = next(mosquitto.fresh)
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            door.change_power("mains_lost")
            door.change_power("battery_low")
            door.emit("fault_cleared")
            kinds: list[str] = []
            last: Snapshot | None = None
            async with asyncio.timeout(9):
                async for reported in driver.reports():
                    await reported.acknowledge(None)
                    if isinstance(reported.report, Event):
                        kinds.append(reported.report.type)
                    elif isinstance(reported.report, Snapshot):
                        last = reported.report
                        if last.battery == 0.08 and len(kinds) == 3:
                            break
    assert kinds == ["mains_lost", "battery_low", "fault_cleared"]
    assert last is not None
    assert last.mains is False


async def test_a_door_with_a_buzzer_warns_and_one_without_is_not_asked(mosquitto: RunningBroker) -> None:
    loud, dumb = next(mosquitto.fresh), next(mosquitto.fresh)
    with EventStore() as store:
        doors = (
            mosquitto.door(loud, store=store),
            mosquitto.door(dumb, store=store, habits=Habits(capabilities=("ack",))),
        )
        async with mosquitto.driver(loud, dumb, client_id=f"edge-{loud}") as driver, connected(*doors):
            async with asyncio.timeout(9):
                async for reported in driver.reports():
                    await reported.acknowledge(None)
                    if None not in {driver.capabilities(loud), driver.capabilities(dumb)}:
                        break
            assert (await soon(driver.execute(Warn(id="w1", door_id=loud, reason="held_soon")))).ok
            refused = await soon(driver.execute(Warn(id="w2", door_id=dumb, reason="held_soon")))
    assert refused == Executed(ok=False, error="unsupported")
    assert [door.warnings for door in doors] == [1, 0]
