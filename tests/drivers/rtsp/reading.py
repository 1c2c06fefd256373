"""Cameras as the tests of the driver open and read them."""

from __future__ import annotations

from collections.abc import Callable

from drivers.camera import CameraSettings, Frame
from drivers.rtsp.driver import open_camera


def told(url: str = "rtsp://127.0.0.1:1/gate", **changes: object) -> CameraSettings:
    """Return the settings of a camera, with short time limits."""
    usual: dict[str, object] = {"connect_timeout_s": 1.0, "read_timeout_s": 1.0, **changes}
    return CameraSettings(camera_id="gate", url=url, **usual)  # type: ignore[arg-type]


def frames_of(settings: CameraSettings, count: int, *, until: Callable[[Frame], bool] = lambda _: False) -> list[Frame]:
    """Read a camera until so many pictures came, or one that is wanted."""
    frames: list[Frame] = []
    with open_camera(settings) as camera:
        for frame in camera.frames():
            frames.append(frame)
            if len(frames) >= count or until(frame):
                return frames
    return frames
