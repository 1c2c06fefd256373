"""Whose face may be matched at which door: galleries in memory of people with a live consent that names the door.

A policy or a new template builds them anew beside the old ones; a withdrawal empties them at once, and the consent is
asked for again at the decision. It destroys nothing (edge.erasing) and looks at nobody (edge.attention).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from edge.clock import SteadyClock
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from models.gallery import Gallery
from models.people import Consent, Member, face_allowed
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.galleries")

DEMO_PEOPLE = 12


@dataclass(frozen=True, eq=False)
class DoorGallery:
    """Hold the people of one door in memory, all under one model contract."""

    contract: str
    people: Gallery


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
    """Keep the galleries of an edge's doors. `allowed` is False where no profile lets faces be matched."""

    def __init__(self, *, clock: SteadyClock, keys: KeyStore, policies: Policies, allowed: bool) -> None:
        self._clock = clock
        self._keys = keys
        self._policies = policies
        self._allowed = allowed
        self._agreed = Agreed()
        self.doors: dict[str, DoorGallery] = {}

    def assessed(self) -> bool:
        """Return whether an approved impact assessment covers faces at this site (R33)."""
        policy = self._policies.current
        return policy is not None and "face" in policy.assessed

    def refresh(self) -> None:
        """Build the galleries anew and swap them in."""
        policy = self._policies.current
        if policy is None or not self._allowed or not self.assessed():
            self.doors = {}
            return
        opened = self._keys.open_all()
        galleries: dict[str, DoorGallery] = {}
        for door in policy.doors:
            own = [
                one for one in opened if door.id in one.doors and self.allows(one.person_id, door.id)
            ]  # a template's own doors are those of the consent that it was made under
            gallery = _gallery(own)
            size = 0 if gallery is None else len(gallery.people.people)
            if size > DEMO_PEOPLE:
                log.warning(
                    "door %s: %d faces are more than the demo's %d: none is matched", door.id, size, DEMO_PEOPLE
                )
            elif gallery is not None:
                galleries[door.id] = gallery
        self.doors = galleries

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


def _gallery(templates: list[Opened]) -> DoorGallery | None:
    """Return a gallery of the templates that share the newest contract."""
    if not templates:
        return None
    contract = templates[-1].contract
    own = [template for template in templates if template.contract == contract]
    rows = np.stack([template.embedding for template in own])
    return DoorGallery(contract=contract, people=Gallery([template.person_id for template in own], rows))
