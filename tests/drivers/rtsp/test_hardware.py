"""Decoding by hardware is asked for, not counted on: pictures come in any case, and the reason is told."""

from __future__ import annotations

import asyncio
import re

import pytest

from drivers.camera import CameraSettings
from drivers.rtsp.driver import open_camera
from drivers.rtsp.server import CameraServer
from models.places import Hardware


@pytest.mark.parametrize(
    ("hardware", "decoder"),
    [
        ("none", "^software$"),
        ("auto", "^[a-z0-9]+$|software: no hardware"),
        ("cuda", "^cuda$|this machine has none"),
        ("qsv", "software: qsv: this FFmpeg"),
    ],
)
async def test_pictures_come_whatever_hardware_is_asked_for(
    cameras: CameraServer, hardware: Hardware, decoder: str
) -> None:
    def read() -> str:
        with open_camera(CameraSettings(camera_id="gate", url=cameras.url("gate"), hardware=hardware)) as camera:
            assert camera.snapshot().luma().shape == (360, 640)
            return camera.health.decoder

    assert re.search(decoder, await asyncio.to_thread(read))
