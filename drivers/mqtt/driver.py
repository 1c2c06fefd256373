"""The MQTT door driver: one broker connection with many doors, by door contract version 1 (docs/mqtt.md).

Acknowledges only what the caller has committed, first to the broker and then end to end to the door. It never
reconnects, nor queues or repeats a command: `reports` raises when the connection ends; the broker's session and the
doors keep the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import Final, Self

from paho.mqtt.client import MQTTMessage

from drivers.door import Capability, Executed, GiveFeedback, Order, Reported, SetMode, UnlockDoor, Warn
from drivers.mqtt import wire
from drivers.mqtt.acks import Acks
from drivers.mqtt.endpoint import Endpoint, attempts
from drivers.mqtt.link import Link
from models.access import Request
from models.doors import Report, Snapshot
from models.errors import CommandExpired, Conflict, DeviceUnreachable, InvalidInput

log = logging.getLogger("gatehouse.drivers.mqtt")

REQUESTS_WAITING: Final = 64
CATCH_UP: Final = timedelta(seconds=3)
"""After a door or this driver comes back: events within this time may have waited for it."""
MODE_TIMEOUT_S: Final = 5.0
SUBSCRIBED_S: Final = 1.0
SUBSCRIBED_LATE_S: Final = 30.0
CAUSES_LOGGED: Final = 1000
ANNOUNCED: Final = 1000
COUNTERS: Final = (
    "events", "states", "results", "results_unexpected", "requests", "requests_dropped", "reports_dropped",
    "unreadable", "acknowledged", "commands", "commands_unanswered",
)  # fmt: skip


@dataclass
class Unacknowledged:
    """Hold a message of this connection that still needs its PUBACK, in order of arrival."""

    mid: int
    done: bool = False


class MqttDoors:
    """Serve the doors of one broker connection; a `DoorDriver`.

    Args:
        endpoint: the broker; its client id must be this driver's own and never change.
        doors: the adopted doors.
        now: the caller's clock.
    """

    def __init__(self, endpoint: Endpoint, *, doors: tuple[str, ...], now: Callable[[], datetime]) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.announced: dict[str, wire.Hello] = {}
        """Every introduction on this broker, also of doors that are not adopted; at most 1000."""
        self._endpoint = endpoint
        self._doors = frozenset(doors)
        self._now = now
        self._link: Link | None = None
        self._reports: asyncio.Queue[Reported | None] = asyncio.Queue()
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue(REQUESTS_WAITING + 1)
        self._unacknowledged: deque[Unacknowledged] = deque()
        self._answers: dict[str, tuple[str, asyncio.Future[Executed]]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._catching_up: dict[str, datetime] = {}
        self._acks: Acks | None = None
        self._causes: set[tuple[str, str]] = set()

    # ---- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            DeviceUnreachable: no broker answers.
            DeviceRefused: wrong credentials, or the broker denies a topic.
        """
        *earlier, last = attempts(self._endpoint)
        for endpoint in earlier:
            with contextlib.suppress(DeviceUnreachable):
                return await self._open(endpoint)
        return await self._open(last)

    async def _open(self, endpoint: Endpoint) -> Self:
        link = self._link = Link(endpoint, on_message=self._on_message)
        self._acks = Acks(link)
        try:
            if await link.open():
                until = self._now() + CATCH_UP
                self._catching_up = dict.fromkeys(self._doors, until)
            await self._subscribe(link)
        except BaseException:
            await link.close()
            raise
        link.ended.add_done_callback(self._on_end)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect; the broker keeps the session."""
        if self._link is not None:
            await self._link.close()

    async def _subscribe(self, link: Link) -> None:
        """Subscribe; a broker that first wants what it had kept acknowledged may answer while reports are taken."""
        subscribing = asyncio.ensure_future(link.subscribe(self._topics(), limit_s=SUBSCRIBED_LATE_S))
        await asyncio.wait({subscribing}, timeout=SUBSCRIBED_S)
        if subscribing.done():
            subscribing.result()
        subscribing.add_done_callback(partial(_end_unless_subscribed, link))

    def _topics(self) -> list[tuple[str, int]]:
        kinds = [kind for kind in wire.FROM_DOOR if kind != "hello"]
        own = [(wire.topic_of(door, kind), int(wire.QOS[kind])) for door in sorted(self._doors) for kind in kinds]
        return [(wire.topic_of("+", "hello"), 1), *own]

    def _on_end(self, _ended: asyncio.Future[str]) -> None:
        for _, answer in self._answers.values():
            if not answer.done():
                answer.set_result(Executed(ok=False, certain=False, error="the connection ended"))
        self._unacknowledged.clear()
        self._reports.put_nowait(None)
        if not self._requests.full():
            self._requests.put_nowait(None)

    # ---- what the caller reads --------------------------------------------------------------------------------------

    async def reports(self) -> AsyncIterator[Reported]:
        """Yield door reports in order of arrival; then raise `DeviceUnreachable` when the connection has ended."""
        link = self._connected()
        while True:
            reported = await self._reports.get()
            if reported is None:
                raise DeviceUnreachable(self._endpoint.address, link.ended.result())
            yield reported
            if self._reports.qsize() <= self._endpoint.window:
                link.resume()

    async def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at a reader now; ends when the connection has ended."""
        link = self._connected()
        while True:
            if link.ended.done() and self._requests.empty():
                return
            request = await self._requests.get()
            if request is None:
                return
            yield request

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how a door stands, or None if it has not said since the driver started."""
        return self._snapshots.get(door_id)

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door said that it can do, or None if it has not introduced itself yet."""
        hello = self.announced.get(door_id)
        return None if hello is None else hello.known

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def execute(self, order: Order) -> Executed:
        """Deliver an order once and wait for the door's answer, at most `valid_ms`.

        A mode is `ok` when the broker holds it; the door confirms it in a later snapshot.

        Raises:
            CommandExpired: `valid_ms` is over before the order could be sent.
            DeviceUnreachable: the broker is away, or does not take messages now; nothing was sent.
            Conflict: an order with this id is under way.
            InvalidInput: the door is not served here, or an argument is out of bounds.
        """
        link = self._connected()
        if order.door_id not in self._doors:
            raise InvalidInput("door_id", f"door {order.door_id!r} is not served by this driver")
        if link.ended.done() or link.congested:
            raise DeviceUnreachable(self._endpoint.address, "the broker takes no messages now")
        if isinstance(order, SetMode):
            return await self._set_mode(link, order)
        if isinstance(order, Warn):
            return Executed(ok=False, error="unsupported")
        return await self._command(link, order)

    async def _set_mode(self, link: Link, order: SetMode) -> Executed:
        payload = wire.mode_payload(order)
        taken = link.publish(wire.topic_of(order.door_id, "mode"), payload, qos=1, retain=True)
        done, _ = await asyncio.wait({taken}, timeout=MODE_TIMEOUT_S)
        if not done or taken.cancelled():
            return Executed(ok=False, certain=False, error="the broker did not confirm the mode")
        return Executed(ok=True) if taken.result() else Executed(ok=False, error="the broker refused the mode")

    async def _command(self, link: Link, order: UnlockDoor | GiveFeedback) -> Executed:
        if order.valid_ms <= 0:
            raise CommandExpired(order.id, -order.valid_ms)
        if order.id in self._answers:
            raise Conflict(f"command {order.id} is under way")
        payload = wire.command_payload(order, at=self._now())
        answer: asyncio.Future[Executed] = asyncio.get_running_loop().create_future()
        self._answers[order.id] = (order.door_id, answer)
        try:
            topic = wire.topic_of(order.door_id, "command")
            link.publish(topic, payload, qos=0, expiry_s=ceil(order.valid_ms / 1000))
            self._count("commands")
            async with asyncio.timeout(order.valid_ms / 1000):
                return await answer
        except TimeoutError:
            self._count("commands_unanswered")
            return Executed(ok=False, certain=False, error="the door did not answer in time")
        finally:
            del self._answers[order.id]

    def _connected(self) -> Link:
        if self._link is None:
            raise DeviceUnreachable(self._endpoint.address, "the driver is not open")
        return self._link

    # ---- messages ---------------------------------------------------------------------------------------------------

    def _on_message(self, message: MQTTMessage) -> None:
        """Take one message: nothing that it holds may raise, and a QoS 1 message is always acknowledged some time."""
        waiting = Unacknowledged(mid=message.mid) if message.qos else None
        if waiting is not None:
            self._unacknowledged.append(waiting)
        topic = "?"
        try:
            topic = _topic(message)
            door_id, kind = wire.parse_topic(topic, doors=self._doors)
            self._take(kind, message, door_id=door_id, waiting=waiting)
        except InvalidInput as error:
            self._unreadable(topic, error)
            self._release(waiting)

    def _take(self, kind: wire.FromDoor, message: MQTTMessage, *, door_id: str, waiting: Unacknowledged | None) -> None:
        at, payload = self._now(), bytes(message.payload)
        backlog = message.dup or at < self._catching_up.get(door_id, at)
        delivery = wire.Delivery(door_id=door_id, at=at, retained=message.retain, backlog=backlog)
        if kind in {"state", "event", "online"}:
            self._report(wire.parse_report(kind, payload, delivery=delivery), delivery, waiting=waiting)
            self._count("events" if kind == "event" else "states")
            return
        if kind == "request":
            delivery = wire.Delivery(door_id=door_id, at=at, retained=message.retain, backlog=message.dup)
            self._request(wire.parse_request(payload, delivery=delivery))
        elif kind == "result":
            self._result(wire.parse_result(payload, door_id=door_id), door_id=door_id)
        elif kind == "hello":
            hello = wire.parse_hello(payload, door_id=door_id)
            if door_id in self._doors or len(self.announced) < ANNOUNCED:
                self.announced[door_id] = hello
        self._release(waiting)

    def _report(self, report: Report, delivery: wire.Delivery, *, waiting: Unacknowledged | None) -> None:
        door_id = delivery.door_id
        if isinstance(report, Snapshot):
            self._snapshots[door_id] = report
        elif getattr(report, "online", False) and not delivery.retained:
            self._catching_up[door_id] = delivery.at + CATCH_UP
        if self._reports.qsize() > 2 * self._endpoint.window:
            if waiting is None:  # sent without any promise (QoS 0), while the caller is behind
                self._count("reports_dropped")
                return
            self._connected().pause()
        acknowledge = partial(self._acknowledge, door_id, waiting)
        self._reports.put_nowait(Reported(door_id=door_id, report=report, acknowledge=acknowledge))

    def _request(self, request: Request) -> None:
        self._count("requests")
        if self._requests.qsize() >= REQUESTS_WAITING:
            self._count("requests_dropped")
        else:
            self._requests.put_nowait(request)

    def _result(self, result: wire.ResultPayload, *, door_id: str) -> None:
        self._count("results")
        asked, answer = self._answers.get(result.id, (None, None))
        if answer is None or answer.done() or asked != door_id:
            self._count("results_unexpected")
            return
        error = None if result.ok else (result.error or "the door refused")[: wire.DETAIL_CHARS]
        answer.set_result(Executed(ok=result.ok, error=error, device_at=wire.sane(result.at)))

    # ---- acknowledging ----------------------------------------------------------------------------------------------

    async def _acknowledge(self, door_id: str, waiting: Unacknowledged | None, through: int | None) -> None:
        """Acknowledge a committed report to the broker, and tell the door up to where its events are safe."""
        self._release(waiting)
        keeps = self.capabilities(door_id)
        if through is not None and self._acks is not None and (keeps is None or "ack" in keeps):
            self._acks.put(door_id, through)

    def _release(self, waiting: Unacknowledged | None) -> None:
        """Mark a message done and send the PUBACKs that are due, in order; those of an ended connection are gone."""
        if waiting is None:
            return
        waiting.done = True
        link = self._connected()
        while self._unacknowledged and self._unacknowledged[0].done:
            link.acknowledge(self._unacknowledged.popleft().mid)
            self._count("acknowledged")

    def _unreadable(self, topic: str, error: InvalidInput) -> None:
        self._count("unreadable")
        cause = (error.where if error.where == "topic" else topic, error.what[:80])
        if cause not in self._causes and len(self._causes) < CAUSES_LOGGED:
            self._causes.add(cause)
            log.warning("%s: unreadable messages on %.120s are put aside: %s", self._endpoint.address, topic, error)

    def _count(self, name: str) -> None:
        self.counters[name] += 1


def _end_unless_subscribed(link: Link, subscribing: asyncio.Future[None]) -> None:
    error = None if subscribing.cancelled() else subscribing.exception()
    if error is not None:
        link.abort(str(error))


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        raise InvalidInput("topic", "it is not UTF-8") from None
