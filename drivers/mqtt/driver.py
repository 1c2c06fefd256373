"""The MQTT door driver: one broker connection with many doors, by door contract version 1 or a map (docs/mqtt.md).

Acknowledges only what the caller has committed, first to the broker and then end to end to the door. It never
reconnects, nor queues or repeats a command: `reports` raises when the connection ends; the broker's session and the
doors keep the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
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
from drivers.mqtt.speech import Arrived, ContractSpeech, Heard, Outgoing, Speech
from drivers.mqtt.wakefulness import Wakefulness
from models.access import Request
from models.doors import Event, Presence, Report, Snapshot
from models.errors import CommandExpired, Conflict, DeviceUnreachable, InvalidInput

log = logging.getLogger("gatehouse.drivers.mqtt")

REQUESTS_WAITING: Final = 64
CATCH_UP: Final = timedelta(seconds=3)
"""After a door or this driver comes back: events within this time may have waited for it."""
FULL: Final = 20
"""So many unacknowledged messages may be all that the broker sends at once (Mosquitto's default): more may wait there."""
MODE_TIMEOUT_S: Final = 5.0
SUBSCRIBED_S: Final = 1.0
ASKED_S: Final = 1.0
SUBSCRIBED_LATE_S: Final = 30.0
CAUSES_LOGGED: Final = 1000
UNSUPPORTED: Final = Executed(ok=False, error="unsupported")
COUNTERS: Final = (
    "events", "states", "results", "results_unexpected", "requests", "requests_dropped", "reports_dropped",
    "unreadable", "acknowledged", "commands", "commands_unanswered",
)  # fmt: skip


@dataclass
class Unacknowledged:
    """Hold a message of this connection that still needs its PUBACK, in order of arrival."""

    mid: int
    left: int = 1
    """How many of its reports are not committed yet."""


class MqttDoors:
    """Serve the doors of one broker connection; a `DoorDriver`.

    Args:
        endpoint: the broker; its client id must be this driver's own and never change.
        doors: the adopted doors.
        now: the caller's clock.
        speech: how the doors speak; without one, by the door contract.
    """

    def __init__(
        self, endpoint: Endpoint, *, doors: tuple[str, ...], now: Callable[[], datetime], speech: Speech | None = None
    ) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._endpoint = endpoint
        self._full = min(endpoint.window, FULL)
        self._doors = frozenset(doors)
        self._speech: Speech = ContractSpeech(self._doors) if speech is None else speech
        self._now = now
        self._link: Link | None = None
        self._reports: asyncio.Queue[Reported | None] = asyncio.Queue()
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue(REQUESTS_WAITING + 1)
        self._unacknowledged: deque[Unacknowledged] = deque()
        self._answers: dict[str, tuple[str, asyncio.Future[Executed]]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._catching_up: dict[str, datetime] = {}
        self._caught_up = now()
        self._held_back = False
        self._acks: Acks | None = None
        self._wakefulness: Wakefulness | None = None
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
            self._catch_up(
                within=timedelta(seconds=endpoint.timeout_s) + CATCH_UP
            )  # it may come with the answer itself
            kept = await link.open()
            self._catch_up(within=CATCH_UP if kept else timedelta(0))
            await self._subscribe(link)
        except BaseException:
            await link.close()
            raise
        link.ended.add_done_callback(self._on_end)
        self._wakefulness = Wakefulness(now=self._now)
        return self

    def _catch_up(self, *, within: timedelta) -> None:
        self._caught_up = self._now() + within
        self._catching_up = dict.fromkeys(self._doors, self._caught_up)

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect; the broker keeps the session."""
        if self._wakefulness is not None:
            self._wakefulness.end()
        if self._link is not None:
            await self._link.close()

    async def _subscribe(self, link: Link) -> None:
        """Subscribe; a broker that first wants what it had kept acknowledged may answer while reports are taken."""
        speech = self._speech
        subscribing = asyncio.ensure_future(
            link.subscribe(speech.topics(), limit_s=SUBSCRIBED_LATE_S, as_published=speech.retains_no_request)
        )
        await asyncio.wait({subscribing}, timeout=SUBSCRIBED_S)
        if subscribing.done():
            subscribing.result()
        subscribing.add_done_callback(partial(_end_unless_subscribed, link))

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

    @property
    def announced(self) -> dict[str, wire.Hello]:
        """Return every introduction on this broker, also of doors that are not adopted; at most 1000."""
        return self._speech.announced

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door said that it can do, or None if it has not introduced itself yet."""
        return self._speech.capabilities(door_id)

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def execute(self, order: Order) -> Executed:
        """Deliver an order once and wait for the door's answer, at most `valid_ms`.

        A mode is `ok` when the broker holds it; the door confirms it in a later snapshot. An unlock that nothing will
        confirm is `ok` once it is sent, and not `certain`.

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
            wanted = self._speech.say_mode(order)
            return UNSUPPORTED if wanted is None else await self._set_mode(link, wanted)
        if order.valid_ms <= 0:
            raise CommandExpired(order.id, -order.valid_ms)
        if order.id in self._answers:
            raise Conflict(f"command {order.id} is under way")
        outgoing = self._speech.say(order, at=self._now())
        return UNSUPPORTED if outgoing is None else await self._command(link, order, outgoing)

    async def _set_mode(self, link: Link, wanted: Outgoing) -> Executed:
        taken = link.publish(wanted.topic, wanted.payload, qos=1, retain=True)
        done, _ = await asyncio.wait({taken}, timeout=MODE_TIMEOUT_S)
        if not done or taken.cancelled():
            return Executed(ok=False, certain=False, error="the broker did not confirm the mode")
        return Executed(ok=True) if taken.result() else Executed(ok=False, error="the broker refused the mode")

    async def _command(self, link: Link, order: UnlockDoor | GiveFeedback | Warn, outgoing: Outgoing) -> Executed:
        answer: asyncio.Future[Executed] = asyncio.get_running_loop().create_future()
        self._answers[order.id] = (order.door_id, answer)
        try:
            if not outgoing.dated and (silence := await _silence(link, order)):
                return Executed(ok=False, error=silence)
            link.publish(outgoing.topic, outgoing.payload, qos=0, expiry_s=ceil(order.valid_ms / 1000))
            self._count("commands")
            if not outgoing.answered:
                return Executed(ok=True, certain=False)
            async with asyncio.timeout(order.valid_ms / 1000):
                return await answer
        except TimeoutError:
            self._count("commands_unanswered")
            return Executed(ok=False, certain=False, error="the door did not answer in time")
        finally:
            del self._answers[order.id]
            self._speech.settled(order.id)

    def _connected(self) -> Link:
        if self._link is None:
            raise DeviceUnreachable(self._endpoint.address, "the driver is not open")
        return self._link

    # ---- messages ---------------------------------------------------------------------------------------------------

    def _on_message(self, message: MQTTMessage) -> None:
        """Take one message: nothing that it holds may raise, and a QoS 1 message is always acknowledged some time."""
        held_up = self._wakefulness is not None and self._wakefulness.held_up()
        if held_up:
            self._catch_up(within=CATCH_UP)  # what waited in the socket meanwhile is not about now
        waiting = Unacknowledged(mid=message.mid) if message.qos else None
        if waiting is not None:
            self._unacknowledged.append(waiting)
            if len(self._unacknowledged) >= self._full:
                self._held_back = self._held_back or self._now() < self._caught_up
        topic = "?"
        try:
            topic = _topic(message)
            arrived = Arrived(
                topic=topic,
                payload=bytes(message.payload),
                at=self._now(),
                retained=message.retain,
                redelivered=message.dup,
                held_up=held_up,
            )
            heard = self._speech.hear(arrived, catching_up=partial(self._catches_up, arrived.at))
        except InvalidInput as error:
            self._unreadable(topic, error)
            self._release(waiting)
        else:
            for trouble in (one.what for one in heard if isinstance(one.what, InvalidInput)):
                self._unreadable(topic, trouble)
            self._take(heard, retained=message.retain, waiting=waiting)

    def _catches_up(self, at: datetime, door_id: str) -> bool:
        return at < self._catching_up.get(door_id, at)

    def _take(self, heard: Sequence[Heard], *, retained: bool, waiting: Unacknowledged | None) -> None:
        reports = [(one.door_id, one.what) for one in heard if isinstance(one.what, Event | Snapshot | Presence)]
        for one in heard:
            if isinstance(one.what, Request):
                self._request(one.what)
            elif isinstance(one.what, wire.ResultPayload):
                self._result(one.what, door_id=one.door_id)
        if not reports:
            self._release(waiting)
            return
        if waiting is not None:
            waiting.left = len(reports)
        for door_id, report in reports:
            self._count("events" if isinstance(report, Event) else "states")
            if isinstance(report, Presence) and report.online and not retained:
                self._catching_up[door_id] = report.at + CATCH_UP
            self._report(report, door_id=door_id, waiting=waiting)

    def _report(self, report: Report, *, door_id: str, waiting: Unacknowledged | None) -> None:
        if isinstance(report, Snapshot):
            self._snapshots[door_id] = report
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
        waiting.left -= 1
        link = self._connected()
        if self._held_back and self._unacknowledged and self._unacknowledged[0].left <= 0:
            self._held_back = False
            self._catch_up(within=CATCH_UP)  # what the broker can send only now has waited too
        while self._unacknowledged and self._unacknowledged[0].left <= 0:
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


async def _silence(link: Link, order: UnlockDoor | GiveFeedback | Warn) -> str | None:
    """Return why nothing may be sent: the broker does not answer now, and would hand the order on late."""
    try:
        await link.ask(limit_s=min(order.valid_ms / 1000, ASKED_S))
    except DeviceUnreachable as error:
        return str(error)
    return None


def _end_unless_subscribed(link: Link, subscribing: asyncio.Future[None]) -> None:
    error = None if subscribing.cancelled() else subscribing.exception()
    if error is not None:
        link.abort(str(error))


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        raise InvalidInput("topic", "it is not UTF-8") from None
