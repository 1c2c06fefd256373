"""Where something moves in a camera's picture, cheaply: a coarse grid of brightness against its own recent past.

Pure arithmetic on luma; it recognises nothing and keeps no picture, only a grid of about 80 by 45 means.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

Grid = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Luma = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
Area = tuple[int, int, int, int]
Zone = tuple[float, float, float, float]

GRID_COLUMNS: Final = 80
SAMPLES_PER_CELL: Final = 4
THRESHOLD: Final = 8.0
MIN_CELLS: Final = 4
ADAPTING_S: Final = 2.45
HOLD_S: Final = 2.0
QUIET_EVERY_S: Final = 0.28
"""How often a picture in which nothing moves is looked at; a person is far away still when first seen."""
UNION_S: Final = 1.0
PAD_CELLS: Final = 3
MIN_SIDE_PX: Final = 160


class MotionGate:
    """Say which area of each picture is worth a look.

    Motion is a cell that differs from its slow average by more than `THRESHOLD` grey levels, after the change of the
    whole picture (a lamp) is taken out. An area stays for `HOLD_S` after the last motion in it, and while `watch` asks
    for it.
    """

    def __init__(self, zone: Zone = (0.0, 0.0, 1.0, 1.0)) -> None:
        self._zone = zone
        self._past: Grid | None = None
        self._at_s = -1e9
        self._recent: deque[tuple[float, Area]] = deque()
        self._area: Area | None = None
        self._moved_at = -1e9
        self._watch: tuple[float, Zone | None] = (-1e9, None)

    def watch(self, until_s: float, zone: Zone | None) -> None:
        """Report an area until `until_s` (clock of `observe`) even if nothing moves; callable from another thread."""
        self._watch = (until_s, zone)

    def due(self, at_s: float) -> bool:
        """Say whether a picture of this time should be observed: all while something is wanted, else a few a second."""
        return not self.quiet(at_s) or at_s - self._at_s >= QUIET_EVERY_S

    def quiet(self, at_s: float) -> bool:
        """Say whether nothing moves and nobody has asked for a look."""
        return self._area is None and at_s > self._watch[0]

    def observe(self, luma: Luma, at_s: float) -> Area | None:
        """Take the next picture, (height, width) uint8; return x, y, w, h in px of what to look at, or None.

        Args:
            luma: the brightness of the picture.
            at_s: its time on a monotonic clock.
        """
        grid = coarse(luma)
        moving = self._moving(grid, at_s - self._at_s)
        self._at_s = at_s
        size = (luma.shape[1], luma.shape[0])
        if moving is not None:
            area = scale_up(moving, grid=(grid.shape[1], grid.shape[0]), size=size)
            if overlaps(area, self._zone, size=size):
                self._moved_at = at_s
                self._recent.append((at_s, area))
        while self._recent and self._recent[0][0] < at_s - UNION_S:
            self._recent.popleft()
        if self._recent:
            self._area = union([area for _, area in self._recent])
        return self._wanted(at_s, size)

    def _wanted(self, at_s: float, size: tuple[int, int]) -> Area | None:
        until_s, zone = self._watch
        if at_s <= self._moved_at + HOLD_S:
            return self._area
        if at_s > until_s:
            self._area = None
            return None
        whole = (0, 0, *size)
        asked = whole if zone is None else in_pixels(zone, size)
        return union([asked, self._area]) if self._area and zone is not None else self._area or asked

    def _moving(self, grid: Grid, since_s: float) -> tuple[int, int, int, int] | None:
        if self._past is None or self._past.shape != grid.shape:
            self._past = grid.copy()
            return None
        difference = grid - self._past
        self._past += np.float32(1 - math.exp(-since_s / ADAPTING_S)) * difference
        some = difference[::2, ::2].ravel()
        difference -= np.partition(some, some.size // 2)[some.size // 2]
        mask = np.abs(difference) > THRESHOLD
        if int(mask.sum()) < MIN_CELLS:
            return None
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def coarse(luma: Luma) -> Grid:
    """Reduce a picture to means over a grid about 80 cells wide, from every n-th pixel."""
    step = max(1, luma.shape[1] // (GRID_COLUMNS * SAMPLES_PER_CELL))
    side = step * SAMPLES_PER_CELL
    rows, columns = luma.shape[0] // side, luma.shape[1] // side
    cut = luma[: rows * side : step, : columns * side]
    if step == 2 and cut.strides[1] == 1:
        sums = _sums_of_words(cut.view("<u8"))
    else:
        across = cut[:, ::step].reshape(-1, columns, SAMPLES_PER_CELL).sum(axis=2, dtype=np.uint16)
        sums = across.reshape(rows, SAMPLES_PER_CELL, columns).sum(axis=1, dtype=np.uint16)
    means: Grid = sums.astype(np.float32) / np.float32(SAMPLES_PER_CELL * SAMPLES_PER_CELL)
    return means


def _sums_of_words(words: Words) -> Words:
    """Add up the samples of each cell where a cell's row is one word of eight bytes, every second of which counts.

    The mask leaves four samples in lanes of 16 bits, which sums do not fill; the product adds the lanes up in the top one.
    """
    lanes = (words & np.uint64(0x00FF00FF00FF00FF)).reshape(-1, SAMPLES_PER_CELL, words.shape[1]).sum(axis=1)
    sums: Words = lanes * np.uint64(0x0001000100010001) >> np.uint64(48)
    return sums


def scale_up(cells: tuple[int, int, int, int], *, grid: tuple[int, int], size: tuple[int, int]) -> Area:
    """Turn cells (x0, y0, x1, y1) into a padded box x, y, w, h in px of at least `MIN_SIDE_PX`, even numbered."""
    x = _span(cells[0], cells[2], cells=grid[0], pixels=size[0])
    y = _span(cells[1], cells[3], cells=grid[1], pixels=size[1])
    return x[0], y[0], x[1] - x[0], y[1] - y[0]


def _span(first: int, last: int, *, cells: int, pixels: int) -> tuple[int, int]:
    low = (first - PAD_CELLS) * pixels / cells
    high = (last + PAD_CELLS) * pixels / cells
    short = min(MIN_SIDE_PX, pixels) - (high - low)
    if short > 0:
        low, high = low - short / 2, high + short / 2
    low, high = (low, high) if low >= 0 else (0, high - low)
    low, high = (low, high) if high <= pixels else (low - (high - pixels), pixels)
    return max(0, int(low) & ~1), min(pixels, (int(high) + 1) & ~1)


def union(areas: list[Area]) -> Area:
    """Return the smallest box around all of them."""
    x = min(area[0] for area in areas)
    y = min(area[1] for area in areas)
    right = max(area[0] + area[2] for area in areas)
    bottom = max(area[1] + area[3] for area in areas)
    return x, y, right - x, bottom - y


def in_pixels(zone: Zone, size: tuple[int, int]) -> Area:
    """Turn parts of the frame (x0, y0, x1, y1) into x, y, w, h in px."""
    x, y = int(zone[0] * size[0]) & ~1, int(zone[1] * size[1]) & ~1
    return x, y, max(2, int(zone[2] * size[0]) - x), max(2, int(zone[3] * size[1]) - y)


def overlaps(area: Area, zone: Zone, *, size: tuple[int, int]) -> bool:
    """Say whether a box and a zone have a pixel in common."""
    x, y, w, h = in_pixels(zone, size)
    return area[0] < x + w and x < area[0] + area[2] and area[1] < y + h and y < area[1] + area[3]
