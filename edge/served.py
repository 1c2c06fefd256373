"""Runs of drivers: the doors that one serves, and in words why it cannot serve them. Nothing is restarted here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from config.process import blotted
from drivers.door import DoorDriver
from edge.partly import Partly
from models.driver_secrets import unsaid
from models.errors import GatehouseError
from models.link import TROUBLE_CHARS, DoorStatus
from models.places import Door

ENDED = "the connection ended"


class Noting:
    """Tell why a run ended, as a context around it, and raise one reason of several; one that was called off has none."""

    def __init__(self, tell: Callable[[str], None], *, settings: Iterable[Mapping[str, object]]) -> None:
        self._tell = tell
        self._settings = tuple(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell why, whatever it was."""
        if isinstance(error, ExceptionGroup):  # one reason reads better than "1 sub-exception"
            self._tell(told(error.exceptions[0], settings=self._settings))
            raise error.exceptions[0] from error
        if error is None or isinstance(error, Exception):
            self._tell(told(error, settings=self._settings))


class LineFree(Protocol):
    """Wait until the line of doors is free; call `lent` with why, if somebody else has it."""

    async def __call__(self, doors: tuple[Door, ...], /, *, lent: Callable[[str], None]) -> None:
        """Wait, if need be."""


async def always_free(_doors: tuple[Door, ...], *, lent: Callable[[str], None]) -> None:
    """Wait for nothing: these wires lend no line."""


@dataclass
class Served:
    """Hold one driver's run: its doors, the driver while it is open, and why it cannot serve them."""

    key: str
    doors: tuple[Door, ...]
    driver: DoorDriver | None = None
    task: asyncio.Task[None] | None = None
    down_since: float | None = None
    trouble: str | None = None
    lent: bool = False
    """Whether an order of the gateway has the line."""

    def trouble_of(self, door_id: str) -> str | None:
        """Return why one of the doors cannot be served, if it cannot."""
        left_out = self.driver.left_out if isinstance(self.driver, Partly) else {}
        return left_out.get(door_id, self.trouble)

    def noting(self) -> Noting:
        """Return the context of one run."""
        return Noting(self._ended, settings=[door.driver for door in self.doors])

    async def wait_for_line(self, line_free: LineFree, *, now: Callable[[], float]) -> None:
        """Wait until no order has the line. Of its doors nothing can be told meanwhile, so none of them is lost."""
        await line_free(self.doors, lent=self._lent)
        if self.lent:
            self.lent, self.down_since = False, now()

    def _lent(self, why: str) -> None:
        self.lent, self.trouble, self.down_since = True, why, None

    def _ended(self, why: str) -> None:
        self.trouble = why


def told(error: Exception | None, *, settings: Iterable[Mapping[str, object]]) -> str:
    """Return why devices cannot be served: one line, cut short, without what their settings hold as secrets.

    Only errors that were raised for people are quoted; anything else is named, and told in the log.
    """
    if error is None:
        return ENDED
    if not isinstance(error, GatehouseError):
        return f"its driver failed ({type(error).__name__}): the log of its edge says more"
    text = unsaid(blotted(str(error)), drivers=settings)
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= TROUBLE_CHARS else f"{line[: TROUBLE_CHARS - 1]}…"


def unserved(door_id: str, why: str, *, at: datetime) -> DoorStatus:
    """Return how a door stands that its edge does not serve at all, and why."""
    return DoorStatus(
        door_id=door_id, online=False, contact="unknown", lock="unknown", mode="normal", tamper=False, alarm="none",
        at=at, trouble=why[:TROUBLE_CHARS],
    )  # fmt: skip
