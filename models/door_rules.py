"""Rules of a door beyond who may pass: who has not left, who must not come alone, which door of a sluice stays shut.

Pure: states and times in, verdicts out. What has to be remembered for them is kept at the edge (edge.door_rules).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from models.errors import InvalidInput
from models.openings import DoorState

if TYPE_CHECKING:
    from models.places import Door

NOT_BESIDE_A_PAIR: Final = frozenset({"card", "pin", "flat_pin", "face+card", "face+pin"})
"""What would take the card or PIN of `card+pin` in another way."""


def passable(state: DoorState, *, at: datetime) -> bool:
    """Return whether somebody may go through a door now: it is open, unlocked, or was granted and not passed since.

    A door whose controller is away or lost counts as closed at once: a dead one must shut nobody in a sluice.
    """
    if state.lost or state.away_since is not None:
        return False
    if state.contact == "open" or state.lock == "unlocked":
        return True
    return any(
        one.cause == "granted"
        and one.since <= at <= one.until
        and not (state.closed_at and state.closed_at > one.since)
        for one in state.expectations
    )


def interlocked(others: Iterable[DoorState], *, modes: Iterable[str], at: datetime) -> bool:
    """Return whether a door of a sluice must stay shut because another one is not; an evacuation releases all.

    Args:
        others: the states of the other doors of the sluice.
        modes: the modes in force of all its doors.
        at: aware time.
    """
    if "evacuating" in modes:
        return False
    return any(passable(state, at=at) for state in others)


def inside(came_in: datetime, *, door: Door, state: DoorState, at: datetime) -> bool:
    """Return whether somebody who was let in at a time, and has not shown that they left, is inside.

    They are not, if the door has a contact and was not opened since, or if the door's time for it is over.
    """
    if door.passback_reset_min and at - came_in >= timedelta(minutes=door.passback_reset_min):
        return False
    return state.contact != "closed" or (state.closed_at is not None and state.closed_at >= came_in)


class First(msgspec.Struct, frozen=True, kw_only=True):
    """Remember who asked first at a door that opens for two."""

    person_id: str
    at: datetime


def awaits_second(first: First | None, person_id: str, *, door: Door, at: datetime) -> bool:
    """Return whether somebody is the first of two at a door, or the same one again, or comes too late after another."""
    if first is None or first.person_id == person_id:
        return True
    return not timedelta(0) <= at - first.at <= timedelta(seconds=door.second_within_s)


def check_rules(door: Door) -> None:
    """Pass if the rules of a door go together.

    Raises:
        InvalidInput: two of them contradict each other, one lacks what it needs, or a time is out of bounds.
    """
    where = f"doors.{door.id}"
    if door.interlock and door.free_schedule_id:
        raise InvalidInput(
            f"{where}.free_schedule_id", "a door of a sluice never stands unlocked: drop interlock or this"
        )
    if "card+pin" in door.factors and NOT_BESIDE_A_PAIR.intersection(door.factors):
        raise InvalidInput(
            f"{where}.factors", "card+pin goes with qr and face only: what else takes a card or PIN must be left out"
        )
    if door.first_person and not door.free_schedule_id:
        raise InvalidInput(
            f"{where}.first_person", "it needs free_schedule_id, the times in which the door stands unlocked"
        )
    if door.passback != "off" and {reader.side for reader in door.readers} != {"in", "out"}:
        raise InvalidInput(
            f"{where}.passback", "it needs a reader on either side: who cannot be seen to leave stays in"
        )
    if not 3.0 <= door.second_within_s <= 120.0:
        raise InvalidInput(f"{where}.second_within_s", "use 3 to 120 seconds")
    if not 0 <= door.passback_reset_min <= 10_080:
        raise InvalidInput(f"{where}.passback_reset_min", "use 0 (never) to 10080 minutes")
