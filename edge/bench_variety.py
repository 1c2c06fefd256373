"""Rows that vary as embeddings of faces do, for benchmarks of matching: drawn at random, of nobody.

What is at hand are portraits of three people. Their aligned faces are blended with each other, warped, lit, turned and
mirrored, and embedded by the real network; the covariance of these embeddings is what random rows are drawn with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.faces.align import Aligner
from models.faces.embedder import Embedder
from models.faces.pipeline import FacePipeline

Rgb = NDArray[np.uint8]
Floats = NDArray[np.float32]

AXES: Final = 32
_SIDE: Final = 150
_BATCH: Final = 8


class Variety(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How rows vary: `center` (d,) and `factors` (d, d), by which independent normal numbers are multiplied.

    Attributes:
        center: The mean embedding.
        factors: Rows of independent numbers times this have the covariance.
        detail: Where it comes from, and its share of variance in 32 axes.
    """

    center: Floats
    factors: Floats
    detail: str

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Return (count, d) rows."""
        rows: Floats = rng.standard_normal((count, len(self.center)), dtype=np.float32) @ self.factors
        rows += self.center
        return rows

    def near(self, rows: Floats, *, distance: float, rng: np.random.Generator) -> Floats:
        """Return rows moved by `distance` in random directions of the same variety."""
        away = rng.standard_normal(rows.shape, dtype=np.float32) @ self.factors
        moved: Floats = rows + away / np.linalg.norm(away, axis=1, keepdims=True) * np.float32(distance)
        return moved


def of_spectrum(variances: NDArray[np.float64], *, rng: np.random.Generator, detail: str) -> Variety:
    """Return a variety with given variances along random axes, centred on nothing."""
    axes = np.linalg.qr(rng.standard_normal((len(variances), len(variances))))[0]
    factors = (axes * np.sqrt(variances)).T.astype(np.float32)
    return Variety(center=np.zeros(len(variances), np.float32), factors=factors, detail=detail)


def geometric(share: float, *, total: float, dimensions: int = 128) -> NDArray[np.float64]:
    """Return falling variances, each the same part of the one before, with `share` of `total` in the first 32."""
    low, high = 0.5, 1.0 - 1e-9
    for _ in range(100):
        ratio = (low + high) / 2
        reached = (1 - ratio**AXES) / (1 - ratio**dimensions)
        low, high = (ratio, high) if reached > share else (low, ratio)
    variances = np.power(low, np.arange(dimensions))
    return np.asarray(variances / variances.sum() * total)


def of_portraits(portraits: dict[str, Path], cache_dir: Path, *, variants: int, seed: int = 1) -> Variety:
    """Return the variety of variants of portraits, scaled so that two rows lie as far apart as two people's do.

    Raises:
        ModelFileError: A network file is missing or broken.
    """
    embedder = Embedder(cache_dir=cache_dir, threads=1)
    chips, people = _chips(portraits, cache_dir)
    rng = np.random.default_rng(seed)
    own = embedder.embed(chips)
    apart = [
        float(np.linalg.norm(own[i] - own[j])) for i, a in enumerate(people) for j, b in enumerate(people) if a < b
    ]
    made = [_variant(chips, rng) for _ in range(variants)]
    embeddings = np.concatenate(
        [embedder.embed(np.stack(made[start : start + _BATCH])) for start in range(0, variants, _BATCH)]
    ).astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(embeddings, rowvar=False))
    values = np.maximum(values, 0.0)
    gap = float(np.mean(apart))
    factors = (axes * np.sqrt(values * gap**2 / (2 * values.sum()))).T
    detail = (
        f"normal rows with the covariance of {variants} embedded variants (blends, warps, light, mirrored) of "
        f"{len(chips)} portraits of {len(set(people))} people, {100 * values[-AXES:].sum() / values.sum():.0f} % of it "
        f"in {AXES} axes; two rows {gap:.2f} apart, as portraits of different people are"
    )
    return Variety(center=embeddings.mean(axis=0).astype(np.float32), factors=factors.astype(np.float32), detail=detail)


def _chips(portraits: dict[str, Path], cache_dir: Path) -> tuple[Rgb, list[str]]:
    """Return aligned faces (N, 150, 150, 3) and whose they are."""
    from skimage import data

    pipeline, aligner = FacePipeline(cache_dir=cache_dir), Aligner()
    pictures: list[tuple[str, Rgb]] = [("astronaut", np.asarray(data.astronaut()))]  # type: ignore[no-untyped-call]
    for name, path in portraits.items():
        with Image.open(path) as image:
            upright = image.convert("RGB")
        upright.thumbnail((640, 640))
        pictures.append((name.rstrip("0123456789.jpg").partition("_")[0], np.asarray(upright)))
    chips, people = [], []
    for person, rgb in pictures:
        for face in pipeline.detect(rgb, min_face_px=60)[:1]:
            chips.append(aligner.chip(rgb, face.box, face.landmarks))
            people.append(person)
    return np.stack(chips), people


def _variant(chips: Rgb, rng: np.random.Generator) -> Rgb:
    """Return a face that is a bit of two or three others, in another pose and light."""
    one, two, three = chips[rng.integers(0, len(chips), 3)].astype(np.float32)
    share = rng.uniform()
    face = share * one + (1 - share) * two
    if rng.uniform() < 0.3:
        cut = int(rng.integers(50, 110))
        face[:cut] = three[:cut]
    warped = _warped(Image.fromarray(face.astype(np.uint8)), rng)
    lit = np.asarray(warped, np.float32)
    if rng.uniform() < 0.5:
        lit = lit[:, ::-1]
    slope = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 1 + rng.uniform(0, 0.5) * (slope[None] * np.cos(angle) + slope[:, None] * np.sin(angle))
    lit = lit * ramp[..., None] * rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)
    bent = 255 * (np.clip(lit, 0, 255) / 255) ** rng.uniform(0.6, 1.6)
    return np.asarray(np.clip(bent, 0, 255), np.uint8)


def _warped(face: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Bend a face by a grid of five by five points, each moved by some px, and turn, scale and shift it a little."""
    marks = np.linspace(0, _SIDE, 5)
    grid = np.stack(np.meshgrid(marks, marks), axis=-1) - _SIDE / 2
    angle, scale = rng.normal(0, 0.1), rng.uniform(0.9, 1.12)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = grid @ turn + rng.normal(0, 1, grid.shape) * rng.uniform(0, 6) + rng.normal(0, 3, 2) + _SIDE / 2
    mesh = []
    for y in range(4):
        for x in range(4):
            box = (int(marks[x]), int(marks[y]), int(marks[x + 1]), int(marks[y + 1]))
            quad = (*moved[y, x], *moved[y + 1, x], *moved[y + 1, x + 1], *moved[y, x + 1])
            mesh.append((box, quad))
    return face.transform(face.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
