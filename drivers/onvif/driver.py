"""The ONVIF door driver: one device with its doors, by DoorControl, AccessControl and a pull point of its events.

A batch of events is committed before the next is pulled, so that a device which stores events gives again what was not.
A subscription that the device lost is made anew at once; a connection that ends ends the driver, and the supervisor
opens it again: each time the state is read afresh, what was stored is sought back, and every property is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self

from drivers.door import Capability, Executed, Order, Reported
from drivers.onvif import soap
from drivers.onvif.acts import Acts
from drivers.onvif.client import OnvifClient, new_message_id
from drivers.onvif.doors import FORGOTTEN, Heard, Listener, Standing
from drivers.onvif.endpoint import DoorPart, Endpoint
from drivers.onvif.events import PullPoint
from drivers.onvif.parts import (
    Found,
    Side,
    find_parts,
    our_capabilities,
    our_parts,
    our_readers,
    standing_of,
)
from drivers.onvif.positions import CLOCK_SET, POSITIONS, Deliveries, Delivery, Positions
from drivers.onvif.refusals import REFUSALS, Refusals
from drivers.onvif.wire import Batch
from models.access import Request
from models.doors import Report
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.reports import Presence, Snapshot

log = logging.getLogger("gatehouse.drivers.onvif")

REQUESTS_WAITING: Final = 64
REPORTS_WAITING: Final = 1000
OPEN_S: Final = 30.0
COMMIT_S: Final = 2.0
"""The next pull waits this long for a commit: with a full disk people at readers are still heard."""
STORED_FOR: Final = timedelta(minutes=10)
"""How far back a device is asked when this process has not heard it yet."""
SUBSCRIPTION_CHARS: Final = 13
GARBLED_S: Final = 0.25
GARBAGE_MOST: Final = 8
LOSSES_MOST: Final = 4
LOSSES_S: Final = 10.0
COUNTERS: Final = (
    "events", "states", "requests", "requests_dropped", "reports_dropped", "unreadable", "acknowledged", "commands",
    "commands_unanswered", "subscriptions", "subscriptions_lost",
)  # fmt: skip


class OnvifDoors:
    """Serve the doors of one ONVIF device; a `DoorDriver`.

    Args:
        endpoint: the device.
        doors: the adopted doors.
        client_id: names this connection; what is committed is remembered under it.
        now: the caller's clock.
        positions: up to where events are committed.
        refusals: devices that are left alone because they refused their credentials.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        doors: tuple[str, ...],
        client_id: str,
        now: Callable[[], datetime],
        positions: Positions = POSITIONS,
        refusals: Refusals = REFUSALS,
    ) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._endpoint = endpoint
        self._doors = doors
        self._now = now
        self._device = f"{client_id} {endpoint.url}"
        self._positions = positions
        self._refusals = refusals
        self._stack = AsyncExitStack()
        self._client = OnvifClient(endpoint, now=now)
        self._found = Found()
        self._parts: dict[str, DoorPart] = {}
        self._readers: dict[str, tuple[str, Side]] = {}
        self._stores = False
        self._listener = Listener({}, readers={}, subscription="")
        self._deliveries = Deliveries(positions, self._device)
        self._committed = asyncio.Event()
        self._acts: Acts | None = None
        self._pulling: asyncio.Task[None] | None = None
        self._reports: asyncio.Queue[Reported | None] = asyncio.Queue()
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self._garbled = 0

    # ---- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect, learn the device's parts, subscribe and read how its doors stand.

        Raises:
            DeviceUnreachable: it does not answer, or not in time.
            DeviceRefused: it does not take the credentials, or shows another certificate.
            InvalidInput: it is no ONVIF device, or the settings do not say which part a door is.
        """
        self._refusals.check(self._endpoint, at=self._now())
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open()
        except soap.Fault as fault:
            await self._stack.aclose()
            if fault.unauthorised:
                self._refusals.note(self._endpoint, at=self._now())
            raise
        except TimeoutError:
            await self._stack.aclose()
            raise DeviceUnreachable(self._endpoint.address, f"it was not ready after {OPEN_S:.0f} s") from None
        except BaseException:
            await self._stack.aclose()
            raise
        self._refusals.forget(self._endpoint)
        return self

    async def _open(self) -> None:
        await self._stack.enter_async_context(self._client)
        self._found = await find_parts(self._client)
        self._parts = our_parts(self._endpoint, self._doors, found=self._found)
        self._readers = our_readers(self._parts, found=self._found)
        timed = frozenset(door.token for door in self._found.doors if "AccessTimingOverride" in door.can)
        self._acts = Acts(
            self._client, parts=self._parts, relays=self._found.relays, timed=timed, on_mode=self._report_standing
        )
        await self._acts.release_relays()
        subscription = await self._subscribe()
        self._pulling = asyncio.create_task(self._pull(subscription), name=f"onvif {self._endpoint.address}")
        self._pulling.add_done_callback(self._on_end)

    async def __aexit__(self, *exc: object) -> None:
        """End the pull, let go of relays, unsubscribe if all went well, and disconnect."""
        if self._pulling is not None:
            self._pulling.cancel()
            await asyncio.wait({self._pulling})
        if self._acts is not None:
            await self._acts.close()
        await self._stack.aclose()

    def _on_end(self, _pulling: asyncio.Task[None]) -> None:
        self._reports.put_nowait(None)
        self._requests.put_nowait(None)

    # ---- what the caller reads --------------------------------------------------------------------------------------

    async def reports(self) -> AsyncIterator[Reported]:
        """Yield door reports in order of arrival; then raise why the connection has ended."""
        pulling = self._opened()
        while True:
            reported = await self._reports.get()
            if reported is not None:
                yield reported
                continue
            self._reports.put_nowait(None)
            if not pulling.cancelled():
                pulling.result()
            raise DeviceUnreachable(self._endpoint.address, "the driver was closed")

    async def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at a reader now; ends when the connection has ended."""
        self._opened()
        while (request := await self._requests.get()) is not None:
            yield request
        self._requests.put_nowait(None)

    async def execute(self, order: Order) -> Executed:
        """Deliver an order once and wait for the device's answer, at most `valid_ms`; `ok` if it accepted.

        Raises:
            CommandExpired: `valid_ms` is over before the order could be sent.
            DeviceUnreachable: the device is away; nothing was sent.
            InvalidInput: the door is not served here.
        """
        pulling = self._opened()
        if order.door_id not in self._parts:
            raise InvalidInput("door_id", f"door {order.door_id!r} is not served by this driver")
        if pulling.done() or self._acts is None:
            raise DeviceUnreachable(self._endpoint.address, "the connection has ended")
        executed = await self._acts.execute(order)
        self._count("commands")
        if not executed.certain:
            self._count("commands_unanswered")
        return executed

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how a door stands by what the device has said, or None if it said nothing."""
        standing = self._listener.standing.get(door_id)
        if standing is None or standing == Standing():
            return None
        return self._snapshot(door_id, standing)

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do, or None if it is not served here; `ack` if the device stores its events."""
        part = self._parts.get(door_id)
        if part is None:
            return None
        readers = [token for token, (door, _) in self._readers.items() if door == door_id]
        return our_capabilities(part, found=self._found, readers=readers, stores=self._stores)

    # ---- the subscription -------------------------------------------------------------------------------------------

    async def _subscribe(self) -> PullPoint:
        """Subscribe first and read the state after, so that nothing falls between; then ask for what was stored."""
        subscription = PullPoint(self._client, pull_s=self._endpoint.pull_s)
        await subscription.open()
        self._count("subscriptions")
        opened_at = subscription.opened_at = subscription.opened_at or self._client.device_time(self._now())
        listener = Listener(self._parts, readers=self._readers, subscription=new_message_id()[:SUBSCRIPTION_CHARS])
        listener.standing.update(self._listener.standing)
        self._listener = listener
        await self._follow_clock(opened_at)
        self._deliveries = Deliveries(self._positions, self._device)
        await asyncio.gather(*(self._look_at(door_id, part) for door_id, part in self._parts.items()))
        if self._endpoint.seek:
            since = self._positions.at(self._device) or opened_at - STORED_FOR
            await self._seek(subscription, min(since, opened_at))
        await subscription.synchronise()
        return subscription

    async def _follow_clock(self, told: datetime | None) -> timedelta:
        """Measure the device's clock anew where it says another time than it should; return by how much it was set."""
        client = self._client
        if told is not None and client.told_time and abs(told - client.device_time(self._now())) > CLOCK_SET:
            with contextlib.suppress(DeviceUnreachable, InvalidInput):
                await client.measure_clock()
        self._listener.offset_s = -client.offset.total_seconds() if client.told_time else None
        return self._positions.follow_clock(self._device, client.offset)

    async def _seek(self, subscription: PullPoint, since: datetime) -> None:
        self._stores = await subscription.seek(since)
        self._listener.sought = self._stores
        self._listener.sought_until = self._now() + FORGOTTEN if self._stores else None

    async def _look_at(self, door_id: str, part: DoorPart) -> None:
        """Report a door and how it stands; one that the device cannot tell of is not there, and delays no other."""
        online = True
        if part.door is not None:
            try:
                self._listener.standing[door_id] = await standing_of(self._client, part.door)
            except (soap.Fault, InvalidInput) as error:
                online = False
                log.warning("%s: door %s: %s", self._endpoint.address, door_id, error.what)
        self._report(door_id, Presence(at=self._now(), online=online))
        if online:
            self._report_standing(door_id)

    async def _look_again(self, moved: timedelta) -> None:
        """Read how the doors stand after the device's clock was set: its times are no help in telling new from old."""
        seconds = round(moved.total_seconds())
        log.warning("%s: its clock was set by %+d s; its doors are read anew", self._endpoint.address, seconds)
        await asyncio.gather(*(self._look_at(door_id, part) for door_id, part in self._parts.items()))

    async def _pull(self, subscription: PullPoint) -> None:
        """Pull until the connection ends; raises why."""
        losses: list[float] = []
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                try:
                    batch = await subscription.pull()
                except InvalidInput as error:
                    await self._garbage(subscription, error)
                    continue
                except soap.Fault as fault:
                    losses = [*(at for at in losses if began - at < LOSSES_S), began]
                    if fault.unauthorised or len(losses) > LOSSES_MOST:
                        raise
                    subscription = await self._subscribe_again(fault)
                    continue
                self._garbled = 0
                moved = await self._follow_clock(batch.now)
                if moved and subscription.opened_at is not None:
                    subscription.opened_at += moved
                await self._take(batch, since=subscription.opened_at)
                if moved:
                    await self._look_again(moved)
        except asyncio.CancelledError:
            await subscription.close()
            raise

    async def _subscribe_again(self, fault: soap.Fault) -> PullPoint:
        self._count("subscriptions_lost")
        log.info("%s: it lost our subscription, which is made anew: %s", self._endpoint.address, fault.what)
        return await self._subscribe()

    async def _garbage(self, subscription: PullPoint, error: InvalidInput) -> None:
        """Count an answer that cannot be read, and ask again for what it may have held."""
        self._count("unreadable")
        self._garbled += 1
        if self._garbled == 1:
            log.warning("%s: unreadable events are put aside: %s", self._endpoint.address, error.what)
        if self._garbled > GARBAGE_MOST:
            raise DeviceRefused(self._endpoint.address, f"it sends nothing that can be read: {error.what}")
        await asyncio.sleep(GARBLED_S * 2 ** (self._garbled - 1))
        since = self._positions.at(self._device) or subscription.opened_at
        if self._stores and since is not None:
            await self._seek(subscription, since)

    async def _take(self, batch: Batch, *, since: datetime | None) -> None:
        self.counters["unreadable"] += batch.unreadable
        heard = self._listener.take(batch.notifications, at=self._now(), since=since)
        self._take_requests(heard)
        if self._reports.qsize() + len(heard.events) > REPORTS_WAITING:
            raise DeviceUnreachable(self._endpoint.address, "nobody takes its reports; it is asked for them again")
        for door_id, event in heard.events:
            self._count("events")
            self._report(door_id, event, delivery=self._deliveries.hand_out(_until(event.device_at, batch.now)))
        for door_id in heard.changed:
            self._report_standing(door_id)
        await self._until_committed()
        if not self._deliveries.open and batch.now is not None:
            self._positions.advance(self._device, batch.now)

    def _take_requests(self, heard: Heard) -> None:
        if self._acts is None:
            return
        for point in heard.over:
            self._acts.give_up(point)
        for asked in heard.asked:
            if not self._acts.expect(asked):
                continue
            self._count("requests")
            if self._requests.qsize() >= REQUESTS_WAITING:
                self._count("requests_dropped")
            else:
                self._requests.put_nowait(asked.request)

    async def _until_committed(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + COMMIT_S
        while self._deliveries.open and (left_s := until - loop.time()) > 0:
            self._committed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._committed.wait()
            except TimeoutError:
                return

    # ---- reports ----------------------------------------------------------------------------------------------------

    def _report(self, door_id: str, report: Report, *, delivery: Delivery | None = None) -> None:
        if delivery is None and self._reports.qsize() >= REPORTS_WAITING:
            self._count("reports_dropped")  # a state: the next one says as much
            return
        acknowledge = partial(self._acknowledge, self._deliveries, delivery)
        self._reports.put_nowait(Reported(door_id=door_id, report=report, acknowledge=acknowledge))

    async def _acknowledge(self, deliveries: Deliveries, delivery: Delivery | None, _through: int | None) -> None:
        """Note a report as committed: the next batch may be pulled, and this one is not sought again."""
        if delivery is not None and not delivery.committed:
            deliveries.commit(delivery)
            self._count("acknowledged")
            self._committed.set()

    def _report_standing(self, door_id: str) -> None:
        self._count("states")
        self._report(door_id, self._snapshot(door_id, self._listener.standing[door_id]))

    def _snapshot(self, door_id: str, standing: Standing) -> Snapshot:
        ordered = None if self._acts is None else self._acts.ordered.get(door_id)
        return standing.snapshot(at=self._now(), ordered=ordered)

    def _opened(self) -> asyncio.Task[None]:
        if self._pulling is None:
            raise DeviceUnreachable(self._endpoint.address, "the driver is not open")
        return self._pulling

    def _count(self, name: str) -> None:
        self.counters[name] += 1


def _until(device_at: datetime | None, now: datetime | None) -> datetime | None:
    """Return a device's time of an event; one after its own now was stamped before its clock was set back."""
    return device_at if device_at is None or now is None else min(device_at, now)
