"""Zones of a picture: a rectangle or a drawn polygon, as numbers of 0..1, so that they hold at every resolution.

A zone is a flat tuple, as cameras and site files write it: four numbers are a rectangle (left, top, right, bottom), six
to 32 are the corners x, y of a polygon in their order. It knows no camera and no face.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from models.errors import InvalidInput

Zone = tuple[float, ...]
Rectangle = tuple[float, float, float, float]

WHOLE: Final[Rectangle] = (0.0, 0.0, 1.0, 1.0)
MAX_NUMBERS: Final = 32
MIN_AREA: Final = 1e-4
"""A hundredth of the width by a hundredth of the height."""


def check_zone(zone: Sequence[float], where: str = "near_zone") -> Zone:
    """Return the zone if it is a rectangle or a polygon with an area, all of it in the picture.

    Raises:
        InvalidInput: another count of numbers, a number outside 0..1, sides that cross, or no area.
    """
    numbers = tuple(float(number) for number in zone)
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2 or len(numbers) > MAX_NUMBERS):
        raise InvalidInput(where, f"{len(numbers)} numbers: write left, top, right, bottom, or 3 to 16 corners x, y")
    if not all(0.0 <= number <= 1.0 for number in numbers):
        raise InvalidInput(where, "every number is a part of the picture, 0 to 1")
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise InvalidInput(where, "is empty: write left, top, right, bottom in 0..1")
    found = corners(numbers)
    if _crosses_itself(found):
        raise InvalidInput(where, "its sides cross: name the corners in order, around the zone")
    if abs(_area(found)) < MIN_AREA:
        raise InvalidInput(where, "is empty: its corners lie on one line, or nearly")
    return numbers


def corners(zone: Zone) -> tuple[tuple[float, float], ...]:
    """Return the corners x, y of a zone in order."""
    if len(zone) == 4:
        left, top, right, bottom = zone
        return (left, top), (right, top), (right, bottom), (left, bottom)
    return tuple(zip(zone[0::2], zone[1::2], strict=True))


def bounds(zone: Zone) -> Rectangle:
    """Return the least rectangle around a zone."""
    points = corners(zone)
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(across), min(down), max(across), max(down)


def contains(zone: Zone, point: tuple[float, float]) -> bool:
    """Return whether a point x, y lies in a zone (its left and top sides belong to it): even-odd rule of ray casting."""
    inside = False
    x, y = point
    points = corners(zone)
    for (x0, y0), (x1, y1) in pairwise((*points, points[0])):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
    return inside


def _area(points: Sequence[tuple[float, float]]) -> float:
    """Return the signed area (shoelace formula)."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise((*points, points[0]))) / 2


def _crosses_itself(points: Sequence[tuple[float, float]]) -> bool:
    sides = list(pairwise((*points, points[0])))
    count = len(sides)
    return any(
        _cross(sides[i], sides[j]) for i in range(count) for j in range(i + 1, count) if j - i not in (1, count - 1)
    )


def _cross(a: tuple[tuple[float, float], ...], b: tuple[tuple[float, float], ...]) -> bool:
    """Return whether two segments cross in their insides."""
    turns = (_turn(a[0], a[1], b[0]), _turn(a[0], a[1], b[1]), _turn(b[0], b[1], a[0]), _turn(b[0], b[1], a[1]))
    return turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
