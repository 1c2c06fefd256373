"""What the device around a camera says: lasting tampering is a trouble, a moment is none, and it returns to its position."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.camera_devices import CameraDevices, lasting
from edge.camera_troubles import CameraTroubles
from edge.clock import SteadyClock
from edge.spool import Spool
from models.events import AnyFact, CameraSettled, CameraTroubled
from models.places import Camera
from tests.drivers.onvif.rigs import PASSWORD, Site, eventually, running, simulated
from tests.edge.doubles import EDGE


@dataclass
class Moved:
    """The wall clock of the box."""

    by_s: float = 0.0

    def wall(self) -> float:
        return time.time() + self.by_s


@dataclass
class Yard:
    devices: CameraDevices
    troubles: CameraTroubles
    spool: Spool
    site: Site
    clock: SteadyClock
    moved: Moved

    def camera(self, **device: Any) -> Camera:
        url = f"{self.site.unit.origin}/onvif/device_service"
        settings = {"kind": "onvif", "url": url, "source": "video-1", "profile": "sub", "pull_s": 1, **device}
        return Camera(
            id="c1", site_id="s", name="c1", edge_id=EDGE, url="rtsp://127.0.0.1:1/x", user="edge",
            password=PASSWORD, device=settings,
        )  # fmt: skip

    async def facts(self) -> list[AnyFact]:
        rows = await self.spool.oldest(1000, max_bytes=10**9)
        return [msgspec.json.decode(row.body, type=AnyFact) for row in rows]

    async def listening(self) -> None:
        pulls = self.site.unit.subscriptions.pulls
        await eventually(lambda: self.site.unit.subscriptions.pulls > pulls)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    house = Spool(tmp_path / "spool.db", budget_bytes=10**8)
    async with house as spool, running(simulated()) as site, asyncio.TaskGroup() as tasks:
        moved = Moved()
        clock = SteadyClock(wall=moved.wall)
        troubles = CameraTroubles(edge_id=EDGE, spool=spool, clock=clock)
        devices = CameraDevices(troubles, clock=clock, hold_s=0.2, clock_every_s=0.1, clock_lasts_s=0.3)
        devices.begin(tasks)
        yield Yard(devices, troubles, spool, site, clock, moved)
        devices.apply([])


async def test_a_covered_camera_is_troubled_and_settles(yard: Yard) -> None:
    yard.devices.apply([yard.camera()])
    await yard.listening()
    await yard.site.act("cover")
    await eventually(lambda: yard.troubles.of("c1") == ("tampered",))
    await yard.site.act("move")
    await yard.site.act("cover", on=False)
    await yard.listening()
    assert yard.troubles.of("c1") == ("tampered",), "it is moved still"
    await yard.site.act("move", on=False)
    await eventually(lambda: yard.troubles.of("c1") == ())
    assert [type(fact) for fact in await yard.facts()] == [CameraTroubled, CameraSettled]


async def test_what_was_so_at_the_connection_raises_nothing_and_its_end_is_told(yard: Yard) -> None:
    await yard.troubles.say("c1", present=("tampered",), by="device")
    yard.troubles.withdraw("c1", by="device")
    yard.devices.apply([yard.camera()])
    await eventually(lambda: yard.troubles.of("c1") == ())
    await yard.site.act("cover")
    yard.devices.apply([])
    yard.devices.apply([yard.camera()])
    await yard.listening()
    await yard.listening()
    assert yard.troubles.of("c1") == ()


async def test_a_camera_returns_to_its_position_when_its_device_is_back(yard: Yard) -> None:
    yard.devices.apply([yard.camera(preset="Gate")])
    await eventually(lambda: yard.site.unit.device.preset == "gate")
    yard.site.unit.device.preset = None
    yard.site.unit.reboot(for_s=0.3)
    await eventually(lambda: yard.site.unit.device.preset == "gate")


async def test_a_position_that_is_not_there_costs_only_itself(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard.devices.apply([yard.camera(preset="nowhere")])
    await yard.listening()
    await yard.site.act("cover")
    await eventually(lambda: yard.troubles.of("c1") == ("tampered",))
    assert "Gate, Home" in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_device_that_cannot_be_heard_says_why_until_it_is_heard(yard: Yard) -> None:
    yard.devices.apply([msgspec.structs.replace(yard.camera(), password="not-it-at-all")])
    await eventually(lambda: "c1" in yard.devices.wrong)
    assert "not-it-at-all" not in yard.devices.wrong["c1"]
    yard.devices.apply([yard.camera()])
    await yard.listening()
    assert yard.devices.wrong == {}
    yard.devices.apply([yard.camera(colour="green")])
    await eventually(lambda: "colour" in yard.devices.wrong.get("c1", ""))


async def test_another_camera_of_the_device_is_not_meant(yard: Yard) -> None:
    yard.devices.apply([yard.camera(source="video-2")])
    await yard.listening()
    await yard.site.act("cover")
    await yard.listening()
    assert yard.troubles.of("c1") == ()


async def test_a_camera_that_did_not_change_is_not_touched(yard: Yard) -> None:
    yard.devices.apply([yard.camera()])
    await yard.listening()
    asked = len(yard.site.unit.subscriptions.points)
    yard.devices.apply([yard.camera()])
    await yard.listening()
    assert len(yard.site.unit.subscriptions.points) == asked == 1


async def test_a_clock_an_hour_off_is_a_trouble_and_settles_once_it_is_set(yard: Yard) -> None:
    yard.site.unit.faults.add("clock_hour_off")
    yard.devices.apply([yard.camera()])
    await eventually(lambda: yard.troubles.of("c1") == ("clock_skew",))
    await yard.troubles.say("c1", absent=("clock_skew",), by="eye")
    assert yard.troubles.of("c1") == ("clock_skew",), "its stream has another clock, which is right"
    yard.site.unit.faults.discard("clock_hour_off")
    await eventually(lambda: yard.troubles.of("c1") == ())
    facts = [fact for fact in await yard.facts() if isinstance(fact, CameraTroubled | CameraSettled)]
    assert [(type(fact), fact.trouble) for fact in facts] == [
        (CameraTroubled, "clock_skew"), (CameraSettled, "clock_skew"),
    ]  # fmt: skip


async def test_a_clock_that_is_right_says_nothing_and_one_whose_device_is_taken_off_is_the_eyes_to_judge(
    yard: Yard,
) -> None:
    yard.devices.apply([yard.camera()])
    await yard.listening()
    await yard.listening()
    assert yard.troubles.of("c1") == ()
    yard.site.unit.faults.add("clock_hour_off")
    await eventually(lambda: yard.troubles.of("c1") == ("clock_skew",))
    yard.devices.apply([])
    await yard.troubles.say("c1", absent=("clock_skew",), by="eye")
    assert yard.troubles.of("c1") == ()


async def test_a_wall_clock_that_was_set_right_makes_no_right_camera_wrong(tmp_path: Path) -> None:
    moved = Moved(-60.0)  # the box boots a minute behind, and is set right at once
    clock = SteadyClock(wall=moved.wall)
    moved.by_s = 0.0
    async with (
        Spool(tmp_path / "s.db", budget_bytes=10**8) as spool,
        running(simulated()) as site,
        asyncio.TaskGroup() as tasks,
    ):
        troubles = CameraTroubles(edge_id=EDGE, spool=spool, clock=clock)
        devices = CameraDevices(troubles, clock=clock, hold_s=0.2, clock_every_s=0.05, clock_lasts_s=0.2)
        devices.begin(tasks)
        yard = Yard(devices, troubles, spool, site, clock, moved)
        devices.apply([yard.camera()])
        await yard.listening()
        await asyncio.sleep(1.0)
        assert troubles.of("c1") == ()
        site.unit.faults.add("clock_hour_off")
        await eventually(lambda: troubles.of("c1") == ("clock_skew",))
        devices.apply([])


async def test_no_camera_is_judged_by_a_clock_that_is_doubted_or_has_just_been_moved(yard: Yard) -> None:
    yard.clock.compare(4000.0)
    yard.site.unit.faults.add("clock_hour_off")
    yard.devices.apply([yard.camera()])
    await yard.listening()
    await asyncio.sleep(0.8)
    assert yard.troubles.of("c1") == ()
    yard.clock.confirm()
    moving = asyncio.create_task(keep_moving(yard.moved))
    await asyncio.sleep(0.8)
    moving.cancel()
    assert yard.troubles.of("c1") == ()
    await eventually(lambda: yard.troubles.of("c1") == ("clock_skew",))


async def keep_moving(moved: Moved) -> None:
    while True:
        moved.by_s += 2.0
        await asyncio.sleep(0.02)


async def test_what_only_a_device_told_is_over_when_it_is_taken_out_of_the_settings(yard: Yard) -> None:
    yard.site.unit.faults.add("clock_hour_off")
    yard.devices.apply([yard.camera()])
    await eventually(lambda: yard.troubles.of("c1") == ("clock_skew",))
    yard.devices.apply([yard.camera(pull_s=2)])
    assert yard.troubles.of("c1") == ("clock_skew",), "other settings settle nothing"
    await eventually(lambda: ("c1", "clock_skew", "device") in yard.troubles._seen)
    yard.devices.apply([msgspec.structs.replace(yard.camera(), device=None)])
    await eventually(lambda: yard.troubles.of("c1") == ())
    assert isinstance((await yard.facts())[-1], CameraSettled)


async def test_what_the_eye_sees_too_stays_when_the_device_is_taken_out(yard: Yard) -> None:
    yard.site.unit.faults.add("clock_hour_off")
    yard.devices.apply([yard.camera()])
    await eventually(lambda: yard.troubles.of("c1") == ("clock_skew",))
    await yard.troubles.say("c1", present=("clock_skew",), by="eye")
    yard.devices.apply([msgspec.structs.replace(yard.camera(), device=None)])
    await asyncio.sleep(0.2)
    assert yard.troubles.of("c1") == ("clock_skew",)


async def test_a_moment_is_no_lasting_state() -> None:
    states: asyncio.Queue[bool] = asyncio.Queue()

    async def told() -> AsyncIterator[bool]:
        while True:
            yield await states.get()

    for state in (True, False, True):
        states.put_nowait(state)
    following = lasting(told(), hold_s=0.05)
    async with asyncio.timeout(5):
        assert [await anext(following), await anext(following)] == [False, True]
    with contextlib.suppress(RuntimeError):
        await following.aclose()
