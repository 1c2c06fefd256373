"""What a device's notifications say about our doors: events, states and people at readers. Pure: no clock, no I/O.

Only what changed is an event: an `Initialized` property rebuilds the state and never raises an alarm. A forced opening
is one event although the device tells it twice, by its contact and by its alarm. Forced and held stay apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from drivers.door import Capability
from drivers.onvif.endpoint import DoorPart
from drivers.onvif.wire import Notification, identifier
from models.access import Request
from models.reports import Contact, Event, EventType, Lock, Snapshot

MODES: Final[Mapping[str, str]] = {
    "Locked": "normal", "Accessed": "normal", "DoubleLocked": "normal", "Unlocked": "held_open",
    "LockedOpen": "held_open", "LockedDown": "locked_down", "Blocked": "locked_down",
}  # fmt: skip
"""A device's DoorMode as a mode of ours; Unknown says nothing."""
LOCKED_MODES: Final = frozenset({"Locked", "DoubleLocked", "LockedDown", "Blocked"})
CONTACTS: Final[Mapping[str, Contact]] = {"Open": "open", "Closed": "closed"}
LOCKS: Final[Mapping[str, Lock]] = {"Locked": "locked", "Unlocked": "unlocked"}
CAPABILITIES: Final[Mapping[str, Capability]] = {
    "DoorMonitor": "contact", "LockMonitor": "lock", "Access": "lock", "Tamper": "tamper", "LockDown": "mode",
    "LockOpen": "mode",
}  # fmt: skip
"""What a door's capabilities of DoorControl (5.1.3) mean here."""
REMEMBERED: Final = 256
FORGOTTEN: Final = timedelta(seconds=30)
"""A request that waited longer than this is over; one that waited less is refused as stale and told so."""
FIELDS: Final[Mapping[str, str]] = {
    "DoorMode": "mode", "DoorPhysicalState": "contact", "LockPhysicalState": "lock", "DoorAlarm": "alarm",
    "DoorTamper": "tamper", "DoorFault": "fault",
}  # fmt: skip
EVENTS: Final[Mapping[tuple[str, str], EventType]] = {
    ("DoorPhysicalState", "Open"): "opened",
    ("DoorPhysicalState", "Closed"): "closed",
    ("DoorPhysicalState", "Fault"): "fault",
    ("LockPhysicalState", "Fault"): "fault",
    ("DoorAlarm", "DoorForcedOpen"): "forced",
    ("DoorAlarm", "DoorOpenTooLong"): "held",
    ("DoorTamper", "TamperDetected"): "tamper",
    ("DoorTamper", "NotInTamper"): "tamper_cleared",
    ("DoorFault", "FaultDetected"): "fault",
    ("DoorFault", "NotInFault"): "fault_cleared",
}
"""What a property's change to a value is, in our words (Door Control, 5.4)."""
RESTING: Final = frozenset({"Closed", "Normal", "NotInTamper", "NotInFault", "off", "fed"})
LEAF: Final = frozenset({"opened", "closed", "forced"})
DETAIL_CHARS: Final = 200
TRUE: Final = frozenset({"true", "1"})


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a door stands by the device's own words; what it has not said is empty."""

    mode: str = ""
    contact: str = ""
    lock: str = ""
    alarm: str = ""
    tamper: str = ""
    fault: str = ""
    power: str = ""

    def snapshot(self, *, at: datetime, ordered: str | None) -> Snapshot:
        """Return the state in our words.

        Args:
            at: when it was learnt.
            ordered: the mode that we asked for last: a device knows one mode for evacuation and for held open.
        """
        mode = MODES.get(self.mode)
        if mode == "held_open" and ordered == "evacuating":
            mode = ordered
        lock = LOCKS.get(self.lock)
        if lock is None and self.mode in MODES:
            lock = "locked" if self.mode in LOCKED_MODES else "unlocked"
        return Snapshot(
            at=at,
            contact=CONTACTS.get(self.contact, "unknown"),
            lock=lock or "unknown",
            mode=mode,
            tamper=self.tamper == "TamperDetected",
            mains={"lost": False, "fed": True}.get(self.power),
        )


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a request with what the answer to the device must name."""

    request: Request
    access_point: str
    credential: str | None


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a batch said: events with their doors in order, requests, and the doors whose state changed."""

    events: tuple[tuple[str, Event], ...]
    asked: tuple[Asked, ...]
    over: tuple[str, ...]
    """Access points whose request the device gave up."""
    changed: tuple[str, ...]


class Listener:
    """Turn the notifications of one subscription into reports. `standing` holds each door as the device tells it.

    Args:
        parts: our doors, each with its parts of the device.
        readers: access points with the door and the side that each is on.
        subscription: names this subscription as no other before or after: it sets apart what bears no time.
    """

    def __init__(
        self,
        parts: Mapping[str, DoorPart],
        *,
        readers: Mapping[str, tuple[str, Literal["in", "out"]]],
        subscription: str,
    ) -> None:
        self.standing: dict[str, Standing] = dict.fromkeys(parts, Standing())
        self.sought = False
        """Whether the device brings back what it stored: until a pull is empty."""
        self.sought_until: datetime | None = None
        """While the device brings back what it stored, at the longest until then: a request without a time may be old."""
        self.offset_s: float | None = None
        """What to add to the device's clock to get ours; None where it does not tell its clock."""
        self._subscription = subscription
        self._timeless = 0
        self._readers = dict(readers)
        self._by_door = {part.door: name for name, part in parts.items() if part.door is not None}
        self._by_contact = {part.contact: name for name, part in parts.items() if part.contact is not None}
        self._by_exit = {part.exit_button: name for name, part in parts.items() if part.exit_button is not None}
        self._by_call = {part.call: name for name, part in parts.items() if part.call is not None}
        self._parts = dict(parts)
        self._last: dict[tuple[str, str], str] = {}
        self._repeats: dict[str, int] = {}
        self._events: list[tuple[str, Event]] = []
        self._changed: set[str] = set()
        self._asked: list[Asked] = []

    def take(self, notifications: Iterable[Notification], *, at: datetime, since: datetime | None) -> Heard:
        """Return what a batch means.

        Args:
            notifications: in the device's order.
            at: our time of arrival.
            since: the device's time of the subscription: what it brings back from before has waited. What it tells by
                itself is about now, whatever its stamp says: its clock may have been set meanwhile.
        """
        self._events, self._changed, self._asked = [], set(), []
        over: list[str] = []
        notifications = tuple(notifications)
        self.sought = self.sought and bool(notifications)
        if not self.sought or (self.sought_until is not None and at >= self.sought_until):
            self.sought_until = None  # nothing is left of what was stored
        for told in notifications:
            waited = self.sought and since is not None and told.device_at is not None and told.device_at < since
            topic = told.topic
            if topic.startswith("Door/State/"):
                self._on_door(told, at=at, waited=waited)
            elif topic.startswith("AccessControl/Request/"):
                self._on_request(told, since=since, waited=waited)
                over.extend((told.token("AccessPointToken"),) if topic.endswith("/Timeout") else ())
            elif topic.startswith("AccessControl/"):
                self._on_access(told, at=at, waited=waited)
            elif topic == "Device/Trigger/DigitalInput":
                self._on_input(told, at=at, waited=waited)
            elif topic == "Device/HardwareFailure/PowerSupplyFailure":
                self._on_power(told, at=at, waited=waited)
        return Heard(
            events=tuple(self._events),
            asked=tuple(self._asked),
            over=tuple(over),
            changed=tuple(sorted(self._changed)),
        )

    # ---- doors ------------------------------------------------------------------------------------------------------

    def _on_door(self, told: Notification, *, at: datetime, waited: bool) -> None:
        door_id = self._by_door.get(told.token("DoorToken", "Token"))
        name, state = told.topic.rpartition("/")[2], told.value("State")
        field = FIELDS.get(name)
        if door_id is None or field is None or told.operation == "Deleted":
            return
        if self._is_news(door_id, told, state=state, before=getattr(self.standing[door_id], field)):
            self._tell_of_door(door_id, told, at=at, waited=waited)
        if not waited or told.operation == "Initialized":
            self._stand(door_id, **{field: state})

    def _tell_of_door(self, door_id: str, told: Notification, *, at: datetime, waited: bool) -> None:
        name, state = told.topic.rpartition("/")[2], told.value("State")
        kind = EVENTS.get((name, state))
        if kind == "opened" and self._last_kind(door_id) == "forced":
            return  # its alarm has told already
        if kind == "forced" and self._last_kind(door_id) == "opened":
            self._forget_last(door_id)
        if kind is not None:
            detail = told.value("Reason")[:DETAIL_CHARS] if kind == "fault" else ""
            self._tell(door_id, kind, told=told, at=at, waited=waited, detail=detail)

    def _last_kind(self, door_id: str) -> EventType | None:
        """Return the last event of a door in this batch, of those about its leaf."""
        own = [event.type for door, event in self._events if door == door_id and event.type in LEAF]
        return own[-1] if own else None

    def _forget_last(self, door_id: str) -> None:
        place = max(i for i, (door, event) in enumerate(self._events) if door == door_id and event.type == "opened")
        del self._events[place]

    def _on_input(self, told: Notification, *, at: datetime, waited: bool) -> None:
        """Take a digital input: a contact, an exit button, or a call, which is a request."""
        token, active = told.token("InputToken"), told.value("LogicalState").lower() in TRUE
        door_id = self._by_contact.get(token)
        if door_id is not None:
            state = "Open" if active == (self._parts[door_id].contact_true == "open") else "Closed"
            if self._is_news(door_id, told, state=state, before=self.standing[door_id].contact):
                self._tell(door_id, "opened" if state == "Open" else "closed", told=told, at=at, waited=waited)
            if not waited or told.operation == "Initialized":
                self._stand(door_id, contact=state)
        door_id = self._by_exit.get(token)
        if door_id is not None and self._is_news(door_id, told, state="on" if active else "off", before="") and active:
            self._tell(door_id, "exit_button", told=told, at=at, waited=waited)
        door_id = self._by_call.get(token)
        if door_id is None or not self._is_news(door_id, told, state="on" if active else "off", before=""):
            return
        request = Request(
            id=f"onvif-{self._key(told)}",
            door_id=door_id,
            kind="call",
            device_at=told.device_at,
            redelivered=self._may_be_old(told, waited=waited),
            offset_s=self.offset_s,
        )
        self._asked.extend((Asked(request=request, access_point="", credential=None),) if active else ())

    def _on_power(self, told: Notification, *, at: datetime, waited: bool) -> None:
        """Take the device's power supply: it feeds all of its doors."""
        state = "lost" if told.value("Failed").lower() in TRUE else "fed"
        for door_id in self.standing:
            if self._is_news(door_id, told, state=state, before=self.standing[door_id].power):
                self._tell(door_id, "mains_lost" if state == "lost" else "mains_back", told=told, at=at, waited=waited)
            if not waited or told.operation == "Initialized":
                self._stand(door_id, power=state)

    # ---- people -----------------------------------------------------------------------------------------------------

    def _on_access(self, told: Notification, *, at: datetime, waited: bool) -> None:
        point = told.token("AccessPointToken")
        door_id, _ = self._readers.get(point, ("", "in"))
        if not door_id:
            return
        if told.value("External").lower() in TRUE:  # somebody has decided already
            self._asked = [asked for asked in self._asked if asked.access_point != point]
        if told.topic.startswith("AccessControl/Duress"):
            self._tell(door_id, "duress", told=told, at=at, waited=waited)
        elif told.topic.startswith("AccessControl/AccessGranted/") and told.value("External").lower() not in TRUE:
            # What the device grants by itself, to its exit button above all, explains the opening that follows.
            self._tell(door_id, "exit_button", told=told, at=at, waited=waited)

    def _on_request(self, told: Notification, *, since: datetime | None, waited: bool) -> None:
        """Take a request. One of long before the subscription is over, answered or not; nobody is told of it again."""
        point = told.token("AccessPointToken")
        door_id, side = self._readers.get(point, ("", "in"))
        if told.topic.endswith(
            "/Timeout"
        ):  # the device has given up: whoever is let in now is let in by the door itself
            self._asked = [
                msgspec.structs.replace(asked, access_point="") if asked.access_point == point else asked
                for asked in self._asked
            ]
        kind, value = _presented(told)
        long_ago = waited and since is not None and told.device_at is not None and since - told.device_at > FORGOTTEN
        if not door_id or kind is None or long_ago:
            return
        request = Request(
            id=f"onvif-{self._key(told)}",
            door_id=door_id,
            kind=kind,
            reader=side,
            value=value,
            device_at=told.device_at,
            redelivered=self._may_be_old(told, waited=waited),
            offset_s=self.offset_s,
        )
        credential = told.value("CredentialToken") or None
        self._asked.append(Asked(request=request, access_point=point, credential=credential))

    def _may_be_old(self, told: Notification, *, waited: bool) -> bool:
        """Return whether a request is not surely about now: whoever still stands there presents again."""
        return waited or (told.device_at is None and self.sought_until is not None)

    # ---- words ------------------------------------------------------------------------------------------------------

    def _key(self, told: Notification) -> str:
        """Return a notification's own key; one of a clock that was never set is like the next, so it is counted."""
        if told.device_at is not None:
            return told.key
        self._timeless += 1
        return f"{told.key}-{self._subscription}-{self._timeless}"

    def _tell(
        self, door_id: str, kind: EventType, *, told: Notification, at: datetime, waited: bool, detail: str = ""
    ) -> None:
        """Add an event. With a time, its id is the same each time that it is told; a time in whole seconds may repeat."""
        if kind == "exit_button" and any(door == door_id and event.type == kind for door, event in self._events):
            return  # its input and its grant
        own = self._key(told)
        place = door_id + own
        again = self._repeats.get(place, 0)
        while len(self._repeats) >= REMEMBERED:
            del self._repeats[next(iter(self._repeats))]
        self._repeats[place] = again + 1
        key = f"{own}-{again}" if again else own
        event = Event(
            id=key, seq=None, type=kind, at=at, device_at=told.device_at, backlog=waited, detail=detail,
            offset_s=self.offset_s,
        )  # fmt: skip
        self._events.append((door_id, event))

    def _is_news(self, door_id: str, told: Notification, *, state: str, before: str) -> bool:
        """Return whether a property changed to another value than the last that was told: devices repeat themselves.

        One at rest is no news where it was at rest `before`; anything else may have begun before the state was read.
        """
        if told.operation == "Initialized":
            return False
        place = (door_id, told.topic + repr(told.source))
        last = self._last.get(place, before if state in RESTING else None)
        self._last[place] = state
        return last != state

    def _stand(self, door_id: str, **changes: str) -> None:
        before = self.standing[door_id]
        after = msgspec.structs.replace(before, **changes)
        if after != before:
            self.standing[door_id] = after
            self._changed.add(door_id)


def _presented(told: Notification) -> tuple[Literal["card", "pin", "button"] | None, str | None]:
    """Return what was presented at a reader; a credential that the device knows goes by its number or its token."""
    kind = told.topic.rpartition("/")[2]
    if kind == "Anonymous":
        return "button", None
    if kind == "Credential":
        return "card", told.value("CredentialToken") or None
    if kind != "Identifier":
        return None, None
    value = identifier(told.value("FormatType"), told.value("IdentifierValue"))
    sort = told.value("IdentifierType").rpartition(":")[2].lower()
    return ("pin" if sort == "pin" else "card" if sort == "card" else None), value or None
