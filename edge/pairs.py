"""Cards and PINs that open only together: at each reader one of them waits for the other one, for 15 s at the most.

It keeps them in memory only, so that nothing waits over a restart, and decides nothing: both are looked up again when they
have come together (edge.admission). What nobody completed is one refusal, at the reader and on record.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from edge.answers import Answers
from edge.credentials import Found
from edge.doorkeeper import DoorKeeper
from models.access import Claim, Denial, Grant, Request
from models.events import DenialReason

WAITS_S: Final = 15.0
WAITING: Final = 64
"""What waits at one edge; beyond, the oldest is given up."""
LOOK_S: Final = 0.5

Decision = tuple[Found, Grant | Denial]


@dataclass(frozen=True)
class Half:
    """Hold a card or PIN that waits for the other one, whose it may be, and until when."""

    request: Request
    claims: tuple[Claim, ...]
    until: float

    @property
    def lacks(self) -> DenialReason:
        """What has to follow, as the reader says it."""
        return "awaits_pin" if self.request.kind == "card" else "awaits_card"

    @property
    def claim(self) -> Claim:
        """The attempt on record: of nobody, if it may be several people's."""
        first = self.claims[0]
        return first if len(self.claims) == 1 else msgspec.structs.replace(first, person_id=None)

    def fits(self, claims: Iterable[Claim]) -> bool:
        """Return whether somebody whose this is made one of the claims."""
        people = {claim.person_id for claim in self.claims}
        return any(claim.person_id in people for claim in claims)


class Pairs:
    """Keep, for the doors of one edge, which card or PIN waits at which reader. `unix` gives the time in seconds."""

    def __init__(self, *, answers: Answers, keeper: DoorKeeper, unix: Callable[[], float]) -> None:
        self._answers = answers
        self._keeper = keeper
        self._unix = unix
        self._halves: OrderedDict[tuple[str, str], Half] = OrderedDict()

    async def run(self) -> None:
        """Give up, for as long as the edge runs, what was not completed in time."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._unix()
            late = [key for key, half in self._halves.items() if half.until <= now]
            await asyncio.gather(*(self._give_up(self._halves.pop(key)) for key in late))

    def other(self, request: Request) -> Half | None:
        """Return what waits in time for this at its reader: a PIN for a card, a card for a PIN."""
        half = self._halves.get(_reader(request))
        if half is None or half.until <= self._unix() or _is_card(half.request) == _is_card(request):
            return None
        return half

    def take(self, half: Half) -> None:
        """Let something wait no longer: it is part of a pair, once."""
        self._halves.pop(_reader(half.request), None)

    async def wait(self, request: Request, claims: tuple[Claim, ...]) -> None:
        """Let a card or PIN wait at its reader, and say there what has to follow.

        It takes the place of what waited there: the same again goes on as one attempt, another one is refused.
        """
        half = Half(request=request, claims=claims, until=self._unix() + WAITS_S)
        before = self._halves.pop(_reader(request), None)
        given_up = [] if before is None or (before.lacks == half.lacks and before.fits(claims)) else [before]
        while len(self._halves) >= WAITING:
            given_up.append(self._halves.popitem(last=False)[1])
        self._halves[_reader(request)] = half
        said = self._keeper.feedback(request.door_id, attempt=request.id, reason=half.lacks, ok=True)
        await asyncio.gather(*(self._give_up(one) for one in given_up), said)

    async def _give_up(self, half: Half) -> None:
        await self._answers.deny(half.claim, half.lacks)


def joined(second: Iterable[Decision], first: Iterable[Decision]) -> list[Decision]:
    """Return what two halves decide together, for each person whose both are: a grant only of two, else why not.

    A first half that is nobody's any more was revoked while it waited.
    """
    before = {one.claim.person_id: one for _, one in sorted(first, key=lambda half: isinstance(half[1], Grant))}
    decisions: list[Decision] = []
    for found, one in second:
        half = before.get(one.claim.person_id)
        if isinstance(one, Grant) and not isinstance(half, Grant):
            reason: DenialReason = "unknown_credential" if half is None else half.reason
            decisions.append((found, Denial(claim=one.claim, reason=reason)))
        else:
            decisions.append((found, one))
    return decisions


def _reader(request: Request) -> tuple[str, str]:
    return request.door_id, request.reader


def _is_card(request: Request) -> bool:
    return request.kind == "card"
