"""One driver's run: the doors that it serves, and in words why it cannot serve them. It restarts nothing (edge.doorkeeper)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from config.process import blotted
from drivers.door import DoorDriver
from models.driver_secrets import unsaid
from models.errors import GatehouseError
from models.link import TROUBLE_CHARS, DoorStatus
from models.places import Door

ENDED = "the connection ended"


@dataclass
class Served:
    """Hold one driver's run; as a context it notes why the run ended, and raises one reason of several."""

    key: str
    doors: tuple[Door, ...]
    driver: DoorDriver | None = None
    task: asyncio.Task[None] | None = None
    down_since: float | None = None
    trouble: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note why the run ended; a run that was called off has no trouble of its own."""
        self.driver = None
        if isinstance(error, ExceptionGroup):  # one reason reads better than "1 sub-exception"
            self.trouble = told(error.exceptions[0], doors=self.doors)
            raise error.exceptions[0] from error
        if error is None or isinstance(error, Exception):
            self.trouble = told(error, doors=self.doors)


def told(error: Exception | None, *, doors: tuple[Door, ...]) -> str:
    """Return why doors cannot be served: one line, cut short, without what their settings hold as secrets.

    Only errors that were raised for people are quoted; anything else is named, and told in the log.
    """
    if error is None:
        return ENDED
    if not isinstance(error, GatehouseError):
        return f"its driver failed ({type(error).__name__}): the log of its edge says more"
    text = unsaid(blotted(str(error)), drivers=[door.driver for door in doors])
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= TROUBLE_CHARS else f"{line[: TROUBLE_CHARS - 1]}…"


def unserved(door_id: str, why: str, *, at: datetime) -> DoorStatus:
    """Return how a door stands that its edge does not serve at all, and why."""
    return DoorStatus(
        door_id=door_id, online=False, contact="unknown", lock="unknown", mode="normal", tamper=False, alarm="none",
        at=at, trouble=why[:TROUBLE_CHARS],
    )  # fmt: skip
