"""Who obeys which command of the gateway: one entry per kind. A kind that nobody obeys here is refused, not dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from edge.clock import SteadyClock
from models.link import Command, Result

Obey = Callable[[Any], Awaitable[Result]]


class Orders:
    """Hand each command to who obeys its kind."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock
        self._who: dict[type[Any], Obey] = {}

    def give(self, kind: type[Command], obey: Obey) -> None:
        """Let `obey` have the commands of a kind from now on."""
        self._who[kind] = obey

    async def obey(self, command: Command) -> Result:
        """Have a command carried out and return how it ended."""
        obey = self._who.get(type(command))
        if obey is None:
            return Result(
                command_id=command.id,
                state="refused",
                reason="unsupported",
                detail="this edge cannot do that: update it",
                at=self._clock.now(),
            )
        return await obey(command)
