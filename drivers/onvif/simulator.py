"""The simulated ONVIF device as a process: doors and a camera on the real wire, and a loopback control port to act there.

`python -m drivers simulate onvif` runs it and prints one JSON line when it is ready. Tests may hold a `SimulatedOnvif`
in their own process instead. Control: one JSON object per line, one answer per line, in the simulated MQTT door's words,
e.g. `{"door":"gate","act":"card","value":"17"}` or `{"act":"misbehave","fault":"reboot"}` (docs/onvif-simulator.md).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from drivers.onvif.simcall import FAULTS, Fault
from drivers.onvif.simdevice import AccessPoint
from drivers.onvif.simdiscovery import discoverable
from drivers.onvif.simoptions import add_arguments, unit_of
from drivers.onvif.simserver import SimulatedOnvif
from drivers.onvif.simstore import DeviceStore
from models.errors import GatehouseError, InvalidInput

__all__ = ["add_arguments", "main"]

MAX_LINE_BYTES: Final = 16 * 1024
Ask = Literal["card", "pin", "flat_pin", "button"]
Deed = Literal[
    "open", "close", "force", "tamper", "clear_tamper", "exit", "call", "held", "duress", "fault", "clear_fault",
]  # fmt: skip
Sense = Literal["motion", "cover", "blur", "move", "signal_loss"]
Until = Literal["subscribed", "pulled", "unlocked", "locked", "open", "closed"]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the control port. `cut` drops all connections; `misbehave` and senses are turned on or off."""

    door: str | None = None
    act: Ask | Deed | Sense | Literal["mains_lost", "mains_back", "cut", "misbehave", "wait", "status"]
    value: str | None = None
    reader: Literal["in", "out"] = "in"
    fault: Fault | None = None
    on: bool = True
    until: Until | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0
    detail: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a simulated door stands, in the words of all simulators."""

    contact: str
    lock: str
    mode: str
    alarm: str
    tamper: bool
    fault: str | None
    unlocks: int


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an order: of a request its outcome and the time in ms to it, of a deed how many events were told."""

    ok: bool
    error: str | None = None
    unlocked: bool | None = None
    feedback: str | None = None
    ms: float | None = None
    seq: int | None = None
    doors: dict[str, Standing] | None = None
    senses: dict[str, bool] | None = None
    faults: list[str] | None = None
    subscriptions: int | None = None


def standing(unit: SimulatedOnvif, door_id: str) -> Standing:
    """Return how a door stands."""
    door = unit.device.doors[door_id]
    return Standing(
        contact=door.leaf.lower(),
        lock="unlocked" if door.unlocked else "locked",
        mode=door.mode,
        alarm=door.alarm,
        tamper=door.tampered,
        fault=door.fault,
        unlocks=door.unlocks,
    )


async def obey(unit: SimulatedOnvif, order: Order) -> Answer:
    """Carry out one order; a mistake in it becomes an answer, never an exception."""
    try:
        return await _obey(unit, order)
    except InvalidInput as error:
        return Answer(ok=False, error=str(error))
    finally:
        unit.changed()


async def _obey(unit: SimulatedOnvif, order: Order) -> Answer:
    if order.act == "status":
        return _status(unit, order)
    if order.act == "misbehave":
        if order.fault is None:
            raise InvalidInput("fault", f"name one of {', '.join(FAULTS)}")
        unit.misbehave(order.fault, on=order.on)
    elif order.act == "cut":
        unit.cut()
    elif order.act in {"mains_lost", "mains_back"}:
        unit.device.power_failed = order.act == "mains_lost"
        unit.device.settle(unit.clock())
    elif order.act in unit.device.senses:
        unit.device.senses[order.act] = order.on
        unit.device.settle(unit.clock())
    elif order.act == "wait":
        return await _wait(unit, order)
    elif order.act in {"card", "pin", "flat_pin", "button"}:
        return await _ask(unit, order)
    else:
        _do(unit, order)
    return Answer(ok=True, seq=unit.device.told)


def _status(unit: SimulatedOnvif, order: Order) -> Answer:
    wanted = [_door(unit, order)] if order.door is not None else list(unit.device.doors)
    return Answer(
        ok=True,
        seq=unit.device.told,
        doors={door: standing(unit, door) for door in wanted},
        senses=dict(unit.device.senses),
        faults=sorted(unit.faults),
        subscriptions=len(unit.subscriptions.points),
    )


def _door(unit: SimulatedOnvif, order: Order) -> str:
    doors = unit.device.doors
    name = order.door if order.door is not None or len(doors) != 1 else next(iter(doors))
    if name is None or name not in doors:
        raise InvalidInput("door", f"no door {str(name)[:64]!r} here")
    return name


def _do(unit: SimulatedOnvif, order: Order) -> None:
    device, now, door_id = unit.device, unit.clock(), _door(unit, order)
    door = device.doors[door_id]
    deeds: dict[str, Callable[[], object]] = {
        "open": lambda: device.open(door_id, now),
        "force": lambda: device.open(door_id, now, force=True),
        "close": door.close,
        "held": door.held,
        "tamper": lambda: setattr(door, "tampered", True),
        "clear_tamper": lambda: setattr(door, "tampered", False),
        "fault": lambda: setattr(door, "fault", order.detail),
        "clear_fault": lambda: setattr(door, "fault", None),
        "exit": lambda: device.press_exit(door_id, now),
        "call": lambda: device.touch(f"{door_id}-call", now),
        "duress": lambda: device.duress(_point(unit, order), now),
    }
    deeds[order.act]()
    device.settle(now)


def _point(unit: SimulatedOnvif, order: Order) -> AccessPoint:
    if unit.device.relays_only:
        raise InvalidInput("act", "a device of relays has no readers")
    return unit.device.points[f"{_door(unit, order)}-{order.reader}"]


async def _ask(unit: SimulatedOnvif, order: Order) -> Answer:
    point = _point(unit, order)
    loop = asyncio.get_running_loop()
    began = loop.time()
    asking = unit.device.ask(point, order.act, value=order.value, now=unit.clock())  # type: ignore[arg-type]
    unit.changed()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(order.timeout_s):
            await unit.until(lambda: asking.outcome is not None)
    if asking.outcome is None or asking.outcome[0] == "Timeout":
        return Answer(ok=False, error="no answer")
    decision, reason = asking.outcome
    granted = decision == "Granted"
    ms = round((loop.time() - began) * 1000, 1)
    return Answer(ok=granted, unlocked=granted, feedback=reason or None, ms=ms)


async def _wait(unit: SimulatedOnvif, order: Order) -> Answer:
    if order.until is None:
        raise InvalidInput("until", "name one of subscribed, pulled, unlocked, locked, open, closed")
    door = unit.device.doors[_door(unit, order)]
    pulls = unit.subscriptions.pulls
    wanted: dict[str, Callable[[], bool]] = {
        "subscribed": lambda: bool(unit.subscriptions.points),
        "pulled": lambda: unit.subscriptions.pulls > pulls,
        "unlocked": lambda: door.unlocked,
        "locked": lambda: not door.unlocked,
        "open": lambda: door.leaf == "Open",
        "closed": lambda: door.leaf == "Closed",
    }
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(order.timeout_s):
            await unit.until(wanted[order.until])
    except TimeoutError:
        return Answer(ok=False, error=f"not {order.until} within {order.timeout_s} s")
    return Answer(ok=True, ms=round((loop.time() - began) * 1000, 1))


async def _converse(unit: SimulatedOnvif, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one control connection in order until it closes."""
    try:
        while line := await reader.readline():
            try:
                answer = await obey(unit, msgspec.json.decode(line, type=Order))
            except msgspec.MsgspecError as error:
                answer = Answer(ok=False, error=f"unreadable order: {error}")
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the other side is gone, or sent a line without end: either way this conversation is over
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def controlling(unit: SimulatedOnvif, *, port: int = 0) -> AsyncIterator[tuple[str, int]]:
    """Take orders on a port of 127.0.0.1 until the block ends; yield its address.

    Raises:
        OSError: the port cannot be had.
    """
    talking: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            talking.add(task)
            task.add_done_callback(talking.discard)
        await _converse(unit, reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    try:
        host, bound = listener.sockets[0].getsockname()[:2]
        yield host, bound
    finally:
        listener.close()
        for task in tuple(talking):
            task.cancel()


async def main(args: argparse.Namespace) -> int:
    """Run the simulated device until SIGINT or SIGTERM; return the exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with contextlib.AsyncExitStack() as stack:
            unit = unit_of(args, now=lambda: datetime.now(UTC))
            if args.store is not None:
                stack.enter_context(DeviceStore(args.store)).restore(unit.device)
            await stack.enter_async_context(unit.serving(host=args.host, port=args.port))
            if args.discovery:
                rng = random.Random(args.seed)  # noqa: S311 - ids of messages, no secrets
                await stack.enter_async_context(discoverable(unit, host=args.host, port=args.discovery_port, rng=rng))
            control = await stack.enter_async_context(controlling(unit, port=args.control_port))
            _announce(unit, control)
            await stop.wait()
    except (OSError, sqlite3.Error, GatehouseError) as error:
        sys.stderr.write(f"simulated ONVIF device: {error}\n")
        return 1
    return 0


def _announce(unit: SimulatedOnvif, control: tuple[str, int]) -> None:
    ready: dict[str, object] = {
        "ready": True,
        "address": f"{unit.origin}/onvif/device_service",
        "doors": list(unit.device.doors),
        "control": f"{control[0]}:{control[1]}",
    }
    if unit.certificate is not None:
        ready["fingerprint"] = unit.certificate.fingerprint
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
