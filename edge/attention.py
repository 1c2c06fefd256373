"""Faces at doors: windows of attention, and the decision on what was seen in them.

A window opens with an act at the door, a button or a card or PIN that wants its holder's face (or stays open at a
hands-free door), and ends with an opening or an answer at the reader. What is seen in it is judged in
edge.attention_window. Whose faces may be matched, and how, is edge.galleries'; it is asked again at the decision.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from edge import wire
from edge.admission import GUESSED, Admission
from edge.attention_window import GRACE_S, OUT_OF, Shown, Track, Window
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.facelink import FaceLink
from edge.galleries import Galleries
from edge.keystore import KeyStore
from edge.policies import Policies
from models.access import Claim, Request
from models.calibration import Profile
from models.errors import InvalidInput
from models.events import DenialReason
from models.link import DoorStatus
from models.places import Camera, Door
from models.policy import Policy
from models.recognition import Recognised

log = logging.getLogger("gatehouse.edge.attention")

WINDOW_S: Final = 10.0
HANDS_FREE_S: Final = 5.0
LOOK_AROUND_S: Final = 0.5
PAUSE_S: Final = 5.0
"""A person whom a hands-free door has just let in is not let in again for so long, nor a stranger refused twice."""
POSTER_S: Final = 60.0
"""A picture that stays in view of a hands-free door is one wrong attempt in so long, as many as are forgiven."""


@dataclass(frozen=True)
class Faces:
    """Say under which profile faces are matched, within which limits, and whether a network tells who is alive."""

    profile: Profile
    liveness_model: bool = False
    max_age_ms: float = 1500.0
    silence_s: float = 86_400.0


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
        self.galleries = Galleries(
            clock=clock, keys=keys, policies=policies, profile=faces.profile, liveness_model=faces.liveness_model,
            tasks=tasks,
        )  # fmt: skip
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
        for window in self._windows.values():  # what is open is decided by the door's rules as they are now
            window.door = self._keeper.door(window.door.id) or window.door
        self.refresh()

    def refresh(self) -> None:
        """Bring the galleries up to date; windows that are open decide by the new ones."""
        self.galleries.refresh()

    def told(self, statuses: tuple[DoorStatus, ...]) -> tuple[DoorStatus, ...]:
        """Return the doors' statuses with how each door uses faces."""
        return tuple(
            msgspec.structs.replace(one, face=self.galleries.status(self._keeper.door(one.door_id))) for one in statuses
        )

    def _why_not(self, door: Door, *, claimed: bool = False) -> DenialReason | None:
        """Return why no face is looked for at this door now, or None; `claimed` if a card or PIN came first."""
        use = self.galleries.uses.get(door.id)
        if use is None or "off" in use.why_not or door.camera_id not in self._cameras:
            return "unsupported"
        if not self.galleries.assessed():
            return "not_assessed"
        heard = self._last_heard()
        silent = heard is None or self._clock.unix() - heard > self._faces.silence_s
        if silent or not self._clock.trusted() or not self._policies.carries_faces(self._clock.now()):
            return "policy_expired"
        if claimed:
            return None if use.verify_radius > 0 else "unsupported"
        if not use.alone:
            return "face_not_alone"
        return "locked_out" if self._admission.slowed(door.id) else None

    # ---- windows ----------------------------------------------------------------------------------------------------

    async def attend(self, request: Request, door: Door, *, claims: tuple[Claim, ...] = ()) -> None:
        """Look at whoever acted at a door, for ten seconds; a second act answers the first and takes the window over.

        Args:
            request: the act.
            door: where.
            claims: whose card or PIN was presented, each permitted here; with these persons alone a face is compared.
        """
        problem = self._why_not(door, claimed=bool(claims))
        if problem is None and claims and not any(self._enrolled(claim) for claim in claims):
            problem = "unsupported"  # a card alone is, here; the door's other ways in stay (R3)
        if problem is not None:
            await self._admission.refuse(request, door, reason=problem, claims=claims)
            return
        until = self._clock.unix() + WINDOW_S
        window = self._windows.get(door.id)
        if window is None or window.request is None:
            window = self._windows[door.id] = Window(door=door, request=request, until=until, claims=claims)
            self._tasks.create_task(self._watch(window), name=f"attention at {door.id}")
            self._ask(door, WINDOW_S)
            return
        first, first_claims, worst = window.request, window.claims, window.worst()
        window.ask(request, claims, until=until)
        self._ask(door, WINDOW_S)
        reason = worst if worst in GUESSED else "pressed_again"  # a wrong attempt counts as one however it is ended
        await self._admission.refuse(first, door, reason=reason, claims=first_claims)

    def _enrolled(self, claim: Claim) -> bool:
        return claim.person_id is not None and self.galleries.still_holds(claim.person_id, claim.door_id)

    def _ask(self, door: Door, for_s: float) -> None:
        camera = self._cameras[door.camera_id or ""]
        self._link.attend(
            wire.Attend(
                door_id=door.id,
                camera_id=camera.id,
                until=self._wall() + for_s,
                near_zone=camera.near_zone,
                min_eye_px=camera.min_eye_px,
                liveness=door.liveness,
            )
        )

    async def _watch(self, window: Window) -> None:
        """Wait for an answer until the window ends, and give one at the reader in any case."""
        try:
            while (answer := window.answer(self._clock.unix())) is None:
                left_s = window.until - self._clock.unix()
                if left_s <= 0:
                    break
                await self._wait(window, min(left_s, GRACE_S if window.settling else LOOK_AROUND_S))
        finally:
            if self._windows.get(window.door.id) is window:
                del self._windows[window.door.id]
            self._link.ignore(window.door.id)
        request = window.request
        if isinstance(answer, Shown) and request is not None:
            await self._settle(window.door, request, answer, claims=window.claims)
        elif request is not None and not isinstance(answer, Shown):
            await self._admission.refuse(request, window.door, reason=answer or window.worst(), claims=window.claims)

    async def _wait(self, window: Window, for_s: float) -> None:
        window.moved.clear()
        try:
            async with asyncio.timeout(for_s):
                await window.moved.wait()
        except TimeoutError:
            window.forget(self._clock.unix())

    async def _settle(self, door: Door, request: Request, shown: Shown, *, claims: tuple[Claim, ...] = ()) -> None:
        """Open for a match if everything still holds now, else say why not."""
        reason = self._why_not(door, claimed=bool(claims))
        if reason is None and not self.galleries.still_holds(shown.match.person_id, door.id):
            reason = "consent_withdrawn"
        if reason is not None:
            await self._admission.refuse(request, door, reason=reason, claims=claims)
            return
        waited_ms = max(0.0, self._wall() - shown.first_usable_at) * 1000 if shown.first_usable_at else 0.0
        await self._admission.recognised(request, door, match=shown.match, claimed=bool(claims), waited_ms=waited_ms)

    # ---- sightings --------------------------------------------------------------------------------------------------

    def _on_sighting(self, sighting: wire.FaceSighting) -> None:
        window = self._windows.get(sighting.door_id)
        if window is None:
            return
        age_ms = max(sighting.age_ms, (self._wall() - sighting.captured_at) * 1000)
        if not -500.0 <= age_ms <= self._faces.max_age_ms:
            self._count("stale_frames")
            return
        self.galleries.made_by(sighting.contract)
        gallery, use = self.galleries.doors.get(window.door.id), self.galleries.uses.get(window.door.id)
        if use is None:
            return
        try:
            track = window.see(sighting, gallery, use=use, now=self._clock.unix())
        except InvalidInput as error:
            self._count("unreadable_sightings")
            log.warning("door %s: a face could not be compared: %s", window.door.id, error)
            return
        if track is None:
            return
        if isinstance(track.outcome, Recognised):
            self._count("matches")
        if window.request is None:
            self._hands_free(window.door, sighting.track_id, track)

    def _on_unusable(self, unusable: wire.FaceUnusable) -> None:
        window = self._windows.get(unusable.door_id)
        if window is not None:
            window.reasons.add("face_unusable")

    # ---- hands-free doors -------------------------------------------------------------------------------------------

    def _hands_free(self, door: Door, track_id: str, track: Track) -> None:
        """Answer a face at a hands-free door by itself: nobody acted, so everybody there may pass or not."""
        now, outcome = self._clock.unix(), track.outcome
        if isinstance(outcome, Recognised):
            if not self._rests(door, outcome.person_id, for_s=max(PAUSE_S, door.unlock_s)):
                request = Request(id=f"face-{track_id}-{int(now)}", door_id=door.id, kind="button")
                shown = Shown(match=outcome, first_usable_at=track.first_usable_at)
                self._tasks.create_task(self._settle(door, request, shown), name=f"face at {door.id}")
            return
        if outcome.reason == "too_few" or track.open_question or len(track.frames) < OUT_OF:
            return
        picture = outcome.reason == "not_live"
        if not self._rests(door, f"picture {track_id}" if picture else "", for_s=POSTER_S if picture else PAUSE_S):
            request = Request(id=f"face-{track_id}-{int(now * 1000)}", door_id=door.id, kind="button")
            refusing = self._admission.refuse(request, door, reason=outcome.reason)
            self._tasks.create_task(refusing, name=f"face at {door.id}")

    def _rests(self, door: Door, person_id: str, *, for_s: float) -> bool:
        """Return whether somebody (empty: a stranger; or a picture) was answered here a moment ago; if not, they are now."""
        now = self._clock.unix()
        if now - self._rest.get((door.id, person_id), -for_s) < for_s:
            return True
        self._rest[door.id, person_id] = now
        return False

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
                window.forget(self._clock.unix())
            self._rest = {key: at for key, at in self._rest.items() if self._clock.unix() - at < POSTER_S}
            await asyncio.sleep(LOOK_AROUND_S)

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
