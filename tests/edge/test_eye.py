"""The eye before a real simulated camera: crops only for credits, health with a reason, silence when it is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import skimage.data
from PIL import Image

from config.process import Backoff
from drivers.camera import CameraSettings
from drivers.rtsp.driver import RtspCamera
from drivers.rtsp.scenes import Look, Scene, Script
from drivers.rtsp.server import Access, CameraServer
from edge import wire
from edge.eye import Eye, main
from edge.eye_settings import EyeSettings
from edge.glimpse import Glimpse, Slot
from models.picture_health import Limits

ROOT = Path(__file__).parents[2]
QUICK = Backoff(first_s=0.05, cap_s=0.2)
FACE = (179, 83, 90, 90)


class Listener:
    """Both ends that an eye dials: the face process and the worker, holding what they hear."""

    def __init__(self, folder: Path) -> None:
        self.faces_path, self.worker_path = folder / "f", folder / "w"
        self.hellos: list[str] = []
        self.crops: list[wire.Crop] = []
        self.health: list[wire.EyeHealth] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.heard, self.grants = asyncio.Condition(), True

    async def faces(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while (message := await wire.read(reader, wire.to_faces)) is not None:
            if isinstance(message, wire.EyeHello):
                self.hellos.append(message.camera_id)
            elif isinstance(message, wire.Crop):
                self.crops.append(message)
            if self.grants:
                await wire.write(writer, wire.Credit())
            async with self.heard:
                self.heard.notify_all()
        writer.close()

    async def worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (message := await wire.read(reader, wire.eye_health)) is not None:
            self.health.append(message)
            async with self.heard:
                self.heard.notify_all()
        writer.close()

    async def until(self, condition: Callable[[], object], limit_s: float = 20) -> None:
        async with asyncio.timeout(limit_s), self.heard:
            await self.heard.wait_for(lambda: bool(condition()))

    def state(self) -> str:
        return self.health[-1].state if self.health else ""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eye") as name:
        yield Path(name)


@pytest.fixture
async def ends(folder: Path) -> AsyncIterator[Listener]:
    listener = Listener(folder)
    servers = [
        await asyncio.start_unix_server(listener.faces, listener.faces_path),
        await asyncio.start_unix_server(listener.worker, listener.worker_path),
    ]
    yield listener
    for server in servers:
        server.close()


@pytest.fixture
async def cameras() -> AsyncIterator[CameraServer]:
    server = CameraServer(look=Look(gop_s=1.0), access=Access(), rng=random.Random(7))
    async with server.serving(["gate"]):
        yield server


@pytest.fixture(scope="module")
def approach(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    path = tmp_path_factory.mktemp("portraits") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)  # type: ignore[no-untyped-call]
    return Scene(name="approach", portrait=str(path), face=FACE, script=Script(approach_s=1.0, stay_s=2.0, leave_s=1.0))


@contextlib.asynccontextmanager
async def _running(eye: Eye) -> AsyncIterator[Eye]:
    task = asyncio.ensure_future(eye.run())
    try:
        yield eye
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _settings(cameras: CameraServer | str, ends: Listener, **changes: object) -> EyeSettings:
    usual: dict[str, object] = {
        "camera_id": "gate",
        "url": cameras if isinstance(cameras, str) else cameras.url("gate"),
        "connect_timeout_s": 1.0,
        "read_timeout_s": 1.0,
        "faces_socket": str(ends.faces_path),
        "worker_socket": str(ends.worker_path),
        **changes,
    }
    return EyeSettings(**usual)  # type: ignore[arg-type]


# --- pictures ---------------------------------------------------------------------------------------------------------


async def test_a_quiet_camera_is_live_and_sends_nothing(cameras: CameraServer, ends: Listener) -> None:
    async with _running(Eye(_settings(cameras, ends))) as eye:
        await ends.until(lambda: ends.state() == "live")
        assert ends.hellos == ["gate"]
        async with asyncio.timeout(10):
            while eye.health().frames < 15:  # noqa: ASYNC110 - the camera's clock moves it
                await asyncio.sleep(0.05)
        assert ends.crops == []
        health = eye.health()
        assert (health.width_px, health.height_px, health.dropped, health.crops) == (640, 360, 0, 0)


async def test_somebody_who_comes_is_sent_in_crops(cameras: CameraServer, ends: Listener, approach: Scene) -> None:
    await cameras.prepare(approach)
    async with _running(Eye(_settings(cameras, ends))):
        await ends.until(lambda: ends.state() == "live")
        await ends.until(lambda: ends.hellos)
        started = time.time()
        await cameras.show("gate", approach)
        await ends.until(lambda: len(ends.crops) >= 20)
    crop = ends.crops[-1]
    assert len(crop.pixels) == crop.rows * crop.cols * 3
    assert (crop.cols, crop.rows) == (crop.w, crop.h)
    assert crop.x <= 320 <= crop.x + crop.w
    assert (crop.frame_w, crop.frame_h) == (640, 360)
    assert started - 1 < crop.captured_at < time.time()
    assert 0 <= crop.age_ms < 500
    numbers = [crop.frame_no for crop in ends.crops]
    assert numbers == sorted(set(numbers))


async def test_an_overview_camera_wakes_up_when_something_moves(
    cameras: CameraServer, ends: Listener, approach: Scene
) -> None:
    await cameras.prepare(approach)
    async with _running(Eye(_settings(cameras, ends, faces_socket=None, rate="key", read_timeout_s=5.0))) as eye:
        await ends.until(lambda: ends.state() == "live")
        started, before = time.monotonic(), eye.health().frames
        async with asyncio.timeout(20):
            while eye.health().frames < before + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert time.monotonic() - started > 1.5
        await cameras.show("gate", approach)
        before = eye.health().frames
        async with asyncio.timeout(10):
            while eye.health().frames < before + 12:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_without_credit_only_the_newest_waits(cameras: CameraServer, ends: Listener, approach: Scene) -> None:
    ends.grants = False
    await cameras.prepare(approach)
    async with _running(Eye(_settings(cameras, ends))) as eye:
        await ends.until(lambda: ends.state() == "live" and ends.hellos)
        await cameras.show("gate", approach)
        async with asyncio.timeout(20):
            while eye.health().dropped < 5:  # noqa: ASYNC110 - the camera's clock moves it
                await asyncio.sleep(0.02)
        assert ends.crops == []
        newest = eye.health().frames
        for _ in range(3):
            await wire.write(ends.writers[-1], wire.Credit())
        await ends.until(lambda: ends.crops)
        assert ends.crops[0].frame_no >= newest - 1
        async with asyncio.timeout(10):
            while eye.health().dropped < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert len(ends.crops) <= 2


async def test_while_watched_still_pictures_are_sent(cameras: CameraServer, ends: Listener) -> None:
    async with _running(Eye(_settings(cameras, ends))):
        await ends.until(lambda: ends.state() == "live" and ends.hellos)
        await wire.write(ends.writers[-1], wire.Watch(until=time.time() + 5, zone=(0.25, 0.0, 0.75, 1.0)))
        await ends.until(lambda: len(ends.crops) >= 3)
    assert {(crop.x, crop.y, crop.w, crop.h) for crop in ends.crops} == {(160, 0, 320, 360)}


async def test_a_whole_frame_is_sent_when_it_is_asked_for_though_nothing_moves(
    cameras: CameraServer, ends: Listener
) -> None:
    async with _running(Eye(_settings(cameras, ends))) as eye:
        await ends.until(lambda: ends.state() == "live" and ends.hellos)
        await wire.write(ends.writers[-1], wire.Credit(whole=True))
        await ends.until(lambda: ends.crops)
        before = eye.health().frames
        async with asyncio.timeout(10):
            while eye.health().frames < before + 6:  # noqa: ASYNC110 - the camera's clock moves it
                await asyncio.sleep(0.02)
    crops = [(crop.x, crop.y, crop.w, crop.h) for crop in ends.crops]
    assert set(crops) == {(0, 0, 640, 360)}
    assert len(crops) <= 2, "one was asked for, and one may have waited beside it"


async def test_a_late_burst_is_not_sent(cameras: CameraServer, ends: Listener) -> None:
    async with _running(Eye(_settings(cameras, ends, read_timeout_s=10.0))) as eye:
        await ends.until(lambda: ends.state() == "live" and ends.hellos)
        await wire.write(ends.writers[-1], wire.Watch(until=time.time() + 60))
        await ends.until(lambda: len(ends.crops) >= 3)
        cameras.misbehave("gate", "slow")
        before = eye.health().frames
        async with asyncio.timeout(20):
            while eye.health().frames < before + 35:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert all(crop.age_ms <= 1500 for crop in ends.crops)


async def test_the_face_process_may_go_and_come_back(cameras: CameraServer, ends: Listener) -> None:
    async with _running(Eye(_settings(cameras, ends))):
        await ends.until(lambda: ends.state() == "live" and ends.hellos)
        ends.writers[-1].transport.abort()
        await ends.until(lambda: len(ends.hellos) == 2)
        ends.writers[-1].write(b"\xff\xff\xff\xff junk")
        await ends.until(lambda: len(ends.hellos) == 3)
    assert ends.state() == "live"


async def test_an_eye_without_a_face_process_sends_no_picture(
    cameras: CameraServer, ends: Listener, approach: Scene
) -> None:
    async with _running(Eye(_settings(cameras, ends, faces_socket=None, rate="full"))) as eye:
        await ends.until(lambda: ends.state() == "live")
        await cameras.show("gate", approach)
        before = eye.health().frames
        async with asyncio.timeout(20):
            while eye.health().frames < before + 12:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert ends.hellos == []
    assert ends.crops == []
    assert eye.health().dropped == 0


async def test_the_newest_glimpse_replaces_the_one_that_waits(cameras: CameraServer) -> None:
    def shoot() -> Glimpse:
        with RtspCamera(CameraSettings(camera_id="g", url=cameras.url("gate"))) as camera:
            return Glimpse(frame=camera.snapshot(), area=(0, 0, 2, 2), decoded_s=0.0)

    glimpses = [await asyncio.to_thread(shoot) for _ in range(2)]
    slot = Slot(asyncio.get_running_loop())
    for glimpse in glimpses:
        slot.put(glimpse)
    assert await asyncio.wait_for(slot.take(), 5) is glimpses[1]
    assert slot.dropped == 1
    slot.put(glimpses[0])
    slot.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slot.take(), 0.05)


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "state", "says"),
    [
        ("wrong_credentials", "refused", "wrong user or password"),
        ("garbage", "garbage", "no RTSP video"),
        ("mute", "unreachable", "silent"),
        ("cut", "unreachable", "closed the connection"),
        ("stall", "unreachable", "silent"),
    ],
)
async def test_each_fault_has_its_state_and_ends(
    cameras: CameraServer, ends: Listener, fault: str, state: str, says: str
) -> None:
    async with _running(Eye(_settings(cameras, ends), camera_backoff=QUICK)):
        await ends.until(lambda: ends.state() == "live")
        cameras.misbehave("gate", fault)  # type: ignore[arg-type]
        await ends.until(lambda: ends.state() == state and says in ends.health[-1].detail)
        assert ends.health[-1].since > ends.health[0].since
        cameras.misbehave("gate", None)
        await ends.until(lambda: ends.state() == "live")
        assert ends.health[-1].reconnects >= 1
        assert ends.health[-1].detail == ""


async def test_a_dead_host_and_a_wrong_address_have_their_reasons(ends: Listener) -> None:
    async with _running(Eye(_settings("rtsp://127.0.0.1:9/x", ends), camera_backoff=QUICK)):
        await ends.until(lambda: ends.state() == "unreachable")
    async with _running(Eye(_settings("rtsp://u:hush@127.0.0.1:9/x", ends), camera_backoff=QUICK)):
        await ends.until(lambda: ends.state() == "refused")
    assert "must not hold credentials" in ends.health[-1].detail
    assert "hush" not in ends.health[-1].detail


QUICK_LIMITS = Limits(covered_s=1.0, moved_s=1.0, defocused_s=1.0, frozen_s=2.0, ends_s=0.5)


@pytest.mark.parametrize(("scene", "trouble"), [("covered", "covered"), ("blurred", "defocused")])
async def test_a_picture_that_is_no_use_is_a_trouble_while_the_camera_lives(
    cameras: CameraServer, ends: Listener, monkeypatch: pytest.MonkeyPatch, scene: str, trouble: str
) -> None:
    monkeypatch.setattr("models.picture_health.LEARN_S", 1.0)
    await cameras.prepare(Scene(name=scene))  # type: ignore[arg-type]
    async with _running(Eye(_settings(cameras, ends), limits=QUICK_LIMITS)):
        await ends.until(lambda: ends.health and set(ends.health[-1].absent) >= {"covered", "moved", "defocused"})
        await cameras.show("gate", Scene(name=scene))  # type: ignore[arg-type]
        await ends.until(lambda: ends.health[-1].troubles == (trouble,))
        assert ends.state() == "live"
        await cameras.show("gate", Scene())
        await ends.until(lambda: ends.health[-1].troubles == () and trouble in ends.health[-1].absent)


async def test_a_frozen_picture_is_a_trouble_for_an_eye_that_only_glances(
    cameras: CameraServer, ends: Listener
) -> None:
    cameras.misbehave("gate", "freeze")
    settings = _settings(cameras, ends, faces_socket=None, read_timeout_s=5.0)
    async with _running(Eye(settings, limits=msgspec.structs.replace(QUICK_LIMITS, frozen_s=0.0))) as eye:
        await ends.until(lambda: ends.health and "frozen" in ends.health[-1].troubles, limit_s=30)
        assert eye.health().frames <= 4, "two pictures every ten seconds"
        assert ends.state() == "live"


async def test_a_clock_that_is_an_hour_off_is_a_trouble(
    cameras: CameraServer, ends: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.looks.CLOCK_LASTS_S", 1.0)
    async with _running(Eye(_settings(cameras, ends), limits=QUICK_LIMITS)):
        await ends.until(lambda: ends.health and "clock_skew" in ends.health[-1].absent)
        cameras.misbehave("gate", "clock_off")
        await ends.until(lambda: "clock_skew" in ends.health[-1].troubles)
        assert ends.state() == "live"
        cameras.misbehave("gate", None)
        await ends.until(lambda: "clock_skew" in ends.health[-1].absent)


# --- the process ------------------------------------------------------------------------------------------------------


async def test_the_process_is_small_and_its_password_is_nowhere_to_be_seen(
    cameras: CameraServer, ends: Listener
) -> None:
    cameras.access = Access(kind="digest", user="u", password="p@ ss/#%")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge.eye", "--camera", "gate", "--worker-socket", str(ends.worker_path)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(json.dumps({"url": cameras.url("gate"), "user": "u", "password": "p@ ss/#%"}).encode() + b"\n")
    await ends.until(lambda: ends.state() == "live")
    seen = psutil.Process(process.pid)
    assert "p@ ss/#%" not in " ".join(seen.cmdline()) + str(seen.environ())
    assert seen.memory_info().rss < 100e6
    assert not [name for name in ("onnxruntime", "cv2", "dlib") if any(name in m.path for m in seen.memory_maps())]
    cameras.misbehave("gate", "cut")
    await ends.until(lambda: ends.state() == "unreachable")
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    said = (await process.stderr.read()).decode()
    assert "camera gate is lost" in said
    assert "ss/#" not in said


def test_an_eye_without_settings_ends_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(os.devnull).open("rb") as empty:
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": empty}))
        assert main([]) == 2
    assert "settings of an eye" in capsys.readouterr().err
