"""What radius a door may use for its gallery, and whether a face alone may open it: from counted evidence, not by taste.

False matches are counted in pairs of *persons* under one model contract (models.recognition); counts only, so that they
may leave an edge. From them and the size N of a door's gallery follows the widest radius at which a stranger is taken
for somebody in at most one of a thousand attempts: 1 - (1 - FMR)^N <= 0.1 %. It sees no face and opens nothing.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from models.errors import InvalidInput
from models.liveness import SPECIES, covered
from models.places import Door

Profile = Literal["off", "demo", "calibrated"]
Source = Literal["labelled", "site"]
WhyNot = Literal[
    "off", "high_security", "no_evidence", "too_little_evidence", "gallery_too_large", "no_liveness",
    "liveness_incomplete", "not_asked", "not_assessed", "no_camera", "no_liveness_model",
]  # fmt: skip
"""Why a face alone does not open a door. `not_asked`: the door takes no bare face; `not_assessed`: no approved impact
assessment covers faces; `no_camera`: its camera is not served, as long as its entry in the register is incomplete;
`no_liveness_model`: its liveness is a network that the edge does not have, so nobody is ever found alive."""

DEMO_RADIUS: Final = 0.40
DEMO_MODEL: Final = "dlib-resnet-v1/"
"""0.40 is a distance of dlib's network: of another network's distances it says nothing."""
DEMO_MAX_PEOPLE: Final = 12
DOUBTFUL_RADIUS: Final = 0.45
MAX_FPIR: Final = 0.001
"""Of a thousand strangers who act at a door, one may be taken for somebody (R18; our target)."""
MAX_VERIFY_FMR: Final = 0.001
"""With a card or PIN first, a face is compared with one person's: GA/T 1093's level of verification."""
STEP: Final = 0.01
STEPS: Final = 60
"""Radii 0.01 to 0.60: beyond that dlib's own default matches strangers."""
CONFIDENCE: Final = 0.95
_QUANTILE_95: Final = 1.6448536269514722
_EXACT_TO: Final = 50
"""Up to this count Poisson's bounds are exact; above it Wilson's and Hilferty's (1931) are right to four digits."""


class ImpostorEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Count how near different persons come to each other; `matched[i]` belongs to the radius `(i + 1) * STEP`.

    Attributes:
        id: Its id at the gateway.
        contract: `EmbedderContract.id` under which the embeddings were made.
        source: `labelled` (a folder of labelled photos) or `site` (a site's own consented gallery).
        persons: How many persons were compared.
        pairs: How many pairs of persons.
        matched: Pairs whose nearest templates are at most that far apart; (STEPS,), never falling.
        upper: Upper end of the 95 % interval of the false match rate, people resampled; (STEPS,), never falling.
        at: When it was counted.
        edge_id: Which edge counted it; empty for labelled photos.
    """

    id: str
    contract: str
    source: Source
    persons: int
    pairs: int
    matched: tuple[int, ...]
    upper: tuple[float, ...]
    at: datetime
    edge_id: str = ""


class FaceUse(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a door may use faces with so many enrolled people.

    Attributes:
        people: N, the persons in the door's gallery.
        alone: Whether a bare face opens it.
        radius: The radius of identification; 0 where nobody may be identified.
        verify_radius: The radius against the one person whose card or PIN came first; 0 where faces are off.
        why_not: Why a bare face does not open it; empty if it does.
        needed_pairs: Pairs of persons without a false match that this N asks for.
    """

    people: int
    alone: bool
    radius: float = 0.0
    verify_radius: float = 0.0
    why_not: tuple[WhyNot, ...] = ()
    needed_pairs: int = 0


def check_evidence(evidence: ImpostorEvidence) -> ImpostorEvidence:
    """Return the evidence if its counts can be true.

    Raises:
        InvalidInput: counts that contradict each other, bounds below Poisson's of what was counted, or values out of range.
    """
    n = evidence.persons
    if not (2 <= n <= 1_000_000 and 1 <= evidence.pairs <= n * (n - 1) // 2):
        raise InvalidInput("pairs", f"{evidence.pairs} pairs of {n} persons cannot be")
    if len(evidence.matched) != STEPS or len(evidence.upper) != STEPS:
        raise InvalidInput("matched", f"one count and one bound for each of {STEPS} radii are needed")
    if list(evidence.matched) != sorted(evidence.matched):
        raise InvalidInput("matched", "counts grow with the radius")
    if evidence.matched[0] < 0 or evidence.matched[-1] > evidence.pairs:
        raise InvalidInput("matched", "a count is between none and the number of pairs")
    if list(evidence.upper) != sorted(evidence.upper):
        raise InvalidInput("upper", "bounds grow with the radius")
    for count, bound in zip(evidence.matched, evidence.upper, strict=True):
        least = min(1.0, max(upper_count(count), 3.0) / evidence.pairs)
        if not (math.isfinite(bound) and least - 1e-12 <= bound <= 1.0):
            raise InvalidInput("upper", f"a bound of {bound} does not follow from {count} of {evidence.pairs} pairs")
    return evidence


def rule_of_three(pairs: int) -> float:
    """Return the rate that `pairs` comparisons without an error still allow, at 95 % confidence."""
    return min(1.0, 3.0 / pairs) if pairs else 1.0


@functools.lru_cache(maxsize=1024)
def upper_count(count: int) -> float:
    """Return the mean that a Poisson count still allows at 95 % confidence: 3.0 for none, 4.74 for one (Garwood 1936)."""
    if count > _EXACT_TO:
        return (count + 1) * _cubed(count + 1, _QUANTILE_95)
    low, high = float(count), 3.0 * count + 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(count, middle) > 1 - CONFIDENCE else (low, middle)
    return high


def _exceeds(count: int, mean: float) -> bool:
    """Return whether so high a count shows with 95 % confidence that its mean is above `mean`."""
    if count > _EXACT_TO:
        return count * _cubed(count, -_QUANTILE_95) > mean
    return count > 0 and _at_most(count - 1, mean) > CONFIDENCE


def _cubed(n: int, quantile: float) -> float:
    return (1 - 1 / (9 * n) + quantile / (3 * math.sqrt(n))) ** 3


def _at_most(count: int, mean: float) -> float:
    """Return the chance that a Poisson variable is at most `count`."""
    return sum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(count + 1))


def needed_fmr(people: int, *, fpir: float = MAX_FPIR) -> float:
    """Return the false match rate at which a gallery of `people` keeps the false positive identification rate."""
    return -math.expm1(math.log1p(-fpir) / max(1, people))


def needed_pairs(people: int) -> int:
    """Return how many pairs of persons without a false match a gallery of `people` asks for, by the rule of three."""
    return math.ceil(3.0 / needed_fmr(people))


def widest_radius(evidence: ImpostorEvidence, fmr: float) -> float:
    """Return the widest radius whose bound is at most `fmr`, no wider than 0.45; 0 where the evidence carries none."""
    carried = [(i + 1) * STEP for i, bound in enumerate(evidence.upper) if bound <= fmr]
    return round(min(max(carried, default=0.0), DOUBTFUL_RADIUS), 4)


def unrefuted_radius(evidence: ImpostorEvidence, fmr: float) -> float:
    """Return the widest radius that the counts do not show to be too wide for `fmr`, no wider than 0.45.

    Too little evidence refutes nothing; one pair of two hundred residents who look alike does, whatever others count.
    """
    mean = fmr * evidence.pairs
    first = bisect.bisect_left(evidence.matched, True, key=lambda count: _exceeds(count, mean))
    return round(min(first * STEP, DOUBTFUL_RADIUS), 4)


def face_use(
    door: Door, *, people: int, profile: Profile, contract: str = "", evidence: Sequence[ImpostorEvidence] = ()
) -> FaceUse:
    """Say how a door may use faces: alone, or only with card or PIN, or not at all, and why.

    Args:
        door: its factors, security and liveness.
        people: N, the persons in its gallery.
        profile: `off`, `demo` (radius 0.40, at most 12 people), or `calibrated` (by evidence).
        contract: id of the contract of the gallery's templates; evidence of another says nothing about them.
        evidence: all that is known: one of it must carry the radius, and none refute it.
    """
    if profile == "off":
        return FaceUse(people=people, alone=False, why_not=("off",))
    needed = needed_fmr(people)
    own = [one for one in evidence if one.contract == contract]
    least = DEMO_RADIUS if not contract or contract.startswith(DEMO_MODEL) else 0.0
    radius = least
    lacking: WhyNot | None = None if least else "no_evidence"
    if profile == "demo" and people > DEMO_MAX_PEOPLE:
        radius, lacking = 0.0, "gallery_too_large"
    elif profile == "calibrated":
        radius, lacking = _carried(own, needed)
    reasons = _door_reasons(door, profile)
    if lacking is not None:
        reasons.append(lacking)
    return FaceUse(
        people=people,
        alone=not reasons,
        radius=radius if not reasons else 0.0,
        verify_radius=_radius(own, MAX_VERIFY_FMR, least=least),
        why_not=tuple(reasons),
        needed_pairs=needed_pairs(people),
    )


def _carried(evidence: Sequence[ImpostorEvidence], fmr: float) -> tuple[float, WhyNot | None]:
    """Return the radius that the evidence carries, or why there is none."""
    if not evidence:
        return 0.0, "no_evidence"
    radius = _radius(evidence, fmr)
    return (radius, None) if radius > 0.0 else (0.0, "too_little_evidence")


def _radius(evidence: Sequence[ImpostorEvidence], fmr: float, *, least: float = 0.0) -> float:
    """Return the widest radius that one carries and none refutes; `least` is carried without evidence.

    A larger gallery asks for a lower `fmr`, which never widens it.
    """
    carried = max((widest_radius(one, fmr) for one in evidence), default=0.0) or least
    return min([carried, *(unrefuted_radius(one, fmr) for one in evidence)])


def _door_reasons(door: Door, profile: Profile) -> list[WhyNot]:
    """Return what about the door itself keeps a bare face from opening it."""
    reasons: list[WhyNot] = []
    if "face" not in door.factors:
        reasons.append("not_asked")
    if door.high_security:
        reasons.append("high_security")
    if profile == "calibrated":
        if door.liveness == "none":
            reasons.append("no_liveness")
        elif not frozenset(SPECIES) <= covered(door.liveness, door.liveness_covers):
            reasons.append("liveness_incomplete")
    return reasons
