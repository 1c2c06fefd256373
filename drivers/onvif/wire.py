"""ONVIF notifications to values: topics in one spelling, properties with their sources and data. Pure.

Devices differ in how they write a topic: prefixes of their own, a trailing slash, `//.`, `External` from an older draft.
A notification that cannot be read costs nothing but itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from lxml import etree

from drivers.onvif.markup import local, text_of

MAX_NOTIFICATIONS: Final = 1000
MAX_ITEMS: Final = 32
VALUE_CHARS: Final = 512
SANE_YEARS: Final = range(2020, 2100)
"""A device's time outside these years is a clock that was never set: the event counts, its time does not."""
Operation = Literal["Initialized", "Changed", "Deleted", ""]
OPERATIONS: Final[dict[str, Operation]] = {"Initialized": "Initialized", "Changed": "Changed", "Deleted": "Deleted"}
Items = tuple[tuple[str, str], ...]


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one notification: its topic without prefixes, and its simple items (ONVIF Core, 9.5)."""

    topic: str
    operation: Operation = ""
    """What became of a property; empty for a happening."""
    device_at: datetime | None = None
    source: Items = ()
    data: Items = ()

    def __repr__(self) -> str:
        """Show what it is about, without what was presented at a reader."""
        return f"Notification({self.topic}, {self.operation or 'happening'}, {dict(self.source)})"

    def token(self, *names: str) -> str:
        """Return the first of these items of the source, or an empty text."""
        return next((value for name, value in self.source if name in names), "")

    def value(self, *names: str) -> str:
        """Return the first of these items of the data, or an empty text."""
        return next((value for name, value in self.data if name in names), "")

    @property
    def key(self) -> str:
        """Return what is the same each time that this notification is delivered; without a time, for its like too."""
        told = (self.topic, self.source, self.data, "" if self.device_at is None else self.device_at.isoformat())
        return hashlib.sha256(repr(told).encode()).hexdigest()[:24]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the answer to one pull. The times are the device's; None where it does not say."""

    notifications: tuple[Notification, ...]
    unreadable: int = 0
    now: datetime | None = None
    ends: datetime | None = None


def read_batch(answer: etree._Element) -> Batch:
    """Return the notifications of a PullMessagesResponse, at most `MAX_NOTIFICATIONS`, in their order."""
    read: list[Notification] = []
    unreadable = 0
    for element in answer:
        if local(element) == "NotificationMessage":
            notification = _notification(element) if len(read) < MAX_NOTIFICATIONS else None
            unreadable += notification is None
            read.extend(() if notification is None else (notification,))
    return Batch(
        notifications=tuple(read),
        unreadable=unreadable,
        now=moment(text_of(_child(answer, "CurrentTime"))),
        ends=moment(text_of(_child(answer, "TerminationTime"))),
    )


def normal_topic(text: str) -> str:
    """Return a topic in one spelling: no prefixes, no empty or `.` steps, no `External` of an older draft."""
    steps = (step.rpartition(":")[2].strip() for step in text[:VALUE_CHARS].split("/"))
    wanted = [step for step in steps if step not in ("", ".")]
    return "/".join(step for step in wanted if step != "External")


def moment(text: str) -> datetime | None:
    """Return an xs:dateTime as an aware time, or None if it is none or of a clock that was never set.

    A time without a zone is UTC, which ONVIF prescribes for events.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    try:
        return at.astimezone(UTC) if at.year in SANE_YEARS else None
    except OverflowError:
        return None


def identifier(kind: str, value: str) -> str:
    """Return a presented identifier as text: ONVIF carries each as hexadecimal bytes (Access Control, 5.2).

    Letters and digits come back as they are, simple numbers in decimal, everything else as upper-case hexadecimal.
    A value that is no hexadecimal is a device's own spelling and stays.
    """
    plain = value.strip()
    try:
        raw = bytes.fromhex(plain)
    except ValueError:
        return plain
    if kind.startswith("SIMPLE_ALPHA") and raw.isascii() and raw.decode("ascii").isprintable():
        return raw.decode("ascii")
    if kind.startswith("SIMPLE_NUMBER"):
        return str(int.from_bytes(raw, "big"))
    return raw.hex().upper()


def _notification(element: etree._Element) -> Notification | None:
    topic = normal_topic(text_of(_child(element, "Topic")))
    message = next((e for e in element.iter() if local(e) == "Message" and _has_items(e)), None)
    if not topic or message is None:
        return None
    return Notification(
        topic=topic,
        operation=OPERATIONS.get(message.get("PropertyOperation") or "", ""),
        device_at=moment((message.get("UtcTime") or "").strip()[:64]),
        source=_items(_child(message, "Source")),
        data=_items(_child(message, "Data")),
    )


def _has_items(element: etree._Element) -> bool:
    return element.get("UtcTime") is not None or any(local(child) in ("Source", "Data") for child in element)


def _items(element: etree._Element | None) -> Items:
    found: Iterable[etree._Element] = () if element is None else element
    simple = [item for item in found if local(item) == "SimpleItem"][:MAX_ITEMS]
    return tuple(((item.get("Name") or "")[:64], (item.get("Value") or "").strip()[:VALUE_CHARS]) for item in simple)


def _child(element: etree._Element, name: str) -> etree._Element | None:
    return next((child for child in element if local(child) == name), None)
