"""The door contract of drivers over MQTT, on real Mosquitto and on the embedded broker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from drivers.door import DoorDriver
from drivers.mqtt.driver import MqttDoors
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from tests.drivers.contract import DoorDriverContract, Rig
from tests.drivers.mqtt.conftest import RunningBroker, connected


@dataclass
class MqttRig:
    """A simulated door on a broker, and drivers with one client id."""

    broker: RunningBroker
    door: SimulatedDoor
    keeps_sessions: bool
    numbered: bool = True
    current: MqttDoors | None = None

    @contextlib.asynccontextmanager
    async def driver(self) -> AsyncIterator[DoorDriver]:
        async with self.broker.driver(self.door.id, client_id=f"edge-{self.door.id}") as driver:
            assert isinstance(driver, MqttDoors)
            self.current = driver
            yield driver

    async def break_wire(self) -> None:
        assert self.current is not None
        assert self.current._link is not None
        self.current._link.abort("the test cut it")


@contextlib.asynccontextmanager
async def rig_on(broker: RunningBroker) -> AsyncIterator[Rig]:
    with EventStore() as store:
        door = broker.door(next(broker.fresh), store=store)
        async with connected(door):
            yield MqttRig(broker=broker, door=door, keeps_sessions=broker.kind != "embedded")


@pytest.mark.needs("mosquitto")
class TestOnMosquitto(DoorDriverContract):
    @pytest.fixture
    async def rig(self, mosquitto: RunningBroker) -> AsyncIterator[Rig]:
        async with rig_on(mosquitto) as rig:
            yield rig


class TestOnTheEmbeddedBroker(DoorDriverContract):
    @pytest.fixture
    async def rig(self, embedded: RunningBroker) -> AsyncIterator[Rig]:
        async with rig_on(embedded) as rig:
            yield rig
