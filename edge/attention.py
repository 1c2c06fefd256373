"""Faces at doors: windows of attention, and the decision on a track of sightings.

A window opens with an act at the door (or stays open at a hands-free door) and ends with an opening or an answer at the
reader. Whose faces may be matched is edge.galleries'; it is asked again at the decision. Nothing about strangers
outlives the window.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edge import wire
from edge.admission import Admission
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.facelink import FaceLink
from edge.galleries import Galleries
from edge.keystore import KeyStore
from edge.policies import Policies
from models.access import Claim, Denial, Request
from models.events import DenialReason
from models.places import Camera, Door
from models.policy import Policy
from models.recognition import Recognised, Rule, SeenFace, recognise

log = logging.getLogger("gatehouse.edge.attention")

WINDOW_S = 10.0
HANDS_FREE_S = 5.0
TRACK_S = 1.2
"""A track that was not seen for so long is forgotten at the next look around: nothing of a stranger stays for 2 s (R11)."""
LOOK_AROUND_S = 0.5
RULE = Rule(radius=0.40, agree=2, out_of=3, margin=0.05)
"""The demo's: 0.40 is what no stranger of ours came under, for few people. It is no calibration."""
MAX_TRACKS = 16
PAUSE_S = 5.0
"""A person whom a hands-free door has just let in is not let in again for so long, nor a stranger refused twice."""


@dataclass(frozen=True)
class Faces:
    """Say whether faces may be matched at all, and within which limits."""

    allowed: bool
    max_age_ms: float = 1500.0
    silence_s: float = 86_400.0


@dataclass(eq=False)
class Window:
    """Hold one window of attention; `request` is None at a hands-free door."""

    door: Door
    request: Request | None
    until: float
    tracks: dict[str, deque[SeenFace]] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)
    reasons: set[DenialReason] = field(default_factory=set)
    match: Recognised | None = None
    first_usable_at: float = 0.0
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Attention:
    """Look for faces at the doors of one edge, and decide by them."""

    def __init__(
        self,
        *,
        admission: Admission,
        keeper: DoorKeeper,
        clock: SteadyClock,
        link: FaceLink,
        keys: KeyStore,
        policies: Policies,
        faces: Faces,
        tasks: asyncio.TaskGroup,
        last_heard: Callable[[], float | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._admission = admission
        self._keeper = keeper
        self._clock = clock
        self._link = link
        self._policies = policies
        self._faces = faces
        self._tasks = tasks
        self._last_heard = last_heard
        self._wall = wall
        self.galleries = Galleries(clock=clock, keys=keys, policies=policies, allowed=faces.allowed)
        self._cameras: dict[str, Camera] = {}
        self._windows: dict[str, Window] = {}
        self._rest: dict[tuple[str, str], float] = {}
        self.counters: dict[str, int] = {}

    def start(self) -> None:
        """Begin to hear sightings and to keep hands-free doors attended."""
        self._link.on_sighting = self._on_sighting
        self._link.on_unusable = self._on_unusable
        self._tasks.create_task(self._attend_hands_free(), name="attention: hands-free doors")

    # ---- who may be matched where -----------------------------------------------------------------------------------

    def apply(self, policy: Policy) -> None:
        """Match by this policy from now on; what has to be destroyed is edge.erasing's."""
        self._cameras = {camera.id: camera for camera in policy.cameras}
        self.refresh()

    def refresh(self) -> None:
        """Build the galleries anew and swap them in; windows that are open decide by the new ones."""
        self.galleries.refresh()

    def _why_not(self, door: Door) -> DenialReason | None:
        """Return why no face is looked for at this door now, or None."""
        if not self._faces.allowed or door.high_security or door.camera_id not in self._cameras:
            return "unsupported"
        if not self.galleries.assessed():
            return "not_assessed"
        heard = self._last_heard()
        silent = heard is None or self._clock.unix() - heard > self._faces.silence_s
        if silent or not self._clock.trusted() or not self._policies.carries_faces(self._clock.now()):
            return "policy_expired"
        return None

    # ---- windows ----------------------------------------------------------------------------------------------------

    async def attend(self, request: Request, door: Door) -> None:
        """Look at whoever acted at a door, for ten seconds; a second act answers the first and extends the window."""
        problem = self._why_not(door)
        if problem is not None:
            await self._admission.deny(_claim(door, request, None), problem)
            return
        until = self._clock.unix() + WINDOW_S
        window = self._windows.get(door.id)
        first = None if window is None else window.request
        if window is not None and first is not None:
            window.request, window.until = request, until
        else:
            window = self._windows[door.id] = Window(door=door, request=request, until=until)
            self._tasks.create_task(self._watch(window), name=f"attention at {door.id}")
        self._ask(door, WINDOW_S)
        if first is not None:
            await self._admission.deny(_claim(door, first, None), "pressed_again")

    def _ask(self, door: Door, for_s: float) -> None:
        camera = self._cameras[door.camera_id or ""]
        self._link.attend(
            wire.Attend(
                door_id=door.id,
                camera_id=camera.id,
                until=self._wall() + for_s,
                near_zone=camera.near_zone,
                min_eye_px=camera.min_eye_px,
            )
        )

    async def _watch(self, window: Window) -> None:
        """Wait for a match until the window ends, and answer at the reader in either case."""
        try:
            while window.match is None and (left_s := window.until - self._clock.unix()) > 0:
                window.moved.clear()
                try:
                    async with asyncio.timeout(min(left_s, LOOK_AROUND_S)):
                        await window.moved.wait()
                except TimeoutError:
                    self._forget(window)
        finally:
            if self._windows.get(window.door.id) is window:
                del self._windows[window.door.id]
            self._link.ignore(window.door.id)
        request = window.request
        if request is None:
            return
        if window.match is not None:
            await self._settle(window.door, request, window.match, first_usable_at=window.first_usable_at)
        else:
            await self._admission.deny(_claim(window.door, request, None), _worst(window.reasons))

    async def _settle(self, door: Door, request: Request, match: Recognised, *, first_usable_at: float) -> None:
        """Open for a match if everything still holds now, else say why not."""
        claim = _claim(door, request, match)
        reason = self._why_not(door)
        if reason is None and not self.galleries.still_holds(match.person_id, door.id):
            reason = "consent_withdrawn"
        if reason is not None:
            await self._admission.deny(_claim(door, request, None), reason)
            return
        decision = self._admission.decide(claim, door, at=self._clock.now())
        if isinstance(decision, Denial):
            await self._admission.deny(claim, decision.reason)
        else:
            waited_ms = max(0.0, self._wall() - first_usable_at) * 1000 if first_usable_at else 0.0
            await self._admission.let_in(claim, waited_ms=waited_ms)

    # ---- sightings --------------------------------------------------------------------------------------------------

    def _on_sighting(self, sighting: wire.FaceSighting) -> None:
        window = self._windows.get(sighting.door_id)
        if window is None or window.match is not None:
            return
        age_ms = max(sighting.age_ms, (self._wall() - sighting.captured_at) * 1000)
        if not -500.0 <= age_ms <= self._faces.max_age_ms:
            self._count("stale_frames")
            return
        gallery = self.galleries.doors.get(window.door.id)
        if gallery is None or gallery.contract != sighting.contract:
            window.reasons.add("not_recognised" if gallery is None else "face_unusable")
            return
        frames = self._frames(window, sighting.track_id)
        embedding = np.frombuffer(sighting.embedding, dtype="<f4").astype(np.float32)
        frames.append(
            SeenFace(
                at_s=sighting.captured_at,
                embedding=embedding,
                contract=sighting.contract,
                sharpness=sighting.quality.blur,
            )
        )
        outcome = recognise(tuple(frames), gallery.people, contract=gallery.contract, rule=RULE)
        if isinstance(outcome, Recognised):
            self._count("matches")
            window.first_usable_at = sighting.first_usable_at
            self._matched(window, sighting.track_id, outcome)
        elif outcome.reason != "too_few":
            window.reasons.add(outcome.reason)
            self._refuse_passer_by(window, len(frames), outcome.reason)

    def _frames(self, window: Window, track_id: str) -> deque[SeenFace]:
        self._forget(window)
        if len(window.tracks) >= MAX_TRACKS:
            window.tracks.clear()
            window.seen_at.clear()
        now = self._clock.unix()
        window.seen_at[track_id] = now
        return window.tracks.setdefault(track_id, deque(maxlen=RULE.out_of))

    def _forget(self, window: Window) -> None:
        """Forget the tracks that are over."""
        now = self._clock.unix()
        for track_id in [key for key, seen in window.seen_at.items() if now - seen > TRACK_S]:
            del window.seen_at[track_id], window.tracks[track_id]

    def _on_unusable(self, unusable: wire.FaceUnusable) -> None:
        window = self._windows.get(unusable.door_id)
        if window is not None:
            window.reasons.add("face_unusable")

    def _matched(self, window: Window, track_id: str, match: Recognised) -> None:
        if window.request is not None:
            window.match = match
            window.moved.set()
            return
        now, door = self._clock.unix(), window.door
        if now - self._rest.get((door.id, match.person_id), -PAUSE_S) < max(PAUSE_S, door.unlock_s):
            return
        self._rest[door.id, match.person_id] = now
        request = Request(id=f"face-{track_id}-{int(now)}", door_id=door.id, kind="button")
        self._tasks.create_task(
            self._settle(door, request, match, first_usable_at=window.first_usable_at), name=f"face at {door.id}"
        )

    def _refuse_passer_by(self, window: Window, frames: int, reason: DenialReason) -> None:
        """Record a stranger at a hands-free door, once in a while."""
        now, door = self._clock.unix(), window.door
        if (
            window.request is not None
            or frames < RULE.out_of
            or now - self._rest.get((door.id, ""), -PAUSE_S) < PAUSE_S
        ):
            return
        self._rest[door.id, ""] = now
        request = Request(id=f"face-{door.id}-{int(now * 1000)}", door_id=door.id, kind="button")
        self._tasks.create_task(self._admission.deny(_claim(door, request, None), reason), name=f"face at {door.id}")

    async def _attend_hands_free(self) -> None:
        """Keep a window open at every hands-free door, without a request."""
        while True:
            for door in self._policies.usable_doors():
                if door.hands_free and "face" in door.factors and self._why_not(door) is None:
                    if door.id not in self._windows:
                        self._windows[door.id] = Window(door=door, request=None, until=float("inf"))
                    self._ask(door, HANDS_FREE_S)
                elif door.id in self._windows and self._windows[door.id].request is None:
                    del self._windows[door.id]
                    self._link.ignore(door.id)
            for window in self._windows.values():
                self._forget(window)
            self._rest = {key: at for key, at in self._rest.items() if self._clock.unix() - at < 60.0}
            await asyncio.sleep(LOOK_AROUND_S)

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _claim(door: Door, request: Request, match: Recognised | None) -> Claim:
    return Claim(
        attempt=request.id,
        door_id=door.id,
        method="face",
        reader=request.reader,
        person_id=None if match is None else match.person_id,
        evidence=None if match is None else match.evidence,
    )


def _worst(reasons: set[DenialReason]) -> DenialReason:
    """Return the reason that tells the person most; nobody seen at all is an unusable face."""
    for reason in ("ambiguous", "not_recognised", "face_unusable"):
        if reason in reasons:
            return reason
    return "face_unusable"
