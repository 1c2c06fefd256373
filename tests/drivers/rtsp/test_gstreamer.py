"""The driver against an RTSP server written by others, so that driver and simulator cannot share a mistake."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.camera import CameraSettings
from drivers.rtsp.driver import open_camera
from models.errors import DeviceRefused

SCRIPT = Path(__file__).with_name("gst_server.py")
PYTHON = "/usr/bin/python3"
USER, PASSWORD = "u", "p@ w:/#"


def _installed() -> bool:
    wanted = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    return (
        Path(PYTHON).exists()
        and subprocess.run([PYTHON, "-c", wanted], check=False, capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if not _installed():
        reason = "python3-gi and gir1.2-gst-rtsp-server-1.0 are not installed: run `make setup` as root"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    command = [PYTHON, str(SCRIPT), USER, PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        yield f"rtsp://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("h265", "hevc")])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_driver_plays_the_stream_of_gstreamer(url: str, transport: str, codec: str, name: str) -> None:
    settings = CameraSettings(
        camera_id="g",
        url=f"{url}/{codec}",
        user=USER,
        password=PASSWORD,
        transport=transport,  # type: ignore[arg-type]
    )
    with open_camera(settings) as camera:
        for frame in camera.frames():
            assert frame.size == (320, 240)
            if frame.number == 12:
                break
    assert (camera.health.codec, camera.health.decode_errors) == (name, 0)
    assert frame.age_ms < 1000


def test_gstreamer_refuses_a_wrong_password_by_the_same_name(url: str) -> None:
    camera = open_camera(CameraSettings(camera_id="g", url=f"{url}/h264", user=USER, password="wrong"))
    with pytest.raises(DeviceRefused, match="wrong user or password"):
        camera.__enter__()
