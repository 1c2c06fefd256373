"""What radius a door may use for its gallery; so far only under the demo profile.

False-match evidence measured for a site comes later; until then face alone is refused everywhere else, and the usual
bare 0.6 of face_recognition is refused always (on 36 669 impostor pairs of grey photographs it matched 8 of 100).
"""

from __future__ import annotations

from typing import Final

from models.errors import InvalidInput

DEMO_RADIUS: Final = 0.40
DEMO_MAX_PEOPLE: Final = 12
_DOUBTFUL_RADIUS: Final = 0.45


def checked_radius(radius: float) -> float:
    """Return a radius that configuration may hold.

    Raises:
        InvalidInput: It is no distance, or so wide that strangers are known to match: 0.6 is.
    """
    if not 0.0 < radius <= _DOUBTFUL_RADIUS:
        raise InvalidInput(
            "radius",
            f"{radius} cannot be used: above {_DOUBTFUL_RADIUS} strangers are known to match (0.6 matched 8 of 100); "
            f"take {DEMO_RADIUS} or leave it out",
        )
    return radius


def face_alone_radius(*, people: int, demo: bool) -> float:
    """Return the radius at which a face alone may open a door with so many enrolled people.

    Raises:
        InvalidInput: There is no evidence for it: not the demo profile, or more people than that carries.
    """
    if not demo:
        raise InvalidInput(
            "factors", "a face alone has no evidence at this door yet; ask for face and card, or face and PIN"
        )
    if people > DEMO_MAX_PEOPLE:
        raise InvalidInput(
            "factors", f"{people} people are more than the {DEMO_MAX_PEOPLE} that the demo profile carries"
        )
    return DEMO_RADIUS
