"""Pictures and networks that the face tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from config.portraits import portraits
from models.faces.pipeline import FacePipeline

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="session")
def photos() -> dict[str, Path]:
    return portraits()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="session")
def pipeline(cache_dir: Path) -> FacePipeline:
    return FacePipeline(cache_dir=cache_dir, threads=1)


@pytest.fixture(scope="session")
def astronaut() -> Rgb:
    picture: Rgb = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    return picture


@pytest.fixture(scope="session")
def mosaics(photos: dict[str, Path], astronaut: Rgb) -> list[Rgb]:
    """Pictures with a dozen faces each, from heads at several sizes, turned over or not."""
    heads = [Image.fromarray(astronaut).crop((130, 10, 310, 220))]
    heads += [_head(photos["obama.jpg"], (300, 80, 700, 480)), _head(photos["biden.jpg"], (330, 130, 800, 620))]
    rng = np.random.default_rng(11)
    return [_mosaic(heads, rng) for _ in range(3)]


def _head(path: Path, box: tuple[int, int, int, int]) -> Image.Image:
    return Image.open(path).convert("RGB").crop(box)


def _mosaic(heads: list[Image.Image], rng: np.random.Generator) -> Rgb:
    ground: Any = Image.new("RGB", (640, 480), (90, 110, 120))
    for row in range(2):
        for col in range(4):
            head = heads[int(rng.integers(len(heads)))].copy()
            side = int(rng.integers(150, 220))
            head.thumbnail((side, side))
            if rng.random() < 0.5:
                head = head.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            at = (col * 158 + int(rng.integers(0, 8)), row * 236 + int(rng.integers(0, 20)))
            ground.paste(head, at)
    return np.asarray(ground)
