"""H.265: the simulated camera before players written by others, and before the driver."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera import CameraSettings, Packet, Rate
from drivers.rtsp import rtp
from drivers.rtsp.driver import open_camera
from drivers.rtsp.scenes import Look
from drivers.rtsp.sdp import describe
from drivers.rtsp.server import Access, CameraServer
from tests.needs import program


@pytest.fixture(params=[False, True], ids=["single units", "aggregated"])
async def camera(request: pytest.FixtureRequest) -> AsyncIterator[CameraServer]:
    look = Look(gop_s=1.0, codec="h265")
    server = CameraServer(look=look, access=Access(), rng=random.Random(7), aggregate=request.param)
    async with server.serving(["gate"]):
        yield server


async def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program(name) or name, *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL, check=False
    )


@pytest.mark.needs("ffmpeg")
async def test_ffmpeg_decodes_it_without_a_complaint(camera: CameraServer) -> None:
    shown = ["-show_entries", "stream=codec_name,width,height", "-of", "json"]
    probed = await _run("ffprobe", "-v", "error", "-rtsp_transport", "tcp", *shown, camera.url("gate"))
    assert json.loads(probed.stdout)["streams"] == [{"codec_name": "hevc", "width": 640, "height": 360}], probed.stderr
    options = ["-v", "warning", "-rtsp_transport", "tcp", "-i", camera.url("gate")]
    done = await _run("ffmpeg", *options, "-frames:v", "15", "-fps_mode", "passthrough", "-f", "null", "-")
    assert done.returncode == 0
    assert "error" not in done.stderr.lower(), done.stderr


@pytest.mark.needs("gstreamer")
async def test_gstreamer_plays_it(camera: CameraServer, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures.yuv"
    chain = ("rtph265depay", "h265parse", "avdec_h265", "video/x-raw,format=I420", "identity eos-after=8")
    decode = " ".join(f"! {element}" for element in chain).split()
    source = f"rtspsrc location={camera.url('gate')} protocols=udp".split()
    done = await _run("gst-launch-1.0", "-q", *source, *decode, "!", "filesink", f"location={pictures}")
    assert pictures.stat().st_size >= 7 * 640 * 360 * 3 // 2, done.stderr


@pytest.mark.parametrize(("transport", "rate"), [("tcp", "full"), ("udp", "full"), ("tcp", "key"), ("tcp", "glance")])
async def test_the_driver_plays_it(camera: CameraServer, transport: Literal["tcp", "udp"], rate: Rate) -> None:
    def read() -> None:
        settings = CameraSettings(camera_id="g", url=camera.url("gate"), transport=transport, rate=rate)
        with open_camera(settings) as opened:
            for frame in opened.frames():
                assert frame.size == (640, 360)
                if frame.number == (12 if rate == "full" else 2):
                    break
        assert (opened.health.codec, opened.health.decode_errors) == ("hevc", 0)

    await asyncio.wait_for(asyncio.to_thread(read), 20)


async def test_undecoded_pictures_know_which_of_them_are_keys(camera: CameraServer) -> None:
    def read() -> list[Packet]:
        with open_camera(CameraSettings(camera_id="g", url=camera.url("gate"))) as opened:
            return [packet for packet, _ in zip(opened.packets(), range(12), strict=False)]

    assert [packet.key for packet in await asyncio.to_thread(read)].count(True) in (1, 2)


def test_a_description_carries_the_parameter_sets() -> None:
    sps = bytes((0x67, 0x4D, 0x00, 0x1E, 0xAA))
    text = describe(host="127.0.0.1", name="c", codec="h264", parameter_sets=(sps, b"\x68\xee"), fps=10)
    assert "H264/90000" in text
    assert "profile-level-id=4d001e" in text
    assert f"sprop-parameter-sets={base64.b64encode(sps).decode()},aO4=" in text
    assert text.endswith("\r\n")
    text = describe(host="127.0.0.1", name="c", codec="h265", parameter_sets=(b"v", b"s", b"p"), fps=10)
    assert "H265/90000" in text
    assert "sprop-vps=dg==;sprop-sps=cw==;sprop-pps=cA==" in text


UNITS = st.binary(min_size=3, max_size=400).filter(lambda unit: rtp.kind_of(unit, "h265") < 48)


@given(st.lists(UNITS, min_size=1, max_size=8), st.integers(20, 300), st.booleans())
def test_no_payload_is_larger_than_the_limit_and_nothing_is_left_out(
    units: list[bytes], limit: int, aggregate: bool
) -> None:
    cut = rtp.payloads(units, limit=limit, aggregate=aggregate, codec="h265")
    assert all(2 < len(payload) <= limit for payload in cut)
    carried = b"".join(_carried(payload) for payload in cut)
    assert carried == b"".join(unit[2:] for unit in units)


def _carried(payload: bytes) -> bytes:
    """Return what a payload carries of its units, without their headers."""
    kind = rtp.kind_of(payload, "h265")
    if kind == 49:
        return payload[3:]
    if kind != 48:
        return payload[2:]
    units, rest = b"", payload[2:]
    while rest:
        size = int.from_bytes(rest[:2], "big")
        units, rest = units + rest[4 : 2 + size], rest[2 + size :]
    return units
