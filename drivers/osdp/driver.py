"""The OSDP door driver: the readers of one line, their doors' contacts and strikes; libosdp in a process of its own.

OSDP numbers no events and keeps none: what happened while nobody asked shows only in how things stand afterwards, and a
card that waited at a reader opens nothing. A door's mode is kept here, by its strike; a reader knows none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final, Literal, Self

from drivers.door import Capability, Executed, GiveFeedback, Order, Reported, SetMode, UnlockDoor, Warn
from drivers.osdp.doorway import Doorways
from drivers.osdp.keypad import PAUSE_S
from drivers.osdp.link import PanelLink
from drivers.osdp.messages import (
    Act,
    Beep,
    Card,
    Command,
    Counted,
    Done,
    FromPanel,
    Keys,
    Light,
    Offline,
    Online,
    Output,
    ReaderSetup,
    Setup,
    Show,
    Status,
    Topic,
)  # fmt: skip
from drivers.osdp.orders import answering
from drivers.osdp.reader import Reader, card_value
from drivers.osdp.settings import BusSettings, ReaderSettings, key_of
from drivers.since_boot import since_boot_s
from models.access import Request
from models.errors import CommandExpired, Conflict, DeviceUnreachable, InvalidInput
from models.reports import Event, EventType, Presence, Report, Snapshot

log = logging.getLogger("gatehouse.drivers.osdp")

START_S: Final = 5.0
"""How long the readers of a line may take to be there or not, before the driver begins all the same."""
REQUESTS_WAITING: Final = 64
REPORTS_WAITING: Final = 512
MODE_S: Final = 3.0
LIGHT_S: Final = 3.0
HOLD_MOST_S: Final = 3600.0
OPEN_MODES: Final = frozenset({"evacuating", "held_open"})
TROUBLES: Final = {
    "key": "it does not take our key: give it the right one, or set it by `python -m drivers osdp install`",
    "insecure": "it has no secure channel: set one up at the reader, or say `plain: true`",
    "garbled": "it answers, but not as a reader does: look at the wiring, the address and the baud rate",
}
COUNTERS: Final = (
    "events", "states", "requests", "requests_dropped", "requests_waited", "unreadable", "sessions", "commands",
    "commands_refused", "commands_unanswered", "troubles",
)  # fmt: skip


async def _nothing_to_say(_through: int | None) -> None:
    """OSDP acknowledges on the line alone: a reader forgets what it has told."""


class OsdpDoors:
    """Serve the doors of one OSDP line; a `DoorDriver`.

    Args:
        bus: the line and its readers, all of doors that are served here.
        now: the caller's clock.
        clock: seconds since the machine started; a card or an order that sleeps with it is old.
    """

    def __init__(
        self, bus: BusSettings, *, now: Callable[[], datetime], clock: Callable[[], float] = since_boot_s
    ) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._bus = bus
        self._now = now
        self._clock = clock
        self._readers = {settings.address: Reader(settings) for settings in bus.readers}
        self._doors = Doorways(tuple(self._readers.values()))
        self._undecided = set(self._readers)
        self._link: PanelLink | None = None
        self._starting = asyncio.Lock()
        self._settled = False
        self._decided = asyncio.Event()
        self._reports: asyncio.Queue[Reported | None] = asyncio.Queue()
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue(REQUESTS_WAITING + 1)
        self._present: dict[str, bool] = {}
        self._executing: set[str] = set()
        self._life = f"{int(now().timestamp() * 1_000_000):x}"
        self._count_of_ids = 0

    # ---- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the line and wait, at most 5 s, until every reader is there or is known to be away.

        Raises:
            DeviceUnreachable: the port is not there, is in use, or went away.
        """
        setup = Setup(
            port=self._bus.port,
            baud_rate=self._bus.baud_rate,
            readers=tuple(_setup_of(reader.settings) for reader in self._readers.values()),
        )
        async with self._starting:
            self._link = link = await PanelLink(setup, on_record=self._on_record, clock=self._clock).__aenter__()
        try:
            await self._settle(link)
        except BaseException:
            await link.__aexit__()
            raise
        self._settled = True
        link.ended.add_done_callback(self._on_end)
        for door_id in sorted({reader.settings.door for reader in self._readers.values()}):
            self._tell_presence(door_id)
        return self

    async def _settle(self, link: PanelLink) -> None:
        """Wait until it is known of every reader whether it is there. Raises `DeviceUnreachable` if the line is gone."""
        link.ended.add_done_callback(lambda _: self._decided.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._decided.wait()
        if link.ended.done():
            raise DeviceUnreachable(self._bus.port, link.ended.result())

    async def __aexit__(self, *exc: object) -> None:
        """Leave the line; strikes fall back by their own timers."""
        await self.leave_line()

    async def leave_line(self) -> None:
        """Leave the line to somebody else, also while it is entered: the driver ends as if the line were gone."""
        async with self._starting:
            if self._link is not None:
                await self._link.__aexit__()

    def _on_end(self, _ended: asyncio.Future[str]) -> None:
        self._reports.put_nowait(None)
        if not self._requests.full():
            self._requests.put_nowait(None)

    # ---- what the caller reads --------------------------------------------------------------------------------------

    async def reports(self) -> AsyncIterator[Reported]:
        """Yield door reports in order of arrival; then raise `DeviceUnreachable` when the line is gone."""
        link = self._connected()
        while True:
            reported = await self._reports.get()
            if reported is None:
                raise DeviceUnreachable(self._bus.port, link.ended.result())
            yield reported
            if self._reports.qsize() == REPORTS_WAITING // 2:
                link.resume()

    async def requests(self) -> AsyncIterator[Request]:
        """Yield who stands at a reader now; ends when the line is gone."""
        link = self._connected()
        while not (link.ended.done() and self._requests.empty()):
            request = await self._requests.get()
            if request is None:
                return
            yield request

    async def snapshot(self, door_id: str) -> Snapshot | None:
        """Return how a door stands, or None while one of its readers is away."""
        return self._doors.snapshot(door_id, at=self._now()) if self._doors.is_present(door_id) else None

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        """Return what a door can do, or None if none of its readers has said so yet."""
        return self._doors.capabilities(door_id)

    # ---- orders -----------------------------------------------------------------------------------------------------

    async def execute(self, order: Order) -> Executed:
        """Carry out an order once, at most until `valid_ms` is over.

        Raises:
            CommandExpired: `valid_ms` is over before the order could be sent.
            DeviceUnreachable: the line or the reader is away; nothing was sent.
            Conflict: an order with this id is under way.
            InvalidInput: the door is not served here, or an argument is out of bounds.
        """
        link = self._connected()
        if not self._doors.at(order.door_id):
            raise InvalidInput("door_id", f"door {order.door_id!r} is not served by this driver")
        if link.ended.done():
            raise DeviceUnreachable(self._bus.port, link.ended.result())
        if isinstance(order, SetMode):
            return await self._set_mode(order)
        if order.valid_ms <= 0:
            raise CommandExpired(order.id, -order.valid_ms)
        if order.id in self._executing:
            raise Conflict(f"command {order.id} is under way")
        self._executing.add(order.id)
        try:
            return await self._execute(order, self._clock() + order.valid_ms / 1000)
        finally:
            self._executing.discard(order.id)

    async def _execute(self, order: UnlockDoor | GiveFeedback | Warn, until: float) -> Executed:
        if isinstance(order, UnlockDoor):
            return await self._unlock(order, until)
        if isinstance(order, Warn):
            return await self._signal(self._doors.side(order.door_id, None), until, Beep(times=4, on_s=0.2))
        reader = self._doors.side(order.door_id, order.attempt)
        return await self._signal(reader, until, *answering(order.reason, ok=order.ok, for_s=LIGHT_S))

    async def _unlock(self, order: UnlockDoor, until: float) -> Executed:
        if not 0 < order.hold_s <= HOLD_MOST_S:
            raise InvalidInput("hold_s", f"unlock for more than 0 and at most {HOLD_MOST_S:.0f} s")
        if self._doors.mode(order.door_id)[1] == "locked_down":
            return Executed(ok=False, error="locked down")
        striking = self._doors.strike(order.door_id)
        if striking is None:
            return Executed(ok=False, error="unsupported")
        number, strike = striking
        executed = await self._order(number, Output(number=strike, turn="pulse", hold_s=order.hold_s), until)
        if executed.ok and order.attempt is not None:
            self._hint(
                self._doors.side(order.door_id, order.attempt), Light(color="green", for_s=min(order.hold_s, 25.0))
            )
            self._hint(self._doors.side(order.door_id, order.attempt), Beep(times=1, on_s=0.2))
        return executed

    async def _set_mode(self, order: SetMode) -> Executed:
        version, mode = self._doors.mode(order.door_id)
        if order.version < version:
            return Executed(ok=False, error=f"mode {mode} of version {version} is in force")
        striking = self._doors.strike(order.door_id)
        if striking is None:
            return Executed(ok=False, error="unsupported")
        number, strike = striking
        if order.mode == "locked_down":  # in force from now on, whatever the reader answers
            self._doors.set_mode(order.door_id, version=order.version, mode=order.mode)
        turn: Literal["on", "off"] = "on" if order.mode in OPEN_MODES else "off"
        executed = await self._order(number, Output(number=strike, turn=turn), self._clock() + MODE_S)
        if executed.ok and order.version >= self._doors.mode(order.door_id)[0]:
            self._doors.set_mode(order.door_id, version=order.version, mode=order.mode)
            self._tell_standing(order.door_id)
        return executed

    async def _order(self, address: int, command: Command, until: float) -> Executed:
        """Have one command carried out at a reader. Raises `DeviceUnreachable` if the reader is away."""
        if not self._readers[address].online:
            raise DeviceUnreachable(f"{self._bus.port} reader {address}", "it does not answer; nothing was sent")
        self._count("commands")
        done = await self._connected().tell(address, command, until=until)
        if not done.ok:
            self._count("commands_refused" if done.certain else "commands_unanswered")
        return Executed(ok=done.ok, certain=done.certain, error=done.error)

    async def _signal(self, reader: Reader, until: float, *commands: Command) -> Executed:
        """Tell the person at a reader something, by what it has of a display, a light and a buzzer."""
        able = {Show: reader.has_display(), Light: reader.has_light(), Beep: reader.has_sound()}
        executed = Executed(ok=False, error="unsupported")
        for command in commands:
            if able.get(type(command), False):
                executed = await self._order(reader.settings.address, command, until)
                if not executed.ok:
                    return executed
        return executed

    def _hint(self, reader: Reader, command: Light | Beep) -> None:
        """Tell the person at a reader something that nothing depends on."""
        able = reader.has_light() if isinstance(command, Light) else reader.has_sound()
        if able and reader.online and not self._connected().ended.done():
            self._connected().tell(reader.settings.address, command, until=self._clock() + 1.0)

    # ---- what the panel tells ---------------------------------------------------------------------------------------

    def _on_record(self, record: FromPanel) -> None:
        if isinstance(record, Counted):
            self.counters["unreadable"], self.counters["sessions"] = record.unreadable, record.sessions
            return
        if isinstance(record, Act | Done) or not hasattr(record, "address"):
            return
        reader = self._readers.get(record.address)
        if reader is None:
            return
        if isinstance(record, Status):
            self._on_status(reader, record)
        elif isinstance(record, Card):
            value = card_value(record)
            if value is None:
                self._count("unreadable")
            else:
                self._request(reader, "card", value, waited=record.waited)
        elif isinstance(record, Keys):
            self._on_keys(reader, record)
        elif isinstance(record, Online | Offline):
            self._on_reach(reader, record)

    def _on_status(self, reader: Reader, status: Status) -> None:
        before = reader.standing
        for event in reader.take(status):
            self._event(reader, event)
        if reader.online and reader.standing != before:
            self._tell_standing(reader.settings.door)

    def _on_keys(self, reader: Reader, record: Keys) -> None:
        kind: Literal["pin", "flat_pin"] = "flat_pin" if reader.settings.keypad == "flat_pin" else "pin"
        for value in reader.keypad.press(record.keys, at=self._clock()):
            self._request(reader, kind, value, waited=record.waited)
        asyncio.get_running_loop().call_later(PAUSE_S + 0.1, lambda: reader.keypad.forget(at=self._clock()))

    def _on_reach(self, reader: Reader, record: Online | Offline) -> None:
        trouble = isinstance(record, Offline) and record.why in TROUBLES
        if trouble and not reader.trouble:
            self._count("troubles")
            detail = TROUBLES[record.why] if isinstance(record, Offline) else ""
            log.warning("%s: reader %d: %s", self._bus.port, record.address, detail)
            self._event(reader, "fault", detail=f"reader {record.address}: {detail}")
        elif reader.trouble and isinstance(record, Online):
            log.info("%s: reader %d is back", self._bus.port, record.address)
            self._event(reader, "fault_cleared", detail=f"reader {record.address}")
        if isinstance(record, Online):
            reader.arrive(record)
        else:
            reader.leave()
            reader.trouble = reader.trouble or trouble
        self._undecided.discard(record.address)
        if not self._undecided:
            self._decided.set()
        if self._settled:
            self._tell_presence(reader.settings.door)

    def _request(self, reader: Reader, kind: Literal["card", "pin", "flat_pin"], value: str, *, waited: bool) -> None:
        self._count("requests_waited" if waited else "requests")
        if self._requests.qsize() >= REQUESTS_WAITING:
            self._count("requests_dropped")
            return
        settings = reader.settings
        request = Request(
            id=self._new_id("r"),
            door_id=settings.door,
            kind=kind,
            reader=settings.side,
            value=value,
            redelivered=waited,
        )
        self._doors.asked_at(request.id, reader)
        self._requests.put_nowait(request)
        if self._link is not None and not waited:
            self._hint(reader, Light(color="amber", for_s=LIGHT_S, blink=True))

    # ---- reports ----------------------------------------------------------------------------------------------------

    def _event(self, reader: Reader, kind: EventType, *, detail: str = "") -> None:
        self._count("events")
        event = Event(id=self._new_id("e"), seq=None, type=kind, at=self._now(), detail=detail)
        self._report(reader.settings.door, event)

    def _tell_standing(self, door_id: str) -> None:
        if self._doors.is_present(door_id):
            self._count("states")
            self._report(door_id, self._doors.snapshot(door_id, at=self._now()))

    def _tell_presence(self, door_id: str) -> None:
        online = self._doors.is_present(door_id)
        if self._present.get(door_id) is not online:
            self._present[door_id] = online
            self._report(door_id, Presence(at=self._now(), online=online))
        self._tell_standing(door_id)

    def _report(self, door_id: str, report: Report) -> None:
        self._reports.put_nowait(Reported(door_id=door_id, report=report, acknowledge=_nothing_to_say))
        if self._reports.qsize() >= REPORTS_WAITING and self._link is not None:
            self._link.pause()

    def _connected(self) -> PanelLink:
        if self._link is None:
            raise DeviceUnreachable(self._bus.port, "the driver is not open")
        return self._link

    def _new_id(self, kind: str) -> str:
        self._count_of_ids += 1
        return f"osdp-{self._life}-{kind}{self._count_of_ids}"

    def _count(self, name: str) -> None:
        self.counters[name] += 1


def _setup_of(settings: ReaderSettings) -> ReaderSetup:
    ask: list[Topic] = ["local"]
    if settings.inputs.wired:
        ask.append("input")
    if settings.strike is not None:
        ask.append("output")
    key = None if settings.plain else key_of(settings)
    return ReaderSetup(address=settings.address, trust="plain" if settings.plain else "key", key=key, ask=tuple(ask))
