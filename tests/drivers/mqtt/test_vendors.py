"""Devices that speak a vendor's words on a real broker, played by mosquitto_pub and mosquitto_sub; bare relays too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from drivers.catalog import open_door
from drivers.door import DoorDriver, Executed, GiveFeedback, SetMode, Warn
from drivers.mqtt.wire import ROOT
from models.access import Request
from models.doors import Presence
from tests.drivers.contract import next_event, now, soon, unlock
from tests.drivers.mqtt.conftest import EDGE_PASSWORD, RunningBroker

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")


async def publish(broker: RunningBroker, topic: str, payload: object, *more: str, user: str) -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    await asyncio.to_thread(broker.publish, topic, text, "-q", "1", *more, user=user)


@contextlib.asynccontextmanager
async def listening(broker: RunningBroker, topic: str, *, user: str) -> AsyncIterator[asyncio.StreamReader]:
    """Listen as a device does; a message of the edge's own says that the subscription is in effect."""
    command = broker.client("sub", "-t", topic, "-F", "%t %p", "-W", "20", user=user)
    device = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert device.stdout is not None
    await publish(broker, topic, "here", "-r", user="edge")
    while not (await soon(device.stdout.readline())).endswith(b" here\n"):
        pass
    await publish(broker, topic, "", "-r", user="edge")
    yield device.stdout
    with contextlib.suppress(ProcessLookupError):
        device.terminate()
    await device.communicate()


async def told(lines: asyncio.StreamReader) -> str:
    line = ""
    while not line:
        line = (await soon(lines.readline())).decode().strip().partition(" ")[2]
    return line


async def test_a_tasmota_reports_its_door_and_opens_it(mosquitto: RunningBroker) -> None:
    names = {"device": "plug-1", "contact": "1"}
    settings: dict[str, Any] = {"map": "tasmota", "names": names}
    async with (
        listening(mosquitto, "cmnd/plug-1/Backlog0", user="plug-1") as lines,
        mosquitto.driver("gate", client_id="edge-plug-1", **settings) as driver,
    ):
        executing = asyncio.ensure_future(driver.execute(unlock("gate", "u1", hold_s=2.0, valid_ms=8000)))
        assert await told(lines) == "Power 1; Delay 20; Power 0"
        await publish(mosquitto, "stat/plug-1/POWER", "ON", user="plug-1")
        assert await soon(executing) == Executed(ok=True)
        await publish(mosquitto, "stat/plug-1/RESULT", {"Switch1": {"Action": "OFF"}}, user="plug-1")
        await publish(mosquitto, "stat/plug-1/RESULT", "smoke", user="plug-1")
        await publish(mosquitto, "stat/plug-1/RESULT", {"Switch1": {"Action": "ON"}}, user="plug-1")
        event, reported = await next_event(driver.reports(), acknowledge=False)
        assert (event.type, event.seq, reported.door_id) == ("opened", None, "gate")
        assert driver.counters["unreadable"] == 1
        before = driver.counters["acknowledged"]
        await reported.acknowledge(None)
        assert driver.counters["acknowledged"] == before  # the state in the same message is not committed yet
        follows = await soon(anext(aiter(driver.reports())))
        await follows.acknowledge(None)
        assert driver.counters["acknowledged"] == before + 1


async def test_what_happened_while_the_driver_was_away_comes_from_the_brokers_session(mosquitto: RunningBroker) -> None:
    settings: dict[str, Any] = {"map": "shelly", "names": {"device": "shelly-1", "contact": "0"}}
    async with mosquitto.driver("door-118", client_id="edge-shelly-1", **settings):
        pass
    for state in (True, False):
        note = {"method": "NotifyStatus", "params": {"ts": 1.0, "input:0": {"id": 0, "state": state}}}
        await publish(mosquitto, "shelly-1/events/rpc", note, user="shelly-1")
    async with mosquitto.driver("door-118", client_id="edge-shelly-1", **settings) as driver:
        event, _ = await next_event(driver.reports())
        assert (event.type, event.backlog) == ("opened", True)


async def request(driver: DoorDriver) -> Request:
    """Return the next request while reports are committed, as at an edge."""

    async def commit() -> None:
        async for reported in driver.reports():
            await reported.acknowledge(None)

    committing = asyncio.ensure_future(commit())
    try:
        asked: Request = await soon(anext(aiter(driver.requests())))
        return asked
    finally:
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)


async def test_a_card_from_while_the_driver_was_away_is_not_asked_for(mosquitto: RunningBroker) -> None:
    settings: dict[str, Any] = {"map": "esphome", "names": {"device": "esp-1", "card": "tag"}}
    topic = "esp-1/sensor/tag/state"
    async with mosquitto.driver("gate", client_id="edge-esp-1", **settings):
        pass
    await publish(mosquitto, topic, "7186A61E", user="esp-1")
    async with mosquitto.driver("gate", client_id="edge-esp-1", **settings) as driver:
        await publish(mosquitto, topic, "8B01C2D3", user="esp-1")
        assert (await request(driver)).value == "8B01C2D3"
    async with mosquitto.driver("gate", client_id="edge-esp-2", **settings) as driver:
        await publish(mosquitto, topic, "7186A61E", "-r", user="esp-1")  # ESPHome retains states by itself
        asked = await request(driver)
        assert (asked.value, asked.redelivered) == ("7186A61E", False)
    async with mosquitto.driver("gate", client_id="edge-esp-2", **settings) as driver:
        asked = await request(driver)
        assert (asked.value, asked.redelivered) == ("7186A61E", True)


async def test_a_card_behind_a_long_backlog_stays_late_however_long_it_takes(mosquitto: RunningBroker) -> None:
    settings: dict[str, Any] = {
        "map": "tasmota", "names": {"device": "plug-1", "contact": "1"}, "window": 5,
        "username": "edge", "password": EDGE_PASSWORD, "port": mosquitto.port, "protocol": mosquitto.protocol,
        "kind": "mqtt",
    }  # fmt: skip
    past = timedelta(0)

    def late() -> datetime:
        return now() + past

    def opened() -> DoorDriver:
        return open_door(settings, doors=("gate",), client_id="edge-plug-2", now=late)

    async with opened():
        pass
    for _ in range(8):
        await publish(mosquitto, "tele/plug-1/SENSOR", {"Switch1": "OFF"}, user="plug-1")
    await publish(mosquitto, "tele/plug-1/SENSOR", {"PN532": {"UID": "5C23F4A1"}}, user="plug-1")
    async with opened() as driver:
        first = await soon(anext(aiter(driver.reports())))
        past = timedelta(minutes=1)
        await first.acknowledge(None)
        asked = await request(driver)
        assert (asked.value, asked.redelivered) == ("5C23F4A1", True)


async def test_a_bare_relay_is_pulsed_once_and_nothing_stays_on_the_broker(mosquitto: RunningBroker) -> None:
    settings: dict[str, Any] = {"map": "relay", "names": {"topic": "yard/relay-1", "payload": "pulse"}}
    async with (
        listening(mosquitto, "yard/relay-1", user="relay-1") as lines,
        mosquitto.driver("gate", client_id="edge-relay-1", **settings) as driver,
    ):
        assert await soon(driver.execute(unlock("gate", "u1"))) == Executed(ok=True, certain=False)
        assert await told(lines) == "pulse"
        for order in (
            SetMode(door_id="gate", version=1, mode="locked_down"),
            GiveFeedback(id="f1", door_id="gate", attempt="a", ok=False, reason="no_permit"),
            Warn(id="w1", door_id="gate", reason="held_soon"),
        ):
            assert await soon(driver.execute(order)) == Executed(ok=False, error="unsupported")
    check = mosquitto.client("sub", "-t", "yard/#", "-t", f"{ROOT}/gate/#", "-W", "1", "-F", "%t")
    kept = await asyncio.to_thread(subprocess.run, check, capture_output=True, check=False, timeout=10)
    assert kept.stdout == b""


async def test_a_pulse_that_a_silent_broker_would_hand_on_late_has_certainly_not_been_sent(
    mosquitto: RunningBroker,
) -> None:
    settings: dict[str, Any] = {"map": "relay", "names": {"topic": "yard/relay-1", "payload": "pulse"}}
    async with (
        listening(mosquitto, "yard/relay-1", user="relay-1") as lines,
        mosquitto.driver("gate", client_id="edge-relay-1", **settings) as driver,
    ):
        os.kill(mosquitto.pid, signal.SIGSTOP)
        try:
            executed = await soon(driver.execute(unlock("gate", "u1")))
        finally:
            os.kill(mosquitto.pid, signal.SIGCONT)
        assert (executed.ok, executed.certain) == (False, True)
        assert "does not answer now" in str(executed.error)
        await publish(mosquitto, "yard/relay-1", "later", user="relay-1")
        assert await told(lines) == "later", "nothing was sent once the broker went on"


async def test_a_relay_by_the_contract_says_so_and_is_asked_for_nothing_else(mosquitto: RunningBroker) -> None:
    door_id = next(mosquitto.fresh)
    async with (
        listening(mosquitto, f"{ROOT}/{door_id}/command", user=door_id) as lines,
        mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver,
    ):
        await publish(mosquitto, f"{ROOT}/{door_id}/hello", {"capabilities": ["relay"]}, user=door_id)
        await publish(mosquitto, f"{ROOT}/{door_id}/online", "online", user=door_id)
        reported = await soon(anext(aiter(driver.reports())))
        await reported.acknowledge(None)
        assert isinstance(reported.report, Presence)
        assert set(driver.capabilities(door_id) or ()) == {"relay"}
        assert await soon(driver.execute(unlock(door_id, "u1"))) == Executed(ok=True, certain=False)
        assert json.loads(await told(lines))["action"] == "unlock"
        refused = await soon(driver.execute(SetMode(door_id=door_id, version=1, mode="locked_down")))
        assert refused == Executed(ok=False, error="unsupported")
    check = mosquitto.client("sub", "-t", f"{ROOT}/{door_id}/#", "-W", "1", "-F", "%t")
    kept = await asyncio.to_thread(subprocess.run, check, capture_output=True, check=False, timeout=10)
    assert kept.stdout == b""
