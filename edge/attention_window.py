"""One window of attention: what was seen at a door since somebody acted there, and what follows from it.

Every track is compared by itself: with all people of the door, or with whoever's card or PIN came first. It holds
embeddings of strangers for as long as their track lives and forgets them with it. It opens nothing (edge.attention).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge import wire
from edge.galleries import DoorGallery
from models.access import Claim, Request
from models.calibration import FaceUse
from models.errors import InvalidInput
from models.events import DenialReason
from models.gallery import Gallery
from models.liveness import Provider
from models.places import Door
from models.recognition import Compared, NotRecognised, Recognised, Rule, SeenFace, alive, recognise

TRACK_S: Final = 1.2
"""A track that was not seen for so long is forgotten at the next look around: nothing of a stranger stays for 2 s (R11)."""
RECENT_S: Final = 0.5
GRACE_S: Final = 0.4
"""How long a match waits for another face in the zone that was not judged yet: whose act was it?"""
CONDEMNED_S: Final = 10.0
MAX_TRACKS: Final = 16
AGREE: Final = 2
OUT_OF: Final = 3
WATCHED: Final[tuple[Provider, ...]] = ("parallax", "model")
"""Who watches a track for life: all of its newest frames must show the person, so that a live face speaks for no other."""
MARGIN: Final = 0.05
"""How much nearer than the next person somebody must be; the radius comes with the door (models.calibration)."""
TELLING: Final[tuple[DenialReason, ...]] = (
    "not_live", "consent_withdrawn", "ambiguous", "liveness_unclear", "face_differs", "not_recognised", "face_unusable",
)  # fmt: skip
"""Reasons by how much they tell the person at the door."""


@dataclass(eq=False)
class Track:
    """Hold what was seen of one face."""

    seen_at: float
    frames: deque[SeenFace] = field(default_factory=lambda: deque(maxlen=OUT_OF))
    outcome: Recognised | NotRecognised = field(default_factory=lambda: NotRecognised(reason="too_few"))
    first_usable_at: float = 0.0

    @property
    def open_question(self) -> bool:
        """True while more frames may show somebody."""
        return isinstance(self.outcome, NotRecognised) and self.outcome.reason in ("too_few", "liveness_unclear")


@dataclass(frozen=True)
class Shown:
    """Say whom a window shows, and since when the person has waited (Unix time, s)."""

    match: Recognised
    first_usable_at: float


@dataclass(eq=False)
class Window:
    """Hold one window; `request` is None at a hands-free door, `claims` say whose card or PIN came first."""

    door: Door
    request: Request | None
    until: float
    claims: tuple[Claim, ...] = ()
    tracks: dict[str, Track] = field(default_factory=dict)
    reasons: set[DenialReason] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    _condemned: dict[str, float] = field(default_factory=dict)
    _caught: bool = False
    _matched_at: float | None = None

    def ask(self, request: Request, claims: tuple[Claim, ...], *, until: float) -> None:
        """Let a later act take this window over: what was seen so far answers nothing for it."""
        self.request, self.claims, self.until = request, claims, until
        self.tracks.clear()
        self.reasons.clear()
        self._caught, self._matched_at = False, None
        self.moved.set()

    def see(
        self, sighting: wire.FaceSighting, gallery: DoorGallery | None, *, use: FaceUse, now: float
    ) -> Track | None:
        """Take one sighting and return its track with what it shows by now; None if nobody could be compared with it.

        Raises:
            InvalidInput: its embedding is not of the gallery's length, or not finite; nothing of it is kept.
        """
        people, radius = _compared(self.claims, gallery, use=use)
        if gallery is None or people is None or radius <= 0:
            self.reasons.add("consent_withdrawn" if self.claims else "not_recognised")
            return None
        frame = _frame(sighting, dimensions=people.dimensions)
        track = self._track(sighting.track_id, now=now)
        track.first_usable_at = sighting.first_usable_at
        track.frames.append(frame)
        rule = Rule(radius=radius, agree=AGREE, out_of=OUT_OF, margin=MARGIN)
        compared: Compared = "verified" if self.claims else "identified"
        found = recognise(tuple(track.frames), people, contract=gallery.contract, rule=rule, compared=compared)
        track.outcome = self._judged(sighting, found, now=now)
        if isinstance(track.outcome, NotRecognised) and track.outcome.reason != "too_few":
            self.reasons.add(track.outcome.reason)
        self.moved.set()
        return track

    def _judged(
        self, sighting: wire.FaceSighting, found: Recognised | NotRecognised, *, now: float
    ) -> Recognised | NotRecognised:
        """Judge a track for life: what was once told to be a picture stays one."""
        reading, provider = sighting.liveness, self.door.liveness
        outcome = found
        if isinstance(found, Recognised):
            outcome = alive(found, reading, provider=provider)
            if provider in WATCHED and found.evidence.agreeing < OUT_OF:
                outcome = NotRecognised(reason="liveness_unclear")  # the reading may be of another face than the match
        attacks = reading is not None and reading.provider == provider and reading.verdict == "attack"
        if attacks or sighting.track_id in self._condemned:
            self._condemned[sighting.track_id] = now
            self._caught = self._caught or isinstance(found, Recognised)
            return NotRecognised(reason="not_live")
        return outcome

    def answer(self, now: float) -> Shown | DenialReason | None:
        """Return whom the window shows, or why it ends with nobody; None while there is something to wait for.

        Two people at once whose faces both count are `ambiguous`: whose act it was cannot be told. A match waits a
        moment for another face that was not judged yet. A picture of somebody who may pass ends the window at once.
        """
        live = [track for track in self.tracks.values() if now - track.seen_at <= TRACK_S]
        matched = [(track, track.outcome) for track in live if isinstance(track.outcome, Recognised)]
        if not matched:
            self._matched_at = None
            return "not_live" if self._caught else None
        if len({outcome.person_id for _, outcome in matched}) > 1:
            return "ambiguous"
        self._matched_at = now if self._matched_at is None else self._matched_at
        open_questions = any(track.open_question and now - track.seen_at <= RECENT_S for track in live)
        if open_questions and now - self._matched_at < GRACE_S:
            return None
        track, match = min(matched, key=lambda pair: pair[1].evidence.distance)
        return Shown(match=match, first_usable_at=track.first_usable_at)

    @property
    def settling(self) -> bool:
        """True while a match waits for another face."""
        return self._matched_at is not None

    def worst(self) -> DenialReason:
        """Return the reason that tells the person most; nobody seen at all is an unusable face."""
        return next((reason for reason in TELLING if reason in self.reasons), "face_unusable")

    def forget(self, now: float) -> None:
        """Forget the tracks that are over."""
        self.tracks = {key: track for key, track in self.tracks.items() if now - track.seen_at <= TRACK_S}
        self._condemned = {key: at for key, at in self._condemned.items() if now - at <= CONDEMNED_S}

    def _track(self, track_id: str, *, now: float) -> Track:
        self.forget(now)
        if track_id not in self.tracks and len(self.tracks) >= MAX_TRACKS:
            self.tracks.clear()
        track = self.tracks.setdefault(track_id, Track(seen_at=now))
        track.seen_at = now
        return track


def _compared(claims: tuple[Claim, ...], gallery: DoorGallery | None, *, use: FaceUse) -> tuple[Gallery | None, float]:
    """Return with whom a face is compared, and within which radius."""
    if gallery is None:
        return None, 0.0
    if not claims:
        return gallery.people, use.radius
    return gallery.only(claim.person_id for claim in claims if claim.person_id is not None), use.verify_radius


def _frame(sighting: wire.FaceSighting, *, dimensions: int) -> SeenFace:
    raw = sighting.embedding
    embedding = np.frombuffer(raw, dtype="<f4").astype(np.float32) if len(raw) == 4 * dimensions else None
    if embedding is None or not np.isfinite(embedding).all():
        raise InvalidInput("embedding", f"{dimensions} finite numbers of float32 are needed, not {len(raw)} such bytes")
    return SeenFace(
        at_s=sighting.captured_at, embedding=embedding, contract=sighting.contract, sharpness=sighting.quality.blur
    )
