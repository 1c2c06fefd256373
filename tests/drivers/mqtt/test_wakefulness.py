"""What is said after this machine stood still, or slept: on a real broker, with a clock that goes on meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from drivers.catalog import open_door
from drivers.door import DoorDriver
from drivers.mqtt.wire import ROOT
from models.access import Request
from tests.drivers.contract import now, soon
from tests.drivers.mqtt.conftest import EDGE_PASSWORD, RunningBroker

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")
STOOD_STILL_S = 6.0
MAP = {
    "hears": [
        {"topic": "yard/relay-1", "request": {"when": "card != null", "kind": "card", "value": "card"}},
    ],
    "says": {"unlock": {"topic": "yard/relay-1", "payload": "open"}},
}


@dataclass
class Clock:
    """Tell the time, and let it go on while nobody looks."""

    ahead_s: float = 0.0
    read: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> datetime:
        """Return the time."""
        self.read.set()
        return now() + timedelta(seconds=self.ahead_s)

    async def read_again(self) -> None:
        """Wait until somebody has asked for the time."""
        self.read.clear()
        await soon(self.read.wait())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door_id(mosquitto: RunningBroker) -> str:
    return next(mosquitto.fresh)


def opened(broker: RunningBroker, door_id: str, clock: Clock, **more: Any) -> DoorDriver:
    settings = {"kind": "mqtt", "port": broker.port, "username": "edge", "password": EDGE_PASSWORD}
    settings |= {"protocol": broker.protocol, **more}
    return open_door(settings, doors=(door_id,), client_id=f"edge-{door_id}-awake", now=clock.now)


async def asked(
    broker: RunningBroker, requests: AsyncIterator[Request], topic: str, *, user: str, **content: Any
) -> Request:
    """Publish a request with mosquitto_pub; return what the driver makes of it."""
    await asyncio.to_thread(broker.publish, topic, json.dumps(content), user=user)
    request: Request = await soon(anext(requests))
    return request


async def test_a_card_without_a_time_that_comes_after_we_stood_still_has_waited(
    mosquitto: RunningBroker, door_id: str, clock: Clock
) -> None:
    topic = f"{ROOT}/{door_id}/request"
    async with opened(mosquitto, door_id, clock) as driver:
        requests = aiter(driver.requests())
        card = {"kind": "card", "value": "7186A61E"}
        at_once = await asked(mosquitto, requests, topic, user=door_id, id="r1", **card)
        assert not at_once.redelivered, "a new connection has rules of its own"
        clock.ahead_s += STOOD_STILL_S
        assert (await asked(mosquitto, requests, topic, user=door_id, id="r2", **card)).redelivered
        never_set = await asked(mosquitto, requests, topic, user=door_id, id="r3", at="1970-01-01T00:00:00Z", **card)
        assert never_set.redelivered, "a clock that was never set says no time"
        dated = await asked(mosquitto, requests, topic, user=door_id, id="r4", at=clock.now().isoformat(), **card)
        assert not dated.redelivered, "its own time is judged"
        clock.ahead_s += 1.1
        assert not (await asked(mosquitto, requests, topic, user=door_id, id="r5", **card)).redelivered


async def test_a_card_long_after_we_stood_still_is_of_now(mosquitto: RunningBroker, door_id: str, clock: Clock) -> None:
    contract = f"{ROOT}/{door_id}/request"
    async with opened(mosquitto, door_id, clock) as driver:
        clock.ahead_s += STOOD_STILL_S
        await clock.read_again()
        clock.ahead_s += 1.1
        request = await asked(
            mosquitto, aiter(driver.requests()), contract, user=door_id, id="r1", kind="card", value="7186A61E"
        )
        assert not request.redelivered


async def test_the_first_card_at_a_vendors_reader_long_after_we_stood_still_is_of_now(
    mosquitto: RunningBroker, clock: Clock
) -> None:
    async with opened(mosquitto, "gate", clock, map=MAP) as driver:
        requests = aiter(driver.requests())
        clock.ahead_s += STOOD_STILL_S
        late = await asked(mosquitto, requests, "yard/relay-1", user="relay-1", card="7186A61E")
        assert late.redelivered
        clock.ahead_s += STOOD_STILL_S
        await clock.read_again()
        for _ in range(4):  # nobody comes for a while
            clock.ahead_s += 2.0
            await clock.read_again()
        assert not (await asked(mosquitto, requests, "yard/relay-1", user="relay-1", card="7186A61E")).redelivered
