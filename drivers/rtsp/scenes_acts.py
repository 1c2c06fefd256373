"""What somebody does before the simulated camera: turns a live head or keeps it still, or holds up a picture of one.

For measuring liveness, not for defeating it: a print held still, moved or bent, and a screen that replays a turning
head, each drawn with its edges and the hands that hold it. `seed` varies rhythm, angles and bending, so that many
takes of one act differ.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

import cv2
import msgspec
import numpy as np

from drivers.rtsp.scenes_figures import SIZE, Box, cut, head
from drivers.rtsp.scenes_relief import FACE_AT, FACE_PX, Figure, Pixels, Place, Plane, Pose, draw, figure_of

Act = Literal["head", "head_still", "print", "print_moved", "print_bent", "screen"]
ACTS: Final[tuple[Act, ...]] = get_args(Act)
LIVE: Final[tuple[Act, ...]] = ("head", "head_still")
_HAND: Final = (196, 150, 124)
_COAT: Final = (70, 66, 60)


class Perform(Protocol):
    """Draw somebody who performs."""

    def __call__(self, frame: Pixels, place: Place, *, at_s: float) -> None:
        """Draw into a frame somebody whose face is at a place, so many seconds after the start."""
        ...


class Swing(msgspec.Struct, frozen=True, kw_only=True):
    """How a figure moves: greatest angles in radians, greatest shifts in widths of the face, and its rhythm in s."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: float = 0.0
    tremor: float = 0.004
    period_s: float = 2.4
    phase: float = 0.0
    light: float = 1.0

    def pose(self, at_s: float, part: float = 1.0) -> Pose:
        """Return the pose at a time; `part` tones it down."""
        turn = 2 * math.pi * at_s / self.period_s + self.phase
        return Pose(
            yaw=part * self.yaw * math.sin(turn),
            pitch=part * self.pitch * math.sin(0.73 * turn + 1.0),
            roll=part * self.roll * math.sin(0.61 * turn + 2.0),
            light=self.light,
        )

    def moved(self, place: Place, at_s: float) -> Place:
        """Return where the figure is then: shifted, and trembling as a hand does."""
        turn = 2 * math.pi * at_s / self.period_s + self.phase
        across = self.shift * math.sin(0.8 * turn) + self.tremor * (math.sin(19 * at_s) + math.sin(31 * at_s + 1))
        down = 0.5 * self.shift * math.sin(0.5 * turn + 0.5) + self.tremor * math.sin(23 * at_s + 2)
        return msgspec.structs.replace(place, x=place.x + across * place.face_px, y=place.y + down * place.face_px)


def performer(act: Act, portrait: Path, *, face: Box | None, seed: int) -> Perform:
    """Return who performs an act with a portrait.

    Raises:
        InvalidInput: the portrait cannot be used; see `drivers.rtsp.scenes_figures.sprite`.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    if act in LIVE:
        return _live(head(portrait, face), _head_swing(rng, still=act == "head_still"))
    if act == "screen":
        return _replayed(head(portrait, face), rng)
    bend = rng.choice((-1, 1)) / rng.uniform(0.8, 1.6) if act == "print_bent" else 0.0
    return _held(_sheet(cut(portrait, face), bend=bend), _print_swing(act, rng))


def _head_swing(rng: random.Random, *, still: bool = False) -> Swing:
    """Return how a head looks about; who keeps it still only sways."""
    return Swing(
        yaw=math.radians(rng.uniform(0, 2) if still else rng.uniform(13, 20)) * rng.choice((-1, 1)),
        pitch=math.radians(rng.uniform(0, 2) if still else rng.uniform(2, 6)),
        roll=math.radians(rng.uniform(0, 3)),
        shift=rng.uniform(0.01, 0.05),
        tremor=0.002,
        period_s=rng.uniform(2.0, 3.2),
        phase=rng.uniform(-0.4, 0.4),
        light=rng.uniform(0.85, 1.1),
    )


def _print_swing(act: Act, rng: random.Random) -> Swing:
    still = act == "print"
    return Swing(
        yaw=math.radians(rng.uniform(0, 1) if still else rng.uniform(10, 24)) * rng.choice((-1, 1)),
        pitch=math.radians(rng.uniform(0, 1) if still else rng.uniform(4, 16)),
        roll=math.radians(rng.uniform(0, 0.5) if still else rng.uniform(2, 9)),
        shift=0.0 if still else rng.uniform(0.03, 0.2),
        tremor=rng.uniform(0.001, 0.006),
        period_s=rng.uniform(1.6, 3.2),
        phase=rng.uniform(0, 2 * math.pi),
        light=rng.uniform(0.85, 1.1),
    )


def _live(figure: Figure, swing: Swing) -> Perform:
    def perform(frame: Pixels, place: Place, *, at_s: float) -> None:
        near = min(1.0, max(0.0, (place.face_px - 40) / 40))  # who is far walks, who is near looks about
        draw(frame, figure, pose=swing.pose(at_s, near), place=swing.moved(place, at_s))

    return perform


def _held(figure: Figure, swing: Swing) -> Perform:
    bearer = _bearer()

    def perform(frame: Pixels, place: Place, *, at_s: float) -> None:
        draw(frame, bearer, pose=Pose(), place=place)
        draw(frame, figure, pose=swing.pose(at_s), place=swing.moved(place, at_s))

    return perform


def _replayed(figure: Figure, rng: random.Random) -> Perform:
    """Hold up a screen that plays a turning head, with a wave of interference and little else to tell it by."""
    shown, held, bearer = _head_swing(rng), _print_swing("print", rng), _bearer()
    pitch_px, drift = rng.uniform(9, 16), rng.uniform(2, 6)
    centre = Place(x=FACE_AT[0], y=FACE_AT[1], face_px=FACE_PX * 0.94, far=rng.uniform(4, 6))
    columns, rows = np.meshgrid(np.arange(SIZE[0], dtype=np.float32), np.arange(SIZE[1], dtype=np.float32))
    alpha, glass = _device()
    device = figure_of(np.dstack([np.zeros((SIZE[1], SIZE[0], 3), np.uint8), alpha]), depth=_flat(), turns=_flat() + 1)

    def perform(frame: Pixels, place: Place, *, at_s: float) -> None:
        film = np.full((SIZE[1], SIZE[0], 3), (168, 172, 180), np.uint8)
        draw(film, figure, pose=shown.pose(at_s), place=shown.moved(centre, at_s))
        wave = 3 * np.sin((columns + 0.4 * rows) * (2 * np.pi / pitch_px) + drift * at_s)
        bright = np.clip(film * np.float32(1.04) + wave[..., None] + np.array((0, 2, 8), np.float32), 0, 255)
        rgb = np.ascontiguousarray(np.where(glass[..., None], bright, np.float32(22)), dtype=np.uint8)
        _grip(rgb, alpha, (56, 400), (424, 400))
        playing = msgspec.structs.replace(device, rgba=np.dstack([rgb, alpha]))
        draw(frame, bearer, pose=Pose(), place=place)
        draw(frame, playing, pose=held.pose(at_s), place=held.moved(place, at_s))

    return perform


def _sheet(photo: Pixels, *, bend: float) -> Figure:
    """Return a sheet of paper with a photograph, held at its lower corners; `bend` is one over its radius in faces."""
    rgb = np.full((SIZE[1], SIZE[0], 3), 244, np.uint8)
    rgb[40:400, 85:395] = photo[40:400, 85:395]
    alpha = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    alpha[28:412, 73:407] = 255
    _grip(rgb, alpha, (73, 395), (407, 395))
    across = (np.arange(SIZE[0], dtype=np.float32) - FACE_AT[0]) / FACE_PX
    depth = _flat()
    if bend:
        radius = 1 / abs(bend)
        fall = radius - np.sqrt(np.maximum(radius**2 - np.minimum(np.abs(across), 0.9 * radius) ** 2, 0))
        depth = (depth - math.copysign(1, bend) * fall[None, :]).astype(np.float32)
    return figure_of(np.dstack([rgb, alpha]), depth=depth, turns=_flat() + 1)


def _device() -> tuple[Pixels, Pixels]:
    """Return the outline of a tablet with the hands that hold it, and where its glass is."""
    alpha = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    alpha[10:440, 56:424] = 255
    glass = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    glass[30:420, 76:404] = 1
    return alpha, glass


def _grip(rgb: Pixels, alpha: Pixels, *corners: tuple[int, int]) -> None:
    """Draw a thumb before and fingers beside each corner."""
    for x, y in corners:
        lean = 1 if x < FACE_AT[0] else -1
        for part in (((x - 8 * lean, y + 8), (30, 24)), ((x + 14 * lean, y - 6), (26, 11))):
            cv2.ellipse(rgb, part[0], part[1], -35 * lean, 0, 360, _HAND, -1, cv2.LINE_AA)
            cv2.ellipse(alpha, part[0], part[1], -35 * lean, 0, 360, 255, -1, cv2.LINE_AA)


def _bearer() -> Figure:
    """Return who holds a picture before his face: a coat and what can be seen of a head."""
    rgb = np.full((SIZE[1], SIZE[0], 3), _COAT, np.uint8)
    alpha = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    cv2.ellipse(rgb, (240, 190), (84, 118), 0, 0, 360, _HAND, -1, cv2.LINE_AA)
    cv2.ellipse(alpha, (240, 190), (84, 118), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.rectangle(alpha, (60, 340), (420, 800), 255, -1)
    return figure_of(np.dstack([rgb, alpha]), depth=_flat(), turns=_flat())


def _flat() -> Plane:
    return np.zeros((SIZE[1], SIZE[0]), np.float32)
