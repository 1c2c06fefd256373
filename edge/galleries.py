"""Whose face may be matched at which door, and how: galleries in memory of people with a live consent that names the door.

A policy or a new template builds them anew beside the old ones, and says anew how each door may use faces
(models.calibration); a withdrawal empties them at once, and the consent is asked for again at the decision. It destroys
nothing (edge.erasing) and looks at nobody (edge.attention).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from edge.clock import SteadyClock
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from models.access import takes_faces
from models.calibration import FaceUse, ImpostorEvidence, Profile, WhyNot, check_evidence, face_use
from models.errors import InvalidInput
from models.gallery import Gallery
from models.link import FaceStatus
from models.people import Consent, Member, face_allowed
from models.places import Door
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.galleries")


@dataclass(frozen=True, eq=False)
class DoorGallery:
    """Hold the people of one door in memory, all under one model contract."""

    contract: str
    people: Gallery
    templates: tuple[Opened, ...]

    def only(self, person_ids: Iterable[str]) -> Gallery | None:
        """Return a gallery of some of these people, for who came with a card or PIN; None if none of them is here."""
        wanted = frozenset(person_ids)
        own = [template for template in self.templates if template.person_id in wanted]
        return _of(own) if own else None


@dataclass(frozen=True)
class Agreed:
    """Index who a policy knows and what they consented to, so that asking takes lookups only."""

    policy: Policy | None = None
    people: dict[str, Member] = field(default_factory=dict)
    consents: dict[str, tuple[Consent, ...]] = field(default_factory=dict)

    @staticmethod
    def of(policy: Policy) -> Agreed:
        """Index a policy."""
        consents: dict[str, list[Consent]] = defaultdict(list)
        for consent in policy.consents:
            consents[consent.person_id].append(consent)
        people = {person.id: person for person in policy.people}
        return Agreed(policy=policy, people=people, consents={key: tuple(own) for key, own in consents.items()})


class Galleries:
    """Keep the galleries of an edge's doors, and how each door may use them. With `off` no profile matches faces.

    Attributes:
        doors: The gallery of each door that has one.
        uses: How each door that takes faces in any way may use them.
    """

    def __init__(self, *, clock: SteadyClock, keys: KeyStore, policies: Policies, profile: Profile) -> None:
        self._clock = clock
        self._keys = keys
        self._policies = policies
        self._profile: Profile = profile
        self._agreed = Agreed()
        self._made_by = self._contract = ""
        self._left_out = 0
        self.doors: dict[str, DoorGallery] = {}
        self.uses: dict[str, FaceUse] = {}
        self.on_change: Callable[[], None] = lambda: None

    def assessed(self) -> bool:
        """Return whether an approved impact assessment covers faces at this site (R33)."""
        policy = self._policies.current
        return policy is not None and "face" in policy.assessed

    def refresh(self) -> None:
        """Build the galleries anew and swap them in; say in the log which doors use faces in another way than before."""
        policy = self._policies.current
        opened = self._keys.open_all() if self._profile != "off" and self.assessed() else []
        contract = self._contract = self._made_by or (opened[-1].contract if opened else "")
        self._tell_left_out([template for template in opened if template.contract != contract])
        comparable = [template for template in opened if template.contract == contract]
        galleries: dict[str, DoorGallery] = {}
        uses: dict[str, FaceUse] = {}
        evidence = _believed(() if policy is None else policy.calibrations)
        for door in () if policy is None else policy.doors:
            if not takes_faces(door):
                continue
            own = [
                one for one in comparable if door.id in one.doors and self.allows(one.person_id, door.id)
            ]  # a template's own doors are those of the consent that it was made under
            if own:
                galleries[door.id] = DoorGallery(contract=contract, people=_of(own), templates=tuple(own))
            uses[door.id] = self._use(door, galleries.get(door.id), contract=contract, evidence=evidence)
        before, self.doors, self.uses = self.uses, galleries, uses
        if uses != before:
            _tell_changes(before, uses)
            self.on_change()

    @property
    def contract(self) -> str:
        """Return what doors match by: what the running network makes, else what the newest template was made by."""
        return self._contract

    def made_by(self, contract: str) -> None:
        """Match templates of this contract only from now on: it is what the running network makes."""
        if contract != self._made_by:
            self._made_by = contract
            if contract != self._contract:
                self.refresh()

    def _use(
        self, door: Door, gallery: DoorGallery | None, *, contract: str, evidence: tuple[ImpostorEvidence, ...]
    ) -> FaceUse:
        people = 0 if gallery is None else len(gallery.people.people)
        use = face_use(door, people=people, profile=self._profile, contract=contract, evidence=evidence)
        shut: list[WhyNot] = [] if self.assessed() or self._profile == "off" else ["not_assessed"]
        policy = self._policies.current
        if policy is not None and door.camera_id not in {camera.id for camera in policy.cameras}:
            shut.append("no_camera")
        if not shut:
            return use
        why_not = (*shut, *use.why_not)
        return msgspec.structs.replace(use, alone=False, radius=0.0, verify_radius=0.0, why_not=why_not)

    def status(self, door: Door | None) -> FaceStatus | None:
        """Return how a door uses faces, for the gateway; None for a door that takes none."""
        use = None if door is None else self.uses.get(door.id)
        if door is None or use is None:
            return None
        return FaceStatus(use=use, contract=self._contract, provider=door.liveness)

    def _tell_left_out(self, left_out: list[Opened]) -> None:
        if len(left_out) != self._left_out and left_out:
            log.warning("%d templates were made by another network and match nobody: enrol anew", len(left_out))
        self._left_out = len(left_out)

    def allows(self, person_id: str, door_id: str) -> bool:
        """Return whether a live consent of a person, a guardian's under 14, names the door now."""
        policy = self._policies.current
        if policy is None:
            return False
        if self._agreed.policy is not policy:
            self._agreed = Agreed.of(policy)
        person = self._agreed.people.get(person_id)
        at = self._policies.time(self._clock.now())
        consents = self._agreed.consents.get(person_id, ())
        return person is not None and face_allowed(person, consents, door_id=door_id, at=at)

    def still_holds(self, person_id: str, door_id: str) -> bool:
        """Return whether a person is in the door's gallery now, with a consent that is live now."""
        gallery = self.doors.get(door_id)
        return gallery is not None and person_id in gallery.people.people and self.allows(person_id, door_id)


def _of(templates: list[Opened]) -> Gallery:
    rows = np.stack([template.embedding for template in templates])
    return Gallery([template.person_id for template in templates], rows)


def _believed(calibrations: Iterable[ImpostorEvidence]) -> tuple[ImpostorEvidence, ...]:
    """Return the evidence whose counts can be true."""
    believed = []
    for evidence in calibrations:
        try:
            believed.append(check_evidence(evidence))
        except InvalidInput as error:
            log.warning("calibration %s counts for nothing: %s", evidence.id, error)
    return tuple(believed)


def _tell_changes(before: dict[str, FaceUse], now: dict[str, FaceUse]) -> None:
    """Say in the log which doors use faces in another way than before; numbers of people, never who."""
    for door_id, use in now.items():
        if use == before.get(door_id):
            continue
        if use.alone:
            log.info("door %s: a face alone opens, %d people, radius %.2f", door_id, use.people, use.radius)
        elif use.verify_radius:
            why = ", ".join(use.why_not)
            log.info("door %s: a face counts with card or PIN only, %d people: %s", door_id, use.people, why)
        else:
            log.info("door %s: no face is matched: %s", door_id, ", ".join(use.why_not))
