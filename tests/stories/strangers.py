"""Strangers before a camera, a thousand pictures in half a minute: crops go to the real face process in an eye's place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge import wire
from gateway.rehearsal.processes import descendants
from models.faces.pipeline import FacePipeline

SIDE_PX = 136
ROOM_PX = 16
ALIKE = 0.2
"""The search for an embedding finds what is nearer than 0.55: more distant pictures of one face are searched for apart."""
FRAME = (640, 360)
Rgb = NDArray[np.uint8]


def faces(portraits: Sequence[Path], count: int, *, pipeline: FacePipeline, seed: int = 11) -> Iterator[Rgb]:
    """Yield crops of people who take turns, each (136, 136, 3): shifted, lit and grained differently, none like another."""
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    cut = [_about_face(path, pipeline) for path in portraits]
    for n in range(count):
        face = cut[n * len(cut) // count]
        left, top = chance.randint(0, ROOM_PX), chance.randint(0, ROOM_PX)
        shown = np.asarray(face.crop((left, top, left + SIDE_PX, top + SIDE_PX)), np.float32)
        lit = shown * chance.uniform(0.8, 1.15) + rng.normal(0, 3, shown.shape)
        yield np.clip(lit, 0, 255).astype(np.uint8)


def embedded(crops: Iterator[Rgb], pipeline: FacePipeline) -> list[NDArray[np.float32]]:
    """Return the embeddings of crops, those left out that are near one already there."""
    found: list[NDArray[np.float32]] = []
    for rgb in crops:
        for one in pipeline.embed(rgb, pipeline.detect(rgb, min_face_px=60)):
            if all(float(np.linalg.norm(one - other)) > ALIKE for other in found):
                found.append(one)
    return found


def _about_face(path: Path, pipeline: FacePipeline) -> Image.Image:
    """Return the surroundings of a portrait's one face, a little larger than a crop, the face about 95 px wide."""
    with Image.open(path) as picture:
        portrait = picture.convert("RGB")
    portrait.thumbnail((800, 800))
    left, top, right, bottom = pipeline.detect(np.asarray(portrait, np.uint8), min_face_px=60)[0].box
    x, y, half = (left + right) / 2, (top + bottom) / 2, (right - left) * 0.8
    around = portrait.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return around.resize((SIDE_PX + ROOM_PX, SIDE_PX + ROOM_PX), Image.Resampling.LANCZOS)


@contextlib.asynccontextmanager
async def eye_held(up_pid: int, camera_id: str) -> AsyncIterator[None]:
    """Hold a camera's eye still for the length of the block."""
    (pid,) = (pid for pid, words in descendants(up_pid).items() if f"edge eye --camera {camera_id}" in words)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def show(socket: Path, camera_id: str, crops: Iterator[Rgb], *, at: tuple[int, int]) -> int:
    """Be a camera's eye: answer each credit with the next crop, placed at x, y of the frame; return how many were taken."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    shown = 0
    try:
        await wire.write(writer, wire.EyeHello(camera_id=camera_id))
        while (message := await wire.read(reader, wire.to_eye)) is not None:
            if not isinstance(message, wire.Credit):
                continue
            rgb = next(crops, None)
            if rgb is None:
                break
            shown += 1
            crop = wire.Crop(
                camera_id=camera_id, frame_no=shown, captured_at=time.time(), age_ms=1.0, x=at[0], y=at[1],
                w=rgb.shape[1], h=rgb.shape[0], cols=rgb.shape[1], rows=rgb.shape[0],
                frame_w=FRAME[0], frame_h=FRAME[1], pixels=rgb.tobytes(),
            )  # fmt: skip
            await wire.write(writer, crop)
    finally:
        writer.close()
    return shown
