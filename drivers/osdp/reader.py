"""What one reader says, as it concerns its door: its inputs as events, its cards and keys as requests. Pure.

While a reader is away nothing is told; what it says first when it is back is how things stand, and no event. Cards and keys
that waited at the reader are flagged: they are not about now.
"""

from __future__ import annotations

from typing import Final

import msgspec

from drivers.door import Capability
from drivers.osdp.keypad import Keypad
from drivers.osdp.messages import Card, Online, Status, Topic
from drivers.osdp.settings import ReaderSettings
from models.reports import Contact, EventType, Lock

TURNED: Final[dict[str, tuple[EventType | None, EventType | None]]] = {
    "open": ("opened", "closed"),
    "exit": ("exit_button", None),
    "emergency": ("emergency", None),
    "mains_lost": ("mains_lost", "mains_back"),
    "battery_low": ("battery_low", "battery_ok"),
    "unlocked": (None, None),
    "tampered": ("tamper", "tamper_cleared"),
}
"""What it is called when something becomes so, and when it ends."""
CARD_READING: Final = 3
LIGHT: Final = 4
SOUND: Final = 5
DISPLAY: Final = 6
"""Function codes of capabilities (OSDP 2.2, annex B)."""
CARD_BITS_MOST: Final = 512


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a reader says about its door; None is not known."""

    open: bool | None = None
    exit: bool | None = None
    emergency: bool | None = None
    unlocked: bool | None = None
    mains_lost: bool | None = None
    battery_low: bool | None = None
    tampered: bool | None = None
    struck: bool | None = None
    """Whether the strike's output is on."""

    @property
    def contact(self) -> Contact:
        """Return how the door leaf stands."""
        return "unknown" if self.open is None else "open" if self.open else "closed"

    @property
    def lock(self) -> Lock:
        """Return how the lock stands: its bolt, where that is wired, else the strike."""
        unlocked = self.struck if self.unlocked is None else self.unlocked
        return "unknown" if unlocked is None else "unlocked" if unlocked else "locked"


class Reader:
    """Follow one reader.

    Args:
        settings: the reader.
    """

    def __init__(self, settings: ReaderSettings) -> None:
        self.settings = settings
        self.keypad = Keypad(settings.keypad)
        self.standing = Standing()
        self.online = False
        self.trouble = False
        """Whether it answers, but cannot be trusted: it has another key, or no secure channel."""
        self.can: dict[int, tuple[int, int]] = {}

    def arrive(self, online: Online) -> None:
        """Take note that it is there; what it did not say by now, it does not say: nothing is active."""
        self.online, self.trouble = True, False
        self.can = online.capabilities
        wired = dict.fromkeys(self.settings.inputs.wired, False)
        unsaid = {name: value for name, value in wired.items() if getattr(self.standing, name) is None}
        self.standing = msgspec.structs.replace(self.standing, **unsaid)

    def leave(self) -> None:
        """Take note that it is away: how things stand is not known any more."""
        self.online = False
        self.standing = Standing()

    def take(self, status: Status) -> list[EventType]:
        """Take how it stands, and return what has happened since it last said so."""
        before, said = self.standing, self._read(status.topic, status.report)
        self.standing = msgspec.structs.replace(before, **said)
        if not self.online:
            return []
        events = []
        for name, value in said.items():
            became, ended = TURNED.get(name, (None, None))
            event = became if value else ended
            if event is not None and getattr(before, name) is (not value):
                events.append(event)
        return events

    def capabilities(self) -> frozenset[Capability]:
        """Return what a door can do by this reader."""
        wired = self.settings.inputs.wired
        able: dict[Capability, bool] = {
            "contact": "open" in wired,
            "lock": self.settings.strike is not None or "unlocked" in wired,
            "mode": self.settings.strike is not None,
            "tamper": True,
            "power": True,
            "card": self._has(CARD_READING),
            "pin": self.settings.keypad != "off",
            "feedback": self._has(LIGHT) or self._has(SOUND) or self._has(DISPLAY),
        }
        return frozenset(name for name, yes in able.items() if yes)

    def has_light(self) -> bool:
        """Return whether it has an LED."""
        return self._has(LIGHT)

    def has_sound(self) -> bool:
        """Return whether it has a buzzer."""
        return self._has(SOUND)

    def has_display(self) -> bool:
        """Return whether it shows text."""
        return self._has(DISPLAY)

    def _has(self, code: int) -> bool:
        return self.can.get(code, (0, 0))[0] > 0

    def _read(self, topic: Topic, report: bytes) -> dict[str, bool]:
        """Return what a report says of what is wired; a report that is too short says nothing of the rest."""
        if topic == "local":
            power = {} if "mains_lost" in self.settings.inputs.wired else {"mains_lost": report[1:2] != b"\0"}
            return {"tampered": report[:1] != b"\0", **power} if len(report) >= 2 else {}
        if topic == "output":
            strike = self.settings.strike
            return {"struck": report[strike] != 0} if strike is not None and strike < len(report) else {}
        inputs = self.settings.inputs
        return {
            name: bool(report[number]) is not (number in inputs.inverted)
            for name, number in inputs.wired.items()
            if number < len(report)
        }


def card_value(card: Card) -> str | None:
    """Return a card as `bits:hex`, the bits as they came, first bit first; None for one with none, too many, or too few."""
    if not 0 < card.bits <= CARD_BITS_MOST or len(card.raw) != (card.bits + 7) // 8:
        return None
    return f"{card.bits}:{card.raw.hex().upper()}"
