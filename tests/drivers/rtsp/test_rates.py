"""What is decoded of a stream, and when: every picture, key pictures, glances, groups of pictures."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from drivers.rtsp.driver import RtspCamera, open_camera
from drivers.rtsp.player import Fault
from drivers.rtsp.server import CameraServer
from tests.drivers.rtsp.reading import frames_of, told


async def test_a_quiet_overview_camera_decodes_key_frames_only(cameras: CameraServer) -> None:
    frames = await asyncio.to_thread(frames_of, told(cameras.url("gate"), rate="key", read_timeout_s=5.0), 3)
    assert np.diff([frame.captured_at for frame in frames]) == pytest.approx(1.0, abs=0.2)


async def test_it_goes_to_full_rate_with_the_next_key_frame(cameras: CameraServer) -> None:
    def read() -> list[float]:
        at: list[float] = []
        with open_camera(told(cameras.url("gate"), rate="key", read_timeout_s=5.0)) as camera:
            for frame in camera.frames():
                at.append(frame.captured_at)
                if frame.number == 2:
                    camera.rate = "full"
                if frame.number == 14:
                    break
            assert camera.health.decode_errors == 0
        return at

    gaps = np.diff(await asyncio.to_thread(read))
    assert gaps[:2] == pytest.approx(1.0, abs=0.3)
    assert float(np.median(gaps[2:])) == pytest.approx(0.1, abs=0.05)


async def test_pictures_gather_until_somebody_is_in_a_hurry(cameras: CameraServer) -> None:
    camera, rests = open_camera(told(cameras.url("gate"))), threading.Event()

    def read() -> list[float]:
        ages = []
        with camera:
            for frame in camera.frames():
                ages.append(frame.age_ms)
                camera.patience_s = 60.0 if frame.number == 5 else 0.0
                if frame.number == 5:
                    rests.set()
                if frame.number == 25:
                    break
        return ages

    reading = asyncio.create_task(asyncio.to_thread(read))
    assert await asyncio.to_thread(rests.wait, 20)
    assert not (await asyncio.wait({reading}, timeout=1.5))[0], "the next pictures wait in the socket"
    camera.hurry()
    ages = await asyncio.wait_for(reading, 20)
    assert max(ages[5:7]) > 800, "a picture that waited says so"
    assert ages[-1] < 500, "what gathered is caught up with"


async def test_a_glance_decodes_two_pictures_and_then_none(cameras: CameraServer) -> None:
    def read() -> list[float]:
        # A clock that runs four times as fast, so that the ten seconds between two glances pass in 2.5.
        settings = told(cameras.url("gate"), rate="glance", read_timeout_s=5.0)
        with RtspCamera(settings, monotonic=lambda: time.monotonic() * 4) as camera:
            at = []
            for frame in camera.frames():
                at.append(time.monotonic())
                if frame.number == 4:
                    camera.rate = "full"
                if frame.number == 8:
                    assert camera.health.decode_errors == 0
                    return at
        return []

    gaps = np.diff(await asyncio.wait_for(asyncio.to_thread(read), 20))
    assert gaps[0] < 0.3
    assert 1.5 < gaps[1] < 5
    assert gaps[2] < 0.3
    assert gaps[3] < 1.5, "full from the next key frame on"
    assert gaps[4:] == pytest.approx(0.1, abs=0.09)


async def test_the_cameras_clock_is_compared_with_ours(cameras: CameraServer) -> None:
    def off(fault: Fault | None) -> float | None:
        cameras.misbehave("gate", fault)
        with open_camera(told(cameras.url("gate"))) as camera:
            camera.snapshot()
            return camera.health.clock_off_s

    right, wrong = await asyncio.to_thread(off, None), await asyncio.to_thread(off, "clock_off")
    assert right == pytest.approx(0, abs=1)
    assert wrong == pytest.approx(3600, abs=1)


async def test_reading_stops_when_told_from_another_thread(cameras: CameraServer) -> None:
    camera = open_camera(told(cameras.url("gate")))

    def read() -> int:
        seen = 0
        with camera:
            for frame in camera.frames():
                seen += 1
                if frame.number == 3:
                    camera.stop()
        return seen

    assert await asyncio.wait_for(asyncio.to_thread(read), 10) <= 4


def test_a_camera_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        next(iter(RtspCamera(told()).frames()))
