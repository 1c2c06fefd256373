"""Enrolment at the edge: photos through the relay become sealed templates, if a live consent says so.

The photo is never written. The receipt proves that a template exists without revealing it. Faces are found and embedded
in the face process; keys and templates are edge.keystore's. Who stands at a door is enrolled by edge.enrolling, which
asks here for the consent and has its templates sealed here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.clock import SteadyClock
from edge.facelink import FaceLink
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from edge.templates import Plain, Sealed
from models.calibration import DEMO_MODEL, DEMO_RADIUS, FaceUse
from models.errors import DeviceUnreachable, InvalidInput, NotFound
from models.link import PICTURES_MOST, EnrolAtDoor, EnrolFace, FaceReceipt, Result
from models.people import Consent
from models.recognition import ADVICE, FaceQuality, QualityGates, same_within, unusable

log = logging.getLogger("gatehouse.edge.enrolment")

ENROLMENT_GATES: Final = QualityGates(min_eye_px=40.0, min_blur=25.0, max_yaw=0.45, max_roll_deg=25.0)
"""A template is compared for years: its photo must be better than a glance at the door."""
MARGIN: Final = 0.05
"""Two residents closer than a door's radius and this are told: one of them should use a card."""
POLICY_WAIT_S: Final = 3.0
"""The command may overtake the policy that carries its consent by this much."""
QUALITY_EYE_PX: Final = 120.0

Embedding = NDArray[np.float32]
Ordered = EnrolFace | EnrolAtDoor


class Enrolment:
    """Obey commands to enrol from photos, and seal what was made for a person."""

    def __init__(
        self,
        *,
        edge_id: str,
        clock: SteadyClock,
        keys: KeyStore,
        link: FaceLink,
        relay: Callable[[str], Awaitable[bytes]],
        policies: Policies,
        on_change: Callable[[], None],
        uses: Callable[[], Mapping[str, FaceUse]],
        policy_wait_s: float = POLICY_WAIT_S,
    ) -> None:
        self._edge_id = edge_id
        self._clock = clock
        self._keys = keys
        self._link = link
        self._relay = relay
        self._policies = policies
        self._on_change = on_change
        self._uses = uses
        self._policy_wait_s = policy_wait_s

    async def enrol(self, command: EnrolFace) -> Result:
        """Make and seal a template of a photo; the result carries its receipt, or the reason why there is none."""
        consent = await self.consent(command)
        if isinstance(consent, Result):
            return consent
        try:
            image = await self._relay(command.relay_ticket)
            face = await self._link.photo(image, request_id=command.id)
        except (NotFound, InvalidInput) as error:
            return self.refused(command.id, "no_photo", detail=str(error))
        except DeviceUnreachable as error:
            return self.refused(command.id, error.reason or "not_ready", detail=str(error), state="failed")
        if not face.ok or face.quality is None:
            reason = face.reason or "unreadable"
            return self.refused(command.id, reason, detail=ADVICE.get(reason, "the photo gives no usable face"))
        problem = unusable(face.quality, ENROLMENT_GATES)
        if problem is not None:
            return self.refused(
                command.id, problem, detail=ADVICE.get(problem, "the photo is not good enough to enrol")
            )
        made = self.plain(command, consent, embedding=face.embedding, contract=face.contract, quality=face.quality)
        return await self.seal(command, [made], consent=consent)

    def plain(
        self, command: Ordered, consent: Consent, *, embedding: bytes, contract: str, quality: FaceQuality
    ) -> Plain:
        """Return a template of the commanded person in the clear, with a score of its picture from 0 to 1."""
        score = round(min(1.0, quality.eye_px / QUALITY_EYE_PX), 3)
        return Plain(
            person_id=command.person_id, doors=consent.doors, contract=contract, consent_id=consent.id, quality=score,
            at=self._clock.now(), embedding=embedding,
        )  # fmt: skip

    async def seal(self, command: Ordered, made: Sequence[Plain], *, consent: Consent) -> Result:
        """Seal templates of one person, unless the consent ended meanwhile or they show somebody else than before."""
        if not self.still(consent):
            return self.refused(command.id, "no_consent", detail="the consent or the assessment ended meanwhile")
        opened = await asyncio.to_thread(self._keys.open_all)
        adding = isinstance(command, EnrolFace) and command.add
        problem = _problem(made, opened, command=command)
        if problem is not None:
            return self.refused(command.id, problem[0], detail=problem[1])
        similar = self._similar(made, opened, doors=consent.doors)
        if adding:
            sealed: tuple[Sealed, ...] = (await asyncio.to_thread(self._keys.add, made[0]),)
        else:
            sealed = await asyncio.to_thread(self._keys.put_all, made)
        self._on_change()
        receipts = tuple(self._receipt(one) for one in sealed)
        return Result(
            command_id=command.id,
            state="confirmed",
            reason=None if similar is None else "similar_person",
            detail="" if similar is None else f"another enrolled person is as close as {similar[1]:.2f}",
            at=self._clock.now(),
            receipt=receipts[0],
            receipts=receipts,
            similar_to=None if similar is None else similar[0],
        )

    def _receipt(self, sealed: Sealed) -> FaceReceipt:
        return FaceReceipt(
            id=sealed.id, person_id=sealed.person_id, edge_id=self._edge_id, contract=sealed.contract,
            quality=sealed.quality, digest=sealed.digest, at=sealed.at,
        )  # fmt: skip

    def _similar(
        self, made: Sequence[Plain], opened: Sequence[Opened], *, doors: Sequence[str]
    ) -> tuple[str, float] | None:
        """Return the other person who comes too close at one of the doors, and how close; None if nobody does."""
        uses = self._uses()
        radii = [max(uses[door].radius, uses[door].verify_radius) for door in doors if door in uses]
        contract, person = made[0].contract, made[0].person_id
        if not any(radii) and not contract.startswith(DEMO_MODEL):
            return None  # no door matches by this network, so nothing is known about its distances
        others = [one for one in opened if one.person_id != person and one.contract == contract]
        near = [(nearest([vector(plain) for plain in made], one.embedding), one.person_id) for one in others]
        distance, who = min(near, default=(np.inf, ""))
        return (who, distance) if distance < (max(radii, default=0.0) or DEMO_RADIUS) + MARGIN else None

    async def consent(self, command: Ordered) -> Consent | Result:
        """Return the live consent that a command names, or the refusal; the policy that brings it may be a moment behind."""
        for _ in range(max(1, round(self._policy_wait_s / 0.1))):
            consent = self._live(command, at=self._policies.time(self._clock.now()))
            if consent is not None:
                return consent
            await asyncio.sleep(0.1)
        if not self._assessed():
            return self.refused(
                command.id, "not_assessed", detail="no impact assessment of faces is in force at this site"
            )
        return self.refused(
            command.id, "no_consent", detail="there is no live consent of this person for faces at doors"
        )

    def _live(self, command: Ordered, *, at: datetime) -> Consent | None:
        policy = self._policies.current
        if policy is None or not self._assessed():
            return None
        person = next((p for p in policy.people if p.id == command.person_id), None)
        for consent in policy.consents:
            named = consent.id == command.consent_id and consent.person_id == command.person_id
            agreed = consent.guardian or person is None or not person.under_14
            if named and consent.purpose == "door_face" and consent.live(at) and agreed:
                return consent
        return None

    def still(self, consent: Consent) -> bool:
        """Return whether a consent and the site's assessment hold now."""
        policy, at = self._policies.current, self._policies.time(self._clock.now())
        agreed = policy is not None and any(c.id == consent.id and c.live(at) for c in policy.consents)
        return agreed and self._assessed()

    def _assessed(self) -> bool:
        policy = self._policies.current
        return policy is not None and "face" in policy.assessed

    def refused(self, command_id: str, reason: str, *, detail: str, state: str = "refused") -> Result:
        """Return the end of a command that made no template."""
        return Result(
            command_id=command_id,
            state="failed" if state == "failed" else "refused",
            reason=reason,
            detail=detail[:200],
            at=self._clock.now(),
        )


def _problem(made: Sequence[Plain], opened: Sequence[Opened], *, command: Ordered) -> tuple[str, str] | None:
    """Return why templates must not join or replace those of their person (a stable word and a sentence), or None."""
    first = made[0]
    held = [one for one in opened if (one.person_id, one.contract) == (first.person_id, first.contract)]
    same_consent = [one for one in held if set(one.doors) == set(first.doors)]
    adding = isinstance(command, EnrolFace) and command.add
    if adding and len(same_consent) >= PICTURES_MOST:
        return "too_many", f"{PICTURES_MOST} photos of this person are enrolled: replace them with a new first one"
    faces = [one.embedding for one in held]
    replaces = command.anew and not adding
    if replaces or not faces or min(nearest(faces, vector(one)) for one in made) <= same_within(first.contract):
        return None
    if adding:
        return "differs", "this photo shows somebody else than the photos before: check the person's id"
    return "differs", (
        "this is somebody else than the face that is enrolled: check the person's id; say `anew` if that face was "
        "somebody else's or the person changed much"
    )


def vector(plain: Plain) -> Embedding:
    """Return the embedding of a template in the clear, (d,) float32."""
    return np.frombuffer(plain.embedding, dtype="<f4").astype(np.float32)


def nearest(some: Sequence[Embedding], one: Embedding) -> float:
    """Return the distance from an embedding to the nearest of some; infinite where they cannot be compared."""
    return min((float(np.linalg.norm(other - one)) for other in some if other.shape == one.shape), default=np.inf)
