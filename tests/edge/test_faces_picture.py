"""Pictures of a camera: nobody in them can be recognised, masks are black, and without that there is no picture."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import skimage.data
from PIL import Image

from config.settings import FaceSettings
from edge import wire
from edge.faces_picture import (
    LEAST_PX,
    MAX_BYTES,
    PART_PX,
    SIDE_PX,
    SMALL_PX,
    around,
    encoded,
    fitting,
    parts,
    picture,
    without,
)
from models.faces.pipeline import FacePipeline, Rgb
from tests.edge.doubles import until
from tests.edge.faces_stage import Networks, crop, stage

ASKED = wire.TakePicture(request_id="r", camera_id="c1", masks=((0.0, 0.0, 0.1, 1.0), (0.9, 0.9, 1.0, 1.0)))


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    return FacePipeline(cache_dir=FaceSettings().cache_dir.expanduser(), threads=1)


@pytest.fixture(scope="module")
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


def frame(rgb: Rgb) -> wire.Crop:
    """Return a picture as an eye sends it when it is asked for a whole frame."""
    rows, cols = rgb.shape[:2]
    size = {"w": cols, "h": rows, "cols": cols, "rows": rows, "frame_w": cols, "frame_h": rows}
    return msgspec.structs.replace(crop(), x=0, y=0, **size, pixels=rgb.tobytes())


def shown(answer: wire.Picture) -> Rgb:
    return np.asarray(Image.open(io.BytesIO(answer.jpeg)).convert("RGB"), np.uint8)


async def test_nobody_in_a_picture_can_be_found_or_embedded_near_or_far(
    pipeline: FacePipeline, thread: ThreadPoolExecutor
) -> None:
    portrait = Image.fromarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]
    scene = Image.new("RGB", (320, 180), (96, 120, 104))
    scene.paste(portrait.resize((170, 170)), (34, 5))
    scene.paste(portrait.resize((115, 115)), (200, 40))
    rgb = np.asarray(scene, np.uint8)
    before = pipeline.detect(rgb, min_face_px=LEAST_PX, thorough=True)
    assert len(before) == 2
    answer = await picture(frame(rgb), ASKED, pipeline=pipeline, thread=thread)
    assert (answer.ok, answer.faces, answer.request_id) == (True, 2, "r")
    assert len(answer.jpeg) <= MAX_BYTES
    after = shown(answer)
    assert after.shape == rgb.shape
    assert pipeline.detect(after, min_face_px=LEAST_PX, thorough=True) == []
    blind = pipeline.embed(after, before)
    assert (np.linalg.norm(blind - pipeline.embed(rgb, before), axis=1) > 0.6).all(), (
        "who knows the place learns nothing"
    )
    assert after[:, :28].max() < 16
    assert after[166:, 292:].max() < 16
    assert after[:30, 210:].mean() > 80


async def test_a_face_that_stays_a_face_gives_no_picture(thread: ThreadPoolExecutor) -> None:
    networks = Networks()
    answer = await picture(frame(np.full((90, 160, 3), 90, np.uint8)), ASKED, pipeline=networks, thread=thread)  # type: ignore[arg-type]
    assert (answer.ok, answer.reason, answer.jpeg) == (False, "unblurrable", b"")
    assert networks.detections == 8, "four looks at the whole and its one part"
    assert networks.embeddings == 0


async def test_a_large_frame_is_reduced_and_one_that_lies_about_its_size_is_none(thread: ThreadPoolExecutor) -> None:
    networks = Networks(boxes=[])
    large = frame(np.random.default_rng(1).integers(0, 255, (1080, 1920, 3), np.uint8))
    answer = await picture(large, ASKED, pipeline=networks, thread=thread)  # type: ignore[arg-type]
    assert answer.ok
    assert shown(answer).shape == (360, SIDE_PX, 3)
    assert len(answer.jpeg) <= MAX_BYTES
    lie = msgspec.structs.replace(large, rows=1081)
    answer = await picture(lie, ASKED, pipeline=networks, thread=thread)  # type: ignore[arg-type]
    assert (answer.ok, answer.reason) == (False, "no_picture")


@pytest.mark.parametrize("size", [(360, 640), (480, 640), (640, 360), (60, 40), (200, 200), (201, 640)])
def test_every_small_face_lies_whole_in_one_part(size: tuple[int, int]) -> None:
    whole, *some = parts(np.zeros((*size, 3), np.uint8))
    assert whole == (0, 0, size[1] - 1, size[0] - 1)
    for left in range(max(1, size[1] - SMALL_PX)):
        for top in range(0, max(1, size[0] - SMALL_PX), 7):
            right, bottom = min(left + SMALL_PX, size[1]) - 1, min(top + SMALL_PX, size[0]) - 1
            assert any(a <= left and b <= top and c >= right and d >= bottom for a, b, c, d in some), (left, top)
    assert all(0 < c - a + 1 <= PART_PX and 0 < d - b + 1 <= PART_PX for a, b, c, d in some)


def test_a_face_that_reaches_over_the_border_is_hidden_as_far_as_it_is_there() -> None:
    rgb = np.random.default_rng(2).integers(0, 255, (60, 60, 3), np.uint8)
    areas = [around((-20, -20, 19, 19), rgb), around((200, 200, 220, 220), rgb)]
    assert areas[0] == (0, 0, 35, 35)
    hidden = without(rgb, areas, cells=1)
    assert np.unique(hidden[:30, :30].reshape(-1, 3), axis=0).shape[0] == 1
    assert (hidden[40:, 40:] == rgb[40:, 40:]).all()


def test_a_picture_that_no_quality_makes_small_is_not_larger_than_it_may_be() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (640, 640, 3), np.uint8)
    assert len(encoded(noise, 80)) > MAX_BYTES
    assert len(encoded(noise, fitting(noise))) <= MAX_BYTES
    assert fitting(np.zeros((9, 9, 3), np.uint8)) == 80


async def test_a_picture_is_taken_of_the_next_whole_frame_without_an_act_and_embeds_nobody(tmp_path: Path) -> None:
    async with stage(tmp_path, boxes=[]) as on:
        eye = await on.eye()
        listening = asyncio.create_task(eye.listen())
        await until(lambda: on.process._eyes != {})
        asked = asyncio.create_task(on.link.picture("c1", masks=(), request_id="r"))
        await until(lambda: eye.wholes == 1)
        await eye.show()
        await wire.write(eye.writer, frame(np.full((90, 160, 3), 90, np.uint8)))
        answer = await asked
        assert (answer.ok, answer.faces, shown(answer).shape) == (True, 0, (90, 160, 3))
        assert (on.process.tally.crops, on.networks.embeddings) == (0, 0)
        listening.cancel()


async def test_without_an_eye_or_a_frame_there_is_no_picture_and_the_line_is_short(tmp_path: Path) -> None:
    async with stage(tmp_path, whole_s=0.2) as on:
        assert (await on.link.picture("c9", masks=(), request_id="r")).reason == "no_picture"
        await on.eye()
        await until(lambda: on.process._eyes != {})
        asked = [on.link.picture("c1", masks=(), request_id=f"r{n}") for n in range(8)]
        reasons = [answer.reason for answer in await asyncio.gather(*asked)]
        assert set(reasons) == {"no_picture", "busy"}
        assert reasons.count("busy") >= 3
