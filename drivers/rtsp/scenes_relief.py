"""Draw a figure that has depth: turned, tilted and seen in perspective, as a head or a sheet of paper is.

A figure is a picture and a depth for every pixel of it. Without depth it is a flat sheet, and whatever it does is one
homography; with depth its near parts move further when it turns. Hidden sides are never seen: depths are smooth, and
poses stay within `MOST_TURN`.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import msgspec
import numpy as np

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Plane = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Pair = tuple[Plane, Plane]
"""Two coordinates of many points: across and down."""

FACE_PX: Final = 160
"""Width of the face in every figure, and the unit of its depth."""
FACE_AT: Final = (240.0, 200.0)
"""Where the face's centre is in every figure."""
LENS_PX: Final = 554.0
"""Focal length of a camera that sees 60° in a frame 640 px wide: a face 120 px wide is 4.6 widths away."""
MOST_TURN: Final = math.radians(25)
_STEPS: Final = 10
_EXACT: Final = 3e-4


class Pose(msgspec.Struct, frozen=True, kw_only=True):
    """How a figure stands: turned to a side, nodding and leaning, in radians; `light` is what it reflects."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    light: float = 1.0


class Figure(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A picture with depth.

    Attributes:
        rgba: (height, width, 4) uint8.
        depth: (height, width) float32, towards the camera, in widths of the face.
        turns: (height, width) float32: which share of a pose each pixel takes part in; a body stands while its head
            turns.
        slopes: How the depth falls off to the right and down, (height, width) float32 each.
    """

    rgba: Pixels
    depth: Plane
    turns: Plane
    slopes: tuple[Plane, Plane]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the face's centre is, and how wide it is, in px of the frame; `far` is its distance in its own widths."""

    x: float
    y: float
    face_px: float
    far: float


def figure_of(rgba: Pixels, *, depth: Plane, turns: Plane) -> Figure:
    """Make a figure of its picture, its depth and what of it turns."""
    down, across = np.gradient(cv2.GaussianBlur(depth, (0, 0), 3) * FACE_PX)
    slopes = (across.astype(np.float32), down.astype(np.float32))
    return Figure(rgba=rgba, depth=depth, turns=turns, slopes=slopes)


def draw(frame: Pixels, figure: Figure, *, pose: Pose, place: Place) -> None:
    """Draw a figure into a frame, (height, width, 3) uint8, in place."""
    scale = place.face_px / FACE_PX
    left, top, right, bottom = _reach(frame, figure, place=place)
    if right <= left or bottom <= top:
        return
    # Smaller first, so that far figures do not sparkle; the maps are smooth enough as they are.
    small = min(1.0, scale * 1.25)
    rgba = figure.rgba
    if small < 0.9:
        rgba = cv2.resize(rgba, None, fx=small, fy=small, interpolation=cv2.INTER_AREA).astype(np.uint8)
    u, v, light = _maps(figure, (left, top, right, bottom), pose=pose, place=place)
    across, down = rgba.shape[1] / figure.rgba.shape[1], rgba.shape[0] / figure.rgba.shape[0]
    seen = cv2.remap(
        rgba,
        (u + np.float32(0.5)) * np.float32(across) - np.float32(0.5),
        (v + np.float32(0.5)) * np.float32(down) - np.float32(0.5),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 0),
    )
    colour = seen[..., :3].astype(np.float32) * light[..., None]
    alpha = seen[..., 3:].astype(np.float32) / np.float32(255)
    under = frame[top:bottom, left:right].astype(np.float32)
    frame[top:bottom, left:right] = np.clip(under + (colour - under) * alpha, 0, 255).astype(np.uint8)


def _maps(figure: Figure, area: tuple[int, int, int, int], *, pose: Pose, place: Place) -> tuple[Plane, Plane, Plane]:
    """Return for each pixel of an area what of the figure is seen there, and its light; reckoned for every fourth."""
    left, top, right, bottom = area
    columns = np.arange(left + 0.5, right, 2, dtype=np.float32)
    rows = np.arange(top + 0.5, bottom, 2, dtype=np.float32)
    x, y = np.meshgrid((columns - place.x) / place.face_px, (rows - place.y) / place.face_px)
    u, v = _sources(figure, (x.astype(np.float32), y.astype(np.float32)), pose=pose, far=place.far)
    size = (2 * len(columns), 2 * len(rows))
    light = _shade(figure, (u, v), pose=pose)
    u, v, light = (
        cv2.resize(plane, size)[: bottom - top, : right - left].astype(np.float32) for plane in (u, v, light)
    )
    return u, v, light


def _reach(frame: Pixels, figure: Figure, *, place: Place) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of the frame that the figure may cover."""
    scale = place.face_px / FACE_PX
    wide, high = figure.rgba.shape[1] * scale, figure.rgba.shape[0] * scale
    spare = 0.12 * max(wide, high) * (1 + 1 / place.far)
    left = place.x - FACE_AT[0] * scale - spare
    top = place.y - FACE_AT[1] * scale - spare
    return (
        max(0, int(left)),
        max(0, int(top)),
        min(frame.shape[1], math.ceil(left + wide + 2 * spare)),
        min(frame.shape[0], math.ceil(top + high + 2 * spare)),
    )


def _sources(figure: Figure, seen: Pair, *, pose: Pose, far: float) -> Pair:
    """Return which pixel u, v of the figure is seen at places x, y (widths of the face from its centre)."""
    x, y = seen
    cos, sin = math.cos(pose.roll), math.sin(pose.roll)
    p, q = x.copy(), y.copy()
    for _ in range(_STEPS):
        seen_x, seen_y = _seen(figure, (p, q), pose=pose, far=far)
        wrong_x, wrong_y = x - seen_x, y - seen_y
        if max(np.abs(wrong_x).max(), np.abs(wrong_y).max()) < _EXACT:
            break
        p += wrong_x * np.float32(cos) + wrong_y * np.float32(sin)
        q += wrong_y * np.float32(cos) - wrong_x * np.float32(sin)
    return p * np.float32(FACE_PX) + np.float32(FACE_AT[0]), q * np.float32(FACE_PX) + np.float32(FACE_AT[1])


def _seen(figure: Figure, points: Pair, *, pose: Pose, far: float) -> Pair:
    """Return where points p, q of the figure are seen: turned, nodding, leaning, then in perspective."""
    p, q = points
    pixel = p * np.float32(FACE_PX) + np.float32(FACE_AT[0]), q * np.float32(FACE_PX) + np.float32(FACE_AT[1])
    depth, share = _at(figure.depth, pixel), _at(figure.turns, pixel)
    yaw, pitch, roll = share * np.float32(pose.yaw), share * np.float32(pose.pitch), share * np.float32(pose.roll)
    across, near = p * np.cos(yaw) + depth * np.sin(yaw), depth * np.cos(yaw) - p * np.sin(yaw)
    down, near = q * np.cos(pitch) + near * np.sin(pitch), near * np.cos(pitch) - q * np.sin(pitch)
    grown = np.float32(far) / (np.float32(far) - near)
    return (across * np.cos(roll) - down * np.sin(roll)) * grown, (down * np.cos(roll) + across * np.sin(roll)) * grown


def _at(plane: Plane, pixel: Pair) -> Plane:
    return cv2.remap(plane, *pixel, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


def _shade(figure: Figure, pixel: Pair, *, pose: Pose) -> Plane:
    """Return how much brighter what faces the sky is than it was in the photograph."""
    side, up = (_at(slope, pixel) for slope in figure.slopes)
    share = _at(figure.turns, pixel)
    turned = share * np.float32(math.sin(pose.yaw)) * (np.float32(0.25) - side * np.float32(0.2))
    nods = share * np.float32(math.sin(pose.pitch)) * (np.float32(0.15) - up * np.float32(0.2))
    return np.clip((1 - turned - nods) * np.float32(pose.light), 0.4, 1.6).astype(np.float32)
