"""Enrolment at the edge: a photo through the relay becomes a sealed template, if a live consent says so.

The photo is never written. The receipt proves that a template exists without revealing it. Faces are found and embedded
in the face process; keys and templates are edge.keystore's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import numpy as np

from edge.clock import SteadyClock
from edge.facelink import FaceLink
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from models.errors import DeviceUnreachable, InvalidInput, NotFound
from models.link import EnrolFace, FaceReceipt, Result
from models.people import Consent
from models.recognition import FaceQuality, QualityGates, unusable

log = logging.getLogger("gatehouse.edge.enrolment")

ENROLMENT_GATES = QualityGates(min_eye_px=40.0, min_blur=25.0, max_yaw=0.45, max_roll_deg=25.0)
"""A template is compared for years: its photo must be better than a glance at the door."""
CONFUSABLE = 0.45
"""Two residents closer than this are told: one of them should use a card."""
POLICY_WAIT_S = 3.0
"""The command may overtake the policy that carries its consent by this much."""
QUALITY_EYE_PX = 120.0


class Enrolment:
    """Obey enrolment commands."""

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
        policy_wait_s: float = POLICY_WAIT_S,
    ) -> None:
        self._edge_id = edge_id
        self._clock = clock
        self._keys = keys
        self._link = link
        self._relay = relay
        self._policies = policies
        self._on_change = on_change
        self._policy_wait_s = policy_wait_s

    async def enrol(self, command: EnrolFace) -> Result:
        """Make and seal a template; the result carries its receipt, or the reason why there is none."""
        consent = await self._consent(command)
        if consent is None and not self._assessed():
            return self._refused(command.id, "not_assessed", "no impact assessment of faces is in force at this site")
        if consent is None:
            return self._refused(command.id, "no_consent", "there is no live consent of this person for faces at doors")
        try:
            image = await self._relay(command.relay_ticket)
            face = await self._link.photo(image, request_id=command.id)
        except (NotFound, InvalidInput) as error:
            return self._refused(command.id, "no_photo", str(error))
        except DeviceUnreachable as error:
            return self._refused(command.id, "not_ready", str(error), state="failed")
        if not face.ok or face.quality is None:
            return self._refused(command.id, face.reason or "unreadable", "the photo gives no usable face")
        problem = unusable(face.quality, ENROLMENT_GATES)
        if problem is not None:
            return self._refused(command.id, problem, "the photo is not good enough to enrol")
        if not self._still(consent):
            return self._refused(command.id, "no_consent", "the consent or the assessment ended meanwhile")
        template = Opened(
            person_id=command.person_id,
            doors=consent.doors,
            contract=face.contract,
            embedding=np.frombuffer(face.embedding, dtype="<f4").astype(np.float32),
        )
        return await self._seal(command, template, quality=face.quality)

    async def _seal(self, command: EnrolFace, template: Opened, *, quality: FaceQuality) -> Result:
        score = round(min(1.0, quality.eye_px / QUALITY_EYE_PX), 3)
        at = self._clock.now()
        closest = self._closest_other(template)
        sealed = await asyncio.to_thread(self._keys.put, template, consent_id=command.consent_id, quality=score, at=at)
        self._on_change()
        receipt = FaceReceipt(
            id=sealed.id,
            person_id=sealed.person_id,
            edge_id=self._edge_id,
            contract=sealed.contract,
            quality=score,
            digest=sealed.digest,
            at=at,
        )
        similar = closest is not None and closest < CONFUSABLE
        return Result(
            command_id=command.id,
            state="confirmed",
            reason="similar_person" if similar else None,
            detail=f"another enrolled person is as close as {closest:.2f}" if similar else "",
            at=at,
            receipt=receipt,
        )

    async def _consent(self, command: EnrolFace) -> Consent | None:
        """Return the live consent that a command names; the policy that brings it may be a moment behind."""
        for _ in range(max(1, round(self._policy_wait_s / 0.1))):
            consent = self._live(command, at=self._policies.time(self._clock.now()))
            if consent is not None:
                return consent
            await asyncio.sleep(0.1)
        return None

    def _live(self, command: EnrolFace, *, at: datetime) -> Consent | None:
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

    def _still(self, consent: Consent) -> bool:
        policy, at = self._policies.current, self._policies.time(self._clock.now())
        agreed = policy is not None and any(c.id == consent.id and c.live(at) for c in policy.consents)
        return agreed and self._assessed()

    def _assessed(self) -> bool:
        policy = self._policies.current
        return policy is not None and "face" in policy.assessed

    def _closest_other(self, template: Opened) -> float | None:
        """Return the distance to the closest other person of the same contract, or None if there is none."""
        distances = [
            float(np.linalg.norm(other.embedding - template.embedding))
            for other in self._keys.open_all()
            if other.person_id != template.person_id and other.contract == template.contract
        ]
        return min(distances, default=None)

    def _refused(self, command_id: str, reason: str, detail: str, *, state: str = "refused") -> Result:
        return Result(
            command_id=command_id,
            state="failed" if state == "failed" else "refused",
            reason=reason,
            detail=detail[:200],
            at=self._clock.now(),
        )
