"""Finding devices on a wire, and asking one what it is: what a wire offers beside its driver. Adopts nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Protocol

from models.devices import Candidate


class Discover(Protocol):
    """Search a wire."""

    def __call__(
        self, settings: Mapping[str, object], *, networks: tuple[str, ...], now: Callable[[], datetime], limit_s: float
    ) -> AsyncIterator[Candidate]:
        """Yield what answers within `limit_s`, each device at least once; bounded, ends by itself.

        Args:
            settings: how the wire is reached, as a driver's settings have it; none of a single device.
            networks: addresses and CIDR networks to ask one by one besides the multicast; bounded by the wire.
            now: the clock.
            limit_s: when the search is over.

        Raises:
            DeviceUnreachable: the wire itself is away.
            InvalidInput: a network that cannot be searched: too large, or none.
        """


class Probe(Protocol):
    """Ask one device what it is."""

    async def __call__(self, settings: Mapping[str, object], *, now: Callable[[], datetime]) -> Candidate:
        """Return the device as far as it can be reached, with its parts where the credentials open them.

        Args:
            settings: `address`, and `user`, `password` and `fingerprint` where there are some.
            now: the clock.

        Raises:
            InvalidInput: an address that cannot be one. A device that does not answer is a candidate with its trouble.
        """


class Survey(Protocol):
    """Ask who is at an address that several devices share, as the readers of a line do."""

    async def __call__(self, address: str, *, key: str, now: Callable[[], datetime]) -> tuple[Candidate, ...]:
        """Return who answers, each as far as it can be reached; one that is named and does not, with its trouble.

        Args:
            address: the line, or one device on it.
            key: the key of that one device; empty for none.
            now: the clock.

        Raises:
            DeviceUnreachable: the line itself cannot be opened.
            InvalidInput: an address or a key that cannot be one.
        """


class Keying(Protocol):
    """Give a device a key of its own."""

    async def __call__(self, address: str, *, key: str) -> None:
        """Give a device its key, and see that it answers by it; one that has it already is left alone.

        Raises:
            DeviceRefused: it does not take the key.
            DeviceUnreachable: it does not answer.
            InvalidInput: an address or a key that cannot be one.
        """
