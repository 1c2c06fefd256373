"""The door contract on RabbitMQ's MQTT plugin: a broker with other habits, written by others."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from drivers.mqtt.wire import ROOT
from tests.drivers.contract import DoorDriverContract, Rig, next_event, soon, unlock
from tests.drivers.mqtt.conftest import RunningBroker
from tests.drivers.mqtt.rabbit import running_rabbit
from tests.drivers.mqtt.test_contract import rig_on

pytestmark = pytest.mark.needs("rabbitmq", "mosquitto-clients")


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RunningBroker]:
    with running_rabbit() as broker:
        yield broker


class TestOnRabbitMQ(DoorDriverContract):
    @pytest.fixture
    async def rig(self, rabbitmq: RunningBroker) -> AsyncIterator[Rig]:
        async with rig_on(rabbitmq) as rig:
            yield rig

    async def test_a_driver_that_comes_later_learns_what_the_door_can_do(self, rig: Rig) -> None:
        """RabbitMQ keeps retained messages from wildcards: the introduction comes by its exact name."""
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            await next_event(reports)
            assert "contact" in (driver.capabilities(rig.door.id) or ())
            assert (await soon(driver.execute(unlock(rig.door.id, "u-later")))).ok


def test_a_door_may_neither_speak_for_another_nor_command_itself(rabbitmq: RunningBroker) -> None:
    door, other = next(rabbitmq.fresh), next(rabbitmq.fresh)
    for topic, allowed in ((f"{door}/event", True), (f"{other}/event", False), (f"{door}/command", False)):
        command = rabbitmq.client("pub", "-t", f"{ROOT}/{topic}", "-m", "{}", "-q", "1", "-V", "311", user=door)
        done = subprocess.run(command, check=False, capture_output=True, timeout=10)
        assert (done.returncode == 0) == allowed, topic
