"""What a site file lets its doors do with faces, door by door and in words, before anything was counted. Pure.

The edge decides with what it knows: counted evidence, the templates that it holds, assessments of the database. Here only
the file and a profile speak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from config.site_entries import SiteFile
from config.site_records import door_from
from models.calibration import DEMO_MAX_PEOPLE, FaceUse, Profile, WhyNot, face_use
from models.places import Door, Factor

WORDS: Final[dict[WhyNot, str]] = {
    "off": "faces are switched off in these settings (edge.faces.profile)",
    "high_security": "a high-security door never opens to a face alone",
    "no_evidence": (
        "nobody has counted yet how often strangers are taken for residents (`gatehouse calibration count`, or `add` for"
        " labelled photos)"
    ),
    "too_little_evidence": "what was counted is too little for so many people",
    "gallery_too_large": f"the demo profile serves {DEMO_MAX_PEOPLE} people at most",
    "no_liveness": "nothing here tells a live face from a picture held up (the door's liveness: none)",
    "liveness_incomplete": (
        "its check for a live face is not one declared to stop prints and screens (liveness: model, liveness_covers,"
        " liveness_basis)"
    ),
    "not_asked": "a face alone is not among its factors",
    "not_assessed": "this file has no approved impact assessment of faces",
    "no_camera": "its camera has no register entry (register_entry), so it stays off",
    "no_liveness_model": "its check for a live face needs a network that these settings do not name (edge.faces.models.liveness)",
}
NOWHERE: Final[frozenset[WhyNot]] = frozenset({"off", "not_assessed", "no_camera", "no_liveness_model"})
"""Without these no face is matched at all, with a card or PIN neither."""
COUNTED: Final[frozenset[WhyNot]] = frozenset({"no_evidence", "too_little_evidence"})
NOBODY: Final = "nobody is enrolled here yet"


class DoorFaces(msgspec.Struct, frozen=True, kw_only=True):
    """Say how one door of a file may use faces: `alone`, `with_card_or_pin`, or `off`.

    Attributes:
        door: Its id.
        name: What people call it.
        joined: The factors that take a face together with something else.
        way: The most that it may do.
        use: Why, with people and radii.
    """

    door: str
    name: str
    joined: tuple[Factor, ...]
    way: str
    use: FaceUse

    def told(self) -> str:
        """Return it in words, with what is lacking on lines of their own."""
        return "\n  - ".join([f"{self.name} ({self.door}; {self._people()}): {self._way()}", *self._lacking()])

    def _way(self) -> str:
        joined = " or ".join(sorted(factor.removeprefix("face+") for factor in self.joined)).replace("pin", "PIN")
        if self.way == "alone":
            return f"opens to a resident's face alone, at radius {self.use.radius:.2f}"
        if self.way == "with_card_or_pin":
            begun = f"opens to a {joined} with its holder's face, at radius {self.use.verify_radius:.2f}"
            return begun if "not_asked" in self.use.why_not else f"{begun}; not yet to a face alone, because"
        return "opens to no face, because"

    def _lacking(self) -> list[str]:
        """Return what is in the way of the door's own wish: of a face alone only where its factors ask for one."""
        whole = [why for why in self.use.why_not if why in NOWHERE]
        if "off" in whole:
            return [WORDS["off"]]
        lacking = whole if "not_asked" in self.use.why_not else self.use.why_not
        return [WORDS[why] + (self._needed() if why in COUNTED else "") for why in lacking]

    def _people(self) -> str:
        people = self.use.people
        return f"{people} {'person' if people == 1 else 'people'} with a consent here" if people else NOBODY

    def _needed(self) -> str:
        pairs, people = self.use.needed_pairs, self.use.people
        if not people:
            return ""
        asking = "1 person asks" if people == 1 else f"{people} people ask"
        return f"; {asking} for {pairs:,} pairs of persons without a false match, as photos of {_among(pairs):,} persons give"


def _among(pairs: int) -> int:
    """Return among how many persons there are so many pairs."""
    return math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2)


def door_faces(file: SiteFile, *, profile: Profile, liveness_model: bool) -> Iterator[DoorFaces]:
    """Yield how each door that takes faces may use them under a profile, people counted by the file's consents.

    `liveness_model` says whether the edge has a network that tells who is alive.
    """
    for entry in file.doors:
        if any("face" in factor for factor in entry.factors):
            door = door_from(entry, file.site.id)
            people = sum(any(door.id in consent.doors for consent in who.consents) for who in file.people)
            use = face_use(door, people=people, profile=profile)
            use = msgspec.structs.replace(use, why_not=(*use.why_not, *_missing(file, door, liveness_model)))
            use = msgspec.structs.replace(use, alone=use.alone and not use.why_not)
            joined = tuple(factor for factor in door.factors if factor.startswith("face+"))
            yield DoorFaces(door=door.id, name=door.name, joined=joined, way=_way(joined, use), use=use)


def _missing(file: SiteFile, door: Door, liveness_model: bool) -> Iterator[WhyNot]:
    """Yield what else in the file, or in the settings, keeps every face from being matched at a door."""
    if all(entry.subject != "face" for entry in file.assessments):
        yield "not_assessed"
    if any(camera.id == door.camera_id and camera.register_entry is None for camera in file.cameras):
        yield "no_camera"
    if door.liveness == "model" and not liveness_model:
        yield "no_liveness_model"


def _way(joined: tuple[Factor, ...], use: FaceUse) -> str:
    if use.alone:
        return "alone"
    return "with_card_or_pin" if joined and use.verify_radius > 0.0 and not NOWHERE & set(use.why_not) else "off"
