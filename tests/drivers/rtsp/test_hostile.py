"""A hostile camera: whatever it answers, the driver ends with one of its three errors, in time and with nothing leaked."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.camera import CameraSettings
from drivers.rtsp import rtp
from drivers.rtsp.driver import open_camera
from drivers.rtsp.scenes import Clip, Look, Picture, Scene, encode
from drivers.rtsp.sdp import describe
from drivers.rtsp.wire import interleave
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput

NAMED = (DeviceRefused, DeviceUnreachable, InvalidInput)
PASSWORD = "hush-4711"
Damage = Callable[[str], str]
Answer = TypeVar("Answer")


class Hostile:
    """An RTSP server in a thread of its own that answers as it is told: `sdp` to DESCRIBE, `packets` after PLAY."""

    def __init__(self) -> None:
        self.sdp = ""
        self.head: Callable[[str], bytes] | None = None
        self.packets: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _do(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        await asyncio.sleep(0)  # closed transports let go of their sockets in the next round
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while request := (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "replace"):
                method = request.split(" ", 1)[0]
                writer.write(self.head(request) if self.head else self._answer(method, request))
                if method == "PLAY":
                    for packet in self.packets:
                        writer.write(interleave(0, packet))
                    await writer.drain()
                    break
        writer.close()

    def _answer(self, method: str, request: str) -> bytes:
        number = next((line[5:].strip() for line in request.split("\r\n") if line.lower().startswith("cseq")), "0")
        more, body = "", b""
        if method == "DESCRIBE":
            body = self.sdp.encode("utf-8", "surrogateescape")
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        if method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n".encode() + body

    def told(self) -> CameraSettings:
        return CameraSettings(
            camera_id="g", url=f"rtsp://127.0.0.1:{self.port}/x", user="u", password=PASSWORD,
            connect_timeout_s=1.0, read_timeout_s=1.0,
        )  # fmt: skip

    def meet(self) -> int:
        """Watch this camera until it ends, and return how many pictures came; every other error is the test's failure."""
        seen, failure = 0, None
        try:
            with open_camera(self.told()) as camera:
                for frame in camera.frames():
                    assert frame.luma().shape == frame.size[::-1]
                    seen += 1
        except GatehouseError as error:
            failure = error
        assert failure is None or isinstance(failure, NAMED), failure
        assert PASSWORD not in f"{failure} {failure!r}"
        return seen


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.close()


@pytest.fixture(scope="module", params=["h264", "h265"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return encode(Look(gop_s=0.3, codec=request.param), Scene())


def _sdp(clip: Clip) -> str:
    first = clip.pictures[0]
    sets = rtp.parameter_sets(first.units, first.codec)
    return describe(host="127.0.0.1", name="c", codec=first.codec, parameter_sets=sets, fps=10)


def _packets(clip: Clip) -> list[bytes]:
    cut: list[bytes] = []
    for number, picture in enumerate(clip.pictures):
        stamp = number * 9000
        cut += rtp.packets(picture.units, sequence=len(cut), timestamp=stamp, ssrc=1, codec=picture.codec)
    return cut


def _play(hostile: Hostile, sdp: str, packets: list[bytes]) -> int:
    hostile.head, hostile.sdp, hostile.packets = None, sdp, packets
    return hostile.meet()


def test_an_honest_stream_is_played_to_its_end(hostile: Hostile, clip: Clip) -> None:
    assert _play(hostile, _sdp(clip), _packets(clip)) >= len(clip.pictures) - 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda sdp: "",
        lambda sdp: sdp.replace("video", "audio"),
        lambda sdp: sdp.replace("/90000", "/0"),
        lambda sdp: sdp.replace("/90000", "/99999999999999999999"),
        lambda sdp: sdp.replace("sprop", "x"),
        lambda sdp: sdp.replace("=", "=" + "A" * 3000),
        lambda sdp: sdp.replace("trackID=0", "rtsp://127.0.0.1:9/elsewhere"),
        lambda sdp: sdp.replace("trackID=0", "file:///etc/passwd"),
        lambda sdp: sdp.replace("framerate:10", "framerate:-1e308"),
        lambda sdp: sdp.replace("RTP/AVP 96", "RTP/AVP 0"),
        lambda sdp: "\r\n".join([sdp] * 40),
        lambda sdp: sdp.replace("\r\n", "\0"),
    ],
)
def test_a_wrong_description_is_an_error_with_a_name(hostile: Hostile, damage: Damage) -> None:
    clip = encode(Look(gop_s=0.3), Scene())
    _play(hostile, damage(_sdp(clip)), _packets(clip))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: -5\r\n\r\n",
        b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
        b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest " + b"x" * 8000 + b"\r\n\r\n",
        b"RTSP/1.0 999 " + b"\xff" * 500 + b"\r\n\r\n",
        b"$\x00\xff\xff" + b"\0" * 70_000,
    ],
)
def test_a_wrong_answer_is_an_error_with_a_name(hostile: Hostile, head: bytes) -> None:
    hostile.head = lambda _request: head
    assert hostile.meet() == 0


def _resized(hostile: Hostile, width: int) -> Clip:
    """Let the camera say that its pictures are so wide, in its description and in the stream."""
    clip = encode(Look(gop_s=0.3), Scene())
    sps, pps = rtp.parameter_sets(clip.pictures[0].units, "h264")
    wide = _wide(sps, width)
    pictures = [
        Picture(units=tuple(wide if rtp.kind_of(unit) == 7 else unit for unit in one.units), key=one.key)
        for one in clip.pictures
    ]
    sdp = describe(host="127.0.0.1", name="c", codec="h264", parameter_sets=(wide, pps), fps=10)
    hostile.head, hostile.sdp, hostile.packets = None, sdp, _packets(Clip(pictures=tuple(pictures), loops=False))
    return clip


def test_an_absurd_resolution_is_refused(hostile: Hostile) -> None:
    _resized(hostile, 640)
    assert hostile.meet() > 0, "a set of our own making is read like any other"
    for width in (8192, 65_528):
        _resized(hostile, width)
        with pytest.raises(InvalidInput, match="exceed 4096x2304"), open_camera(hostile.told()):
            pytest.fail("it was opened")


def test_a_resolution_that_becomes_absurd_shows_no_picture_of_it(hostile: Hostile) -> None:
    clip = _resized(hostile, 65_528)
    honest = _packets(clip)
    assert _play(hostile, _sdp(clip), [*honest, *hostile.packets]) <= len(clip.pictures)


def _wide(sps: bytes, width: int) -> bytes:
    """Return a sequence parameter set of the same profile with another width, and the same height of 23 blocks."""
    bits = (
        "".join(_golomb(value) for value in (0, 0, 2, 1))
        + "0"
        + _golomb(width // 16 - 1)
        + _golomb(22)
        + "11"
        + "00"
        + "1"
    )
    bits += "0" * (-len(bits) % 8)
    return sps[:4] + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _golomb(value: int) -> str:
    binary = f"{value + 1:b}"
    return "0" * (len(binary) - 1) + binary


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damaged_packets_never_end_in_anything_else(hostile: Hostile, clip: Clip, seed: int) -> None:
    chance, packets = random.Random(seed), _packets(clip)
    for _ in range(chance.randrange(1, 12)):
        where = chance.randrange(len(packets))
        act = chance.choice(("bits", "cut", "drop", "twice", "swap", "noise", "grow"))
        packet = bytearray(packets[where])
        if act == "bits" and packet:
            for _ in range(8):
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        packets[where : where + 1] = {
            "bits": [bytes(packet)], "cut": [bytes(packet[: chance.randrange(len(packet) + 1)])], "drop": [],
            "twice": [bytes(packet)] * 2, "swap": [packets[chance.randrange(len(packets))]],
            "noise": [chance.randbytes(chance.randrange(1500))], "grow": [bytes(packet) + chance.randbytes(30_000)],
        }[act]  # fmt: skip
        if not packets:
            break
    _play(hostile, _sdp(clip), packets)
