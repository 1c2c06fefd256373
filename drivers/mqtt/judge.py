"""Whether a door obeys a command: once, only in time, and by the edge's clock, whose distance it learns by itself."""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from typing import Final

from drivers.mqtt import wire
from drivers.mqtt.store import EventStore

ANSWER_WITHIN_S: Final = 5.0
LEEWAY_MS: Final = 500.0


class Judge:
    """Judge the commands of one door. The broker may be old, hostile or confused; the door's clock may be wrong.

    Args:
        door_id: the door.
        store: remembers commands seen and the distance of the clocks.
        clock: the door's own clock.
    """

    def __init__(self, door_id: str, *, store: EventStore, clock: Callable[[], datetime]) -> None:
        self._door_id = door_id
        self._store = store
        self._clock = clock

    def reason_to_refuse(
        self, command: wire.CommandPayload, *, retained: bool, own: bool, faults: Container[str]
    ) -> str | None:
        """Return why a command is refused, or None if it is obeyed.

        Args:
            command: what came.
            retained: the broker says that it had kept it.
            own: it answers a request that this door made a moment ago, so it is about now.
            faults: misbehaviours in force.
        """
        if retained:
            return "retained"
        if not self._store.first_sight(self._door_id, command.id):
            return "seen before"
        if command.at is not None and not self._in_time(command.at, command.valid_ms, own=own):
            return "expired"
        if command.action == "unlock" and "refuse_unlock" in faults:
            return "jammed"
        if command.action == "unlock" and self._store.mode(self._door_id)[1] == "locked_down":
            return "locked down"
        return None

    def _in_time(self, at: datetime, valid_ms: int, *, own: bool) -> bool:
        ahead_s = (self._clock() - at).total_seconds()
        known_s = self._store.offset_s(self._door_id)
        if own:
            jumped = known_s is None or abs(ahead_s - known_s) > ANSWER_WITHIN_S
            known_s = ahead_s if jumped or known_s is None else min(ahead_s, known_s)
            self._store.set_offset_s(self._door_id, known_s)
        age_ms = (ahead_s - (known_s or 0.0)) * 1000
        return -2 * valid_ms - LEEWAY_MS <= age_ms <= valid_ms + LEEWAY_MS
