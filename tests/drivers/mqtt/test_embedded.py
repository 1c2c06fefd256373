"""The embedded broker where the library that it rests on goes wrong."""

from __future__ import annotations

from tests.drivers.contract import next_event
from tests.drivers.mqtt.conftest import RunningBroker
from tests.drivers.mqtt.test_contract import rig_on


async def test_a_client_that_is_back_at_once_hears_whenever_its_earlier_end_is_noticed(embedded: RunningBroker) -> None:
    async with rig_on(embedded) as rig:
        for _ in range(60):
            async with rig.driver() as driver:
                rig.door.force()
                rig.door.close()
                reports = driver.reports()
                assert {(await next_event(reports))[0].type for _ in range(2)} == {"forced", "closed"}
