"""Who a track shows: k of n frames, a mean embedding, a margin to the runner-up person; and the record of why.

Pure numpy over embeddings that others made (models.faces) and a gallery that others hold (models.gallery).
It sees no image, opens nothing, and forgets with its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput
from models.events import FaceEvidence
from models.gallery import Gallery, Near


class EmbedderContract(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two embeddings comparable: compare only under equal contracts.

    Attributes:
        model: The model's id, e.g. `dlib-resnet-v1`.
        digest: SHA-256 (hex) of the file of weights.
        dimensions: Length of an embedding.
        metric: How two are compared; `euclidean`.
    """

    model: str
    digest: str
    dimensions: int
    metric: str

    @property
    def id(self) -> str:
        """One string for wire and key store, e.g. `dlib-resnet-v1/128/euclidean/sha256:0123…`."""
        return f"{self.model}/{self.dimensions}/{self.metric}/sha256:{self.digest}"


class FaceQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one face, before anybody judges them.

    Attributes:
        face_px: Width of the box.
        eye_px: Distance between the centres of the eyes.
        blur: Sharpness of the aligned chip (variance of its Laplacian; low is blurred).
        brightness: Mean luma of the aligned chip, 0 to 255.
        contrast: Standard deviation of the luma of the aligned chip.
        yaw: Turn to the side, 0 frontal, ±1 about profile (nose against the middle of the eyes, in half eye distances).
        roll_deg: Tilt of the line through the eyes in degrees.
        inside: Share of the box that lies inside the image, 0 to 1.
    """

    face_px: int
    eye_px: float
    blur: float
    brightness: float
    contrast: float
    yaw: float
    roll_deg: float
    inside: float


class QualityGates(msgspec.Struct, frozen=True, kw_only=True):
    """The limits a face must keep to be used; per door, and stricter for enrolment."""

    min_eye_px: float = 20.0
    min_blur: float = 15.0
    min_brightness: float = 35.0
    max_brightness: float = 225.0
    min_contrast: float = 12.0
    max_yaw: float = 0.6
    max_roll_deg: float = 35.0
    min_inside: float = 0.9


def unusable(quality: FaceQuality, gates: QualityGates) -> str | None:
    """Say why a face must not be used (too_small, cut_off, too_dark, too_bright, turned_away, blurred), or None."""
    if quality.eye_px < gates.min_eye_px:
        return "too_small"
    if quality.inside < gates.min_inside:
        return "cut_off"
    if quality.brightness < gates.min_brightness:
        return "too_dark"
    if quality.brightness > gates.max_brightness:
        return "too_bright"
    if abs(quality.yaw) > gates.max_yaw or abs(quality.roll_deg) > gates.max_roll_deg:
        return "turned_away"
    if quality.blur < gates.min_blur or quality.contrast < gates.min_contrast:
        return "blurred"
    return None


class SeenFace(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One usable face of one track.

    Attributes:
        at_s: When its frame was taken, in s of any steady clock.
        embedding: (d,) float32.
        contract: Id of the contract it was made under.
        sharpness: How good the frame is, for choosing the best; `FaceQuality.blur` will do.
    """

    at_s: float
    embedding: NDArray[np.float32]
    contract: str
    sharpness: float = 0.0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When a track shows a person.

    `agree` of its last `out_of` frames within `within_s` are at most `radius` from the same person, who is nearer than
    the next person by `margin` on the mean of the `best` sharpest of these frames.
    """

    radius: float
    agree: int = 2
    out_of: int = 3
    within_s: float = 2.0
    margin: float = 0.05
    best: int = 3

    def __post_init__(self) -> None:
        """Refuse a rule that one frame could satisfy by itself or none could."""
        if not (1 <= self.agree <= self.out_of and self.best >= 1 and self.within_s > 0):
            raise InvalidInput("rule", f"{self.agree} of {self.out_of} frames within {self.within_s} s cannot be")
        if not (0 < self.radius < np.inf and 0 <= self.margin < np.inf):
            raise InvalidInput("rule", f"radius {self.radius} and margin {self.margin} are no distances")


class Recognised(msgspec.Struct, frozen=True, kw_only=True):
    """A track shows this person, and why we think so."""

    person_id: str
    evidence: FaceEvidence


class NotRecognised(msgspec.Struct, frozen=True, kw_only=True):
    """A track shows nobody yet: `too_few` frames, nobody near (`not_recognised`), or two alike (`ambiguous`)."""

    reason: Literal["too_few", "not_recognised", "ambiguous"]


def recognise(frames: Sequence[SeenFace], gallery: Gallery, *, contract: str, rule: Rule) -> Recognised | NotRecognised:
    """Say whom the newest frames of one track show, by the templates of one door made under `contract`.

    Raises:
        InvalidInput: A frame was embedded under another contract: nothing about it can be compared.
    """
    if any(frame.contract != contract for frame in frames):
        raise InvalidInput("contract", f"embeddings of another model cannot be compared with templates of {contract}")
    newest = max((frame.at_s for frame in frames), default=0.0)
    window = [frame for frame in frames if newest - frame.at_s <= rule.within_s][-rule.out_of :]
    if len(window) < rule.agree:
        return NotRecognised(reason="too_few")
    votes = [_vote(gallery.closest(frame.embedding), rule.radius) for frame in window]
    named = [vote for vote in votes if vote is not None]
    person = max(dict.fromkeys(named), key=named.count, default=None)
    agreeing = [frame for frame, vote in zip(window, votes, strict=True) if vote == person]
    if person is None or len(agreeing) < rule.agree:
        return NotRecognised(reason="not_recognised")
    sharpest = sorted(agreeing, key=lambda frame: -frame.sharpness)[: rule.best]
    mean = np.mean([frame.embedding for frame in sharpest], axis=0)
    nearest = gallery.nearest_people(mean, k=2)
    return _judged(nearest, person, gallery, contract=contract, rule=rule, counts=(len(window), len(agreeing)))


def _vote(near: Near | None, radius: float) -> str | None:
    return near.person_id if near is not None and near.distance <= radius else None


def _judged(
    nearest: Sequence[Near], person: str, gallery: Gallery, *, contract: str, rule: Rule, counts: tuple[int, int]
) -> Recognised | NotRecognised:
    """Judge the mean of the best frames: the same person, near enough, and clearly before the next one."""
    best = nearest[0]
    if best.distance > rule.radius:
        return NotRecognised(reason="not_recognised")
    lead = nearest[1].distance - best.distance if len(nearest) > 1 else None
    if best.person_id != person or (lead is not None and lead < rule.margin):
        return NotRecognised(reason="ambiguous")
    evidence = FaceEvidence(
        contract=contract,
        frames=counts[0],
        agreeing=counts[1],
        distance=round(best.distance, 4),
        radius=rule.radius,
        margin=None if lead is None else round(lead, 4),
        gallery_size=len(gallery.people),
    )
    return Recognised(person_id=person, evidence=evidence)
