"""A compound of three people with cards, for door policies: who asks at a door, and how that is answered at the reader."""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.door import GiveFeedback, UnlockDoor
from models.access import Request
from models.people import Credential
from models.places import Door
from models.policy import Policy
from models.reports import Snapshot
from tests.edge.conftest import House
from tests.edge.doubles import card, event, now, online, permit, pin, policy, until

CARDS = {"p1": "A1", "p2": "A2", "p3": "A3"}
PIN, UNDER_THREAT = "480213", "771904"


def under_threat(person_id: str, value: str) -> Credential:
    return msgspec.structs.replace(pin(person_id, value), id=f"duress-{person_id}", duress=True)


def compound(*doors: Door, **more: Any) -> Policy:
    """Return a policy in which three people with cards, one of them with PINs, may pass all doors."""
    everywhere = tuple(one.id for one in doors)
    more.setdefault("permits", tuple(permit(person, *everywhere) for person in CARDS))
    return policy(
        *doors,
        credentials=(
            *(card(person, value) for person, value in CARDS.items()), pin("p1", PIN), under_threat("p1", UNDER_THREAT),
        ),
        **more,
    )  # fmt: skip


async def live_in(house: House, *doors: Door, **more: Any) -> None:
    """Put a policy with these doors in force."""
    given = compound(*doors, **more)
    house.admission.apply(given)
    house.keeper.apply(given.doors, given.modes)
    before = len(house.wire.acknowledged)
    for one in doors:
        house.wire.say(one.id, online())
        house.wire.say(one.id, Snapshot(at=now(), event_seq=0, contact="closed", lock="locked"))
    await until(lambda: len(house.wire.acknowledged) == before + 2 * len(doors))


class Visitors:
    """Let people present things at doors, one request after another."""

    def __init__(self, house: House, *, count: int = 0) -> None:
        self.house = house
        self.count = count

    async def __call__(self, who: str, door_id: str = "d1", *, kind: str = "card", reader: str = "in") -> str:
        """Let somebody (or a value that is nobody's) ask; return how it was answered at the reader."""
        self.count += 1
        how: dict[str, Any] = {"kind": kind, "reader": reader, "value": CARDS.get(who, who) or None}
        request = Request(id=f"r{self.count}", door_id=door_id, **how)
        await self.house.admission.consider(request)
        answers = [o for o in self.house.wire.orders if isinstance(o, UnlockDoor | GiveFeedback)]
        mine = [o for o in answers if o.attempt == request.id]
        assert len(mine) == 1, "every attempt is answered once"
        return "unlocked" if isinstance(mine[0], UnlockDoor) else mine[0].reason


async def pass_through(house: House, door_id: str, seq: int) -> None:
    """Let somebody open a door and close it behind them."""
    for number, kind in ((seq, "opened"), (seq + 1, "closed")):
        house.wire.say(door_id, event(number, kind))
        await until(lambda n=number: (door_id, n) in house.wire.acknowledged)  # type: ignore[misc]
