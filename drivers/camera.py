"""The camera interface: what every camera driver must do, and the records it speaks in.

A camera runs until it ends or raises; only its supervisor restarts it. The calls block: a camera lives in an eye, a
process of its own, which reads it in one thread. No FFmpeg here (drivers/rtsp) and no opinion on what is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np

from models.errors import InvalidInput
from models.places import Hardware

MAX_WIDTH_PX: Final = 4096
MAX_HEIGHT_PX: Final = 2304
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Rate = Literal["full", "key", "glance"]
"""What is decoded: all, key frames only, or the two pictures of a glance every `GLANCE_S`."""
GLANCE_S: Final = 10.0


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach one camera. `url` never holds credentials: they are given apart and encoded by the driver.

    `rate` says what is decoded to begin with, `hardware` what decodes it where this machine has it.
    """

    camera_id: str
    url: str
    user: str = ""
    password: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 5.0
    rate: Rate = "full"
    hardware: Hardware = "none"

    def __repr__(self) -> str:
        """Show the camera without its password."""
        return f"CameraSettings(camera_id={self.camera_id!r}, url={without_credentials(self.url)!r})"


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One undecoded picture: the codec's byte stream, `pts_s` on the stream's clock, `age_ms` as in `Frame`."""

    number: int
    pts_s: float
    key: bool
    age_ms: float
    data: bytes


class Frame(Protocol):
    """One decoded picture. Pixels are made only when asked for."""

    @property
    def number(self) -> int:
        """Count of this camera's frames from 1, over reconnections of one driver."""

    @property
    def captured_at(self) -> float:
        """Unix time in s of this machine when the picture left the camera, as far as the stream's clock tells."""

    @property
    def age_ms(self) -> float:
        """How much longer than the fastest frame this one was on its way, in ms; infinite while nothing tells."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""

    def luma(self) -> Pixels:
        """Return the brightness, (height, width) uint8; a view of the frame where the format allows."""

    def rgb(self, box: tuple[int, int, int, int], *, max_bytes: int) -> Pixels:
        """Return box (x, y, w, h) as (rows, cols, 3) uint8 RGB, scaled down by a whole number to fit `max_bytes`."""


class CameraHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the driver was made."""

    frames: int = 0
    decode_errors: int = 0
    clock_jumps: int = 0
    codec: str = ""
    width_px: int = 0
    height_px: int = 0
    opened_ms: float = 0.0
    decoder: str = "software"
    """What decodes: a kind of hardware, or software and why."""
    clock_off_s: float | None = None
    """By how much the camera's clock is ahead of this machine's, by its last report; None where it does not say."""


class Camera(Protocol):
    """One camera's stream, opened by entering it and closed by leaving it.

    Entering and reading raise `DeviceRefused` (credentials, no such stream), `DeviceUnreachable` (no connection, or
    silence) and `InvalidInput` (it sends something that is no video). One of `frames`, `packets` and `snapshot` at a
    time.
    """

    rate: Rate
    """What is decoded from the next key frame on; set by the thread that reads."""
    patience_s: float
    """For how long pictures may gather before they are read; 0 is not at all. Set by the thread that reads."""

    @property
    def health(self) -> CameraHealth:
        """Counters so far; may be read from another thread."""

    def frames(self) -> Iterator[Frame]:
        """Yield decoded pictures until the stream ends."""

    def packets(self) -> Iterator[Packet]:
        """Yield undecoded pictures until the stream ends."""

    def snapshot(self) -> Frame:
        """Return the next whole picture."""

    def hurry(self) -> None:
        """Read at once what has gathered; may be called from another thread."""

    def stop(self) -> None:
        """Make `frames` or `packets` end soon; may be called from another thread."""


OpenCamera = AbstractContextManager[Camera]


def without_credentials(text: str) -> str:
    """Blank out credentials in anything that looks like a URL, for messages and logs."""
    return re.sub(r"(\w+://)\S*@", r"\1…@", text)


def check_settings(settings: CameraSettings, *, schemes: tuple[str, ...]) -> None:
    """Refuse settings that cannot be used, before anything is dialled.

    Raises:
        InvalidInput: the URL is none, has another scheme, no host, or credentials inside; or a timeout is out of
        bounds.
    """
    where = f"camera {settings.camera_id}: url"
    try:
        parts = urlsplit(settings.url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(where, "is not a URL") from error
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise InvalidInput(where, "must not hold credentials; give `user` and `password` apart")
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise InvalidInput(where, f"must be {schemes[0]}://HOST[:PORT]/PATH")
    if not settings.url.isascii() or not settings.url.isprintable() or " " in settings.url:
        raise InvalidInput(where, "holds characters that a URL cannot have; percent-encode them")
    for name in ("connect_timeout_s", "read_timeout_s"):
        if not 0.1 <= getattr(settings, name) <= 60:
            raise InvalidInput(f"camera {settings.camera_id}: {name}", "must be between 0.1 and 60 seconds")
