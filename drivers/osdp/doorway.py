"""Doors as their readers show them: which reader is where, how a door stands, its mode. Pure.

A door may have a reader on each side; its contact and strike hang on one of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from drivers.door import Capability
from drivers.osdp.reader import Reader
from models.reports import Snapshot

ATTEMPTS_KNOWN: Final = 256


class Doorways:
    """Hold the doors of one line.

    Args:
        readers: every reader, with what it says.
    """

    def __init__(self, readers: tuple[Reader, ...]) -> None:
        self._readers = readers
        self._modes: dict[str, tuple[int, str | None]] = {}
        self._asked_at: dict[str, Reader] = {}

    def at(self, door_id: str) -> list[Reader]:
        """Return the readers of a door; none of one that is not served."""
        return [reader for reader in self._readers if reader.settings.door == door_id]

    def is_present(self, door_id: str) -> bool:
        """Return whether every reader of a door is there."""
        return all(reader.online for reader in self.at(door_id))

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do, or None if none of its readers has said so yet."""
        able = [reader.capabilities() for reader in self.at(door_id) if reader.can]
        return frozenset[Capability]().union(*able) if able else None

    def side(self, door_id: str, attempt: str | None) -> Reader:
        """Return the reader of a door where somebody asked; if that is not known, the one outside."""
        readers = self.at(door_id)
        asked = self._asked_at.get(attempt or "")
        if asked in readers:
            return asked
        return min(readers, key=lambda reader: (reader.settings.side != "in", reader.settings.address))

    def asked_at(self, attempt: str, reader: Reader) -> None:
        """Remember where somebody asked; the last 256."""
        self._asked_at[attempt] = reader
        while len(self._asked_at) > ATTEMPTS_KNOWN:
            del self._asked_at[next(iter(self._asked_at))]

    def strike(self, door_id: str) -> tuple[int, int] | None:
        """Return the address of the reader that a door's strike hangs on, and its output; None if it has none."""
        for reader in self.at(door_id):
            if reader.settings.strike is not None:
                return reader.settings.address, reader.settings.strike
        return None

    def mode(self, door_id: str) -> tuple[int, str | None]:
        """Return the version and name of a door's mode; -1 and None until it was given one."""
        return self._modes.get(door_id, (-1, None))

    def set_mode(self, door_id: str, *, version: int, mode: str) -> None:
        """Keep a door's mode."""
        self._modes[door_id] = version, mode

    def snapshot(self, door_id: str, *, at: datetime) -> Snapshot:
        """Return how a door stands, from all its readers."""
        said = [reader.standing for reader in self.at(door_id)]
        contacts = [standing.contact for standing in said if standing.contact != "unknown"]
        locks = [standing.lock for standing in said if standing.lock != "unknown"]
        lost = [standing.mains_lost for standing in said if standing.mains_lost is not None]
        return Snapshot(
            at=at,
            contact=contacts[0] if contacts else "unknown",
            lock=locks[0] if locks else "unknown",
            mode=self.mode(door_id)[1],
            tamper=any(standing.tampered for standing in said),
            mains=not any(lost) if lost else None,
        )
