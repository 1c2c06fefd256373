"""The MQTT door driver against doors by hand (mosquitto_pub, mosquitto_sub), broken controllers, a killed broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

import pytest

from drivers.catalog import kinds, open_door
from drivers.door import Executed, Reported
from drivers.mqtt.driver import MqttDoors
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from drivers.mqtt.wire import ROOT, Hello
from models.doors import DoorState, Event, Snapshot, advance, committed_through, tick
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.events import DoorForced
from models.places import Door
from tests.drivers.contract import LIMIT_S, next_event, now, soon, unlock
from tests.drivers.mqtt.conftest import EDGE_PASSWORD, RunningBroker, connected, free_port, running_broker

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")


@pytest.fixture
def door_id(mosquitto: RunningBroker) -> str:
    return next(mosquitto.fresh)


def reporting(door_id: str, topic: str, /, **content: Any) -> tuple[str, str]:
    return f"{ROOT}/{door_id}/{topic}", json.dumps(content)


async def by_hand(broker: RunningBroker, message: tuple[str, str], *more: str, user: str | None = None) -> None:
    """Publish as a door with mosquitto_pub."""
    topic, payload = message
    await asyncio.to_thread(broker.publish, topic, payload, *more, user=user or topic.split("/")[3])


async def test_a_door_by_hand_reports_and_is_acknowledged(mosquitto: RunningBroker, door_id: str) -> None:
    command = mosquitto.client("sub", "-t", f"{ROOT}/{door_id}/ack", "-C", "1", "-W", "9", user=door_id)
    door = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        await by_hand(mosquitto, reporting(door_id, "event", id="e1", seq=1, type="forced"), "-q", "1")
        event, _ = await next_event(driver.reports())
        assert (event.type, event.seq, event.backlog) == ("forced", 1, False)
        out, _ = await soon(door.communicate())
    assert json.loads(out) == {"seq": 1}


async def test_a_door_by_hand_opens_on_a_command(mosquitto: RunningBroker, door_id: str) -> None:
    await by_hand(mosquitto, reporting(door_id, "ack", seq=0), "-r", user="edge")  # shows that it has subscribed
    topics = [word for kind in ("command", "ack") for word in ("-t", f"{ROOT}/{door_id}/{kind}")]
    command = mosquitto.client("sub", *topics, "-W", "9", user=door_id)
    door = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert door.stdout is not None
    assert await soon(door.stdout.readline()) == b'{"seq": 0}\n'
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        executing = asyncio.ensure_future(driver.execute(unlock(door_id, "c1", valid_ms=8000)))
        told = json.loads(await soon(door.stdout.readline()))
        assert {"id": "c1", "action": "unlock", "hold_s": 0.3, "valid_ms": 8000}.items() <= told.items()
        await by_hand(mosquitto, reporting("door-119", "result", id="c1", ok=False), "-q", "1")  # not its door
        await by_hand(mosquitto, reporting(door_id, "result", id="c1", ok=True), "-q", "1")
        assert await soon(executing) == Executed(ok=True)
    door.terminate()
    await door.communicate()


async def test_a_command_is_never_kept_for_a_door_that_is_away(mosquitto: RunningBroker, door_id: str) -> None:
    session = mosquitto.client(
        "sub", "-c", "-i", f"door-{door_id}", "-q", "1", "-t", f"{ROOT}/{door_id}/#", user=door_id
    )
    await asyncio.to_thread(subprocess.run, [*session, "-E"], check=True, timeout=10)
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        executed = await soon(driver.execute(unlock(door_id, "c-away", valid_ms=300)))
        assert (executed.ok, executed.certain) == (False, False)
    back = await asyncio.to_thread(subprocess.run, [*session, "-W", "1"], capture_output=True, check=False, timeout=10)
    assert b"c-away" not in back.stdout


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_retained_requests_are_marked(mosquitto: RunningBroker, door_id: str, protocol: str) -> None:
    await by_hand(mosquitto, reporting(door_id, "request", id="old", kind="card", value="1"), "-r")
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}", protocol=protocol) as driver:
        requests = driver.requests()
        assert (await soon(anext(aiter(requests)))).redelivered
        if protocol == "5":  # which can also mark one that arrives now
            await by_hand(mosquitto, reporting(door_id, "request", id="new", kind="card", value="1"), "-r")
            assert (await soon(anext(aiter(requests)))).redelivered


async def test_requests_beyond_the_bound_are_dropped_and_counted(mosquitto: RunningBroker, door_id: str) -> None:
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        lines = "\n".join(json.dumps({"id": f"r{n}", "kind": "card", "value": "1"}) for n in range(200))
        command = mosquitto.client("pub", "-t", f"{ROOT}/{door_id}/request", "-l", user=door_id)
        await asyncio.to_thread(subprocess.run, command, input=lines.encode(), check=True, timeout=10)
        await until(lambda: driver.counters["requests"] == 200)
        assert driver.counters["requests_dropped"] == 200 - 64
        assert (await soon(anext(aiter(driver.requests())))).id == "r0"


async def test_a_burst_of_events_with_a_slow_caller_loses_nothing(mosquitto: RunningBroker, door_id: str) -> None:
    lines = "\n".join(json.dumps({"id": f"e{n}", "seq": n, "type": "closed"}) for n in range(1, 2001))
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}", window=20) as driver:
        command = mosquitto.client("pub", "-q", "1", "-t", f"{ROOT}/{door_id}/event", "-l", user=door_id)
        await asyncio.to_thread(subprocess.run, command, input=lines.encode(), check=True, timeout=30)
        assert isinstance(driver, MqttDoors)
        assert driver._reports.qsize() <= 20
        reports = driver.reports()
        seen = [(await next_event(reports))[0].seq for _ in range(2000)]
    assert seen == list(range(1, 2001))


async def test_pubacks_follow_the_order_of_arrival(mosquitto: RunningBroker, door_id: str) -> None:
    held: list[Reported] = []
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        for n in range(1, 4):
            await by_hand(mosquitto, reporting(door_id, "event", id=f"e{n}", seq=n, type="fault"), "-q", "1")
        async with asyncio.timeout(LIMIT_S):
            async for reported in driver.reports():
                held.append(reported)
                if len(held) == 3:
                    break
        await held[2].acknowledge(None)
        await held[1].acknowledge(None)
        assert driver.counters["acknowledged"] == 0
        await held[0].acknowledge(3)
        assert driver.counters["acknowledged"] == 3
    await held[0].acknowledge(3)  # of a connection that has ended: nothing happens


async def test_a_door_of_another_client_cannot_be_imitated(mosquitto: RunningBroker, door_id: str) -> None:
    other = next(mosquitto.fresh)
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        door.faults.add("forged_id")
        async with mosquitto.driver(door_id, other, client_id=f"edge-{door_id}") as driver, connected(door):
            door.force()
            event, reported = await next_event(driver.reports())
            assert reported.door_id == door_id
            assert event.type == "forced"
            assert driver.counters["unreadable"] >= 1


@pytest.mark.parametrize("fault", ["garbage", "oversized", "duplicate", "reorder", "clock_hour_off", "slow"])
async def test_a_broken_controller_costs_nobody_anything(mosquitto: RunningBroker, door_id: str, fault: Any) -> None:
    healthy_id = next(mosquitto.fresh)
    with EventStore() as store:
        broken, healthy = mosquitto.door(door_id, store=store), mosquitto.door(healthy_id, store=store)
        broken.faults.add(fault)
        async with (
            mosquitto.driver(door_id, healthy_id, client_id=f"edge-{door_id}") as driver,
            connected(broken, healthy),
        ):
            reports = driver.reports()
            broken.force()
            broken.close()
            healthy.force()
            taken = {(await next_event(reports))[1].door_id for _ in range(3)}
            assert (await soon(driver.execute(unlock(healthy_id, f"c-{fault}")))).ok
            assert (await soon(driver.execute(unlock(healthy_id, f"d-{fault}")))).ok
            assert taken <= {door_id, healthy_id}


async def test_events_in_the_wrong_order_end_in_the_right_state(mosquitto: RunningBroker, door_id: str) -> None:
    door = Door(id=door_id, site_id="s", name="d", edge_id="edge")
    state = DoorState(door_id=door_id, edge_id="edge", online=True)
    facts: list[object] = []
    with EventStore() as store:
        simulated = mosquitto.door(door_id, store=store)
        simulated.faults.add("reorder")
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(simulated):
            reports = driver.reports()
            for _ in range(2):
                simulated.force()
                simulated.close()
            for _ in range(4):
                event, _ = await next_event(reports)
                state, made = advance(state, event, door=door)
                facts.extend(made)
            state, made = tick(state, door=door, at=now() + timedelta(seconds=60))
            facts.extend(made)
    assert committed_through(state) == 4
    assert state.contact == "closed"
    assert len([fact for fact in facts if isinstance(fact, DoorForced)]) == 2


async def test_unreadable_messages_are_said_once_per_cause(
    mosquitto: RunningBroker, door_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        for _ in range(3):
            await by_hand(mosquitto, (f"{ROOT}/{door_id}/event", "{"), "-q", "1")
        await until(lambda: driver.counters["unreadable"] == 3)
        await until(lambda: driver.counters["acknowledged"] >= 3)
    assert len([record for record in caplog.records if "put aside" in record.message]) == 1


async def test_a_door_that_is_not_adopted_is_announced(mosquitto: RunningBroker, door_id: str) -> None:
    async with mosquitto.driver("somewhere", client_id=f"edge-{door_id}") as driver:
        hello = reporting(door_id, "hello", model="M", capabilities=["ack"])
        await by_hand(mosquitto, hello, "-q", "1", "-r")
        assert isinstance(driver, MqttDoors)
        announced = driver.announced
        await until(lambda: door_id in announced)
        assert announced[door_id] == Hello(model="M", capabilities=("ack",))


async def test_a_door_without_end_to_end_acknowledgement_gets_none(mosquitto: RunningBroker, door_id: str) -> None:
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        door.faults.add("no_ack")
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            await until(lambda: driver.capabilities(door_id) is not None)
            door.force()
            event, _ = await next_event(driver.reports())
            assert event.seq == 1
    check = mosquitto.client("sub", "-t", f"{ROOT}/{door_id}/ack", "-C", "1", "-W", "1")
    kept = await asyncio.to_thread(subprocess.run, check, capture_output=True, check=False, timeout=10)
    assert kept.stdout == b""


async def test_a_command_forty_minutes_late_opens_nothing(mosquitto: RunningBroker, door_id: str) -> None:
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            assert (await soon(driver.execute(unlock(door_id, "c1")))).ok
            door.faults.add("replay_command")
            door.connected.clear()
            door.drop()
            await soon(door.until(lambda: len(door.refused) == 1))
            late = (now() - timedelta(minutes=40)).isoformat()
            command = reporting(door_id, "command", id="late", action="unlock", at=late, valid_ms=3000)
            await by_hand(mosquitto, command, user="edge")
            await soon(door.until(lambda: len(door.refused) == 2))
            await by_hand(mosquitto, reporting(door_id, "command", id="c1", action="unlock"), user="edge")
            await soon(door.until(lambda: len(door.refused) == 3))
    assert [reason for _, reason in door.refused] == ["expired", "expired", "seen before"]
    assert door.unlocks == 1


async def test_a_killed_broker_loses_no_event_of_a_door_that_keeps_them(tmp_path: Any) -> None:
    door_id, seen = "door-1", set[int | None]()
    with running_broker("mosquitto") as broker, EventStore(tmp_path / "store.db") as store:
        door = broker.door(door_id, store=store)
        async with connected(door):
            for round_no in range(3):
                async with broker.driver(door_id, client_id="edge-1") as driver:
                    reports = driver.reports()
                    for _ in range(20):
                        door.force()
                        door.close()
                    for _ in range(10):
                        await take_one(reports, seen)
                    os.kill(broker.pid, signal.SIGKILL)
                    with pytest.raises(DeviceUnreachable):
                        await soon(drain(reports, seen))
                broker.stop()
                broker.start()
                assert door.progress()[0] == 40 * (round_no + 1)
            async with broker.driver(door_id, client_id="edge-1") as driver:
                reports = driver.reports()
                while len(seen) < 120:
                    await take_one(reports, seen)
                await until(lambda: door.progress() == (120, 120))
    assert seen == set(range(1, 121))


async def take_one(reports: AsyncIterator[Reported], seen: set[int | None]) -> None:
    """Take one event and acknowledge up to the first that is missing, as a caller with a ledger does."""
    event, reported = await next_event(reports, acknowledge=False)
    seen.add(event.seq)
    await reported.acknowledge(through(seen))


def through(seen: set[int | None]) -> int:
    return next(seq for seq in range(len(seen) + 1) if seq + 1 not in seen)


async def drain(reports: AsyncIterator[Reported], seen: set[int | None]) -> None:
    async for reported in reports:
        if isinstance(reported.report, Event):
            seen.add(reported.report.seq)
            await reported.acknowledge(through(seen))
        else:
            await reported.acknowledge(None)


async def test_retained_state_rebuilds_the_snapshot(mosquitto: RunningBroker, door_id: str) -> None:
    state = reporting(door_id, "state", event_seq=9, contact="open", lock="locked")
    await by_hand(mosquitto, state, "-q", "1", "-r")
    async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver:
        reported = await soon(anext(aiter(driver.reports())))
        assert isinstance(reported.report, Snapshot)
        assert reported.report.retained
        assert await driver.snapshot(door_id) == reported.report


async def test_a_wrong_password_is_a_refusal(mosquitto: RunningBroker) -> None:
    for protocol in ("5", "3.1.1"):
        with pytest.raises(DeviceRefused, match="refused 'edge'"):
            async with mosquitto.driver("gate", client_id="edge-x", password="wrong", protocol=protocol):
                pass


async def test_no_broker_is_said_quickly() -> None:
    settings = {"kind": "mqtt", "port": free_port()}
    with pytest.raises(DeviceUnreachable, match="no connection to the broker"):
        async with open_door(settings, doors=("gate",), client_id="edge", now=now):
            pass


@contextlib.asynccontextmanager
async def serving(first: bytes) -> AsyncIterator[int]:
    """Listen; say some bytes to whoever connects, then nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(first)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("first", [b"", b"\x20\x03\x00\x00\x00" + bytes(range(256)) * 20], ids=["mute", "babbling"])
async def test_what_is_no_broker_ends_the_driver_in_time_and_nothing_else(first: bytes) -> None:
    async with serving(first) as port:
        settings = {"kind": "mqtt", "port": port, "timeout_s": 0.5}
        with pytest.raises(DeviceUnreachable):
            async with open_door(settings, doors=("g",), client_id="e", now=now) as driver:
                await soon(drain(driver.reports(), set()))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"kind": "mqqt"}, "mqtt"),
        ({}, "mqtt"),
        ({"kind": ["mqtt"]}, "mqtt"),
        ({"kind": "mqtt", "prot": 1}, "prot"),
        ({"kind": "mqtt", "port": 0}, "port"),
        ({"kind": "mqtt", "protocol": "3.1"}, "protocol"),
        ({"kind": "mqtt", "tls": True, "ca_file": "/nowhere.pem"}, "nowhere"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        open_door(settings, doors=("gate",), client_id="edge", now=now)


def test_the_catalogue_knows_mqtt() -> None:
    assert "mqtt" in kinds()


def test_no_password_is_shown(mosquitto: RunningBroker) -> None:
    assert EDGE_PASSWORD not in repr(mosquitto.endpoint("edge", client_id="x"))


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
async def test_the_newest_protocol_that_the_broker_speaks_is_found(
    kind: Literal["mosquitto", "embedded"],
) -> None:
    with running_broker(kind) as broker, EventStore() as store:
        endpoint = broker.endpoint("door-1", client_id="door-1", protocol="auto")
        door = SimulatedDoor("door-1", endpoint=endpoint, store=store, now=now, rng=random.Random())
        async with broker.driver("door-1", client_id="e", protocol="auto") as driver, connected(door):
            assert isinstance(driver, MqttDoors)
            assert driver._link is not None
            assert driver._link.endpoint.protocol == broker.protocol
            assert (await soon(driver.execute(unlock("door-1", "c1")))).ok
