"""What a simulated controller keeps over its own death: event numbers, unacknowledged events, commands seen, its mode.

SQLite in write-ahead mode: a commit outlives kill -9 of the process, though not a power cut.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Self

SEEN_KEPT: Final = 16_384
UNACKNOWLEDGED_KEPT: Final = 10_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS door (id TEXT PRIMARY KEY, seq INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0,
    mode TEXT NOT NULL DEFAULT 'normal', mode_version INTEGER NOT NULL DEFAULT -1, offset_s REAL);
CREATE TABLE IF NOT EXISTS event (door TEXT, seq INTEGER, payload BLOB NOT NULL, PRIMARY KEY (door, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (n INTEGER PRIMARY KEY, door TEXT, command TEXT, UNIQUE (door, command));
"""


class EventStore:
    """Keep the events of simulated doors in a file, or in memory if none is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def next_seq(self, door: str) -> int:
        """Return the number that a door's next event will have."""
        return self._door(door)[0] + 1

    def append(self, door: str, *, seq: int, payload: bytes) -> None:
        """Keep an event until it is acknowledged; the oldest goes when 10 000 wait."""
        self._door(door)
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO event VALUES (?, ?, ?)", (door, seq, payload))
            self._db.execute("UPDATE door SET seq = ? WHERE id = ?", (seq, door))
            self._db.execute("DELETE FROM event WHERE door = ? AND seq <= ?", (door, seq - UNACKNOWLEDGED_KEPT))

    def acknowledged(self, door: str, seq: int) -> None:
        """Forget events up to a number; one that the door never reached is of an earlier life and means nothing."""
        if seq > self._door(door)[0]:
            return
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM event WHERE door = ? AND seq <= ?", (door, seq))
            self._db.execute("UPDATE door SET acked = ? WHERE id = ?", (seq, door))

    def unacknowledged(self, door: str) -> list[bytes]:
        """Return the payloads of a door's events that are not acknowledged yet, in order."""
        rows = self._db.execute("SELECT payload FROM event WHERE door = ? ORDER BY seq", (door,))
        return [payload for (payload,) in rows]

    def progress(self, door: str) -> tuple[int, int]:
        """Return the numbers of a door's last event and last acknowledged event."""
        seq, acked, *_ = self._door(door)
        return seq, acked

    def first_sight(self, door: str, command: str) -> bool:
        """Return whether a command id is new to a door, and remember it; a file remembers the last 16 384."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            cursor = self._db.execute("INSERT OR IGNORE INTO seen (door, command) VALUES (?, ?)", (door, command))
            self._db.execute("DELETE FROM seen WHERE n <= (SELECT max(n) FROM seen) - ?", (SEEN_KEPT,))
        return cursor.rowcount == 1

    def mode(self, door: str) -> tuple[int, str]:
        """Return the version and name of a door's mode."""
        _, _, mode, version, _ = self._door(door)
        return version, mode

    def set_mode(self, door: str, *, version: int, mode: str) -> None:
        """Keep a door's mode."""
        self._door(door)
        self._db.execute("UPDATE door SET mode = ?, mode_version = ? WHERE id = ?", (mode, version, door))

    def offset_s(self, door: str) -> float | None:
        """Return how far a door's clock is ahead of the edge's, in s, or None if it has not learnt that."""
        return self._door(door)[4]

    def set_offset_s(self, door: str, offset_s: float) -> None:
        """Keep how far a door's clock is ahead of the edge's."""
        self._door(door)
        self._db.execute("UPDATE door SET offset_s = ? WHERE id = ?", (offset_s, door))

    def _door(self, door: str) -> tuple[int, int, str, int, float | None]:
        query = "SELECT seq, acked, mode, mode_version, offset_s FROM door WHERE id = ?"
        row = self._db.execute(query, (door,)).fetchone()
        if row is None:
            self._db.execute("INSERT INTO door (id) VALUES (?)", (door,))
            row = self._db.execute(query, (door,)).fetchone()
        seq, acked, mode, version, offset_s = row
        return seq, acked, mode, version, offset_s
