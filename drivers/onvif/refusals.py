"""Devices that refused our credentials are left alone for a while: most lock an account that keeps knocking.

Kept for the life of the process; other credentials, or a success, begin anew.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from drivers.onvif.endpoint import Endpoint
from models.errors import DeviceRefused

FIRST: Final = timedelta(seconds=30)
LONGEST: Final = timedelta(minutes=15)
DEVICES_MOST: Final = 1000


class Refusals:
    """Hold which credentials were refused, and until when they are not shown again."""

    def __init__(self) -> None:
        self._until: dict[bytes, tuple[datetime, timedelta]] = {}

    def check(self, endpoint: Endpoint, *, at: datetime) -> None:
        """Raise `DeviceRefused`, without asking the device, while it is left alone."""
        until, _ = self._until.get(_key(endpoint), (at, FIRST))
        if at < until:
            left_s = (until - at).total_seconds()
            raise DeviceRefused(
                endpoint.address, f"it refused the user name or password: change them, or wait {left_s:.0f} s"
            )

    def note(self, endpoint: Endpoint, *, at: datetime) -> None:
        """Note that a device refused its credentials; each time it is left alone for twice as long."""
        key = _key(endpoint)
        while key not in self._until and len(self._until) >= DEVICES_MOST:
            del self._until[next(iter(self._until))]
        wait = self._until[key][1] if key in self._until else FIRST
        self._until[key] = at + wait, min(2 * wait, LONGEST)

    def forget(self, endpoint: Endpoint) -> None:
        """Note that a device takes its credentials."""
        self._until.pop(_key(endpoint), None)


def _key(endpoint: Endpoint) -> bytes:
    return hashlib.sha256(repr((endpoint.url, endpoint.user, endpoint.password)).encode()).digest()


REFUSALS: Final = Refusals()
"""Those of this process."""
