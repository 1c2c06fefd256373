"""Enrolment at a door: the one person who stands in its near zone becomes some templates, with hints while they stand.

What the door's camera sees goes here instead of to the attention until it is over. Pictures must show the same live
person from slightly different sides; nothing but the sealed templates outlives the order. It judges no picture (the face
process does, by the gates of enrolment) and seals nothing itself (edge.enrolment).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from edge import wire
from edge.clock import SteadyClock
from edge.enrolment import Embedding, Enrolment, nearest
from edge.facelink import OFF, Taker
from edge.policies import Policies
from models.errors import Conflict, DeviceRefused, DeviceUnreachable
from models.link import PICTURES_MOST, EnrolAtDoor, Hint, Progress, Result
from models.people import Consent
from models.places import Camera, Door
from models.recognition import same_within

log = logging.getLogger("gatehouse.edge.enrolling")

HINTS: Final[dict[str, Hint]] = {
    "no_face": "come_closer", "too_small": "come_closer", "too_large": "step_back", "cut_off": "step_back",
    "turned_away": "look_straight", "too_dark": "more_light", "too_bright": "less_light", "blurred": "hold_still",
    "two_faces": "one_person_only", "another_person": "one_person_only", "liveness_unclear": "turn_slightly",
    "same_pose": "turn_slightly",
}  # fmt: skip
"""What a person should do about each reason why a picture was not good enough."""
WHY: Final = {
    "another_person": "somebody else came before the camera: ask others to step back, and begin again",
    "not_live": "what was shown looks like a picture or a screen: the person must stand there",
    "liveness_unclear": "no live person was made out: let them turn their head slightly, in good light, and begin again",
    "no_face": "no face was seen: nobody stood close enough before the camera, in good light: begin again",
    "no_consent": "the consent ended meanwhile: nothing was enrolled",
    "cancelled": "it was called off: nothing was enrolled",
}
"""What to do where it ended without enough pictures."""
POSE_STEP: Final = 0.08
"""How much further turned (models.recognition.FaceQuality.yaw) a picture is that shows another side."""
TURN_PATIENCE_S: Final = 5.0
"""Who does not or cannot turn their head is pictured all the same, after this time."""
APART_S: Final = 0.4
STRANGE_MOST: Final = 3
"""Pictures in a row of somebody else that end it: the person went, or another stands there."""
ASK_S: Final = 4.0
AGAIN_S: Final = 1.0
LOOK_S: Final = 0.5
SEALING_S: Final = 2.0
"""What is left of the order's time when no more pictures are taken."""
TELL_S: Final = 2.0


class Sees(Protocol):
    """Lend a door's sightings to whom enrols there."""

    @property
    def enabled(self) -> bool:
        """Return whether this edge is set to see faces."""

    @property
    def ready(self) -> bool:
        """Return whether faces can be seen at all now."""

    def take(self, door_id: str, taker: Taker) -> None:
        """Let `taker` alone hear what is seen at a door."""

    def release(self, door_id: str) -> None:
        """Let go of a door."""

    def attend(self, attend: wire.Attend) -> None:
        """Ask for faces at a door until a time."""


@dataclass(eq=False)
class Sitting:
    """Gather good pictures of one person; `over` says why there will be no more of them."""

    wanted: int
    live_only: bool
    """Whether a picture counts only after liveness said that a live person stands there."""
    since: float
    """When it began (Unix time, s): nothing that was seen before counts, the order was not given then."""
    taken: list[tuple[wire.FaceSighting, Embedding]] = field(default_factory=list)
    problem: str = "no_face"
    hint: Hint = "come_closer"
    over: str = ""
    unclear: bool = False
    """Whether a good picture was wanting only in life."""
    strange: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, message: wire.FaceSighting | wire.FaceUnusable) -> None:
        """Take what the face process saw."""
        if self.over or len(self.taken) >= self.wanted or message.captured_at < self.since:
            return
        problem = message.reason if isinstance(message, wire.FaceUnusable) else self._look(message)
        if problem:
            self.problem, self.hint = problem, HINTS.get(problem, "hold_still")
        else:
            self.hint = "taken"
        self.moved.set()

    def _look(self, seen: wire.FaceSighting) -> str:
        """Take a picture, or return why not."""
        if seen.liveness is not None and seen.liveness.verdict == "attack":
            self.over = "not_live"
            return "not_live"
        embedding = np.frombuffer(seen.embedding, dtype="<f4").astype(np.float32)
        if not np.isfinite(embedding).all():
            return "blurred"
        if self.taken and nearest([one for _, one in self.taken], embedding) > same_within(seen.contract):
            self.strange += 1
            self.over = "another_person" if self.strange >= STRANGE_MOST else ""
            return "another_person"
        self.strange = 0
        if self.live_only and (seen.liveness is None or seen.liveness.verdict != "live"):
            self.unclear = True
            return "liveness_unclear"
        if self.taken and not self._another_side(seen):
            return "same_pose"
        self.taken.append((seen, embedding))
        return ""

    def _another_side(self, seen: wire.FaceSighting) -> bool:
        waited_s = seen.captured_at - self.taken[-1][0].captured_at
        turned = all(abs(seen.quality.yaw - one.quality.yaw) >= POSE_STEP for one, _ in self.taken)
        return waited_s >= TURN_PATIENCE_S or (turned and waited_s >= APART_S)


class DoorEnrolment:
    """Obey commands to enrol who stands at a door of this edge."""

    def __init__(
        self,
        *,
        office: Enrolment,
        link: Sees,
        clock: SteadyClock,
        policies: Policies,
        tell: Callable[[Progress], Awaitable[bool]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts; `tell` sends how far it is and returns whether anybody still wants it."""
        self._office = office
        self._link = link
        self._clock = clock
        self._policies = policies
        self._tell = tell
        self._wall = wall

    async def enrol(self, command: EnrolAtDoor) -> Result:
        """Take pictures at a door until there are enough, and seal their templates; or say why there are none."""
        found = self._door(command.door_id)
        if found is None:
            return self._office.refused(command.id, "no_camera", detail="this edge has no such door with a camera")
        consent = await self._office.consent(command)
        if isinstance(consent, Result):
            return consent
        if command.door_id not in consent.doors:
            return self._office.refused(command.id, "no_consent", detail="the consent does not name this door")
        if not self._link.enabled:
            return self._office.refused(command.id, "faces_off", detail=OFF, state="failed")
        if not self._link.ready:
            return self._office.refused(command.id, "not_ready", detail="the face process is not ready", state="failed")
        door, camera = found
        wanted = min(max(1, command.pictures), PICTURES_MOST)
        sitting = Sitting(wanted=wanted, live_only=door.liveness in ("parallax", "model"), since=self._wall())
        try:
            self._link.take(door.id, sitting.hear)
        except Conflict as error:
            return self._office.refused(command.id, "busy", detail=str(error))
        try:
            problem = await self._sit(command, sitting, consent=consent, door=door, camera=camera)
        finally:
            self._link.release(door.id)
        if problem:
            counted = f"{len(sitting.taken)} of {wanted} pictures were good: begin again, and follow the hints"
            return self._office.refused(command.id, problem, detail=WHY.get(problem, counted))
        made = [
            self._office.plain(command, consent, embedding=one.embedding, contract=one.contract, quality=one.quality)
            for one, _ in sitting.taken
        ]
        return await self._office.seal(command, made, consent=consent)

    def _door(self, door_id: str) -> tuple[Door, Camera] | None:
        policy = self._policies.current
        if policy is None:
            return None
        door = next((one for one in policy.doors if one.id == door_id), None)
        if door is None:
            return None
        camera = next((one for one in policy.cameras if one.id == door.camera_id), None)
        return None if camera is None else (door, camera)

    async def _sit(
        self, command: EnrolAtDoor, sitting: Sitting, *, consent: Consent, door: Door, camera: Camera
    ) -> str:
        """Look until there are enough pictures; return why not, or nothing where there are some."""
        ends, told, asked = self._clock.unix() + self._left_s(command), (-1, ""), -ASK_S
        told_at = 0.0
        while not sitting.over and len(sitting.taken) < sitting.wanted and self._clock.unix() < ends:
            sitting.moved.clear()
            now = self._clock.unix()
            if now - asked >= ASK_S / 2:
                asked = now
                self._ask(door, camera)
            state = (len(sitting.taken), sitting.hint)
            if state != told or now - told_at >= AGAIN_S:
                told, told_at = state, now
                if not await self._wanted(command, sitting):
                    return "cancelled"
            if not self._office.still(consent):
                return "no_consent"
            try:
                async with asyncio.timeout(LOOK_S):
                    await sitting.moved.wait()
            except TimeoutError:
                continue
        if sitting.over or not sitting.taken:
            return sitting.over or ("liveness_unclear" if sitting.unclear else sitting.problem)
        return "" if await self._wanted(command, sitting) else "cancelled"

    def _left_s(self, command: EnrolAtDoor) -> float:
        return (command.deadline - self._clock.now()).total_seconds() - SEALING_S

    def _ask(self, door: Door, camera: Camera) -> None:
        self._link.attend(
            wire.Attend(
                door_id=door.id, camera_id=camera.id, until=self._wall() + ASK_S, near_zone=camera.near_zone,
                min_eye_px=camera.min_eye_px, liveness=door.liveness, enrol=True,
            )
        )  # fmt: skip

    async def _wanted(self, command: EnrolAtDoor, sitting: Sitting) -> bool:
        """Say how far it is; a gateway that does not answer is no reason to stop."""
        told = Progress(
            command_id=command.id, at=self._clock.now(), done=len(sitting.taken), wanted=sitting.wanted,
            hint=sitting.hint,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TELL_S):
                return await self._tell(told)
        except (TimeoutError, DeviceUnreachable, DeviceRefused) as error:
            log.debug("how far enrolment %s is was not told: %s", command.id, error)
            return True
