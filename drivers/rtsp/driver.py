"""RTSP cameras by PyAV (FFmpeg's libraries): opened with bounds and time limits, every failure named.

It opens one stream, decodes it in one thread and ends or raises; it never dials again (the supervisor does). FFmpeg's
own log stays off and its messages are never passed on, because they hold the URL with the password.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from urllib.parse import urlsplit

import av
import av.logging
import numpy as np
from av.container import InputContainer

from drivers.camera import (
    MAX_HEIGHT_PX,
    MAX_WIDTH_PX,
    CameraHealth,
    CameraSettings,
    Frame,
    Packet,
    Pixels,
    check_settings,
)
from drivers.rtsp.hardware import accelerator
from drivers.rtsp.pace import Gathering, Pace
from drivers.rtsp.stream_clock import StreamAge, clock_off_s
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput

SCHEMES: Final = ("rtsp", "rtsps")
PROTOCOLS: Final = "rtsp,rtp,tcp,udp,tls"
MAX_CREDENTIALS_BYTES: Final = 127  # FFmpeg's RTSP client cuts off the rest without a word
NO_PICTURE_S: Final = 12.0
NO_KEY_PICTURE_S: Final = 60.0
REST_S: Final = 1.4
_EIGHT_BIT_LUMA: Final = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}
)

# A crash or a log of FFmpeg must never show the password: no message of the library reaches a log.
av.logging.set_level(None)


class RtspFrame:
    """One decoded picture (see `drivers.camera.Frame`)."""

    def __init__(self, picture: av.VideoFrame, *, number: int, captured_at: float, age_ms: float) -> None:
        self.number = number
        self.captured_at = captured_at
        self.age_ms = age_ms
        self._picture = picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return self._picture.width, self._picture.height

    def luma(self) -> Pixels:
        """Return the brightness, (height, width) uint8."""
        picture = self._picture
        if picture.format.name not in _EIGHT_BIT_LUMA:
            picture = picture.reformat(format="gray")
        plane = picture.planes[0]
        rows: Pixels = np.frombuffer(memoryview(plane), dtype=np.uint8)[: plane.line_size * picture.height]
        return rows.reshape(picture.height, plane.line_size)[:, : picture.width]

    def rgb(self, box: tuple[int, int, int, int], *, max_bytes: int) -> Pixels:
        """Return the pixels in box (x, y, w, h), scaled down by a whole number to fit `max_bytes`."""
        x, y, w, h = box
        scale = 1
        while (w // scale) * (h // scale) * 3 > max_bytes:
            scale += 1
        width, height = self._picture.width // scale, self._picture.height // scale
        whole = self._picture.reformat(width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(whole[y // scale : (y + h) // scale, x // scale : (x + w) // scale])


class RtspCamera:
    """One RTSP stream. Enter it to open, read `frames` or `packets`, leave it to close.

    `rate` may be changed by the thread that reads; it holds from the next key frame on.

    Raises (on entering and reading):
        DeviceRefused: wrong credentials, no such stream, or the camera answers no.
        DeviceUnreachable: nobody there, or silence for longer than the time limit.
        InvalidInput: the settings cannot be used, or what arrives is no video.
    """

    def __init__(
        self,
        settings: CameraSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.rate = settings.rate
        self.patience_s = 0.0
        self._settings = settings
        self._monotonic = monotonic
        self._wall = wall
        self._container: InputContainer | None = None
        self._age = StreamAge()
        self._stopping = False
        self._hurried = threading.Event()
        self._number = 0
        self._errors = 0
        self._good_at = 0.0
        self._opened_ms = 0.0
        self._codec = ""
        self._size = (0, 0)
        self._clock_off_s: float | None = None
        self._decoder = "software"
        self._pace = Pace()
        self._gathering = Gathering()

    @property
    def health(self) -> CameraHealth:
        """Counters so far."""
        return CameraHealth(
            frames=self._number,
            decode_errors=self._errors,
            clock_jumps=self._age.jumps,
            codec=self._codec,
            width_px=self._size[0],
            height_px=self._size[1],
            opened_ms=self._opened_ms,
            decoder=self._decoder,
            clock_off_s=self._clock_off_s,
        )

    def __enter__(self) -> Self:
        """Open the stream."""
        url = dial_url(self._settings)
        limits = (self._settings.connect_timeout_s, self._settings.read_timeout_s)
        hardware, self._decoder = accelerator(self._settings.hardware)
        started = self._monotonic()
        try:
            container = av.open(url, format="rtsp", options=options(self._settings), timeout=limits, hwaccel=hardware)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._fail(error, since=started, limit_s=limits[0], doing="opening")
        self._container = container
        self._opened_ms = (self._monotonic() - started) * 1000
        if not container.streams.video:
            self._close()
            raise InvalidInput(self._settings.camera_id, "the camera's stream holds no video")
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_count = 1
        codec.options = {"max_pixels": str(MAX_WIDTH_PX * MAX_HEIGHT_PX)}
        codec.flags |= av.codec.context.Flags.low_delay
        self._codec = codec.name
        self._check_size(codec.width, codec.height)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream."""
        self._close()

    def stop(self) -> None:
        """Make reading end with the next picture; may be called from another thread."""
        self._stopping = True
        self._hurried.set()

    def hurry(self) -> None:
        """Read at once what has gathered; may be called from another thread."""
        self._hurried.set()

    def frames(self) -> Iterator[Frame]:
        """Yield decoded pictures until the stream ends. Damaged ones are counted and left out."""
        self._good_at = self._monotonic()
        for packet, _ in self._demuxed():
            self._check_progress()
            if packet.is_keyframe:
                self._turn_key(packet)
            for picture in self._decode(packet) if self._pace.wants(key=packet.is_keyframe) else ():
                self._check_size(picture.width, picture.height)
                self._number += 1
                self._pace.decoded()
                yield self._frame(picture)

    def _turn_key(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take up the rate; only at a key frame, because later the pictures that were left out would be missed."""
        codec = packet.stream.codec_context
        codec.skip_frame = "NONKEY" if self.rate == "key" else "DEFAULT"
        if self._pace.at_key(self.rate, self._monotonic()):
            codec.flush_buffers()
        if packet.has_sidedata("prft"):
            self._clock_off_s = clock_off_s(bytes(packet.get_sidedata("prft")), self._wall())

    def _frame(self, picture: av.VideoFrame) -> RtspFrame:
        now = self._wall()
        if picture.pts is None or picture.time_base is None:
            # The first picture of a stream may come before its clock is known.
            return RtspFrame(picture, number=self._number, captured_at=now, age_ms=math.inf)
        age_s = self._age.age_s(picture.time, self._monotonic())
        return RtspFrame(picture, number=self._number, captured_at=now - age_s, age_ms=age_s * 1000)

    def packets(self) -> Iterator[Packet]:
        """Yield undecoded pictures until the stream ends."""
        for packet, age_s in self._demuxed():
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None:
                continue
            pts_s = float(stamp * packet.time_base)
            self._number += 1
            yield Packet(
                number=self._number, pts_s=pts_s, key=packet.is_keyframe, age_ms=age_s * 1000, data=bytes(packet)
            )

    def snapshot(self) -> Frame:
        """Return the next whole picture."""
        for frame in self.frames():
            return frame
        raise DeviceUnreachable(self._settings.camera_id, "the stream ended before a picture came")

    def _demuxed(self) -> Iterator[tuple[av.Packet[av.VideoStream], float]]:
        if self._container is None:
            raise RuntimeError("the camera is not open")
        source = self._container.demux(self._container.streams.video[0])
        while not self._stopping:
            asked_s = self._monotonic()
            try:
                packet = next(source, None)
            except (av.FFmpegError, OSError) as error:
                self._fail(error, since=asked_s, limit_s=self._settings.read_timeout_s, doing="reading")
            if packet is None or packet.size == 0:
                return
            arrived_s = self._monotonic()
            stamp = packet.dts if packet.pts is None else packet.pts
            stamp_s = None if stamp is None else float(stamp * packet.time_base)
            age_s = math.inf if stamp_s is None else self._age.age_s(stamp_s, arrived_s)
            yield packet, age_s
            waited_s = arrived_s - asked_s
            if self._gathering.newest(stamp_s, age_s=age_s, arrived_s=arrived_s, waited_s=waited_s):
                self._rest()

    def _rest(self) -> None:
        """Let pictures gather in the socket for as long as nobody needs the newest one; datagrams would be lost."""
        rest_s = self.patience_s if self.rate == "full" else REST_S
        if rest_s and self._settings.transport == "tcp":
            self._hurried.wait(rest_s)
            self._hurried.clear()

    def _decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        try:
            pictures: list[Any] = list(packet.decode())
        except av.FFmpegError:
            self._errors += 1
            return []
        whole = [picture for picture in pictures if isinstance(picture, av.VideoFrame) and not picture.is_corrupt]
        if whole:
            self._good_at = self._monotonic()
        elif packet.is_corrupt or pictures:
            self._errors += 1
        return whole

    def _check_progress(self) -> None:
        limit_s = NO_PICTURE_S if self.rate == "full" else NO_KEY_PICTURE_S
        if self._monotonic() - self._good_at > limit_s:
            raise InvalidInput(f"camera {self._settings.camera_id}", f"no picture could be decoded for {limit_s:.0f} s")

    def _check_size(self, width: int, height: int) -> None:
        if width > MAX_WIDTH_PX or height > MAX_HEIGHT_PX:
            raise InvalidInput(
                self._settings.camera_id,
                f"pictures of {width}x{height} exceed {MAX_WIDTH_PX}x{MAX_HEIGHT_PX}; use the sub-stream",
            )
        self._size = (width, height)

    def _fail(self, error: Exception, *, since: float, limit_s: float, doing: str) -> NoReturn:
        elapsed_s = self._monotonic() - since
        named = explain(error, self._settings.camera_id, elapsed_s=elapsed_s, limit_s=limit_s, doing=doing)
        if doing == "opening" and isinstance(named, InvalidInput) and self._settings.url.startswith("rtsp:"):
            named = look_closer(self._settings) or named
        # `from None`: the library's message holds the URL with the password.
        raise named from None

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def open_camera(settings: CameraSettings) -> RtspCamera:
    """Make the camera of these settings; enter it to open the stream.

    Raises:
        InvalidInput: the settings cannot be used.
    """
    dial_url(settings)
    return RtspCamera(settings)


def dial_url(settings: CameraSettings) -> str:
    """Return the URL with credentials, percent-encoded as FFmpeg's RTSP client undoes it.

    Only what would be read as structure is encoded, because that client keeps at most 127 bytes of user and password
    together.

    Raises:
        InvalidInput: the settings cannot be used.
    """
    check_settings(settings, schemes=SCHEMES)
    if not settings.user and not settings.password:
        return settings.url
    if set(settings.user) & set(':"\\'):
        # RFC 7617 section 2 forbids the colon; FFmpeg does not escape the other two in a digest.
        raise InvalidInput(f"camera {settings.camera_id}: user", "may not hold a colon, quotation mark or backslash")
    credentials = f"{_encode(settings.user)}:{_encode(settings.password)}"
    if len(credentials) > MAX_CREDENTIALS_BYTES:
        raise InvalidInput(
            f"camera {settings.camera_id}: password",
            f"user and password are {len(credentials)} bytes once encoded; at most {MAX_CREDENTIALS_BYTES} work",
        )
    return settings.url.replace("://", f"://{credentials}@", 1)


def _encode(text: str) -> str:
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and chr(byte) not in "%/?#" else f"%{byte:02X}" for byte in text.encode()
    )


def options(settings: CameraSettings) -> dict[str, str]:
    """Return FFmpeg's options: fenced in, quick to start, with time limits."""
    return {
        "rtsp_transport": settings.transport,
        "protocol_whitelist": PROTOCOLS,
        "timeout": str(round(settings.read_timeout_s * 1e6)),
        "allowed_media_types": "video",
        "probesize": "32",
        "analyzeduration": "1000",
        "fpsprobesize": "0",
        "max_delay": "200000",
        "max_pixels": str(MAX_WIDTH_PX * MAX_HEIGHT_PX),
    }


def explain(error: Exception, camera_id: str, *, elapsed_s: float, limit_s: float, doing: str) -> GatehouseError:
    """Name a failure. PyAV reports some timeouts as invalid data or an exit, so the elapsed time counts too."""
    if isinstance(error, (av.HTTPUnauthorizedError, av.HTTPForbiddenError)):
        return DeviceRefused(
            camera_id, "wrong user or password (the camera answered 401; MD5 digest and basic are spoken)"
        ).because("wrong_login")
    if isinstance(error, av.HTTPNotFoundError):
        return DeviceRefused(camera_id, "no stream under this path (the camera answered 404)").because("wrong_path")
    if isinstance(error, (av.HTTPClientError, av.HTTPServerError)):
        return DeviceRefused(camera_id, f"the camera answered {type(error).__name__.removesuffix('Error')}")
    if isinstance(error, (av.TimeoutError, av.ExitError, TimeoutError)) or elapsed_s >= limit_s * 0.95:
        return DeviceUnreachable(camera_id, f"silent for {elapsed_s:.1f} s while {doing}").because("no_answer")
    if isinstance(error, (av.ConnectionRefusedError, ConnectionRefusedError)):
        return DeviceUnreachable(camera_id, "connection refused: nothing listens at that address").because(
            "no_connection"
        )
    if isinstance(error, (av.ConnectionResetError, av.BrokenPipeError, av.EOFError, ConnectionError)):
        return DeviceUnreachable(camera_id, f"the camera closed the connection while {doing}").because("cut_off")
    if isinstance(error, (av.InvalidDataError, av.PatchWelcomeError, ValueError)):
        return InvalidInput(f"camera {camera_id}", f"what it sends is no RTSP video (while {doing})").because(
            "no_video"
        )
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return DeviceUnreachable(camera_id, f"{reason} while {doing}").because("no_connection")
    return InvalidInput(f"camera {camera_id}", f"{type(error).__name__} while {doing}")


def look_closer(settings: CameraSettings) -> DeviceUnreachable | None:
    """Ask for the camera's methods over a socket of our own, because FFmpeg calls a closed connection invalid data too.

    Returns:
        Why the camera is unreachable; None when it does answer something.
    """
    parts = urlsplit(settings.url)
    question = f"OPTIONS {settings.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode()
    try:
        with socket.create_connection((parts.hostname, parts.port or 554), settings.connect_timeout_s) as connection:
            connection.sendall(question)
            said = connection.recv(64)
    except TimeoutError:
        return DeviceUnreachable(
            settings.camera_id, f"silent for {settings.connect_timeout_s:.1f} s while opening"
        ).because("no_answer")
    except OSError as error:
        return DeviceUnreachable(settings.camera_id, f"{error.strerror or 'no connection'} while opening").because(
            "no_connection"
        )
    return None if said else DeviceUnreachable(settings.camera_id, "the camera closed the connection while opening")
