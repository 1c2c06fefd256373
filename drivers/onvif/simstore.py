"""What the simulated device keeps over its own death: the events that it told, and how its doors stood.

SQLite in write-ahead mode: a commit outlives kill -9 of the process, though not a power cut.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Self

import msgspec

from drivers.onvif.simdevice import JOURNAL_KEPT, Notice, SimulatedDevice
from drivers.onvif.simdoor import DoorRecord

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (n INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS door (token TEXT PRIMARY KEY, payload BLOB NOT NULL);
"""


class DeviceStore:
    """Keep a device in a file: `restore` once, then everything that it tells.

    Raises:
        sqlite3.Error: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def restore(self, device: SimulatedDevice) -> None:
        """Give a new device the events and doors of its earlier life, and keep what it tells from now on."""
        for number, payload in self._db.execute("SELECT n, payload FROM event ORDER BY n"):
            device.journal.append(msgspec.json.decode(payload, type=Notice))
            device.told = number
        for token, payload in self._db.execute("SELECT token, payload FROM door"):
            if token in device.doors:
                device.doors[token].restore(msgspec.json.decode(payload, type=DoorRecord))
        device.begin()
        device.listeners.append(lambda notice: self._keep(device, notice))

    def _keep(self, device: SimulatedDevice, notice: Notice) -> None:
        doors = [(token, msgspec.json.encode(door.record())) for token, door in device.doors.items()]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO event VALUES (?, ?)", (device.told, msgspec.json.encode(notice)))
            self._db.execute("DELETE FROM event WHERE n <= ?", (device.told - JOURNAL_KEPT,))
            self._db.executemany("INSERT OR REPLACE INTO door VALUES (?, ?)", doors)
