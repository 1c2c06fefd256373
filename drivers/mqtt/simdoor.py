"""One simulated door controller on the real wire: contact, lock, readers, exit button, and misbehaviours by name.

It keeps its side of the contract (docs/mqtt.md): numbers outlive kill -9, events are kept until acknowledged, a command
is obeyed once and only in time. It decides nothing about people.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from paho.mqtt.client import MQTTMessage

from drivers.mqtt import wire
from drivers.mqtt.endpoint import Endpoint, attempts
from drivers.mqtt.habits import STANDING_OPEN, Fault, Habits, Outcome, Power, PowerEvent, mischief, request_payload
from drivers.mqtt.judge import Judge
from drivers.mqtt.link import Link, Will
from drivers.mqtt.store import EventStore
from models.doors import EventType
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

ANSWER_S: Final = 5.0
AGAIN_S: Final = 10.0
"""Events without an acknowledgement are published again after this time, doubled each time."""
LAST_AGAIN_S: Final = 600.0
SLOW_S: Final = 1.5
FIRST_BACKOFF_S: Final = 0.2
LAST_BACKOFF_S: Final = 5.0
REPLAY_AGE: Final = timedelta(minutes=40)


class SimulatedDoor:
    """Be one door with its own connection, until `run` is cancelled. Everything happens in one event loop.

    Args:
        door_id: its name on the wire.
        endpoint: the broker; its user name is usually the door's id.
        store: what it keeps over its death.
        habits: how it behaves.
        now: its clock, before `clock_hour_off`.
        rng: ids and jitter.
    """

    def __init__(
        self,
        door_id: str,
        *,
        endpoint: Endpoint,
        store: EventStore,
        now: Callable[[], datetime],
        rng: random.Random,
        habits: Habits | None = None,
    ) -> None:
        self.id = door_id
        self.habits = habits or Habits()
        self.contact: Literal["open", "closed"] = "closed"
        self.lock: Literal["locked", "unlocked"] = "unlocked" if store.mode(door_id)[1] in STANDING_OPEN else "locked"
        self.tampered = False
        self.faults: set[Fault] = set()
        self.refused: list[tuple[str, str]] = []
        """The last hundred commands that it refused, with the reason."""
        self.unlocks = 0
        self.warnings = 0
        self.power = Power()
        self.connected = asyncio.Event()
        self._endpoint = msgspec.structs.replace(endpoint, session_expiry_s=0)
        self._store = store
        self._now = now
        self._rng = rng
        self._again_s = AGAIN_S
        self._change = asyncio.Event()
        self._judge = Judge(door_id, store=store, clock=self.clock)
        self._link: Link | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._held_back: bytes | None = None
        self._last_command: wire.CommandPayload | None = None

    async def run(self) -> None:
        """Stay connected, again and again with back-off, until cancelled."""
        wait_s = FIRST_BACKOFF_S
        try:
            while True:
                with contextlib.suppress(DeviceUnreachable, DeviceRefused):
                    await self._connect()
                    wait_s = FIRST_BACKOFF_S
                    if self._link is not None:
                        await asyncio.shield(self._link.ended)
                self.connected.clear()
                self._changed()
                await asyncio.sleep(wait_s * self._rng.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, LAST_BACKOFF_S)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            if self._link is not None:
                await self._goodbye(self._link)

    def drop(self) -> None:
        """Lose the connection without a goodbye, as a cut cable would."""
        if self._link is not None:
            self._link.abort("cut")

    async def _goodbye(self, link: Link) -> None:
        if not link.ended.done():
            with contextlib.suppress(DeviceUnreachable, TimeoutError, asyncio.CancelledError):
                offline = link.publish(wire.topic_of(self.id, "online"), b'"offline"', qos=1, retain=True)
                await asyncio.wait_for(offline, 1.0)
        await link.close()

    async def _connect(self) -> None:
        self._again_s = AGAIN_S
        *earlier, last = attempts(self._endpoint)
        for endpoint in earlier:
            with contextlib.suppress(DeviceUnreachable):
                return await self._introduce(endpoint)
        return await self._introduce(last)

    async def _introduce(self, endpoint: Endpoint) -> None:
        will = Will(topic=wire.topic_of(self.id, "online"), payload=b'"offline"')
        link = self._link = Link(endpoint, on_message=self._on_message, will=will)
        try:
            await link.open()
            topics = [(wire.topic_of(self.id, kind), int(wire.QOS[kind])) for kind in wire.TO_DOOR]
            await link.subscribe(topics, limit_s=endpoint.timeout_s)
        except BaseException:
            await link.close()
            raise
        self._publish("online", b'"online"')
        hello = wire.Hello(model="simulated", firmware="1", serial=self.id, capabilities=self._capabilities())
        self._publish("hello", wire.encode(hello))
        self._resend()
        self._publish_state()
        self.connected.set()
        self._changed()
        if "replay_command" in self.faults and self._last_command is not None:
            self._replay(self._last_command)

    def _capabilities(self) -> tuple[str, ...]:
        return tuple(c for c in self.habits.capabilities if c != "ack" or "no_ack" not in self.faults)

    def _resend(self) -> None:
        """Publish what is not acknowledged once more, and again later and later if that does not help."""
        self._later("resend", self._again_s, self._resend)
        self._again_s = min(self._again_s * 2, LAST_AGAIN_S)
        for payload in self._store.unacknowledged(self.id)[:500]:
            event = msgspec.json.decode(payload, type=wire.EventPayload)
            self._publish("event", wire.encode(msgspec.structs.replace(event, kept=True)))

    def open(self) -> None:
        """Open the door leaf: forced if nothing released the lock."""
        self._open("opened" if self.lock == "unlocked" or self.habits.plain else "forced")

    def force(self) -> None:
        """Open the door leaf without any release."""
        self._open("opened" if self.habits.plain else "forced")

    def close(self) -> None:
        """Close the door leaf; the lock falls shut."""
        if self.contact == "open":
            self.contact = "closed"
            self.emit("closed")
            self._lock()

    def tamper(self) -> None:
        """Open the housing."""
        self.tampered = True
        self.emit("tamper")

    def clear_tamper(self) -> None:
        """Close the housing."""
        self.tampered = False
        self.emit("tamper_cleared")

    def change_power(self, event: PowerEvent) -> None:
        """Lose or regain mains, or let the battery run low or be charged."""
        self.power = self.power.after(event)
        self.emit(event)

    def press_exit(self) -> None:
        """Press the exit button inside: the door releases itself."""
        self.emit("exit_button")
        self._unlock(self.habits.exit_hold_s)

    async def request(
        self, kind: str, value: str | None, *, reader: Literal["in", "out"] = "in", timeout_s: float = ANSWER_S
    ) -> Outcome:
        """Ask to be let in and wait for the outcome.

        Args:
            kind: card, pin, flat_pin, qr, button or call.
            value: what is presented.
            reader: the side.
            timeout_s: how long to wait for an answer.

        Raises:
            InvalidInput: another kind of request, or a value that is too long.
        """
        stale = timedelta(seconds=60 if "stale_request" in self.faults else 0)
        payload = request_payload(id=self.new_id(), at=self.clock() - stale, reader=reader, kind=kind, value=value)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[payload.id] = answer
        began = asyncio.get_running_loop().time()
        try:
            self._publish("request", wire.encode(payload), retain="retained_request" in self.faults)
            async with asyncio.timeout(timeout_s):
                outcome = await answer
        except TimeoutError:
            return Outcome(ok=False, error="no answer", request=payload.id)
        finally:
            del self._waiting[payload.id]
        ms = (asyncio.get_running_loop().time() - began) * 1000
        return msgspec.structs.replace(outcome, ms=round(ms, 1), request=payload.id)

    def emit(self, kind: EventType, *, detail: str = "") -> int:
        """Report an event: kept first, then published with the state. Returns its number."""
        seq = self._store.next_seq(self.id)
        event = wire.EventPayload(id=self.new_id(), seq=seq, at=self.clock(), type=kind, detail=detail)
        payload = wire.encode(event)
        self._store.append(self.id, seq=seq, payload=payload)
        if "no_ack" in self.faults:
            self._store.acknowledged(self.id, seq)
        self._publish_event(payload)
        self._publish_state()
        self._changed()
        return seq

    def new_id(self) -> str:
        """Return a fresh id."""
        return f"{self._rng.getrandbits(96):024x}"

    def clock(self) -> datetime:
        """Return its own time."""
        return self._now() + timedelta(hours=1 if "clock_hour_off" in self.faults else 0)

    def progress(self) -> tuple[int, int]:
        """Return the numbers of the last event and of the last acknowledged one."""
        return self._store.progress(self.id)

    @property
    def mode(self) -> str:
        """Return the mode that it is in."""
        return self._store.mode(self.id)[1]

    def _on_message(self, message: MQTTMessage) -> None:
        try:
            kind = message.topic.rpartition("/")[2]
            payload = bytes(message.payload)
            if kind == "ack":
                self._store.acknowledged(self.id, wire.parse_ack(payload, door_id=self.id))
                self._again_s = AGAIN_S
                self._changed()
            elif kind == "mode":
                self._take_mode(wire.parse_mode(payload, door_id=self.id))
            elif kind == "command" and "deaf" not in self.faults:
                self._take_command(wire.parse_command(payload, door_id=self.id), retained=message.retain)
        except InvalidInput as error:
            self._refuse("-", str(error))
        finally:
            if message.qos and self._link is not None:
                self._link.acknowledge(message.mid)

    def _take_mode(self, wanted: wire.ModePayload) -> None:
        version, before = self._store.mode(self.id)
        if wanted.version > version:
            self._store.set_mode(self.id, version=wanted.version, mode=wanted.mode)
            if wanted.mode in STANDING_OPEN:
                self.lock = "unlocked"
            elif before in STANDING_OPEN:
                self.lock = "locked"
            self._changed()
        self._publish_state()

    def _take_command(self, command: wire.CommandPayload, *, retained: bool) -> None:
        own = command.attempt in self._waiting
        reason = self._judge.reason_to_refuse(command, retained=retained, own=own, faults=self.faults)
        self._last_command = command
        if reason is not None:
            self._refuse(command.id, reason)
            self._answer(command.id, error=reason)
        elif "slow" in self.faults:
            asyncio.get_running_loop().call_later(SLOW_S, self._obey, command)
        else:
            self._obey(command)

    def _obey(self, command: wire.CommandPayload) -> None:
        if command.action == "unlock":
            self._unlock(command.hold_s or self.habits.exit_hold_s)
            self.unlocks += 1
            self._settle(command, Outcome(ok=True, unlocked=True))
            if self.habits.auto_open_s is not None:
                self._later("walk", self.habits.auto_open_s, self._walk_through)
        elif command.action == "lock":
            self._lock()
        elif command.action == "warn":
            self.warnings += 1
        else:
            self._settle(command, Outcome(ok=bool(command.ok), feedback=command.reason or ""))
        self._answer(command.id, error=None)
        self._changed()

    def _settle(self, command: wire.CommandPayload, outcome: Outcome) -> None:
        waiting = self._waiting.get(command.attempt or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)

    def _answer(self, command_id: str, *, error: str | None) -> None:
        if "silent" not in self.faults:
            result = wire.ResultPayload(id=command_id, ok=error is None, at=self.clock(), error=error)
            self._publish("result", wire.encode(result))

    def _refuse(self, command_id: str, reason: str) -> None:
        self.refused = [*self.refused, (command_id, reason)][-100:]
        self._changed()

    def _replay(self, command: wire.CommandPayload) -> None:
        """Act as if a broker delivered an old command, under an id never seen, 40 minutes late."""
        late = (command.at or self._now()) - REPLAY_AGE
        self._take_command(msgspec.structs.replace(command, id=self.new_id(), at=late), retained=False)

    def _open(self, kind: EventType) -> None:
        if self.contact == "closed":
            self.contact = "open"
            self.emit(kind)

    def _walk_through(self) -> None:
        self.open()
        self._later("walk", self.habits.open_for_s, self.close)

    def _unlock(self, hold_s: float) -> None:
        self.lock = "unlocked"
        self._later("relock", hold_s, self._lock)
        self._publish_state()
        self._changed()

    def _lock(self) -> None:
        if self.lock == "unlocked" and self.mode not in STANDING_OPEN:
            self.lock = "locked"
            self._publish_state()
            self._changed()

    def _later(self, name: str, after_s: float, act: Callable[[], None]) -> None:
        earlier = self._timers.get(name)
        if earlier is not None:
            earlier.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(after_s, act)

    def _publish_state(self) -> None:
        state = wire.StatePayload(
            event_seq=self._store.progress(self.id)[0],
            at=self.clock(),
            contact=self.contact,
            lock=self.lock,
            mode=msgspec.convert(self.mode, wire.Mode),
            tamper=self.tampered,
            battery=self.power.battery,
            mains=self.power.mains,
        )
        self._publish("state", wire.encode(state))

    def _publish_event(self, payload: bytes) -> None:
        for topic, piece in mischief(self.id, payload, faults=self.faults, rng=self._rng):
            self._publish_to(topic, piece)
        if "reorder" in self.faults and self._held_back is None:
            self._held_back = payload
            self._later("reorder", 0.5, self._let_go)
            return
        self._publish("event", payload)
        self._let_go()

    def _let_go(self) -> None:
        held, self._held_back = self._held_back, None
        if held is not None:
            self._publish("event", held)

    def _publish(self, kind: wire.FromDoor, payload: bytes, *, retain: bool = False) -> None:
        keep = retain or kind in wire.RETAINED
        self._publish_to(wire.topic_of(self.id, kind), payload, qos=int(wire.QOS[kind]), retain=keep)

    def _publish_to(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Publish if connected: what must not be lost is in the store, what is only for now is gone."""
        if self._link is not None and not self._link.ended.done():
            with contextlib.suppress(DeviceUnreachable):
                self._link.publish(topic, payload, qos=qos, retain=retain)

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until a condition on this door holds; the caller sets the limit."""
        while not wanted():
            change = self._change
            await change.wait()

    def _changed(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()
