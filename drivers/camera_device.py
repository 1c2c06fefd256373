"""The other side of a camera: the device around its stream, which knows when it is tampered with and may turn by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, Self


class CameraDevice(Protocol):
    """Talk to the device of one camera: entered to connect, left to close. Ends by an error; the supervisor opens it again.

    Entering, listening and asking raise `DeviceUnreachable`, `DeviceRefused` (credentials, certificate) and `InvalidInput`.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def tampers(self) -> AsyncGenerator[bool, None]:
        """Yield whether the camera says that it is tampered with, each time that this changes and once it is known."""

    async def clock_off_s(self) -> float | None:
        """Return by how much the device's clock is ahead of ours, in s, measured now; None where it does not tell the time."""

    async def go_home(self) -> None:
        """Turn the camera to the stored position that its settings name, if they name one."""
