"""Whether a camera's picture is of use: covered, moved, defocused or frozen, told from coarse views of it over time.

Pure arithmetic on brightness; it recognises nobody and keeps no picture, only grids of at most 36 by 48 means. What it
takes for usual it learns: the first half minute, then slowly, as long as nothing is wrong. Edges count by their
strength, not by which side is bright, and each block of the picture for itself: a change of light, a switch to
infrared or headlights leave most blocks as they are. A trouble begins after its hold-off and ends after a shorter one.

Measures: normalised cross-correlation of blocks of gradient magnitudes (J. P. Lewis, Fast Normalized Cross-Correlation,
1995) and the ratio of fine to coarse gradients, a relative of the sharpness measures of Pertuz et al., Pattern
Recognition 46 (2013).
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np

PictureTrouble = Literal["covered", "moved", "defocused", "frozen"]
TROUBLES: Final[tuple[PictureTrouble, ...]] = ("covered", "moved", "defocused", "frozen")
Luma = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Grid = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

BLOCK_ROWS: Final = 6
BLOCK_COLUMNS: Final = 8
CELLS_PER_BLOCK: Final = 6
CELL_PX: Final = 4
SAMPLED_WIDTH_PX: Final = 640
FLAT: Final = 2.5
"""Grey levels from cell to cell, of the picture's stronger edges, under which a picture shows nothing."""
TEXTURED: Final = 1.0
MIN_TEXTURED: Final = 6
ALIKE: Final = 0.4
GONE: Final = 0.3
EMPTIER: Final = 0.5
OTHER: Final = 0.3
"""The part of different blocks from which on two pictures cannot be compared for sharpness."""
DARK: Final = 24.0
BRIGHT: Final = 230.0
LEARN_S: Final = 30.0
LEARNING_S: Final = 5.0
ADAPTING_S: Final = 600.0
GAP_S: Final = 45.0
MAX_KNOWN: Final = 4


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds a trouble must last before it counts, its end too; a new view is known after `accept_s`."""

    covered_s: float = 15.0
    moved_s: float = 30.0
    defocused_s: float = 60.0
    frozen_s: float = 60.0
    ends_s: float = 5.0
    accept_s: float = 86_400.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One picture, coarse: of each cell (rows, columns) its mean, how far the next ones differ, and its sharpest step."""

    means: Grid
    edges: Grid
    fine: Grid

    @property
    def flat(self) -> bool:
        """Whether the picture shows nothing: something uniform fills it, or it is dark."""
        return _strength(self.edges) < FLAT


class Likeness(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the blocks that had edges has lost them, and which part looks different, from 0 to 1."""

    gone: float = 0.0
    strange: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Which troubles are in force, and which are known not to be; the others cannot be told."""

    troubles: tuple[PictureTrouble, ...] = ()
    absent: tuple[PictureTrouble, ...] = ()


def view_of(luma: Luma) -> View | None:
    """Reduce a picture, (height, width) uint8, to its coarse view; None where it is too small to tell anything."""
    step = max(1, round(luma.shape[1] / SAMPLED_WIDTH_PX))
    samples = luma[::step, ::step]
    rows = BLOCK_ROWS * min(CELLS_PER_BLOCK, samples.shape[0] // (BLOCK_ROWS * CELL_PX))
    columns = BLOCK_COLUMNS * min(CELLS_PER_BLOCK, samples.shape[1] // (BLOCK_COLUMNS * CELL_PX))
    if rows == 0 or columns == 0:
        return None
    high, wide = samples.shape[0] // rows, samples.shape[1] // columns
    cut = samples[: rows * high, : columns * wide]
    down = cut.reshape(rows, high, -1).sum(axis=1, dtype=np.uint32)
    means = (down.reshape(rows, columns, wide).sum(axis=2) / np.float32(high * wide)).astype(np.float32)
    fine = np.zeros(cut.shape, dtype=np.uint8)
    near, far = cut[:, 2:], cut[:, :-2]
    fine[:, :-2] = np.maximum(near, far) - np.minimum(near, far)
    sharpest = fine.reshape(rows, high, -1).max(axis=1).reshape(rows, columns, wide).max(axis=2)
    edges = np.zeros_like(means)
    edges[:, :-1] += np.abs(np.diff(means, axis=1))
    edges[:-1] += np.abs(np.diff(means, axis=0))
    # An edge between two cells may lie in either of them.
    for near, far in ((sharpest[:, :-1], sharpest[:, 1:]), (sharpest[:-1], sharpest[1:])):
        np.maximum(near, far, out=near)
    return View(means=means, edges=edges, fine=sharpest.astype(np.float32))


class PictureHealth:
    """Follow one camera's views and say what is wrong with them. Not thread-safe."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        ends_s = self._limits.ends_s
        self._lasting = {name: Lasting(getattr(self._limits, f"{name}_s"), ends_s=ends_s) for name in TROUBLES}
        self._known: list[_Known] = []
        self._last: View | None = None
        self._at_s = 0.0

    def observe(self, view: View, at_s: float) -> Verdict:
        """Take the next view at its time on a monotonic clock; about one a second is enough, six a minute will do."""
        last, since_s = self._last, at_s - self._at_s
        self._last, self._at_s = view, at_s
        seen = self._evidence(view, last, at_s, since_s)
        for name, evidence in seen.items():
            self._lasting[name].observe(evidence, at_s)
        if seen["moved"] and self._lasting["moved"].lasted_s(at_s) >= self._limits.accept_s:
            self._know(view, at_s - LEARN_S)
        states = {name: lasting.state for name, lasting in self._lasting.items()}
        return Verdict(
            troubles=tuple(name for name, state in states.items() if state),
            absent=tuple(name for name, state in states.items() if state is False),
        )

    def _evidence(
        self, view: View, last: View | None, at_s: float, since_s: float
    ) -> dict[PictureTrouble, bool | None]:
        known = self._closest(view)
        if known is None and not view.flat:
            known = self._know(view, at_s)
        seen = Likeness(gone=1.0 if view.flat else 0.0) if known is None else known.compare(view)
        if known is None or seen.gone >= (0.45 if self._lasting["covered"].state else 0.65):
            return {"covered": seen.gone > 0, "moved": None, "defocused": None, "frozen": None}
        learning = at_s - known.since_s < LEARN_S
        moved = None if learning else seen.strange >= (0.55 if self._lasting["moved"].state else 0.75)
        least = 0.65 if self._lasting["defocused"].state else 0.5
        other = learning or seen.strange >= OTHER
        defocused = None if other else known.blurs(view, least)
        if learning or not (other or defocused):
            known.learn(view, 1 - math.exp(-since_s / (LEARNING_S if learning else ADAPTING_S)))
        frozen = last is not None and np.array_equal(last.means, view.means)
        return {"covered": False, "moved": moved, "defocused": defocused, "frozen": frozen}

    def _closest(self, view: View) -> _Known | None:
        fitting = [known for known in self._known if known.edges.shape == view.edges.shape]
        return min(fitting, key=lambda known: known.compare(view).strange, default=None)

    def _know(self, view: View, since_s: float) -> _Known:
        known = _Known(view, since_s)
        self._known = [*self._known[-MAX_KNOWN + 1 :], known]
        return known


class Lasting:
    """Say of one trouble whether it is in force: it must last to begin, and be away for a while to end."""

    def __init__(self, begins_s: float, *, ends_s: float) -> None:
        self.state: bool | None = None
        self._needs_s = {True: begins_s, False: ends_s}
        self._run: tuple[bool, float] | None = None
        self._changed_s = 0.0
        self._at_s = 0.0

    def observe(self, evidence: bool | None, at_s: float) -> None:
        """Take what is seen now; None says nothing, and so does a gap."""
        if evidence is None or at_s - self._at_s > GAP_S:
            self._run = None
        self._at_s = at_s
        if evidence is None:
            return
        if self._run is None or self._run[0] is not evidence:
            self._run = (evidence, at_s)
        if self.state is not evidence and at_s - self._run[1] >= self._needs_s[evidence]:
            self.state, self._changed_s = evidence, at_s

    def lasted_s(self, at_s: float) -> float:
        """Return for how long it has been in force."""
        return at_s - self._changed_s if self.state else 0.0


class _Known:
    """One view that the camera usually has, learned over time."""

    def __init__(self, view: View, since_s: float) -> None:
        self.edges = view.edges.copy()
        self.fine = view.fine.copy()
        self.since_s = since_s

    def learn(self, view: View, part: float) -> None:
        self.edges += np.float32(part) * (view.edges - self.edges)
        self.fine += np.float32(part) * (view.fine - self.fine)

    def blurs(self, view: View, least: float) -> bool:
        """Say whether the steps where this view has its strongest edges are that much less steep, in whatever light."""
        strong = self.edges >= _strength(self.edges)
        usual = self.fine[strong].mean() / max(float(self.edges[strong].mean()), FLAT)
        return bool(view.fine[strong].mean() < least * usual * max(float(view.edges[strong].mean()), FLAT))

    def compare(self, view: View) -> Likeness:
        """Compare block by block where this view has edges, in whatever light."""
        before, now = _blocks(self.edges), _blocks(view.edges)
        before_dev, now_dev = before.std(axis=1), now.std(axis=1)
        textured = before_dev > TEXTURED
        if int(textured.sum()) < MIN_TEXTURED:
            return Likeness(gone=1.0 if view.flat else 0.0)
        centred = (before - before.mean(axis=1, keepdims=True)) * (now - now.mean(axis=1, keepdims=True))
        unlike = centred.mean(axis=1) < ALIKE * before_dev * now_dev + 1e-6
        gone = textured & unlike & (now_dev < GONE * before_dev)
        emptier = _strength(view.edges) < EMPTIER * _strength(self.edges) or now.mean() < EMPTIER * before.mean()
        light = _blocks(view.means).mean(axis=1)
        told = textured & (light > DARK) & (light < BRIGHT)
        return Likeness(
            gone=float(gone.sum() / textured.sum()) if emptier else 0.0,
            strange=float((told & unlike).sum() / told.sum()) if int(told.sum()) >= MIN_TEXTURED else 0.0,
        )


def _strength(edges: Grid) -> float:
    return float(np.percentile(edges, 98))


def _blocks(grid: Grid) -> Grid:
    rows, columns = grid.shape[0] // BLOCK_ROWS, grid.shape[1] // BLOCK_COLUMNS
    cut = grid.reshape(BLOCK_ROWS, rows, BLOCK_COLUMNS, columns).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cut).reshape(BLOCK_ROWS * BLOCK_COLUMNS, rows * columns)
