"""The simulated ONVIF device behind its services: doors, access points, relays, inputs, a camera's senses, its events.

Pure: time and randomness are arguments, nothing is sent; what happens is handed to the `listeners` in order. Events and
states carry the topics and items of the ONVIF specifications (Core, Door Control, Access Control, Imaging).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from drivers.onvif.simdoor import DoorMachine, Pairs, Timing
from models.errors import InvalidInput

Operation = Literal["", "Initialized", "Changed"]
Kind = Literal["card", "pin", "flat_pin", "button"]
Side = Literal["in", "out"]
Who = Literal["Anonymous", "Credential", "Identifier"]

JOURNAL_KEPT: Final = 1000
MAX_VALUE: Final = 128
SOURCE: Final = "video-1"
"""The token of the camera's one video source."""
SENSES: Final[Mapping[str, tuple[str, str]]] = {
    "motion": ("VideoSource/MotionAlarm", "State"),
    "cover": ("VideoSource/ImageTooDark/ImagingService", "State"),
    "blur": ("VideoSource/ImageTooBlurry/ImagingService", "State"),
    "move": ("VideoSource/GlobalSceneChange/ImagingService", "State"),
    "signal_loss": ("VideoSource/SignalLoss", "State"),
}
"""What can happen to the camera: topic and name of the item that tells it."""
NOTICES: Final[Mapping[str, tuple[str, ...]]] = {
    **{
        f"AccessControl/{what}/{who}": items
        for what in ("AccessGranted", "AccessTaken", "AccessNotTaken", "Denied", "Request")
        for who, items in {
            "Anonymous": (),
            "Credential": ("CredentialToken",),
            "Identifier": ("IdentifierType", "FormatType", "IdentifierValue"),
        }.items()
    },
    "AccessControl/Request/Timeout": (),
    "AccessControl/Duress": ("Reason",),
}
"""Events that are no states: topic and data items beside those that all of them may have."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Tell one event: a topic below `tns1:`, where, what, and for a property whether it is news."""

    topic: str
    at: datetime
    source: Pairs
    data: Pairs
    operation: Operation = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Say who the device is."""

    maker: str = "Gatehouse"
    model: str = "Simulated ONVIF"
    firmware: str = "1.0"
    serial: str = "SIM-0001"
    hardware: str = "sim"
    name: str = "simulated"
    location: str = "gatehouse"
    uuid: str = "5d5c6a52-0000-4000-8000-000000000001"


class AccessPoint(msgspec.Struct, kw_only=True):
    """Be one side of a door where somebody presents something."""

    token: str
    door: str
    side: Side
    enabled: bool = True


class Asking(msgspec.Struct, kw_only=True):
    """Remember who waits at an access point for a decision from outside; `outcome` once there is one."""

    point: AccessPoint
    who: Who
    items: Pairs
    until: datetime
    outcome: tuple[Literal["Granted", "Denied", "Timeout"], str] | None = None


class SimulatedDevice:
    """Be a device with doors and a camera.

    Args:
        identity: what it says about itself.
        doors: their tokens.
        timing: how long its doors wait for whom.
        plain: its doors have no alarm monitor.
        credentials: it knows its cards: requests name a credential token instead of an identifier.
        relays_only: it knows no doors: a camera with relays and inputs, wired to strikes, contacts and buttons.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        doors: Sequence[str] = ("gate",),
        timing: Timing | None = None,
        plain: bool = False,
        credentials: bool = False,
        relays_only: bool = False,
    ) -> None:
        self.identity = identity
        self.timing = timing or Timing()
        self.credentials = credentials
        self.relays_only = relays_only
        self.doors = {door: DoorMachine(timing=self.timing, plain=plain) for door in doors}
        sides: tuple[Side, ...] = ("in", "out")
        with_points = () if relays_only else doors
        points = [AccessPoint(token=f"{door}-{side}", door=door, side=side) for door in with_points for side in sides]
        self.points = {point.token: point for point in points}
        self.buttons = {f"{door}-{what}": False for door in doors for what in ("exit", "call")}
        self.relays = {f"{door}-relay": False for door in doors}
        self.senses = dict.fromkeys(SENSES, False)
        self.power_failed = False
        self.preset: str | None = None
        self.journal: deque[Notice] = deque(maxlen=JOURNAL_KEPT)
        self.told = 0
        self.listeners: list[Callable[[Notice], None]] = []
        self._relays_off: dict[str, datetime] = {}
        self._asking: dict[str, Asking] = {}
        self._granted: dict[str, Asking] = {}
        self.begin()

    def begin(self) -> None:
        """Take the present state as told: what comes from here on is news."""
        self._last = self.properties()

    @property
    def inputs(self) -> dict[str, bool]:
        """Return the digital inputs: buttons, and per door a contact that is active while the leaf is open."""
        return self.buttons | {f"{token}-contact": door.leaf == "Open" for token, door in self.doors.items()}

    def properties(self) -> dict[tuple[str, Pairs], Pairs]:
        """Return every state that events tell: topic and source to data."""
        told: dict[tuple[str, Pairs], Pairs] = {}
        for token, door in self.doors.items() if not self.relays_only else ():
            told |= {(topic, (("DoorToken", token),)): data for topic, data in door.properties().items()}
        for point in self.points.values():
            told["AccessPoint/State/Enabled", (("AccessPointToken", point.token),)] = (("State", _yes(point.enabled)),)
        for token, on in self.inputs.items():
            told["Device/Trigger/DigitalInput", (("InputToken", token),)] = (("LogicalState", _yes(on)),)
        for token, on in self.relays.items():
            state = "active" if on else "inactive"
            told["Device/Trigger/Relay", (("RelayToken", token),)] = (("LogicalState", state),)
        for sense, on in self.senses.items():
            topic, item = SENSES[sense]
            told[topic, (("Source", SOURCE),)] = ((item, _yes(on)),)
        told["Device/HardwareFailure/PowerSupplyFailure", (("Token", "mains"),)] = (
            ("Failed", _yes(self.power_failed)),
        )
        return told

    def current(self, now: datetime) -> list[Notice]:
        """Return every property as an `Initialized` message."""
        return [
            Notice(topic=topic, at=now, source=source, data=data, operation="Initialized")
            for (topic, source), data in self.properties().items()
        ]

    def settle(self, now: datetime) -> None:
        """Tell what has changed since it was last told."""
        properties = self.properties()
        for key, data in properties.items():
            if self._last.get(key) != data:
                self._tell(Notice(topic=key[0], at=now, source=key[1], data=data, operation="Changed"))
        self._last = properties

    def access(self, door: str, now: datetime, *, for_s: float | None = None, too_long_s: float | None = None) -> bool:
        """Carry out AccessDoor; return whether the door obeyed."""
        obeyed = self.doors[door].access(now, for_s=for_s, too_long_s=too_long_s)
        self.settle(now)
        return obeyed

    def command(self, door: str, name: str, *, now: datetime) -> bool:
        """Carry out a command that sets a door's mode; return whether the door obeyed."""
        obeyed = self.doors[door].command(name)
        self.settle(now)
        return obeyed

    def set_relay(self, token: str, *, on: bool, now: datetime, pulse_s: float | None = None) -> None:
        """Switch a relay; with `pulse_s` it falls back by itself."""
        self.relays[token] = on
        self._relays_off.pop(token, None)
        if on and pulse_s is not None:
            self._relays_off[token] = now + timedelta(seconds=pulse_s)
        if on:
            self.doors[token.removesuffix("-relay")].access(now, for_s=pulse_s)
        self.settle(now)

    def open(self, door: str, now: datetime, *, force: bool = False) -> None:
        """Open a leaf; whoever was granted entry there has taken it."""
        if self.doors[door].open(now, force=force):
            self.settle(now)
            granted = self._granted.pop(door, None)
            if granted is not None and not force:
                self._happen(f"AccessTaken/{granted.who}", granted.point, now, granted.items)

    def press_exit(self, door: str, now: datetime) -> None:
        """Press the exit button inside: an input, an anonymous grant, and the door releases itself."""
        self.touch(f"{door}-exit", now)
        if self.doors[door].access(now) and not self.relays_only:
            self._happen("AccessGranted/Anonymous", self.points[f"{door}-out"], now, ())
        self.settle(now)

    def touch(self, token: str, now: datetime) -> None:
        """Close an input for a moment."""
        for on in (True, False):
            self.buttons[token] = on
            self.settle(now)

    def duress(self, point: AccessPoint, now: datetime) -> None:
        """Tell that somebody at an access point acts under threat."""
        self._happen("Duress", point, now, (("Reason", "duress"),))

    def ask(self, point: AccessPoint, kind: Kind, *, value: str | None, now: datetime) -> Asking:
        """Ask outside whether to let somebody in; one at a time, whoever asked before is given up.

        Raises:
            InvalidInput: a value that is missing, too long or not plain.
        """
        if kind != "button" and (value is None or not 0 < len(value) <= MAX_VALUE or not value.isascii()):
            raise InvalidInput("value", f"give 1 to {MAX_VALUE} ASCII characters")
        who: Who = "Anonymous"
        items: Pairs = ()
        if kind == "card" and self.credentials:
            who, items = "Credential", (("CredentialToken", str(value)[:64]),)
        elif kind != "button":
            who, items = "Identifier", _identifier(kind, str(value))
        earlier = self._asking.pop(point.token, None)
        if earlier is not None:
            self._give_up(earlier, now)
        until = now + timedelta(seconds=self.timing.decision_s)
        asking = self._asking[point.token] = Asking(point=point, who=who, items=items, until=until)
        if point.enabled:
            self._happen(f"Request/{who}", point, now, items)
        return asking

    def decide(self, point: str, *, granted: bool, reason: str, now: datetime) -> bool:
        """Take a decision from outside; return False if nobody waits for it, or the door cannot obey."""
        asking = self._asking.pop(point, None)
        if asking is None:
            return False
        outside = (("External", "true"), *asking.items)
        if not granted:
            asking.outcome = ("Denied", reason)
            self._happen(f"Denied/{asking.who}", asking.point, now, (*outside, ("Reason", reason or "Other")))
            return True
        if not self.doors[asking.point.door].access(now):
            self._asking[point] = asking
            return False
        asking.outcome = ("Granted", reason)
        self._granted[asking.point.door] = asking
        self._happen(f"AccessGranted/{asking.who}", asking.point, now, outside)
        self.settle(now)
        return True

    def due(self) -> datetime | None:
        """Return when `advance` has something to do next."""
        times = [due for door in self.doors.values() if (due := door.due()) is not None]
        times += [asking.until for asking in self._asking.values()]
        return min((*times, *self._relays_off.values()), default=None)

    def advance(self, now: datetime) -> None:
        """Do what time brings at doors and relays, and give up whoever was not answered."""
        for token in [token for token, at in self._relays_off.items() if now >= at]:
            del self._relays_off[token]
            self.relays[token] = False
        for door in self.doors.values():
            door.advance(now)
        self.settle(now)
        for token, asking in list(self._asking.items()):
            if now >= asking.until:
                del self._asking[token]
                self._give_up(asking, now)
        for token in [token for token in self._granted if self.doors[token].mode != "Accessed"]:
            granted = self._granted.pop(token)
            self._happen(f"AccessNotTaken/{granted.who}", granted.point, now, granted.items)

    def _give_up(self, asking: Asking, now: datetime) -> None:
        asking.outcome = ("Timeout", "")
        if asking.point.enabled:
            self._happen("Request/Timeout", asking.point, now, ())

    def _happen(self, what: str, point: AccessPoint, now: datetime, data: Pairs) -> None:
        source = (("AccessPointToken", point.token),)
        self._tell(Notice(topic=f"AccessControl/{what}", at=now, source=source, data=data))

    def _tell(self, notice: Notice) -> None:
        self.told += 1
        self.journal.append(notice)
        for listener in self.listeners:
            listener(notice)


def _yes(value: object) -> str:
    return "true" if value else "false"


def _identifier(kind: str, value: str) -> Pairs:
    """Return an identifier's items (Credential Service Specification, format types): text as hexadecimal octets."""
    kinds = {"card": "pt:Card", "pin": "pt:PIN", "flat_pin": "pt:PIN"}
    octets = value.encode("ascii").hex().upper()
    return ("IdentifierType", kinds[kind]), ("FormatType", "SIMPLE_ALPHA_NUMERIC"), ("IdentifierValue", octets)
