"""What a service of the simulated device is given with a request, and what it needs to answer: no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args
from urllib.parse import urlsplit, urlunsplit

import msgspec
from lxml import etree

from drivers.onvif.simdevice import SimulatedDevice
from drivers.onvif.simsoap import SoapFault, Xml, find, text

if TYPE_CHECKING:
    from drivers.onvif.simpull import Subscriptions

Fault = Literal[
    "reboot", "clock_hour_off", "lost_subscription", "wrong_host", "lies_capabilities", "duplicate_initialized", "slow",
    "digest_only", "wss_only", "garbage", "huge", "bomb", "external_entity", "silent", "refuse_unlock",
    "expired_certificate", "drops_all_subscriptions_on_unsubscribe", "needs_renew",
]  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
ELSEWHERE: Final = "198.51.100.1"
"""An address of nobody (RFC 5737): what a device behind a translated address says of itself."""
_DURATION: Final = re.compile(r"P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,8}(?:\.\d{1,9})?)S)?)?")
T = TypeVar("T")


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Say where the camera's streams are played; the device only tells their addresses."""

    main: str = "rtsp://127.0.0.1:8554/gate"
    sub: str = "rtsp://127.0.0.1:8554/gate"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one request: its body, the path that it came to, and the device with its clock, address and faults."""

    device: SimulatedDevice
    subscriptions: Subscriptions
    body: etree._Element
    path: str
    now: datetime
    origin: str
    streams: Streams
    faults: Collection[str]

    def url(self, path: str) -> str:
        """Return an address on this device, as the device tells it."""
        return self.spelled(f"{self.origin}{path}")

    def spelled(self, url: str) -> str:
        """Return an address as the device tells it: with `wrong_host`, one that nobody can reach."""
        return elsewhere(url) if "wrong_host" in self.faults else url

    def text(self, path: str) -> str:
        """Return the text of a required item.

        Raises:
            SoapFault: it is missing or too long.
        """
        found = text(self.body, path)
        if found is None:
            raise SoapFault(f"{path} is missing", "ter:InvalidArgVal")
        return found

    def optional(self, path: str) -> str | None:
        """Return the text of an item, None if it is not given."""
        return text(self.body, path)

    def seconds(self, path: str) -> float | None:
        """Return a duration in s, None if it is not given.

        Raises:
            SoapFault: it is no duration of days, hours, minutes and seconds.
        """
        given = self.optional(path)
        return None if given is None else duration_s(given)

    def element(self, path: str) -> etree._Element | None:
        """Return the element at a path."""
        return find(self.body, path)


Handler = Callable[[Call], Xml]


def elsewhere(url: str) -> str:
    """Return an address with a host that nobody can reach."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{ELSEWHERE}{port}"))


def duration_s(given: str) -> float:
    """Return an xs:duration in s.

    Raises:
        SoapFault: it is no duration of days, hours, minutes and seconds.
    """
    match = _DURATION.fullmatch(given)
    if match is None or not any(match.groups()):
        raise SoapFault(f"{given[:40]!r} is no duration such as PT5S", "ter:InvalidArgVal")
    days, hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def by_token(objects: Mapping[str, T], token: str) -> T:
    """Return the object of a token.

    Raises:
        SoapFault: there is none.
    """
    if token not in objects:
        raise SoapFault(f"no {token[:64]!r} here", "ter:InvalidArgVal", "ter:NotFound")
    return objects[token]


def page(call: Call, items: Sequence[T], *, prefix: str, limit: int) -> tuple[Sequence[T], str | None]:
    """Return the items of one page by Limit and StartReference, and the reference of the next.

    Raises:
        SoapFault: a limit or reference that cannot be used.
    """
    asked = call.optional(f"{prefix}:Limit")
    start = call.optional(f"{prefix}:StartReference") or "0"
    if not start.isascii() or not start.isdigit() or int(start) > len(items):
        raise SoapFault("this StartReference was never given", "ter:InvalidArgVal", "ter:InvalidStartReference")
    if asked is not None and (not asked.isascii() or not asked.isdigit() or int(asked) < 1):
        raise SoapFault("Limit must be at least 1", "ter:InvalidArgVal")
    first = int(start)
    after = first + min(limit, int(asked) if asked is not None else limit)
    return items[first:after], str(after) if after < len(items) else None
