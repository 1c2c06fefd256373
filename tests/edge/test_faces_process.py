"""The face process as a process, with its real networks: zones, two faces, enrolment, pictures, bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import skimage.data
from PIL import Image

from config.settings import FaceSettings
from edge import wire
from edge.facelink import FaceLink
from edge.faces import main
from models.errors import DeviceUnreachable
from models.faces.pipeline import FacePipeline, Rgb
from tests.edge.doubles import until
from tests.stories import strangers

CACHE = FaceSettings().cache_dir.expanduser()
ROOT = Path(__file__).parents[2]
HEADROOM_BYTES = 40 * 1024 * 1024


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    return FacePipeline(cache_dir=CACHE, threads=1)


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portraits") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)  # type: ignore[no-untyped-call]
    return path


class Running:
    """A face process, the link to it, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.link = FaceLink(folder / "f.sock")
        self.said: list[wire.FaceSighting | wire.FaceUnusable] = []
        self.link.on_sighting = self.link.on_unusable = self.said.append
        self.pid = 0

    @property
    def sightings(self) -> list[wire.FaceSighting]:
        return [one for one in self.said if isinstance(one, wire.FaceSighting)]

    async def show(self, crops: Iterator[Rgb], *, at: tuple[int, int] = (250, 80), **asked: Any) -> int:
        """Show crops at a door that is attended as told."""
        attend = wire.Attend(door_id="d1", camera_id="c1", until=time.time() + 60, **asked)
        self.link.attend(attend)
        return await strangers.show(self.link.socket, "c1", crops, at=at)


async def _linked(link: FaceLink) -> None:
    """Be connected as soon as the process listens."""
    while True:
        with contextlib.suppress(DeviceUnreachable):
            await link.run(lambda: None)
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    with tempfile.TemporaryDirectory(prefix="fp") as name:
        on = Running(Path(name))
        argv = ["-m", "edge", "faces", "--socket", str(on.link.socket), "--cache-dir", str(CACHE)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
        )
        on.pid = process.pid
        try:
            linked = asyncio.create_task(_linked(on.link))
            await until(lambda: on.link.ready, limit_s=60)
            yield on
            linked.cancel()
            await asyncio.gather(linked, return_exceptions=True)
        finally:
            process.terminate()
            await process.wait()


TRIANGLE = (0.3, 0.0, 1.0, 0.0, 1.0, 1.0)
"""The right upper half; what stands at (0.4, 0.8) is within its bounds and outside."""


async def test_only_who_stands_in_the_drawn_zone_of_an_attended_door_is_embedded(
    pipeline: FacePipeline, astronaut: Path
) -> None:
    async with running() as on:
        outside = strangers.faces([astronaut], 20, pipeline=pipeline)
        assert await on.show(outside, at=(190, 220), near_zone=TRIANGLE) == 20
        assert on.said == []
        inside = strangers.faces([astronaut], 20, pipeline=pipeline)
        assert await on.show(inside, at=(480, 10), near_zone=TRIANGLE, liveness="parallax") == 20
        await until(lambda: len(on.sightings) >= 15, what="the faces inside")
        health = on.link.health
        first = np.frombuffer(on.sightings[0].embedding, "<f4")
        others = [np.frombuffer(one.embedding, "<f4") for one in on.sightings]
        assert max(float(np.linalg.norm(first - one)) for one in others) < 0.4
        assert {one.liveness.provider for one in on.sightings if one.liveness} == {"parallax"}
        assert health is not None
        assert health.contract == on.sightings[0].contract == pipeline.contract.id


async def test_two_people_are_two_tracks_at_a_door_and_no_enrolment(pipeline: FacePipeline, astronaut: Path) -> None:
    face = next(strangers.faces([astronaut], 1, pipeline=pipeline))
    both = np.concatenate([face, np.full_like(face, 90), face[:, ::-1]], axis=1)
    async with running() as on:
        await on.show(repeat(both, 8), at=(100, 80))
        await until(lambda: len(on.sightings) >= 12)
        tracks = {one.track_id for one in on.sightings}
        assert len(tracks) == 2
        left = [one.track_id for one in on.sightings if one.box[0] < 240]
        assert len(set(left)) == 1, "each track stays with its face"
        on.said.clear()
        await on.show(repeat(both, 3), at=(100, 80), enrol=True)
        await until(lambda: len(on.said) >= 3)
        assert {one.reason for one in on.said if isinstance(one, wire.FaceUnusable)} == {"two_faces"}
        assert on.sightings == []
        await on.show(repeat(face, 3), enrol=True)
        await until(lambda: len(on.sightings) >= 2)


async def test_pictures_and_crops_leave_the_process_as_large_as_it_was(pipeline: FacePipeline, astronaut: Path) -> None:
    wide = np.zeros((360, 640, 3), np.uint8)
    wide[60:196, 250:386] = next(strangers.faces([astronaut], 1, pipeline=pipeline))
    async with running() as on:
        await on.show(strangers.faces([astronaut], 40, pipeline=pipeline))
        before = psutil.Process(on.pid).memory_info().rss
        on.said.clear()
        showing = asyncio.create_task(on.show(repeat(wide), at=(0, 0)))
        await until(lambda: on.said != [], what="the eye connected and its camera looked at")
        on.link.ignore("d1")
        answer = await on.link.picture("c1", masks=((0.0, 0.0, 0.2, 1.0),), request_id="r")
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        assert (answer.ok, answer.faces) == (True, 1)
        await on.show(strangers.faces([astronaut], 40, pipeline=pipeline))
        assert psutil.Process(on.pid).memory_info().rss - before < HEADROOM_BYTES


def test_networks_that_are_not_named_rightly_are_refused_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--socket", "/nowhere/f", "--cache-dir", str(CACHE), "--models"]
    assert main([*argv, '{"embedder": 1}']) == 2
    assert "no records of networks" in capsys.readouterr().err


def test_a_network_that_cannot_be_opened_ends_the_process_with_a_sentence() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = {"file": f"{folder}/own.onnx", "sha256": "a" * 64, "id": "e", "kind": "sface", "licence": "MIT"}
        argv = ["--socket", f"{folder}/f", "--cache-dir", str(CACHE), "--models", json.dumps({"embedder": record})]
        ended = subprocess.run(
            [sys.executable, "-m", "edge", "faces", *argv], capture_output=True, text=True, timeout=60, check=False
        )

    assert ended.returncode == 2
    assert "own.onnx: no such file" in ended.stderr
    assert "Traceback" not in ended.stderr
