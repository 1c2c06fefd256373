"""The driver against the simulated camera: pictures with an honest age, and a name for everything that goes wrong."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import string
import time
from urllib.parse import unquote

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera import CameraSettings, Frame, Packet, without_credentials
from drivers.rtsp.driver import RtspCamera, dial_url, explain, open_camera
from drivers.rtsp.server import Access, CameraServer
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput
from tests.drivers.rtsp.reading import frames_of, told

EVERY_CHARACTER = "".join(map(chr, range(0x20, 0x7F)))
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


async def _failure(settings: CameraSettings, count: int = 1000) -> GatehouseError:
    with pytest.raises(GatehouseError) as caught:
        await asyncio.to_thread(frames_of, settings, count)
    return caught.value


# --- settings ---------------------------------------------------------------------------------------------------------


@given(PRINTABLE.filter(lambda text: not set(text) & set(':"\\')), PRINTABLE.filter(bool))
def test_credentials_survive_the_url(user: str, password: str) -> None:
    url = dial_url(told(user=user, password=password))
    credentials, _, rest = url.removeprefix("rtsp://").rpartition("@")
    assert rest == "127.0.0.1:1/gate"
    assert not set(credentials) & set("/?# ")
    assert tuple(map(unquote, credentials.split(":", 1))) == (user, password)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "rtsp://user:secret@host/x"}, "must not hold credentials"),
        ({"url": "rtsp://user@host/x"}, "must not hold credentials"),
        ({"url": "http://host/x"}, "must be rtsp://"),
        ({"url": "file:///etc/passwd"}, "must be rtsp://"),
        ({"url": "rtsp:///x"}, "must be rtsp://"),
        ({"url": "rtsp://host:99999/x"}, "is not a URL"),
        ({"url": "rtsp://host/a b"}, "percent-encode"),
        ({"url": "rtsp://host/é"}, "percent-encode"),
        ({"read_timeout_s": 0.0}, "between 0.1 and 60"),
        ({"connect_timeout_s": 1e9}, "between 0.1 and 60"),
        ({"user": "a", "password": "x" * 200}, "at most 127"),
        ({"user": "a:b", "password": "x"}, "colon"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_dialled(changes: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        open_camera(told(**changes))
    assert "secret" not in str(caught.value)


def test_settings_never_show_their_password() -> None:
    settings = told(user="u", password="hunter2")
    assert "hunter2" not in repr(settings)
    assert without_credentials("at rtsp://u:p@ss/w@host/x") == "at rtsp://…@host/x"


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_frames_arrive_with_their_pixels_and_age(cameras: CameraServer, transport: str) -> None:
    frames = await asyncio.to_thread(frames_of, told(cameras.url("gate"), transport=transport), 12)
    assert [frame.number for frame in frames] == list(range(1, 13))
    assert all(frame.size == (640, 360) for frame in frames)
    assert all(0 <= frame.age_ms < 400 for frame in frames[1:])
    assert abs(frames[-1].captured_at - time.time()) < 2
    luma = frames[-1].luma()
    assert luma.shape == (360, 640)
    rgb = frames[-1].rgb((0, 0, 640, 360), max_bytes=1_000_000)
    grey = rgb.astype(float) @ np.array([0.299, 0.587, 0.114])
    assert abs(grey.mean() * 219 / 255 + 16 - luma.mean()) < 3
    part = frames[-1].rgb((100, 40, 200, 120), max_bytes=1_000_000)
    assert (part == rgb[40:160, 100:300]).all()
    assert frames[-1].rgb((0, 0, 640, 360), max_bytes=200_000).shape == (180, 320, 3)


async def test_packets_are_handed_on_undecoded(cameras: CameraServer) -> None:
    def read() -> list[Packet]:
        packets: list[Packet] = []
        with open_camera(told(cameras.url("gate"))) as camera:
            for packet in camera.packets():
                packets.append(packet)
                if len(packets) == 15:
                    return packets
        return packets

    packets = await asyncio.to_thread(read)
    assert np.diff([packet.pts_s for packet in packets]) == pytest.approx(0.1, abs=0.001)
    assert any(packet.key for packet in packets)
    assert not all(packet.key for packet in packets)
    assert all(packet.data.startswith((b"\0\0\0\1", b"\0\0\1")) for packet in packets)


async def test_a_snapshot_is_the_next_picture(cameras: CameraServer) -> None:
    def shoot() -> Frame:
        with open_camera(told(cameras.url("yard"))) as camera:
            frame = camera.snapshot()
            assert camera.health.codec == "h264"
            return frame

    assert (await asyncio.to_thread(shoot)).size == (640, 360)


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["digest", "basic", "both"])
async def test_a_password_of_every_printable_character_opens_the_stream(cameras: CameraServer, kind: str) -> None:
    user = "ad@min"
    cameras.access = Access(kind=kind, user=user, password=EVERY_CHARACTER)  # type: ignore[arg-type]
    frames = await asyncio.to_thread(frames_of, told(cameras.url("gate"), user=user, password=EVERY_CHARACTER), 1)
    assert len(frames) == 1


async def test_each_special_character_alone_opens_the_stream(cameras: CameraServer) -> None:
    def opens(settings: CameraSettings) -> bool:
        with open_camera(settings) as camera:
            return camera.health.opened_ms > 0

    for character in string.punctuation + " ":
        password = f"{character}a{character}"
        cameras.access = Access(kind="digest", user="u" if character in ':"\\' else f"u{character}", password=password)
        settings = told(cameras.url("gate"), user=cameras.access.user, password=password)
        assert await asyncio.to_thread(opens, settings), character


@pytest.mark.parametrize("kind", ["digest", "basic", "sha256"])
async def test_a_wrong_password_is_refused_and_never_shown(
    cameras: CameraServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cameras.access = Access(kind=kind, user="u", password="right")  # type: ignore[arg-type]
    error = await _failure(told(cameras.url("gate"), user="u", password="wr0ng/@:"))
    assert isinstance(error, DeviceRefused)
    assert "wrong user or password" in error.what
    shown = f"{error!r} {error} {error.__cause__} {caplog.text}"
    assert error.__suppress_context__
    assert "wr0ng" not in shown


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("mute", DeviceUnreachable, "silent for 1"),
        ("cut", DeviceUnreachable, "closed the connection"),
        ("garbage", InvalidInput, "no RTSP video"),
        ("wrong_credentials", DeviceRefused, "wrong user or password"),
        ("stall", DeviceUnreachable, "silent for 1"),
    ],
)
async def test_each_failure_has_its_name(cameras: CameraServer, fault: str, kind: type, says: str) -> None:
    cameras.misbehave("gate", fault)  # type: ignore[arg-type]
    started = time.monotonic()
    error = await _failure(told(cameras.url("gate")))
    assert isinstance(error, kind), error
    assert says in str(error)
    assert time.monotonic() - started < 5


async def test_nobody_there_and_no_such_stream_are_told_apart(cameras: CameraServer) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    error = await _failure(told(f"rtsp://127.0.0.1:{port}/gate"))
    assert isinstance(error, DeviceUnreachable)
    assert "nothing listens" in error.what
    error = await _failure(told(cameras.url("nowhere")))
    assert isinstance(error, DeviceRefused)
    assert "404" in error.what


async def test_a_host_that_accepts_and_says_nothing_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        error = await _failure(told(f"rtsp://127.0.0.1:{port}/gate"))
    assert isinstance(error, DeviceUnreachable)
    assert "silent" in error.what


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_stream_that_falls_silent_is_unreachable(cameras: CameraServer, transport: str) -> None:
    def stall(frame: Frame) -> bool:
        if frame.number == 3:
            loop.call_soon_threadsafe(cameras.misbehave, "gate", "stall")
        return False

    loop = asyncio.get_running_loop()
    with pytest.raises(DeviceUnreachable, match="silent for"):
        await asyncio.to_thread(frames_of, told(cameras.url("gate"), transport=transport), 1000, until=stall)


async def test_damaged_packets_are_counted_and_whole_pictures_still_come(cameras: CameraServer) -> None:
    cameras.misbehave("gate", "corrupt")

    def read() -> int:
        camera = open_camera(told(cameras.url("gate"), read_timeout_s=5.0))
        with camera:
            for frame in camera.frames():
                if camera.health.decode_errors >= 3 and frame.number >= 3:
                    break
        return camera.health.decode_errors

    assert await asyncio.wait_for(asyncio.to_thread(read), 30) >= 3


async def test_a_camera_that_sends_noise_for_video_is_garbage(cameras: CameraServer) -> None:
    cameras.misbehave("gate", "noise_payload")

    def read() -> None:
        # A clock that runs eight times as fast, so that the limit of 12 s passes in 1.5 s.
        with RtspCamera(told(cameras.url("gate"), read_timeout_s=60), monotonic=lambda: time.monotonic() * 8) as camera:
            for _ in camera.frames():
                pass

    with pytest.raises(InvalidInput, match="no picture could be decoded for 12 s"):
        await asyncio.wait_for(asyncio.to_thread(read), 30)


async def test_a_burst_from_a_slow_camera_is_not_fresh(cameras: CameraServer) -> None:
    def slow(frame: Frame) -> bool:
        if frame.number == 5:
            loop.call_soon_threadsafe(cameras.misbehave, "gate", "slow")
        return 2000 < frame.age_ms < math.inf

    loop = asyncio.get_running_loop()
    frames = await asyncio.to_thread(frames_of, told(cameras.url("gate"), read_timeout_s=5.0), 60, until=slow)
    assert frames[-1].age_ms > 2000
    assert max(frame.age_ms for frame in frames[1:5]) < 500


async def test_a_clock_jump_is_counted_and_pictures_stay_fresh(cameras: CameraServer) -> None:
    loop = asyncio.get_running_loop()

    def read() -> tuple[int, float]:
        with open_camera(told(cameras.url("gate"))) as camera:
            for frame in camera.frames():
                if frame.number == 4:
                    loop.call_soon_threadsafe(cameras.misbehave, "gate", "clock_jump")
                if frame.number == 20:
                    return camera.health.clock_jumps, frame.age_ms
        return 0, 0.0

    jumps, age_ms = await asyncio.to_thread(read)
    assert jumps == 1
    assert age_ms < 500


@pytest.mark.parametrize(
    ("error", "elapsed_s", "kind", "says"),
    [
        (av.InvalidDataError(1, "x", "rtsp://u:secret@h"), 0.1, InvalidInput, "no RTSP video"),
        (av.InvalidDataError(1, "x", "rtsp://u:secret@h"), 5.0, DeviceUnreachable, "silent for 5.0 s"),
        (av.ExitError(1, "x", "rtsp://u:secret@h"), 0.1, DeviceUnreachable, "silent"),
        (av.HTTPForbiddenError(1, "x", "rtsp://u:secret@h"), 0.1, DeviceRefused, "wrong user"),
        (av.HTTPServerError(1, "x", "rtsp://u:secret@h"), 0.1, DeviceRefused, "HTTPServer"),
        (av.ConnectionResetError(1, "x", "rtsp://u:secret@h"), 0.1, DeviceUnreachable, "closed the connection"),
        (OSError(5, "rtsp://u:secret@h: Input/output error"), 0.1, DeviceUnreachable, "while reading"),
        (av.DecoderNotFoundError(1, "x", "rtsp://u:secret@h"), 0.1, InvalidInput, "DecoderNotFound"),
    ],
)
def test_a_failure_is_named_by_its_kind_and_the_time_it_took(
    error: Exception, elapsed_s: float, kind: type, says: str
) -> None:
    named = explain(error, "gate", elapsed_s=elapsed_s, limit_s=5.0, doing="reading")
    assert isinstance(named, kind)
    assert says in str(named)
    assert "secret" not in str(named)
