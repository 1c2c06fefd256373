"""One picture of a camera in which nobody can be recognised, to draw a near zone on.

Privacy masks are black, faces are reduced to a few soft cells, and the finished JPEG is looked at again until no face
is found in it; if that cannot be reached there is no picture. Nothing is embedded and nothing is kept.
"""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final

import numpy as np
from PIL import Image

from edge import wire
from edge.faces_look import pixels
from models.faces.detector import overlap
from models.faces.pipeline import Box, FacePipeline, Rgb
from models.faces.runtime import give_back_memory
from models.zones import Rectangle

SIDE_PX: Final = 640
"""Longer side of the picture: enough to draw on, and a face under `LEAST_PX` shows nothing of who it is."""
LEAST_PX: Final = 24
SMALL_PX: Final = 48
"""Faces up to this size are looked for in enlarged parts, one at a time, so that memory and other cameras' wait stay small."""
PART_PX: Final = 200
AROUND: Final = 0.4
"""So much of its width around a face is hidden with it: hair, ears, chin."""
CELLS: Final = (4, 2, 1)
"""Cells across a hidden face, per round; one is its mean colour."""
SAME: Final = 0.3
MAX_BYTES: Final = 200 * 1024
QUALITIES: Final = (80, 60, 40, 25)


async def picture(
    crop: wire.Crop, asked: wire.TakePicture, *, pipeline: FacePipeline, thread: Executor
) -> wire.Picture:
    """Return a whole frame as a JPEG without recognisable faces, or say why not: `no_picture`, `unblurrable`.

    The thread is asked for one part of the picture at a time: doors that wait for it are served in between.
    """
    loop = asyncio.get_running_loop()
    if pixels(crop) is None:
        return wire.Picture(request_id=asked.request_id, ok=False, reason="no_picture")
    rgb = await loop.run_in_executor(thread, reduced, crop, asked.masks)
    quality = await loop.run_in_executor(thread, fitting, rgb)
    hidden: list[Box] = []
    changed: list[Box] = [(0, 0, rgb.shape[1], rgb.shape[0])]
    for cells in (*CELLS, None):
        jpeg = encoded(rgb, quality)
        shown = np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.uint8)
        boxes = []
        for part in parts(shown):
            if any(overlap(part, area) > 0.0 for area in changed):
                boxes += await loop.run_in_executor(thread, partial(found, pipeline, shown, part=part))
        if not boxes and len(jpeg) <= MAX_BYTES:
            return wire.Picture(request_id=asked.request_id, ok=True, jpeg=jpeg, faces=len(hidden))
        if cells is None or not boxes:
            break
        hidden += [box for n, box in enumerate(boxes) if not _among(box, [*hidden, *boxes[:n]])]
        changed = [around(box, rgb) for box in boxes]
        rgb = without(rgb, changed, cells=cells)
    return wire.Picture(request_id=asked.request_id, ok=False, reason="unblurrable")


def reduced(crop: wire.Crop, masks: Sequence[Rectangle]) -> Rgb:
    """Return a sound crop of at most `SIDE_PX`, black where a mask has any part of a pixel."""
    rgb = np.frombuffer(crop.pixels, np.uint8).reshape(crop.rows, crop.cols, 3)
    image = Image.fromarray(rgb)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    small = np.array(image, np.uint8)
    rows, cols = small.shape[:2]
    for left, top, right, bottom in masks:
        across = slice(max(0, math.floor(left * cols)), max(0, math.ceil(right * cols)))
        small[max(0, math.floor(top * rows)) : max(0, math.ceil(bottom * rows)), across] = 0
    return small


def fitting(rgb: Rgb) -> int:
    """Return the best quality at which the picture is a JPEG of at most `MAX_BYTES`, or the least there is."""
    return next((quality for quality in QUALITIES if len(encoded(rgb, quality)) <= MAX_BYTES), QUALITIES[-1])


def encoded(rgb: Rgb, quality: int) -> bytes:
    """Return the picture as a JPEG; what did not change between two of one quality stays the same block by block."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def parts(rgb: Rgb) -> Iterator[Box]:
    """Yield the whole picture, then parts of at most `PART_PX` that overlap by the size of a small face."""
    rows, cols = rgb.shape[:2]
    yield 0, 0, cols - 1, rows - 1
    for top, bottom in _spans(rows):
        for left, right in _spans(cols):
            yield left, top, right, bottom


def found(pipeline: FacePipeline, rgb: Rgb, *, part: Box) -> list[Box]:
    """Return the boxes of the faces in one part: large ones in the whole picture, small ones in its parts."""
    left, top, right, bottom = part
    cut = rgb[top : bottom + 1, left : right + 1]
    least, most = (SMALL_PX, None) if cut.shape == rgb.shape else (LEAST_PX, SMALL_PX)
    faces = pipeline.detect(cut, min_face_px=least, max_face_px=most)
    give_back_memory()
    return [(x0 + left, y0 + top, x1 + left, y1 + top) for x0, y0, x1, y1 in (face.box for face in faces)]


def around(box: Box, rgb: Rgb) -> Box:
    """Return what is hidden with a face: left, top, right, bottom in the picture, which may be nothing."""
    left, top, right, bottom = box
    grow = AROUND * (right - left + 1)
    rows, cols = rgb.shape[:2]
    return (
        min(cols, max(0, math.floor(left - grow))), min(rows, max(0, math.floor(top - grow))),
        max(0, min(cols, math.ceil(right + grow))), max(0, min(rows, math.ceil(bottom + grow))),
    )  # fmt: skip


def without(rgb: Rgb, areas: Sequence[Box], *, cells: int) -> Rgb:
    """Return the picture with what is in the areas reduced to `cells` by `cells` soft cells."""
    image = Image.fromarray(rgb)
    for area in areas:
        if area[0] < area[2] and area[1] < area[3]:
            cut = image.crop(area)
            soft = cut.resize((cells, cells), Image.Resampling.BOX).resize(cut.size, Image.Resampling.BILINEAR)
            image.paste(soft, area)
    return np.array(image, np.uint8)


def _spans(length: int) -> list[tuple[int, int]]:
    """Cover a side by equal spans that overlap by `SMALL_PX`: first and last pixel of each."""
    count = max(1, math.ceil((length - SMALL_PX) / (PART_PX - SMALL_PX)))
    size = math.ceil((length + (count - 1) * SMALL_PX) / count)
    starts = [round(n * (length - size) / max(1, count - 1)) for n in range(count)]
    return [(start, min(length, start + size) - 1) for start in starts]


def _among(box: Box, others: Sequence[Box]) -> bool:
    return any(overlap(box, other) > SAME for other in others)
