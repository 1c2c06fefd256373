"""What is examined: a way to open its driver, its door, and a remote control where somebody can act at the door.

A `Listener` reads a driver's reports and requests in the background, acknowledges what it is told to, and lets a step
wait for what it wants to hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from drivers.door import DoorDriver, Reported
from models.access import Request
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError
from models.reports import Event, Presence, Snapshot

HEAR_S: Final = 10.0
"""How long a device has to say what it should."""
REPLY_BYTES: Final = 1024 * 1024
R = TypeVar("R", Event, Presence, Snapshot)
T = TypeVar("T")


class NotSo(GatehouseError):  # noqa: N818 - a verdict, not a mistake
    """A step found something other than the contract says."""


class Remote:
    """Act at a simulated door by its control port: one JSON object per line, one answer per line."""

    def __init__(self, address: str, *, door_id: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._door_id = host, int(port), door_id

    async def act(self, act: str, *, limit_s: float = 2 * HEAR_S, **more: object) -> dict[str, Any]:
        """Do something at the door and return what the simulator answered.

        Raises:
            NotSo: it does not answer, or cannot do that.
        """
        about = {} if act in {"misbehave", "unplug", "plug_in"} else {"door": self._door_id}
        order = {"act": act, **about, **more}
        try:
            async with asyncio.timeout(limit_s):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=REPLY_BYTES)
                with contextlib.closing(writer):
                    writer.write(json.dumps(order).encode() + b"\n")
                    line = await reader.readline()
        except (TimeoutError, OSError) as error:
            raise NotSo(f"the simulator did not answer to {act}") from error
        answer = json.loads(line) if line else {"ok": False, "error": "it closed the connection"}
        if answer.get("error"):
            raise NotSo(f"the simulator cannot {act}: {answer['error']}")
        return dict(answer)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Name what is examined. Without a `remote` nobody acts at the door; without `may_unlock` it is never opened."""

    open: Callable[[], DoorDriver]
    door_id: str
    remote: Remote | None = None
    may_unlock: bool = False

    @contextlib.asynccontextmanager
    async def listening(self, *, acknowledging: bool = True) -> AsyncIterator[Listener]:
        """Open the driver and listen until the block ends.

        Raises:
            NotSo: it could not be opened.
        """
        try:
            async with asyncio.timeout(2 * HEAR_S):
                driver = await self.open().__aenter__()
        except (TimeoutError, DeviceUnreachable, DeviceRefused) as error:
            raise NotSo(f"it could not be opened: {str(error) or 'no answer in time'}") from error
        try:
            async with Listener(driver, door_id=self.door_id, acknowledging=acknowledging) as listener:
                yield listener
        finally:
            await driver.__aexit__(None, None, None)


class Listener:
    """Hear what a driver says about one door."""

    def __init__(self, driver: DoorDriver, *, door_id: str, acknowledging: bool) -> None:
        self.driver = driver
        self.door_id = door_id
        self.heard: list[Event | Presence | Snapshot] = []
        self.requests: list[Request] = []
        self.ended = ""
        self._acknowledging = acknowledging
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._tasks = [asyncio.create_task(self._reports()), asyncio.create_task(self._requests())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reports(self) -> None:
        try:
            async for reported in self.driver.reports():
                await self._take(reported)
        except (DeviceUnreachable, DeviceRefused) as error:
            async with self._news:
                self.ended = str(error)
                self._news.notify_all()

    async def _take(self, reported: Reported) -> None:
        report = reported.report
        if self._acknowledging or not isinstance(report, Event):
            await reported.acknowledge(report.seq if isinstance(report, Event) else None)
        if reported.door_id == self.door_id:
            async with self._news:
                self.heard.append(report)
                self._news.notify_all()

    async def _requests(self) -> None:
        async for request in self.driver.requests():
            async with self._news:
                self.requests.append(request)
                self._news.notify_all()

    async def hear(
        self, kind: type[R], wanted: Callable[[R], bool] = lambda _report: True, *, what: str, since: int = 0
    ) -> R:
        """Return the first report of a kind, from a place in `heard` on, that is wanted.

        Raises:
            NotSo: none came in time, or the driver ended.
        """

        def found() -> R | None:
            return next((one for one in self.heard[since:] if isinstance(one, kind) and wanted(one)), None)

        return await self._wait(found, what=what)

    async def asked(self, *, after: int = 0) -> Request:
        """Return the request that came after some others.

        Raises:
            NotSo: none came in time, or the driver ended.
        """
        return await self._wait(lambda: self.requests[after] if len(self.requests) > after else None, what="a request")

    async def ends(self) -> str:
        """Return why the driver ended.

        Raises:
            NotSo: it did not, in time.
        """
        return await self._wait(lambda: self.ended or None, what="the end of the driver", even_after_end=True)

    async def _wait(self, found: Callable[[], T | None], *, what: str, even_after_end: bool = False) -> T:
        try:
            async with asyncio.timeout(HEAR_S), self._news:
                while True:
                    one = found()
                    if one is not None:
                        return one
                    if self.ended and not even_after_end:
                        raise NotSo(f"the driver ended before {what} came: {self.ended}")
                    await self._news.wait()
        except TimeoutError as error:
            raise NotSo(f"{what} did not come within {HEAR_S:.0f} s") from error
