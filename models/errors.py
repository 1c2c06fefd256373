"""The error tree of Gatehouse. Each error carries its evidence; HTTP codes live in gateway/api/errors.py only.

GatehouseError
├── SettingsError       a settings or site file that cannot be used; every fault with file, line, key and suggestion
├── InvalidInput        bytes or values from outside that cannot be accepted
├── ImageRejected       a photograph that cannot become a face template, with the reason for the person
├── ModelFileError      a network file that is damaged, truncated or not the one expected
├── DeviceUnreachable   a camera or door gave no answer in time, or the connection ended
├── DeviceRefused       a camera or door answered no: credentials, or the request itself
├── CommandExpired      the deadline passed before the command could be delivered
├── NotFound            no such object, or none that this caller may see
├── Forbidden           the caller is known and may not do this
├── Conflict            the object changed meanwhile, or already exists
└── StorageUnavailable  a commit could not be made durable (disk full, database away)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


class GatehouseError(Exception):
    """Stand above every error that Gatehouse raises on purpose."""

    command_id: str | None = None
    """The order that had been given when this happened: what becomes of it can be asked."""
    reason: str = ""
    """A stable word for what went wrong, for who says it in another language; empty where there is none."""

    def because(self, reason: str) -> Self:
        """Return this error with its stable word."""
        self.reason = reason
        return self


@dataclass(frozen=True)
class SettingsFault:
    """Name one mistake in a settings file: where it is, what is wrong and what to write instead."""

    file: str
    line: int
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.file}:{self.line}: {self.path}: {self.message}{hint}"


class SettingsError(GatehouseError):
    """Refuse a settings or site file, with every fault found in it."""

    def __init__(self, faults: list[SettingsFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in faults))


class InvalidInput(GatehouseError):  # noqa: N818 - reads as what it is
    """Refuse bytes or values from outside; `where` names the field or topic, `what` says what to do."""

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what
        super().__init__(f"{where}: {what}")


class ImageRejected(GatehouseError):  # noqa: N818
    """Refuse a photograph for enrolment; `reason` is a stable word (no_face, two_faces, too_small, …)."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class ModelFileError(GatehouseError):
    """Refuse a network file that is damaged, truncated, hostile or of another digest."""

    def __init__(self, file: str, what: str) -> None:
        self.file = file
        self.what = what
        super().__init__(f"{file}: {what}")


class DeviceUnreachable(GatehouseError):  # noqa: N818
    """Report a device that did not answer in time, or whose connection ended."""

    def __init__(self, device_id: str, what: str) -> None:
        self.device_id = device_id
        self.what = what
        super().__init__(f"{device_id}: {what}")


class DeviceRefused(GatehouseError):  # noqa: N818
    """Report a device that answered no: wrong credentials, or a request that it does not accept."""

    def __init__(self, device_id: str, what: str) -> None:
        self.device_id = device_id
        self.what = what
        super().__init__(f"{device_id}: {what}")


class CommandExpired(GatehouseError):  # noqa: N818
    """Report a command whose deadline passed before it could be delivered; it is never delivered later."""

    command_id: str

    def __init__(self, command_id: str, late_ms: int) -> None:
        self.command_id = command_id
        self.late_ms = late_ms
        super().__init__(f"command {command_id} expired {late_ms} ms before it could be delivered")


class NotFound(GatehouseError):  # noqa: N818
    """Report an object that does not exist, or that this caller may not see: the two look alike."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"no {kind} {key!r}")


class Forbidden(GatehouseError):  # noqa: N818
    """Refuse an act that this caller's role does not include."""


class Conflict(GatehouseError):  # noqa: N818
    """Report an object that changed meanwhile or already exists."""


class StorageUnavailable(GatehouseError):  # noqa: N818
    """Report that a commit could not be made durable; nothing may be acknowledged. `told` is what a caller may know."""

    def __init__(self, what: str, *, told: str = "nothing was stored; try again shortly") -> None:
        self.told = told
        super().__init__(what)
