"""The simulated camera before players written by others, and its control port, faults and bounds."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import msgspec
import pytest

from drivers.camera import CameraSettings
from drivers.rtsp import simulator
from drivers.rtsp.driver import open_camera
from drivers.rtsp.scenes import Look, Scene, Script
from drivers.rtsp.server import MAX_CONNECTIONS, Access, CameraServer
from drivers.rtsp.simulator import Order, Scenario, controlling, obey, play_scenario, read_scenario
from models.errors import InvalidInput, NotFound
from tests.needs import program

ROOT = Path(__file__).parents[3]
SHORT = Script(approach_s=0.5, stay_s=0.3, leave_s=0.2)
CREDENTIALS = {"user": "u", "password": "p@:/#?%& x"}
ENCODED = "u:p%40%3A%2F%23%3F%25%26%20x@"


async def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program(name) or name, *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL, check=False
    )


# --- players written by others ----------------------------------------------------------------------------------------


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize(("transport", "kind"), [("tcp", "digest"), ("tcp", "both"), ("udp", "none"), ("udp", "basic")])
async def test_ffprobe_describes_the_stream(cameras: CameraServer, transport: str, kind: str) -> None:
    cameras.access = Access(kind=kind, **CREDENTIALS)  # type: ignore[arg-type]
    url = cameras.url("gate").replace("://", f"://{ENCODED}" if kind != "none" else "://")
    shown = "stream=codec_name,width,height,r_frame_rate"
    options = ["-v", "error", "-rtsp_transport", transport, "-show_entries", shown, "-of", "json"]
    done = await _run("ffprobe", *options, url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["streams"] == [
        {"codec_name": "h264", "width": 640, "height": 360, "r_frame_rate": "10/1"}
    ]


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_ffmpeg_decodes_the_stream_without_a_complaint(cameras: CameraServer, transport: str) -> None:
    options = ["-v", "warning", "-rtsp_transport", transport, "-i", cameras.url("gate")]
    done = await _run("ffmpeg", *options, "-frames:v", "25", "-fps_mode", "passthrough", "-f", "null", "-")
    assert done.returncode == 0
    assert "error" not in done.stderr.lower(), done.stderr


@pytest.mark.needs("ffmpeg")
async def test_ffprobe_is_refused_with_a_wrong_password(cameras: CameraServer) -> None:
    cameras.access = Access(kind="digest", **CREDENTIALS)
    done = await _run("ffprobe", "-v", "error", cameras.url("gate").replace("://", "://u:wrong@"))
    assert done.returncode != 0
    assert "401" in done.stderr


@pytest.mark.needs("gstreamer")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_gstreamer_plays_it(cameras: CameraServer, transport: str, tmp_path: Path) -> None:
    cameras.access = Access(kind="digest", **CREDENTIALS)
    source = f"rtspsrc location={cameras.url('gate')} protocols={transport} user-id=u".split()
    chain = ("rtph264depay", "h264parse", "avdec_h264", "video/x-raw,format=I420", "identity eos-after=13")
    decode = " ".join(f"! {element}" for element in chain).split()
    pictures = tmp_path / "pictures.yuv"
    sink = ["!", "filesink", f"location={pictures}"]
    done = await _run("gst-launch-1.0", "-q", *source, f'user-pw="{CREDENTIALS["password"]}"', *decode, *sink)
    assert pictures.stat().st_size >= 12 * 640 * 360 * 3 // 2, done.stderr
    said = done.stderr + done.stdout
    # leaving over TCP, GStreamer 1.22 sometimes interrupts its own PAUSE, which then never reaches the server
    assert "ERROR" not in said or "gst_rtspsrc_pause" in said, said


async def test_opencv_plays_it(cameras: CameraServer) -> None:
    def read() -> list[tuple[int, ...]]:
        capture = cv2.VideoCapture(cameras.url("gate"), cv2.CAP_FFMPEG)
        try:
            return [capture.read()[1].shape for _ in range(10)]
        finally:
            capture.release()

    assert await asyncio.to_thread(read) == [(360, 640, 3)] * 10


# --- scenes and faults ------------------------------------------------------------------------------------------------


async def test_a_scene_starts_with_a_key_picture_and_no_jump_in_time(cameras: CameraServer, astronaut: Path) -> None:
    scene = Scene(name="approach", portrait=str(astronaut), script=SHORT)
    await cameras.prepare(scene)
    loop = asyncio.get_running_loop()
    stamps: list[float] = []
    sizes: list[int] = []

    def read() -> None:
        settings = CameraSettings(camera_id="gate", url=cameras.url("gate"))
        with open_camera(settings) as camera:
            for packet in camera.packets():
                stamps.append(packet.pts_s)
                sizes.append(packet.key)
                if packet.number == 5:
                    asyncio.run_coroutine_threadsafe(cameras.show("gate", scene), loop)
                if packet.number == 25:
                    return

    await asyncio.wait_for(asyncio.to_thread(read), 20)
    assert [round((b - a) * 10) for a, b in pairwise(stamps)] == [1] * (len(stamps) - 1)
    assert any(sizes[5:8])


async def test_both_cameras_play_apart(cameras: CameraServer) -> None:
    await cameras.show("yard", Scene(name="black"))

    def brightness(name: str) -> float:
        with open_camera(CameraSettings(camera_id=name, url=cameras.url(name))) as camera:
            return float(camera.snapshot().luma().mean())

    assert await asyncio.to_thread(brightness, "yard") < 40
    assert await asyncio.to_thread(brightness, "gate") > 100


async def test_nothing_ticks_while_nobody_watches(cameras: CameraServer) -> None:
    player = cameras.player("gate")
    before = player.timestamp
    await asyncio.to_thread(
        lambda: open_camera(CameraSettings(camera_id="y", url=cameras.url("yard"))).__enter__().snapshot()
    )
    assert player.timestamp == before
    assert player.clients == 0


async def test_a_fault_ends_after_its_time(cameras: CameraServer) -> None:
    cameras.misbehave("gate", "mute", for_s=0.01)
    assert cameras.player("gate").current_fault() == "mute"
    async with asyncio.timeout(5):
        while cameras.player("gate").current_fault():  # noqa: ASYNC110 - it is a clock that ends it
            await asyncio.sleep(0.005)
    with pytest.raises(NotFound):
        cameras.misbehave("cellar", "mute")


async def test_frozen_pictures_are_all_the_same(cameras: CameraServer) -> None:
    cameras.misbehave("gate", "freeze")

    def read() -> int:
        with open_camera(CameraSettings(camera_id="gate", url=cameras.url("gate"))) as camera:
            seen = set()
            for frame in camera.frames():
                seen.add(frame.luma().tobytes())
                if frame.number == 8:
                    break
        return len(seen)

    assert await asyncio.to_thread(read) == 1


# --- the control port -------------------------------------------------------------------------------------------------


async def test_orders_come_as_lines_and_each_is_answered(cameras: CameraServer, astronaut: Path) -> None:
    lines = [
        {
            "camera": "gate",
            "scene": "approach",
            "portrait": str(astronaut),
            "script": {"approach_s": 1.0, "stay_s": 1.0},
        },
        {"camera": "gate", "scene": "pass", "portrait": str(astronaut), "prepare": True, "face": [179, 83, 90, 90]},
        {"camera": "yard", "fault": "stall"},
        {"status": True},
        {"camera": "yard", "fault": None},
        {"camera": "nowhere", "fault": "cut"},
        {"scene": "quiet"},
        {"camera": "gate", "scene": "approach"},
        {"camera": "gate", "scne": "quiet"},
        {"camera": "gate", "scene": "disco"},
    ]
    async with controlling(cameras) as address:
        assert address[0] == "127.0.0.1"
        reader, writer = await asyncio.open_connection(*address)
        answers = []
        for line in lines:
            writer.write(json.dumps(line).encode() + b"\n")
            answers.append(json.loads(await asyncio.wait_for(reader.readline(), 20)))
        writer.close()
    assert [answer["ok"] for answer in answers] == [True] * 5 + [False] * 5
    assert answers[0]["near_at"] - answers[0]["starts_at"] == pytest.approx(0.9, abs=0.11)
    assert abs(answers[0]["starts_at"] - time.time()) < 20
    assert answers[3]["faults"] == {"gate": None, "yard": "stall"}
    assert answers[3]["clients"] == {"gate": 0, "yard": 0}
    assert "portrait" in answers[7]["error"]


async def test_a_line_without_end_closes_only_that_conversation(cameras: CameraServer) -> None:
    async with controlling(cameras) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * 100_000)
        with pytest.raises((ConnectionError, AssertionError)):
            assert await asyncio.wait_for(reader.read(), 10)
        writer.close()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b'{"status":true}\n')
        assert json.loads(await asyncio.wait_for(reader.readline(), 10))["ok"]
        writer.close()


async def test_a_scenario_plays_its_orders_in_time(cameras: CameraServer, tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text("steps:\n- {at_s: 0.05, camera: gate, fault: stall}\n- {at_s: 0, camera: yard, scene: black}\n")
    await asyncio.wait_for(play_scenario(cameras, read_scenario(file)), 20)
    assert cameras.player("gate").current_fault() == "stall"
    bad = Scenario(steps=(Order(camera="cellar", fault="cut"),))
    with pytest.raises(InvalidInput, match="cellar"):
        await play_scenario(cameras, bad)
    file.write_text("steps: [{at: 1}]")
    with pytest.raises(InvalidInput, match="unknown field"):
        read_scenario(file)


async def test_the_only_camera_needs_no_name() -> None:
    server = CameraServer(look=Look(), access=Access(), rng=random.Random(1))
    async with server.serving(["one"]):
        assert (await obey(server, Order(fault="freeze"))).ok
        assert server.player(None).current_fault() == "freeze"


# --- bad clients ------------------------------------------------------------------------------------------------------


async def _ask(server: CameraServer, *requests: str) -> str:
    reader, writer = await asyncio.open_connection(*server.url("gate").removeprefix("rtsp://").split("/")[0].split(":"))
    for number, request in enumerate(requests):
        writer.write(request.replace("<U>", server.url("gate")).encode() + f"\r\nCSeq: {number}\r\n\r\n".encode())
    writer.write_eof()
    text = (await asyncio.wait_for(reader.read(65_536), 10)).decode(errors="replace")
    writer.close()
    return text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("OPTIONS <U> RTSP/1.0", "200 OK"),
        ("DESCRIBE <U> RTSP/1.0", "200 OK"),
        ("DESCRIBE rtsp://[ RTSP/1.0", "404 Not Found"),
        ("SETUP <U>/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP;multicast", "461 Unsupported Transport"),
        ("SETUP rtsp://x/none RTSP/1.0\r\nTransport: RTP/AVP/TCP", "404 Not Found"),
        ("PLAY <U> RTSP/1.0\r\nSession: 1", "454 Session Not Found"),
        ("TEARDOWN <U> RTSP/1.0", "200 OK"),
        ("GET_PARAMETER <U> RTSP/1.0", "200 OK"),
        ("ANNOUNCE <U> RTSP/1.0", "501 Not Implemented"),
        ("hello", "400 Bad Request"),
        ("OPTIONS * RTSP/1.0\r\n" + "a: b\r\n" * 70, "400 Bad Request"),
    ],
)
async def test_every_request_has_its_answer(cameras: CameraServer, request_: str, status: str) -> None:
    assert (await _ask(cameras, request_)).startswith(f"RTSP/1.0 {status}\r\n")


async def test_a_stream_pauses_and_goes_on(cameras: CameraServer) -> None:
    host, port = cameras.url("gate").removeprefix("rtsp://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, port)
    session = ""

    async def ask(method: str, extra: str = "") -> bytes:
        nonlocal session
        writer.write(f"{method} {cameras.url('gate')} RTSP/1.0\r\nCSeq: 1\r\n{session}{extra}\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        for line in answer[answer.rfind(b"RTSP/1.0 ") :].decode().split("\r\n"):
            if line.startswith("Session:"):
                session = line.split(";")[0] + "\r\n"
        return answer

    await ask("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
    assert b"RTP-Info" in await ask("PLAY")
    assert await asyncio.wait_for(reader.readexactly(1), 10) == b"$"
    assert cameras.player("gate").clients == 1
    assert b"455" in await ask("SETUP", "Transport: RTP/AVP/TCP\r\n")
    assert b"200 OK" in await ask("PAUSE")
    assert cameras.player("gate").clients == 0
    assert b"200 OK" in await ask("TEARDOWN")
    assert b"454" in await ask("PLAY")
    writer.close()


async def test_too_many_connections_are_turned_away(cameras: CameraServer) -> None:
    address = cameras.url("gate").removeprefix("rtsp://").split("/")[0].split(":")
    writers = [(await asyncio.open_connection(*address))[1] for _ in range(MAX_CONNECTIONS)]
    with pytest.raises((ConnectionError, AssertionError)):
        assert await _ask(cameras, "OPTIONS <U> RTSP/1.0")
    for writer in writers:
        writer.close()


# --- the process ------------------------------------------------------------------------------------------------------


async def test_the_process_says_when_it_is_ready_and_ends_when_told(astronaut: Path) -> None:
    options = ["--port", "0", "--path", "gate", "--portrait", str(astronaut), "--scene", "approach", "--fault", "stall"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "drivers.rtsp.simulator",
        *options,
        *("--user", "u", "--password", "-"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdin.write(b"se cret\n")
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert ready["ready"] is True
    assert ready["urls"] == {"gate": ready["url"]}
    reader, writer = await asyncio.open_connection(*ready["control"].split(":"))
    writer.write(b'{"fault":null}\n')
    assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True}
    settings = CameraSettings(camera_id="g", url=ready["url"], user="u", password="se cret")
    with await asyncio.to_thread(open_camera, settings) as camera:
        assert (await asyncio.to_thread(camera.snapshot)).size == (640, 360)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""
    writer.close()


async def test_a_process_that_cannot_start_says_why(
    cameras: CameraServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    simulator.add_arguments(parser)
    port = cameras.url("gate").split(":")[2].split("/")[0]
    assert await simulator.main(parser.parse_args(["--port", port])) == 1
    assert "simulated camera:" in capsys.readouterr().err
    assert await simulator.main(parser.parse_args(["--port", "0", "--portrait", str(tmp_path / "no.jpg")])) == 1
    assert "cannot be read" in capsys.readouterr().err
    scenario = tmp_path / "s.json"
    scenario.write_bytes(msgspec.json.encode(Scenario(steps=(Order(camera="cellar", fault="cut"),))))
    assert await simulator.main(parser.parse_args(["--port", "0", "--scenario", str(scenario)])) == 1
    assert "cellar" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port", "--control-port"])
async def test_a_port_that_is_taken_is_said_with_its_option(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        argv = ["-m", "drivers", "simulate", "camera", "--port", "0", option, port]
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, *argv], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
        )
    assert done.returncode == 1
    assert done.stderr == f"simulated camera: port {port} is taken: give another with {option}, 0 for a free one\n"
