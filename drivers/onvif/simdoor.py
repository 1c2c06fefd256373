"""One simulated ONVIF door as the Door Control Service Specification has it: modes, lock, leaf, alarm, tamper, fault.

Pure: time is an argument, nothing is sent. What changed is seen by comparing `properties` before and after.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

Mode = Literal["Locked", "Unlocked", "Accessed", "Blocked", "LockedDown", "LockedOpen", "DoubleLocked"]
Alarm = Literal["Normal", "DoorForcedOpen", "DoorOpenTooLong"]
Pairs = tuple[tuple[str, str], ...]

FREE: Final = frozenset({"Unlocked", "Accessed", "LockedOpen"})
"""Modes in which the lock is open: an opening is no force."""
TARGETS: Final[dict[str, Mode]] = {
    "LockDoor": "Locked",
    "UnlockDoor": "Unlocked",
    "BlockDoor": "Blocked",
    "DoubleLockDoor": "DoubleLocked",
    "LockDownDoor": "LockedDown",
    "LockOpenDoor": "LockedOpen",
}
RELEASES: Final[dict[str, Mode]] = {"LockDownReleaseDoor": "LockedDown", "LockOpenReleaseDoor": "LockedOpen"}
"""Commands that end a mode, and the only ones that it accepts beside itself."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long a door stays accessed, how long it may stand open and how long it waits for a decision, in s."""

    access_s: float = 5.0
    extended_s: float = 15.0
    open_too_long_s: float = 30.0
    decision_s: float = 5.0


class DoorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a door is after a loss of power: an access has ended by then, an alarm is told anew."""

    mode: Mode
    leaf: Literal["Open", "Closed"]
    tampered: bool
    fault: str | None
    unlocks: int


class DoorMachine:
    """Be one door: commands and deeds in, modes and alarms out.

    Args:
        timing: what holds where a command says nothing else.
        plain: it has no alarm monitor and never tells forced or too long.
    """

    def __init__(self, *, timing: Timing, plain: bool = False) -> None:
        self.timing = timing
        self.plain = plain
        self.mode: Mode = "Locked"
        self.leaf: Literal["Open", "Closed"] = "Closed"
        self.alarm: Alarm = "Normal"
        self.tampered = False
        self.fault: str | None = None
        self.unlocks = 0
        self._before: Mode = "Locked"
        self._relock_at: datetime | None = None
        self._too_long_s = timing.open_too_long_s
        self._too_long_at: datetime | None = None

    @property
    def unlocked(self) -> bool:
        """Return whether the lock is open."""
        return self.mode in FREE

    def access(self, now: datetime, *, for_s: float | None = None, too_long_s: float | None = None) -> bool:
        """Release the lock for a while; it falls back to the mode before. Return whether the door obeyed."""
        if self.mode in {"Blocked", "LockedDown", "LockedOpen"}:
            return False
        if self.mode != "Accessed":
            self._before = self.mode
        self.mode = "Accessed"
        self._relock_at = now + timedelta(seconds=self.timing.access_s if for_s is None else for_s)
        self._too_long_s = self.timing.open_too_long_s if too_long_s is None else too_long_s
        self.unlocks += 1
        return True

    def command(self, name: str) -> bool:
        """Obey one of the commands that set a mode; return False where the present mode forbids it."""
        held = {mode: release for release, mode in RELEASES.items()}.get(self.mode)
        target = TARGETS.get(name)
        if name in RELEASES:
            if self.mode != RELEASES[name]:
                return False
            target = "Locked"
        elif target is None or (held is not None and target != self.mode):
            return False
        self.mode = target
        self._relock_at = None
        return True

    def open(self, now: datetime, *, force: bool = False) -> bool:
        """Open the leaf, forced if nothing released the lock; return whether it was closed."""
        if self.leaf == "Open":
            return False
        self.leaf = "Open"
        if (force or not self.unlocked) and not self.plain:
            self.alarm = "DoorForcedOpen"
        elif self.mode not in {"Unlocked", "LockedOpen"}:
            self._too_long_at = now + timedelta(seconds=self._too_long_s)
        return True

    def close(self) -> None:
        """Close the leaf: its alarm ends, and an access that it ended falls back."""
        if self.leaf == "Open":
            self.leaf = "Closed"
            self.alarm = "Normal"
            self._too_long_at = None
            self._too_long_s = self.timing.open_too_long_s
            if self.mode == "Accessed":
                self._fall_back()

    def held(self) -> None:
        """Say at once that the leaf has been open too long, if it is open."""
        if self.leaf == "Open" and not self.plain:
            self.alarm = "DoorOpenTooLong"
            self._too_long_at = None

    def record(self) -> DoorRecord:
        """Return what outlives a loss of power."""
        mode = self._before if self.mode == "Accessed" else self.mode
        return DoorRecord(mode=mode, leaf=self.leaf, tampered=self.tampered, fault=self.fault, unlocks=self.unlocks)

    def restore(self, record: DoorRecord) -> None:
        """Stand as the door stood when power was lost."""
        self.mode, self.leaf, self.tampered = record.mode, record.leaf, record.tampered
        self.fault, self.unlocks = record.fault, record.unlocks

    def due(self) -> datetime | None:
        """Return when `advance` has something to do next."""
        return min((at for at in (self._relock_at, self._too_long_at) if at is not None), default=None)

    def advance(self, now: datetime) -> None:
        """Do what time brings: the end of an access, the alarm of a leaf that stands open."""
        if self._relock_at is not None and now >= self._relock_at:
            self._fall_back()
        if self._too_long_at is not None and now >= self._too_long_at:
            self.held()
            self._too_long_at = None

    def properties(self) -> dict[str, Pairs]:
        """Return its state by topic, in the order in which changes are told."""
        fault = (("State", "FaultDetected"), ("Reason", self.fault)) if self.fault is not None else None
        told: dict[str, Pairs] = {
            "Door/State/DoorMode": (("State", self.mode),),
            "Door/State/LockPhysicalState": (("State", "Unlocked" if self.unlocked else "Locked"),),
            "Door/State/DoorPhysicalState": (("State", self.leaf),),
            "Door/State/DoorAlarm": (("State", self.alarm),),
            "Door/State/DoorTamper": (("State", "TamperDetected" if self.tampered else "NotInTamper"),),
            "Door/State/DoorFault": fault or (("State", "NotInFault"),),
        }
        if self.plain:
            del told["Door/State/DoorAlarm"]
        return told

    def _fall_back(self) -> None:
        self.mode = self._before
        self._relock_at = None
