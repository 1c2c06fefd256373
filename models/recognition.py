"""Who a track shows: k of n frames, a mean embedding, a margin to the runner-up person, a live face; and the record of why.

Pure numpy over embeddings that others made (models.faces) and a gallery that others hold (models.gallery): all of a
door's people, or the one whose card or PIN came first. It sees no image, opens nothing, and forgets with its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import DEMO_MODEL
from models.errors import InvalidInput
from models.events import FaceEvidence
from models.gallery import Gallery
from models.liveness import Provider, Reading

SAME: Final = 0.55
"""Two good pictures of one person are nearer than this by dlib's network: 0.33 to 0.43 on ours, strangers from 0.83."""
OWN_LENGTH: Final = 1 / 3
"""How long an embedding of a site's own network is made (models.faces.own_embedder): its distances are 0 to 2/3."""
SAME_OWN: Final = 1.13 * OWN_LENGTH
"""The same for such networks: 1.13 at length 1, as SFace's makers found (OpenCV, FaceRecognizerSF)."""

ADVICE: Final = {
    "two_faces": "more than one person is in the photo: crop it",
    "no_face": "no face was found: is it upright, from the front, in good light?",
    "too_small": "the face is too small: come closer or use a larger picture; is it upright?",
    "too_large": "the face fills the picture: step back a little",
    "too_many_pixels": "the picture has too many pixels: scale it down",
    "too_many_bytes": "the file is too large: scale the picture down",
    "unreadable": "the file cannot be read: save it again as JPEG or PNG, not animated",
    "cut_off": "part of the face is outside the picture: take one that shows the whole head",
    "too_dark": "the face is too dark: take the photo in better light",
    "too_bright": "the face is too bright: take the photo in softer light",
    "turned_away": "the face is turned or tilted: look straight at the camera",
    "blurred": "the face is blurred: hold still, in good light",
}
"""What to do about a photo that is refused."""


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


def same_within(contract: str) -> float:
    """Return how far two good pictures of one person may be apart under a contract."""
    return SAME if contract.startswith(DEMO_MODEL) else SAME_OWN


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


Compared = Literal["identified", "verified"]
"""With all of a door's people, or with whoever the card or PIN is that came first."""
Nobody = Literal["too_few", "not_recognised", "face_differs", "ambiguous", "not_live", "liveness_unclear"]


class NotRecognised(msgspec.Struct, frozen=True, kw_only=True):
    """A track shows nobody yet: `too_few` frames, nobody near (`not_recognised`, `face_differs`), or two alike (`ambiguous`).

    Or it shows somebody, and is a picture of a face (`not_live`) or may be one (`liveness_unclear`).
    """

    reason: Nobody


def recognise(
    frames: Sequence[SeenFace], gallery: Gallery, *, contract: str, rule: Rule, compared: Compared = "identified"
) -> Recognised | NotRecognised:
    """Say whom the newest frames of one track show, by templates made under `contract`.

    Of several templates of a person the nearest counts, as it does where impostors are counted (models.calibration).

    Args:
        frames: What was seen of one track, oldest first.
        gallery: All people of a door, or only those whose card or PIN came first.
        contract: Contract of the gallery's templates.
        rule: How many frames agree, within which radius and margin.
        compared: Which of the two the gallery is; it goes into the evidence.

    Raises:
        InvalidInput: A frame was embedded under another contract: nothing about it can be compared.
    """
    if any(frame.contract != contract for frame in frames):
        raise InvalidInput("contract", f"embeddings of another model cannot be compared with templates of {contract}")
    newest = max((frame.at_s for frame in frames), default=0.0)
    window = [frame for frame in frames if newest - frame.at_s <= rule.within_s][-rule.out_of :]
    if len(window) < rule.agree:
        return NotRecognised(reason="too_few")
    stranger = NotRecognised(reason="not_recognised" if compared == "identified" else "face_differs")
    near = [gallery.closest(frame.embedding, radius=rule.radius) for frame in window]
    votes = [None if one is None else one.person_id for one in near]
    named = [vote for vote in votes if vote is not None]
    person = max(dict.fromkeys(named), key=named.count, default=None)
    agreeing = [frame for frame, vote in zip(window, votes, strict=True) if vote == person]
    if person is None or len(agreeing) < rule.agree:
        return stranger
    sharpest = sorted(agreeing, key=lambda frame: -frame.sharpness)[: rule.best]
    mean = np.mean([frame.embedding for frame in sharpest], axis=0)
    best, *others = gallery.nearest_people(mean, k=2)
    if best.distance > rule.radius:
        return stranger
    lead = others[0].distance - best.distance if others else None
    if best.person_id != person or (lead is not None and lead < rule.margin):
        return NotRecognised(reason="ambiguous")
    evidence = FaceEvidence(
        contract=contract,
        frames=len(window),
        agreeing=len(agreeing),
        distance=round(best.distance, 4),
        radius=rule.radius,
        margin=None if lead is None else round(lead, 4),
        gallery_size=len(gallery.people),
        mode=compared,
    )
    return Recognised(person_id=person, evidence=evidence)


def alive(match: Recognised, reading: Reading | None, *, provider: Provider) -> Recognised | NotRecognised:
    """Return the match with its reading if the door's provider found a live face, else why it does not count.

    Args:
        match: Whom the track shows.
        reading: What is thought of the same track so far; of another provider it says nothing.
        provider: Who tells at this door. `none` and a terminal of its own (`device`) give no readings.
    """
    if provider in ("none", "device"):
        return match
    if reading is None or reading.provider != provider or reading.verdict == "undecided":
        return NotRecognised(reason="liveness_unclear")
    if reading.verdict == "attack":
        return NotRecognised(reason="not_live")
    evidence = msgspec.structs.replace(match.evidence, liveness=reading)
    return Recognised(person_id=match.person_id, evidence=evidence)
