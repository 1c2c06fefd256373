"""Who a track shows: k of n frames, a mean embedding, a margin to the runner-up person; and the record of why.

Pure numpy over embeddings that others made (models.faces) and a gallery that others hold (models.gallery).
It sees no image, opens nothing, and forgets with its window.
"""

from __future__ import annotations

import msgspec


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
    """Say why a face must not be used: too_small, cut_off, too_dark, too_bright, blurred, turned_away; None when it may."""
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
