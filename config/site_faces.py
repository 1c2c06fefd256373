"""What a site file lets its doors do with faces, door by door and in words, before anything was counted. Pure.

The edge decides with what it knows: counted evidence, the templates that it holds, assessments of the database. Here only
the file and a profile speak.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from config.site_entries import SiteFile
from config.site_records import door_from
from models.calibration import FaceUse, Profile, WhyNot, face_use
from models.places import Door

WORDS: Final[dict[WhyNot, str]] = {
    "off": "edge.faces.profile is off",
    "high_security": "a high-security door takes a face only with card or PIN",
    "no_evidence": "no false matches were counted yet (`gatehouse calibration count`, or `add` those of labelled photos)",
    "too_little_evidence": "what was counted does not carry so many people",
    "gallery_too_large": "the demo profile carries twelve people",
    "no_liveness": "nothing tells a live face from a picture of one (liveness: none)",
    "liveness_incomplete": "its liveness is no network declared to cover prints and screens (liveness_covers, liveness_basis)",
    "not_asked": "its factors do not name a bare face",
    "not_assessed": "no assessment of this file covers faces",
    "no_camera": "its camera has no register entry, so the stream stays off",
    "no_liveness_model": "its liveness is a network that is not there (edge.faces.models.liveness)",
}
NOWHERE: Final[frozenset[WhyNot]] = frozenset({"off", "not_assessed", "no_camera", "no_liveness_model"})
"""Without these no face is matched at all, with a card or PIN neither."""


class DoorFaces(msgspec.Struct, frozen=True, kw_only=True):
    """Say how one door of a file may use faces: `alone`, `with_card_or_pin`, or `off`."""

    door: str
    way: str
    use: FaceUse

    def told(self) -> str:
        """Return it in words, with what is lacking."""
        begun = {
            "alone": f"a face alone opens it, at radius {self.use.radius:.2f}",
            "with_card_or_pin": f"a face opens it with card or PIN, at radius {self.use.verify_radius:.2f}, and not alone",
            "off": "no face opens it",
        }[self.way]
        text = f"door {self.door!r} ({self.use.people} consented): {begun}"
        if self.use.why_not:
            text += f": {'; '.join(WORDS[why] for why in self.use.why_not)}"
        if {"no_evidence", "too_little_evidence"} & set(self.use.why_not):
            text += f"; {self.use.people} people need {self.use.needed_pairs} pairs of persons without a false match"
        return text


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
            yield DoorFaces(door=door.id, way=_way(door, use), use=use)


def _missing(file: SiteFile, door: Door, liveness_model: bool) -> Iterator[WhyNot]:
    """Yield what else in the file, or in the settings, keeps every face from being matched at a door."""
    if all(entry.subject != "face" for entry in file.assessments):
        yield "not_assessed"
    if any(camera.id == door.camera_id and camera.register_entry is None for camera in file.cameras):
        yield "no_camera"
    if door.liveness == "model" and not liveness_model:
        yield "no_liveness_model"


def _way(door: Door, use: FaceUse) -> str:
    if use.alone:
        return "alone"
    joined = {"face+card", "face+pin"} & set(door.factors)
    return "with_card_or_pin" if joined and use.verify_radius > 0.0 and not NOWHERE & set(use.why_not) else "off"
