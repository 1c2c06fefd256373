"""A door driver for Gatehouse in one file: a controller that speaks lines of text over TCP, one door each.

The controller says `HELLO contact lock card …`, `STATE closed locked`, `EVENT ID TYPE`, `CARD ID NUMBER`, `OK ID` and
`NO ID reason`; it hears `OPEN ID SECONDS [CARD-ID]` and `SHOW ID reason`. It keeps nothing: what happens while nobody
is connected is not told later, so it does not say `ack`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self, get_args

import msgspec

from drivers.door import Capability, Executed, GiveFeedback, Order, Reported, UnlockDoor
from models.access import Request
from models.errors import CommandExpired, DeviceUnreachable, InvalidInput
from models.reports import Event, EventType, Presence, Snapshot

LINE_BYTES: Final = 1024
WAITING: Final = 64
CONNECT_S: Final = 5.0


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings: where the controller listens."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]


def open_line(
    settings: Mapping[str, object],
    *,
    doors: tuple[str, ...],
    client_id: str,  # noqa: ARG001 - this wire has no names
    now: Callable[[], datetime],
) -> LineDoors:
    """Return the driver of one controller, not yet entered; Gatehouse calls this for `kind: line`."""
    try:
        line = msgspec.convert(dict(settings), Line)
    except msgspec.ValidationError as error:
        raise InvalidInput("driver", str(error)) from None
    if len(doors) != 1:
        raise InvalidInput("driver", "a controller of this kind has one door: give each its own address")
    return LineDoors(line, door_id=doors[0], now=now)


class LineDoors:
    """Serve one controller; a `DoorDriver` (drivers/door.py in Gatehouse says what that means)."""

    def __init__(self, line: Line, *, door_id: str, now: Callable[[], datetime]) -> None:
        self.counters: dict[str, int] = {"events": 0, "requests": 0, "requests_dropped": 0, "unreadable": 0}
        self._line, self._door_id, self._now = line, door_id, now
        self._reports: asyncio.Queue[Event | Snapshot | Presence | None] = asyncio.Queue()
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[Executed]] = {}
        self._snapshot: Snapshot | None = None
        self._can: frozenset[Capability] | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_S):
                self._reader, self._writer = await asyncio.open_connection(
                    self._line.host, self._line.port, limit=LINE_BYTES
                )
        except (TimeoutError, OSError) as error:
            raise DeviceUnreachable(self._address, str(error) or "no answer in time") from error
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    @property
    def _address(self) -> str:
        return f"{self._line.host}:{self._line.port}"

    # What Gatehouse asks of every driver.

    async def reports(self) -> AsyncIterator[Reported]:
        """Yield reports until the connection ends, which is an error: the supervisor opens the driver again."""
        while (report := await self._reports.get()) is not None:
            yield Reported(door_id=self._door_id, report=report, acknowledge=_nothing_to_acknowledge)
        raise DeviceUnreachable(self._address, "the connection ended")

    async def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at the reader."""
        while (request := await self._requests.get()) is not None:
            yield request

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how the door stood when the controller last said so."""
        return self._snapshot if door_id == self._door_id else None

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what the controller said that it can do."""
        return self._can if door_id == self._door_id else None

    async def execute(self, order: Order) -> Executed:
        """Send an order once and wait for the answer, no longer than it is valid."""
        if order.door_id != self._door_id:
            raise InvalidInput("door_id", f"door {order.door_id!r} is not served by this driver")
        if isinstance(order, UnlockDoor):
            words = ["OPEN", order.id, f"{order.hold_s:g}", *([order.attempt] if order.attempt else [])]
        elif isinstance(order, GiveFeedback):
            words = ["SHOW", order.attempt, order.reason]
        else:
            return Executed(ok=False, error="unsupported")
        if order.valid_ms <= 0:
            raise CommandExpired(order.id, -order.valid_ms)
        if self._reading.done():
            raise DeviceUnreachable(self._address, "the connection ended")
        key = words[1]
        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        self._writer.write(" ".join(words).encode() + b"\n")
        try:
            return await asyncio.wait_for(answer, order.valid_ms / 1000)
        except TimeoutError:  # it may have obeyed: that is not certain
            return Executed(ok=False, certain=False, error="no answer in time")
        finally:
            del self._answers[key]

    # What the controller says.

    async def _read(self) -> None:
        self._reports.put_nowait(Presence(at=self._now(), online=True))
        try:
            while line := await self._reader.readline():
                try:
                    self._hear(line.decode("ascii").split())
                except (ValueError, IndexError, msgspec.ValidationError):
                    self.counters["unreadable"] += 1  # and everything else goes on
        except (OSError, ValueError):
            pass  # a line without end, or the connection is gone: either way this conversation is over
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(Executed(ok=False, certain=False, error="the connection ended"))
            self._reports.put_nowait(None)
            self._requests.put_nowait(None)

    def _hear(self, words: list[str]) -> None:
        kind, *rest = words
        at = self._now()
        if kind == "HELLO":
            self._can = frozenset(word for word in get_args(Capability) if word in rest)
        elif kind == "STATE":
            known: dict[str, Any] = {"at": at, "contact": rest[0], "lock": rest[1]}
            self._snapshot = msgspec.convert(known, Snapshot, strict=False)
            self._reports.put_nowait(self._snapshot)
        elif kind == "EVENT":
            event_type = msgspec.convert(rest[1], EventType)
            self.counters["events"] += 1
            self._reports.put_nowait(Event(id=rest[0][:64], seq=None, type=event_type, at=at))
        elif kind == "CARD":
            self._ask(Request(id=rest[0][:64], door_id=self._door_id, kind="card", value=rest[1]))
        elif kind in ("OK", "NO"):
            answer = self._answers.get(rest[0])
            if answer is not None and not answer.done():
                answer.set_result(Executed(ok=kind == "OK", error=None if kind == "OK" else rest[1]))
        else:
            raise ValueError(kind)

    def _ask(self, request: Request) -> None:
        self.counters["requests"] += 1
        if self._requests.qsize() >= WAITING:
            self.counters["requests_dropped"] += 1
        else:
            self._requests.put_nowait(request)


async def _nothing_to_acknowledge(_through: int | None) -> None:
    """Do nothing: this wire has no acknowledgement."""
