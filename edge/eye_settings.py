"""What an eye is told: its camera, its sockets and what it looks at, read from one line of JSON and checked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import msgspec

from drivers.camera import CameraSettings, Rate
from edge.motion import Zone
from models.errors import InvalidInput
from models.places import Hardware


class EyeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an eye is told on standard input, as one line of JSON; what names no secret may come as an argument too.

    Without `faces_socket` no picture ever leaves the process. Motion outside `near_zone` (x0, y0, x1, y1, parts of the
    frame) is not looked at. `rate` key decodes key frames only while nothing moves; auto decodes all where pictures are
    handed to the face process, and else glances at the picture every ten seconds, to see that it is of use.
    """

    url: str
    camera_id: str = ""
    user: str = ""
    password: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 5.0
    rate: Literal["auto", "full", "key"] = "auto"
    hardware: Hardware = "none"
    faces_socket: str | None = None
    worker_socket: str | None = None
    near_zone: Zone = (0.0, 0.0, 1.0, 1.0)
    log_style: Literal["text", "json"] = "text"

    def __repr__(self) -> str:
        """Name the camera only: the rest may hold its password."""
        return f"EyeSettings(camera_id={self.camera_id!r})"

    def camera(self) -> CameraSettings:
        """Return what the driver needs."""
        names = set(CameraSettings.__struct_fields__) - {"rate"}
        return CameraSettings(rate=self.first_rate, **{name: getattr(self, name) for name in names})

    @property
    def first_rate(self) -> Rate:
        """What is decoded while nothing moves."""
        if self.rate != "auto":
            return self.rate
        return "full" if self.faces_socket else "glance"


def read_settings(line: bytes, arguments: argparse.Namespace | None = None) -> EyeSettings:
    """Read an eye's settings from one line of JSON; what `arguments` names goes before it.

    Raises:
        InvalidInput: not JSON, an unknown or missing key, or a socket path that no socket can have.
    """
    try:
        settings = msgspec.json.decode(line, type=EyeSettings)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput("settings of an eye", str(error)) from error
    named = {name: value for name, value in vars(arguments or argparse.Namespace()).items() if value is not None}
    settings = msgspec.structs.replace(settings, **named)
    if not settings.camera_id:
        raise InvalidInput("settings of an eye", "camera_id is missing")
    for path in (settings.faces_socket, settings.worker_socket):
        if path is not None and (not Path(path).is_absolute() or len(path.encode()) > 100):
            raise InvalidInput("settings of an eye", "a socket path must be absolute and at most 100 bytes long")
    return settings
