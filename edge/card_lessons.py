"""Card lessons: for a short time a reader's cards are gathered in place of decided on, so that its format can be learnt.

What was read is personal data: it lives in this process until the lesson is over, leaves it for the gateway that asked
and for nobody else, and is never stored, logged or put into a fact.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from models.access import Request
from models.card_lessons import LearnCards
from models.cards import LEARN_FROM, READING_CHARS
from models.errors import DeviceRefused, DeviceUnreachable
from models.link import Progress, Result

log = logging.getLogger("gatehouse.edge.card_lessons")

AGAIN_S: Final = 1.0
"""How often the gateway is told how far it is: its answer says whether anybody still looks."""
TELL_S: Final = 2.0
ENDING_S: Final = 2.0
"""What is left of the order's time when no more cards are gathered."""
LEARNING: Final = "learning"
"""What a reader shows for a card that was gathered: it opens nothing."""
DETAILS: Final = {
    "no_such_door": "this edge has no such door",
    "busy": "cards are gathered at this reader already: wait until that is over, or cancel it",
    "cancelled": "it was called off: nothing was learnt",
    "too_few_cards": f"fewer than {LEARN_FROM[0]} different cards were held up: begin again",
    "not_told": "the gateway was not reached in time with what was read: begin again",
}
Side = Literal["in", "out"]
Tell = Callable[[Progress], Awaitable[bool]]


@dataclass(eq=False, repr=False)
class Lesson:
    """Gather the different readings of one reader."""

    wanted: int
    since: datetime
    readings: list[str] = field(default_factory=list)
    again: int = 0
    told: int = -1
    """How many readings the gateway has."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, reading: str) -> None:
        """Take what the reader read; the same once more is counted, and so long as no card's number is left out."""
        if len(self.readings) >= self.wanted or len(reading) > READING_CHARS:
            return
        if reading in self.readings:
            self.again += 1
        else:
            self.readings.append(reading)
        self.moved.set()


class CardLessons:
    """Obey orders to gather cards at the readers of one edge."""

    def __init__(self, *, keeper: DoorKeeper, clock: SteadyClock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._open: dict[tuple[str, Side], Lesson] = {}

    async def take(self, request: Request) -> bool:
        """Gather a card if its reader learns; return whether that is all that becomes of it.

        On the way out it is decided on as ever: nobody is kept inside.
        """
        lesson = self._open.get((request.door_id, request.reader))
        if lesson is None or request.kind != "card" or not request.value:
            return False
        lesson.hear(request.value)
        if request.reader == "out":
            return False
        await self._keeper.feedback(request.door_id, attempt=request.id, reason=LEARNING)
        return True

    async def learn(self, command: LearnCards, *, tell: Tell) -> Result:
        """Gather cards until there are enough, the time is over, or nobody wants them any more.

        Args:
            command: at which reader, and how many.
            tell: sends the gateway what was read, and returns whether anybody still wants it.
        """
        where = (command.door_id, command.reader)
        if self._keeper.door(command.door_id) is None:
            return self._ended(command, "no_such_door")
        if where in self._open:
            return self._ended(command, "busy")
        low, high = LEARN_FROM
        lesson = self._open[where] = Lesson(wanted=min(max(low, command.cards), high), since=self._clock.now())
        try:
            return self._ended(command, await self._gather(command, lesson, tell=tell))
        finally:
            del self._open[where]
            lesson.readings.clear()

    async def _gather(self, command: LearnCards, lesson: Lesson, *, tell: Tell) -> str:
        """Return why nothing can be learnt, or nothing where the gateway has enough readings."""
        ends = self._clock.unix() + (command.deadline - self._clock.now()).total_seconds() - ENDING_S
        while lesson.told < lesson.wanted and self._clock.unix() < ends:
            lesson.moved.clear()
            if not await self._wanted(command, lesson, tell=tell):
                return "cancelled"
            if lesson.told >= lesson.wanted:
                break
            try:
                async with asyncio.timeout(AGAIN_S):
                    await lesson.moved.wait()
            except TimeoutError:
                continue
        if lesson.told < len(lesson.readings) and not await self._wanted(command, lesson, tell=tell):
            return "cancelled"
        if lesson.told < len(lesson.readings):
            return "not_told"
        return "" if lesson.told >= LEARN_FROM[0] else "too_few_cards"

    async def _wanted(self, command: LearnCards, lesson: Lesson, *, tell: Tell) -> bool:
        """Say how far it is; a gateway that does not answer is no reason to stop before the time is over."""
        readings = tuple(lesson.readings)
        told = Progress(
            command_id=command.id, at=self._clock.now(), done=len(readings), wanted=lesson.wanted, since=lesson.since,
            readings=readings, again=lesson.again,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TELL_S):
                wanted = await tell(told)
        except (TimeoutError, DeviceUnreachable, DeviceRefused) as error:
            log.debug("how far card lesson %s is was not told: %s", command.id, error)
            return True
        lesson.told = len(readings)
        return wanted

    def _ended(self, command: LearnCards, reason: str) -> Result:
        failed = reason == "not_told"
        return Result(
            command_id=command.id,
            state="failed" if failed else "refused" if reason else "confirmed",
            reason=reason or None,
            detail=DETAILS.get(reason, ""),
            at=self._clock.now(),
        )
