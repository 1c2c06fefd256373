"""What the edge's tests stand on: a door wire in memory, a gateway that answers real HTTP, and small builders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from drivers.door import Capability, Executed, Order, Reported, UnlockDoor
from models.access import Request
from models.doors import Event, Presence, Report, Snapshot
from models.people import Consent, Credential, Member, Permit, credential_digest
from models.places import Door
from models.policy import Policy

EDGE = "edge-1"
CREDENTIAL_KEY = "11" * 32
LIMIT_S = 10.0


async def until(condition: Callable[[], bool], *, limit_s: float = LIMIT_S, what: str = "the condition") -> None:
    """Wait until something holds, and fail after a limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {limit_s} s"
        await asyncio.sleep(0.005)


@dataclass
class MemoryWire:
    """A door driver whose wire is a pair of queues; `answer` says how it executes orders."""

    counters: dict[str, int] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    acknowledged: list[tuple[str, int | None]] = field(default_factory=list)
    answer: Callable[[Order], Awaitable[Executed]] | None = None
    opened: int = 0
    fails: Exception | None = None
    _reports: asyncio.Queue[Reported | Exception] = field(default_factory=asyncio.Queue)
    _requests: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)

    async def __aenter__(self) -> Self:
        self.opened += 1
        if self.fails is not None:
            raise self.fails
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def reports(self) -> AsyncIterator[Reported]:
        while True:
            item = await self._reports.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def requests(self) -> AsyncIterator[Request]:
        while True:
            yield await self._requests.get()

    async def execute(self, order: Order) -> Executed:
        self.orders.append(order)
        return Executed(ok=True) if self.answer is None else await self.answer(order)

    async def snapshot(self, door_id: str) -> Snapshot | None:
        return None

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        return frozenset({"contact", "lock", "card", "pin", "button", "ack"})

    def say(self, door_id: str, report: Report) -> None:
        """Let a door report something."""

        async def acknowledge(through: int | None) -> None:
            self.acknowledged.append((door_id, through))

        self._reports.put_nowait(Reported(door_id=door_id, report=report, acknowledge=acknowledge))

    def ask(self, request: Request) -> None:
        """Let somebody stand at a reader."""
        self._requests.put_nowait(request)

    def end(self, error: Exception) -> None:
        """Let the connection end."""
        self._reports.put_nowait(error)

    def unlocks(self) -> list[UnlockDoor]:
        """Return the unlock orders so far."""
        return [order for order in self.orders if isinstance(order, UnlockDoor)]


def now() -> datetime:
    return datetime.now(UTC)


def event(seq: int, kind: str = "opened", *, at: datetime | None = None, **more: Any) -> Event:
    return Event(id=f"e{seq}", seq=seq, type=kind, at=at or now(), **more)  # type: ignore[arg-type]


def online(*, value: bool = True) -> Presence:
    return Presence(at=now(), online=value)


def door(door_id: str = "d1", **more: Any) -> Door:
    return Door(id=door_id, site_id="s1", name=door_id, edge_id=EDGE, **more)


def card(person_id: str, value: str) -> Credential:
    digest = credential_digest("card", value, bytes.fromhex(CREDENTIAL_KEY))
    return Credential(id=f"card-{person_id}", person_id=person_id, kind="card", digest=digest)


def pin(person_id: str, value: str) -> Credential:
    digest = credential_digest("pin", value, bytes.fromhex(CREDENTIAL_KEY))
    return Credential(id=f"pin-{person_id}", person_id=person_id, kind="pin", digest=digest)


def permit(person_id: str, *doors: str, **more: Any) -> Permit:
    return Permit(id=f"permit-{person_id}", person_id=person_id, doors=doors or ("d1",), **more)


def consent(person_id: str, *doors: str, **more: Any) -> Consent:
    return Consent(
        id=f"consent-{person_id}",
        person_id=person_id,
        doors=doors or ("d1",),
        text_version="1",
        text_sha256="00" * 32,
        given_at=now() - timedelta(hours=1),
        channel="demo",
        evidence="test",
        **more,
    )


def person(person_id: str, **more: Any) -> Member:
    return Member(id=person_id, **more)


def policy(*doors: Door, n: int = 1, **more: Any) -> Policy:
    more.setdefault("cameras", ())
    more.setdefault("assessed", ("face",))
    return Policy(
        edge_id=EDGE,
        site_id="s1",
        epoch=1,
        n=n,
        issued_at=now(),
        valid_until=more.pop("valid_until", now() + timedelta(days=7)),
        doors=doors,
        credential_key=CREDENTIAL_KEY,
        **more,
    )
