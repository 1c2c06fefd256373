"""Whose face may be matched at which door, and how: galleries in memory of people with a live consent that names the door.

A policy or a new template changes the galleries of the doors concerned, and says anew how each door may use faces
(models.calibration). Who may not be matched any longer is out of every gallery at once; many new templates are opened and
made ready in a thread, and swapped in. At the decision the consent is asked for again. It destroys nothing (edge.erasing)
and looks at nobody (edge.attention).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

import msgspec
import numpy as np

from edge.clock import SteadyClock
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from edge.templates import Sealed
from models.access import takes_faces
from models.calibration import FaceUse, ImpostorEvidence, Profile, WhyNot, check_evidence, face_use
from models.errors import InvalidInput
from models.gallery import Gallery
from models.link import FaceStatus
from models.people import Consent, Member, face_doors
from models.places import Door
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.galleries")

AT_ONCE: Final = 500
"""Up to so many new templates, over all galleries that differ, are opened and added on the spot: some 10 ms."""


@dataclass(frozen=True, eq=False)
class DoorGallery:
    """Hold the people of one door in memory, all under one model contract; `made_of` are the templates as they lie sealed."""

    contract: str
    people: Gallery
    templates: tuple[Opened, ...]
    made_of: tuple[Sealed, ...] = ()

    @cached_property
    def held(self) -> frozenset[Opened]:
        """The templates, each as the very one that it is."""
        return frozenset(self.templates)

    def only(self, person_ids: Iterable[str]) -> Gallery | None:
        """Return a gallery of some of these people, for who came with a card or PIN; None if none of them is here."""
        wanted = frozenset(person_ids)
        own = [template for template in self.templates if template.person_id in wanted]
        return _of(own) if own else None


@dataclass(frozen=True, eq=False)
class Step:
    """Say from which gallery a door comes and which templates it is to have; doors that are alike share both."""

    door_id: str
    base: DoorGallery | None
    wanted: tuple[Sealed, ...]

    @cached_property
    def same(self) -> bool:
        """Whether the gallery was made of the very templates that are wanted."""
        return self.base is not None and self.base.made_of == self.wanted


@dataclass(frozen=True, eq=False)
class Made:
    """Hold what was made: galleries by door, their templates by id, and the ids of those that do not open."""

    doors: dict[str, DoorGallery]
    opened: dict[str, Opened]
    closed: frozenset[str]


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

    def __init__(
        self,
        *,
        clock: SteadyClock,
        keys: KeyStore,
        policies: Policies,
        profile: Profile,
        tasks: asyncio.TaskGroup,
        liveness_model: bool = False,
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._policies = policies
        self._profile: Profile = profile
        self._liveness_model = liveness_model
        self._tasks = tasks
        self._agreed = Agreed()
        self._made_by = self._contract = ""
        self._left_out = 0
        self._opened: dict[str, Opened] = {}
        self._closed: frozenset[str] = frozenset()
        self._building: asyncio.Task[None] | None = None
        self.doors: dict[str, DoorGallery] = {}
        self.uses: dict[str, FaceUse] = {}
        self.on_change: Callable[[], None] = lambda: None

    def assessed(self) -> bool:
        """Return whether an approved impact assessment covers faces at this site (R33)."""
        policy = self._policies.current
        return policy is not None and "face" in policy.assessed

    def refresh(self) -> None:
        """Bring the galleries up to date; say in the log which doors use faces in another way than before.

        Whoever may not be matched any longer is out when this returns. New templates are in, unless they are so many
        that they are made ready beside (`AT_ONCE`).
        """
        self._refresh(self.doors)

    def _refresh(self, bases: dict[str, DoorGallery]) -> None:
        """Change `bases` into what the policy and the key store say now, and put that in force."""
        policy = self._policies.current
        doors = () if policy is None else tuple(door for door in policy.doors if takes_faces(door))
        sealed = self._keys.sealed() if self._profile != "off" and self.assessed() else ()
        self._closed &= {template.id for template in sealed}
        contract = self._contract = self._made_by or self._newest(sealed)
        comparable = [template for template in sealed if template.contract == contract]
        self._tell_left_out(len(sealed) - len(comparable))
        wanted = self._wanted(comparable, frozenset(door.id for door in doors))
        steps = [Step(key, _under(contract, bases.get(key)), templates) for key, templates in wanted.items()]
        many = _news(steps, self._opened) > AT_ONCE
        made = self._make(_less(steps, self._opened) if many else steps, self._opened)
        self._opened, self._closed = made.opened, self._closed | made.closed
        evidence = _believed(() if policy is None else policy.calibrations)
        before, self.doors = self.uses, made.doors
        self.uses = {
            door.id: self._use(door, made.doors.get(door.id), contract=contract, evidence=evidence) for door in doors
        }
        if many and self._building is None:
            self._building = self._tasks.create_task(self._build(steps), name="galleries: build beside")
        if self.uses != before:
            _tell_changes(before, self.uses)
            self.on_change()

    def _newest(self, sealed: tuple[Sealed, ...]) -> str:
        """Return the contract of the newest template that opens."""
        for template in reversed(sealed):
            if self._open(template, self._opened) is not None:
                return template.contract
            self._closed |= {template.id}
        return ""

    def _wanted(self, comparable: list[Sealed], served: frozenset[str]) -> dict[str, tuple[Sealed, ...]]:
        """Return whose templates belong to each door; doors of the same people get the very same tuple.

        A template's own doors are those of the consent that it was made under; a live consent must name them too.
        """
        at = self._clock.now()
        alike: dict[frozenset[str], list[Sealed]] = defaultdict(list)
        known: dict[tuple[str, tuple[str, ...]], frozenset[str]] = {}
        for template in comparable:
            if template.id in self._closed:
                continue
            key = (template.person_id, template.doors)
            doors = known.get(key)
            if doors is None:
                doors = known[key] = self._allowed(template.person_id, at=at) & served & frozenset(template.doors)
            alike[doors].append(template)
        parts: dict[str, list[frozenset[str]]] = defaultdict(list)
        for doors in alike:
            for door_id in doors:
                parts[door_id].append(doors)
        joined = {
            own: tuple(template for part in own for template in alike[part])
            for own in {tuple(own) for own in parts.values()}
        }
        return {door_id: joined[tuple(own)] for door_id, own in parts.items()}

    def _make(self, steps: list[Step], opened: dict[str, Opened]) -> Made:
        """Make the galleries of some doors from those they come from; nothing but their own templates is held on to."""
        held: dict[str, Opened] = {}
        closed: set[str] = set()
        made: dict[tuple[int, int], DoorGallery | None] = {}
        for key, step in _alike(steps).items():
            if step.same:
                made[key] = step.base
                held.update({one.id: opened[one.id] for one in step.wanted if one.id in opened})
                continue
            own = []
            for template in step.wanted:
                found = held.get(template.id) or (None if template.id in closed else self._open(template, opened))
                if found is None:
                    closed.add(template.id)
                else:
                    held[template.id] = found
                    own.append(found)
            made[key] = _changed(step.base, own, made_of=step.wanted)
        doors = {step.door_id: made[id(step.base), id(step.wanted)] for step in steps}
        return Made({key: one for key, one in doors.items() if one is not None}, held, frozenset(closed))

    def _open(self, template: Sealed, opened: dict[str, Opened]) -> Opened | None:
        """Return a template in the clear; one that does not open is said in the log and never matched."""
        found = opened.get(template.id)
        if found is not None or template.id in self._closed:
            return found
        try:
            return self._keys.open(template)
        except InvalidInput as error:
            log.warning("template %s cannot be used: %s", template.id, error)
            return None

    async def _build(self, steps: list[Step]) -> None:
        """Make galleries in a thread; what the policy and the store say by then is put in force, made from these."""
        made = await asyncio.to_thread(self._make, steps, dict(self._opened))
        self._building = None
        self._opened, self._closed = {**made.opened, **self._opened}, self._closed | made.closed
        self._refresh({**self.doors, **made.doors})

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
        if door.liveness == "model" and not self._liveness_model and self._profile != "off":
            shut.append("no_liveness_model")
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

    def _tell_left_out(self, left_out: int) -> None:
        if left_out not in (self._left_out, 0):
            log.warning("%d templates were made by another network and match nobody: enrol anew", left_out)
        self._left_out = left_out

    def allows(self, person_id: str, door_id: str) -> bool:
        """Return whether a live consent of a person, a guardian's under 14, names the door now."""
        return door_id in self._allowed(person_id, at=self._clock.now())

    def _allowed(self, person_id: str, *, at: datetime) -> frozenset[str]:
        """Return the doors where a person may be matched at a time of this edge's clock."""
        policy = self._policies.current
        if policy is None:
            return frozenset()
        if self._agreed.policy is not policy:
            self._agreed = Agreed.of(policy)
        person = self._agreed.people.get(person_id)
        if person is None:
            return frozenset()
        return face_doors(person, self._agreed.consents.get(person_id, ()), at=self._policies.time(at))

    def still_holds(self, person_id: str, door_id: str) -> bool:
        """Return whether a person is in the door's gallery now, with a consent that is live now."""
        gallery = self.doors.get(door_id)
        return gallery is not None and person_id in gallery.people.people and self.allows(person_id, door_id)


def _under(contract: str, gallery: DoorGallery | None) -> DoorGallery | None:
    """Return the gallery if it is of this contract; nothing is made from one of another."""
    return gallery if gallery is not None and gallery.contract == contract else None


def _held_of(step: Step, opened: dict[str, Opened]) -> tuple[Sealed, ...]:
    """Return which of the wanted templates the gallery has that the door comes from."""
    if step.same:
        return step.wanted
    held: frozenset[Opened] = frozenset() if step.base is None else step.base.held
    return tuple(one for one in step.wanted if opened.get(one.id) in held)


def _alike(steps: list[Step]) -> dict[tuple[int, int], Step]:
    """Return one step for all doors that are alike."""
    return {(id(step.base), id(step.wanted)): step for step in steps}


def _news(steps: list[Step], opened: dict[str, Opened]) -> int:
    """Return how many templates are new to the galleries, doors that are alike counted once."""
    return sum(len(step.wanted) - len(_held_of(step, opened)) for step in _alike(steps).values())


def _less(steps: list[Step], opened: dict[str, Opened]) -> list[Step]:
    """Return the steps as far as they only take templates away."""
    held = {key: _held_of(step, opened) for key, step in _alike(steps).items()}
    return [Step(step.door_id, step.base, held[id(step.base), id(step.wanted)]) for step in steps]


def _changed(base: DoorGallery | None, templates: list[Opened], *, made_of: tuple[Sealed, ...]) -> DoorGallery | None:
    """Return the gallery of these templates, made from `base` where most of it stays; None if there is no template."""
    if base is None or not templates:
        return DoorGallery(templates[0].contract, _of(templates), tuple(templates), made_of) if templates else None
    wanted = frozenset(templates)
    if wanted == base.held:
        return base
    gone = {one.person_id for one in base.templates if one not in wanted}
    kept = [one for one in base.templates if one.person_id not in gone]
    held = frozenset(kept)
    more = [one for one in templates if one not in held]
    if len(kept) < max(len(more), len(base.templates) // 2):
        return DoorGallery(base.contract, _of(templates), tuple(templates), made_of)
    people = base.people.without(gone) if gone else base.people
    if more:
        people = people.with_added([one.person_id for one in more], np.stack([one.embedding for one in more]))
    return DoorGallery(base.contract, people, (*kept, *more), made_of)


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
