"""Look at crops: find faces, follow them, watch them for life, judge them, and embed those that are usable.

Everything here runs in the thread of the networks, a few crops of several cameras at a time, with one embedding call
for all of them. It talks to nobody, knows no person, and keeps nothing but the tracks of faces in sight, with those who
watch them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import wire
from edge.tracks import LIFE_S, Box, Track, Tracks
from models.faces.liveness import Watcher
from models.faces.parallax import Parallax
from models.faces.pipeline import PHOTO_GATES, Face, FacePipeline, Rgb
from models.liveness import Provider, Reading
from models.recognition import FaceQuality, QualityGates, same_within, unusable
from models.zones import contains

FULL_EVERY_S: Final = 0.5
"""So often a whole crop is looked at; meanwhile known faces are followed, and a newcomer waits at most so long."""
BUDGET_S: Final = 0.06
"""Crops wait for each other's embeddings at most about so long: what is not found by then is looked at next time."""
MAX_FACES: Final = 4
ENROL_EYES: Final = 2.0
"""For an enrolment, faces narrower than this many smallest eye distances are not looked for: who is near hears why."""
LEAST_FACE_PX: Final = 40
FILLS_FRAME: Final = 0.95

log = logging.getLogger("gatehouse.edge.faces")

Watch = Callable[[Provider], Watcher | None]
"""Gives a track who watches it for life; None where that is nobody here."""


@dataclass(eq=False)
class View:
    """Hold the faces in sight of one camera. Only the networks' thread touches it; to forget, put a new one in place."""

    tracks: Tracks
    newest: list[Track] = field(default_factory=list)
    provider: Provider = "none"
    watchers: dict[str, Watcher | None] = field(default_factory=dict)
    full_at: float = -1e9
    seen_at: float = -1e9

    def over(self, *, at: float) -> bool:
        """Return whether no face has been seen for so long that nothing of them may be kept."""
        return bool(len(self.tracks)) and at - self.seen_at > LIFE_S

    def watcher(self, track: Track, *, provider: Provider, watch: Watch) -> Watcher | None:
        """Return who watches a track, and let go of those whose tracks are over or whose door asks another."""
        if provider != self.provider:
            self.provider, self.watchers = provider, {}
        alive = self.tracks.ids()
        self.watchers = {track_id: one for track_id, one in self.watchers.items() if track_id in alive}
        if track.id not in self.watchers:
            self.watchers[track.id] = watch(provider)
        return self.watchers[track.id]

    def anew(self, track: Track) -> Track:
        """Begin a new track in the place of one: what was told about the face before says nothing about this one."""
        new = self.tracks.anew(track)
        self.newest = [new if one is track else one for one in self.newest]
        return new


@dataclass(frozen=True, eq=False)
class Look:
    """Hold one crop that is to be looked at, for whom, and what is in sight of its camera."""

    crop: wire.Crop
    attend: wire.Attend
    view: View

    @property
    def scale(self) -> float:
        """Return how many px of the full frame one px of the crop is."""
        return self.crop.w / self.crop.cols


def pixels(crop: wire.Crop) -> Rgb | None:
    """Return the pixels of a crop, (rows, cols, 3) uint8, or None if it is not as large as it says."""
    sizes = (crop.cols, crop.rows, crop.w, crop.h, crop.frame_w, crop.frame_h)
    if min(sizes) < 1 or len(crop.pixels) != crop.cols * crop.rows * 3:
        return None
    return np.frombuffer(crop.pixels, np.uint8).reshape(crop.rows, crop.cols, 3)


@dataclass(frozen=True)
class Seen:
    """Hold one face of one crop: where it is in the full frame, how good it is, and its embedding if it is usable."""

    box: Box
    track: Track
    quality: FaceQuality
    problem: str | None
    liveness: Reading | None = None
    embedding: bytes = b""


@dataclass(frozen=True)
class Found:
    """Hold one face before it is embedded."""

    rgb: Rgb
    face: Face
    seen: Seen


@dataclass
class Tally:
    """Count what was computed since the start: crops, how many of them by following, faces in zones, embeddings, calls."""

    crops: int = 0
    followed: int = 0
    faces: int = 0
    embeddings: int = 0
    batches: int = 0


def built_in(provider: Provider) -> Watcher | None:
    """Return a new watcher for a track: parallax; a `device` watches by itself."""
    return Parallax() if provider == "parallax" else None


class Looker:
    """Look at crops with one set of networks, in their thread."""

    def __init__(
        self, pipeline: FacePipeline, *, tally: Tally, watch: Watch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pipeline = pipeline
        self._tally = tally
        self._watch = watch
        self._clock = clock
        self._told = False
        self._same = same_within(pipeline.contract.id)

    def _watched(self, provider: Provider) -> Watcher | None:
        """Return a new watcher for a track: by the site's own network for `model`, where it brings one."""
        own = self._pipeline.liveness if provider == "model" else None
        if provider == "model" and own is None and not self._told:
            self._told = True
            log.warning(
                "a door asks for liveness by model, and edge.faces.models.liveness names none: no face is live there"
            )
        return self._watch(provider) if own is None else own.watcher()

    def look_at(self, looks: Sequence[Look], *, at: float) -> list[list[Seen]]:
        """Return the faces in the near zones of the first crops: as many as fit into the budget of time, at least one.

        Args:
            looks: the crops, one of a camera at most.
            at: Unix time in s.
        """
        began, tally = self._clock(), self._tally
        found: list[list[Found]] = []
        for look in looks:
            if found and self._clock() - began > BUDGET_S:
                break
            found.append(self._find(look, at=at))
        usable = [
            (faces[0].rgb, [one.face for one in faces if one.seen.problem is None])
            for faces in found
            if any(one.seen.problem is None for one in faces)
        ]
        embeddings = self._pipeline.embed_all(usable) if usable else np.empty((0, 0), np.float32)
        tally.crops += len(found)
        tally.batches += bool(usable)
        tally.embeddings += len(embeddings)
        each = iter(embeddings)
        return [
            [
                one.seen if one.seen.problem else self._embedded(one.seen, look.view, embedding=next(each))
                for one in faces
            ]
            for look, faces in zip(looks, found, strict=False)
        ]

    def _embedded(self, seen: Seen, view: View, *, embedding: NDArray[np.float32]) -> Seen:
        """Give a face its embedding; where another stands in its place it is a new track that nobody watched yet."""
        last = seen.track.embedding
        if last is not None and np.linalg.norm(embedding - last) > self._same:
            seen = replace(seen, track=view.anew(seen.track), liveness=None)
        seen.track.embedding = embedding
        return replace(seen, embedding=np.ascontiguousarray(embedding, dtype="<f4").tobytes())

    def _find(self, look: Look, *, at: float) -> list[Found]:
        """Return the faces of one crop in the near zone, each with its track, its life and what is wrong with it."""
        view, rgb = look.view, pixels(look.crop)
        if rgb is None:
            return []
        placed = [(face, _place(face, look)) for face in self._faces(rgb, look, at=at)]
        near = [(face, box) for face, box in placed if _in_zone(box, look)]
        near = sorted(near, key=lambda one: -one[1][2])[:MAX_FACES]
        view.newest = view.tracks.follow([box for _, box in near], at=at)
        view.seen_at = at if near else view.seen_at
        self._tally.faces += len(near)
        found = []
        for (face, box), track in zip(near, view.newest, strict=True):
            quality = self._pipeline.quality(rgb, face)
            problem = _problem(quality, box, look, alone=len(near) == 1)
            reading = _reading(rgb, face, look, view.watcher(track, provider=look.attend.liveness, watch=self._watched))
            seen = Seen(box=box, track=track, quality=quality, problem=problem, liveness=reading)
            found.append(Found(rgb=rgb, face=face, seen=seen))
        return found

    def _faces(self, rgb: Rgb, look: Look, *, at: float) -> list[Face]:
        """Follow the faces in sight, or look at the whole crop: every half second, for an enrolment, or if one is lost."""
        view = look.view
        near = [_boxed(track.box, look) for track in view.newest]
        if near and not look.attend.enrol and at - view.full_at < FULL_EVERY_S:
            followed = self._pipeline.follow(rgb, near=near)
            if len(followed) >= len(near):
                self._tally.followed += 1
                return followed
        view.full_at = at
        eyes = ENROL_EYES if look.attend.enrol else self._pipeline.face_to_eyes
        least = max(LEAST_FACE_PX, int(look.attend.min_eye_px * eyes / look.scale))
        return self._pipeline.detect(rgb, min_face_px=least)


def _reading(rgb: Rgb, face: Face, look: Look, watcher: Watcher | None) -> Reading | None:
    if watcher is None:
        return None
    crop = look.crop
    origin = (float(crop.x), float(crop.y))
    return watcher.observe(rgb, origin=origin, scale=look.scale, face=face, at_s=crop.captured_at)


def _problem(quality: FaceQuality, box: Box, look: Look, *, alone: bool) -> str | None:
    """Return why a face must not be used: the gates of the door, or those of enrolment."""
    least = look.attend.min_eye_px / look.scale
    if not look.attend.enrol:
        return unusable(quality, QualityGates(min_eye_px=least))
    if not alone:
        return "two_faces"
    if box[2] > FILLS_FRAME * min(look.crop.frame_w, look.crop.frame_h):
        return "too_large"
    return unusable(quality, msgspec.structs.replace(PHOTO_GATES, min_eye_px=least))


def _place(face: Face, look: Look) -> Box:
    """Return where a face of a crop is in the full frame: x, y, w, h."""
    left, top, right, bottom = face.box
    x, y = look.crop.x + left * look.scale, look.crop.y + top * look.scale
    return (x, y, (right - left + 1) * look.scale, (bottom - top + 1) * look.scale)


def _boxed(box: Box, look: Look) -> tuple[int, int, int, int]:
    """Return where a face of the full frame is in a crop: left, top, right, bottom."""
    x, y, w, h = box
    left, top = (x - look.crop.x) / look.scale, (y - look.crop.y) / look.scale
    right, bottom = left + w / look.scale - 1, top + h / look.scale - 1
    return (round(left), round(top), round(right), round(bottom))


def _in_zone(box: Box, look: Look) -> bool:
    """Return whether a face's centre is in the near zone."""
    x, y = (box[0] + box[2] / 2) / look.crop.frame_w, (box[1] + box[3] / 2) / look.crop.frame_h
    return contains(look.attend.near_zone, (x, y))
