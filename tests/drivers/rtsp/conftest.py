"""Simulated cameras on free ports of loopback, served in this process; the tests' blocking clients run in threads."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from drivers.rtsp.scenes import Look
from drivers.rtsp.server import Access, CameraServer


@pytest.fixture
async def cameras() -> AsyncIterator[CameraServer]:
    server = CameraServer(look=Look(gop_s=1.0), access=Access(), rng=random.Random(7))
    async with server.serving(["gate", "yard"]):
        yield server


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portraits") / "astronaut.png"
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).save(path)
    return path
