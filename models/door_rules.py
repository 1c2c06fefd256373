"""Rules of a door beyond who may pass: a sluice opens one door at a time. Pure: states and times in, verdicts out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from models.errors import InvalidInput
from models.openings import DoorState

if TYPE_CHECKING:
    from models.places import Door


def passable(state: DoorState, *, at: datetime) -> bool:
    """Return whether somebody may go through a door now: it is open, unlocked, or was granted and not passed since.

    A door whose controller is lost counts as closed: a dead one must shut nobody in a sluice.
    """
    if state.lost:
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
