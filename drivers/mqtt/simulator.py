"""The simulated door controller as a process: many doors on the real wire, and a loopback control port to act at them.

`python -m drivers simulate door` runs it and prints one JSON line when it is ready. Tests may hold `SimulatedDoor`s in
their own process instead. Control: one JSON object per line, one answer per line, e.g. `{"door":"gate","act":"force"}`,
`{"door":"gate","act":"card","value":"17"}`, `{"door":"gate","act":"wait","until":"acked"}` (docs/mqtt.md lists them).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from drivers.mqtt.broker import Users, read_users
from drivers.mqtt.endpoint import Endpoint
from drivers.mqtt.habits import FAULTS, Fault, Habits, PowerEvent
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from models.errors import GatehouseError, InvalidInput
from models.places import check_id

MAX_LINE_BYTES: Final = 16 * 1024
Ask = Literal["card", "pin", "flat_pin", "qr", "button", "call"]
Deed = Literal[
    "open", "close", "force", "tamper", "clear_tamper", "exit", "held", "emergency", "duress", "fault", "clear_fault",
]  # fmt: skip
Until = Literal["connected", "disconnected", "unlocked", "locked", "open", "closed", "acked"]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the control port. `cut` drops the connection; `misbehave` turns one fault on or off."""

    door: str | None = None
    act: Ask | Deed | PowerEvent | Literal["cut", "misbehave", "wait", "status"]
    value: str | None = None
    reader: Literal["in", "out"] = "in"
    fault: Fault | None = None
    on: bool = True
    until: Until | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0
    detail: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a simulated door stands; `seq` and `acked` number its last event and the last acknowledged one."""

    connected: bool
    contact: str
    lock: str
    mode: str
    seq: int
    acked: int
    unlocks: int
    warnings: int
    mains: bool
    battery: float
    refused: list[tuple[str, str]]
    faults: list[str]


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an order: of a request its outcome and the time in ms to it, of an event its number."""

    ok: bool
    error: str | None = None
    unlocked: bool | None = None
    feedback: str | None = None
    ms: float | None = None
    request: str | None = None
    seq: int | None = None
    doors: dict[str, Standing] | None = None


def standing(door: SimulatedDoor) -> Standing:
    """Return how a door stands."""
    seq, acked = door.progress()
    return Standing(
        connected=door.connected.is_set(),
        contact=door.contact,
        lock=door.lock,
        mode=door.mode,
        seq=seq,
        acked=acked,
        unlocks=door.unlocks,
        warnings=door.warnings,
        mains=door.power.mains,
        battery=door.power.battery,
        refused=door.refused[-10:],
        faults=sorted(door.faults),
    )


async def obey(doors: Mapping[str, SimulatedDoor], order: Order) -> Answer:
    """Carry out one order; a mistake in it becomes an answer, never an exception."""
    if order.act == "status" and order.door is None:
        return Answer(ok=True, doors={door_id: standing(door) for door_id, door in doors.items()})
    name = order.door if order.door is not None or len(doors) != 1 else next(iter(doors))
    door = doors.get(name or "")
    if door is None:
        return Answer(ok=False, error=f"no door {str(name)[:64]!r} here")
    try:
        return await _act(door, order)
    except InvalidInput as error:
        return Answer(ok=False, error=str(error))


async def _act(door: SimulatedDoor, order: Order) -> Answer:
    if order.act in {"card", "pin", "flat_pin", "qr", "button", "call"}:
        outcome = await door.request(order.act, order.value, reader=order.reader, timeout_s=order.timeout_s)
        return msgspec.convert(outcome, Answer, from_attributes=True)
    if order.act == "status":
        return Answer(ok=True, doors={door.id: standing(door)})
    if order.act == "cut":
        door.drop()
    elif order.act == "misbehave":
        _misbehave(door, order)
    elif order.act == "wait":
        return await _wait(door, order)
    else:
        _do(door, order)
        return Answer(ok=True, seq=door.progress()[0])
    return Answer(ok=True)


def _do(door: SimulatedDoor, order: Order) -> None:
    deeds: dict[str, Callable[[], object]] = {
        "open": door.open,
        "close": door.close,
        "force": door.force,
        "tamper": door.tamper,
        "clear_tamper": door.clear_tamper,
        "exit": door.press_exit,
        "held": lambda: door.emit("held"),
        "emergency": lambda: door.emit("emergency"),
        "duress": lambda: door.emit("duress"),
        "fault": lambda: door.emit("fault", detail=order.detail[:200]),
        "clear_fault": lambda: door.emit("fault_cleared"),
        "mains_lost": lambda: door.change_power("mains_lost"),
        "mains_back": lambda: door.change_power("mains_back"),
        "battery_low": lambda: door.change_power("battery_low"),
        "battery_ok": lambda: door.change_power("battery_ok"),
    }
    deeds[order.act]()


def _misbehave(door: SimulatedDoor, order: Order) -> None:
    if order.fault is None:
        raise InvalidInput("fault", f"name one of {', '.join(FAULTS)}")
    if order.on:
        door.faults.add(order.fault)
    else:
        door.faults.discard(order.fault)
    if order.fault == "replay_command" and order.on:
        door.drop()


async def _wait(door: SimulatedDoor, order: Order) -> Answer:
    wanted: dict[str, Callable[[], bool]] = {
        "connected": door.connected.is_set,
        "disconnected": lambda: not door.connected.is_set(),
        "unlocked": lambda: door.lock == "unlocked",
        "locked": lambda: door.lock == "locked",
        "open": lambda: door.contact == "open",
        "closed": lambda: door.contact == "closed",
        "acked": lambda: door.progress()[0] == door.progress()[1],
    }
    if order.until is None:
        raise InvalidInput("until", f"name one of {', '.join(wanted)}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(order.timeout_s):
            await door.until(wanted[order.until])
    except TimeoutError:
        return Answer(ok=False, error=f"not {order.until} within {order.timeout_s} s", doors={door.id: standing(door)})
    return Answer(ok=True, ms=round((loop.time() - began) * 1000, 1))


async def _converse(
    doors: Mapping[str, SimulatedDoor], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one control connection in order until it closes."""
    try:
        while line := await reader.readline():
            try:
                answer = await obey(doors, msgspec.json.decode(line, type=Order))
            except msgspec.MsgspecError as error:
                answer = Answer(ok=False, error=f"unreadable order: {error}")
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the other side is gone, or sent a line without end: either way this conversation is over
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def controlling(doors: Mapping[str, SimulatedDoor], *, port: int = 0) -> AsyncIterator[tuple[str, int]]:
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
        await _converse(doors, reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    try:
        host, bound = listener.sockets[0].getsockname()[:2]
        yield host, bound
    finally:
        listener.close()
        for task in tuple(talking):
            task.cancel()


@contextlib.asynccontextmanager
async def running(doors: Mapping[str, SimulatedDoor]) -> AsyncIterator[None]:
    """Keep the doors connected until the block ends; what is wrong with one of them ends all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(door.run(), name=f"simulated door {door.id}") for door in doors.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the simulated door to a parser."""
    parser.description = "Be simulated doors on an MQTT broker, by the door contract, with a control port."
    add = parser.add_argument
    add("--broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="the broker (default: %(default)s)")
    add("--door", action="append", metavar="ID", help="a door; may repeat (default: gate)")
    add("--users", type=Path, help="the broker's users.json: each door connects by its own name and password")
    add("--ca-file", help="connect by TLS and trust this authority")
    add("--cert-file", help="own certificate, for a broker that asks for one")
    add("--key-file", help="its key")
    add("--protocol", choices=("auto", "5", "3.1.1"), default="auto", help="MQTT version (default: %(default)s)")
    add("--store", type=Path, help="file that keeps event numbers and unacknowledged events (default: memory)")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 for a free one")
    add("--plain", action="store_true", help="never say forced: a controller that only knows opened and closed")
    add("--auto-open", type=float, metavar="S", help="walk through S seconds after an unlock")
    add("--open-for", type=float, default=1.0, metavar="S", help="how long that takes (default: %(default)s)")
    add("--misbehave", action="append", choices=FAULTS, default=[], help="misbehave from the start; may repeat")
    add("--seed", type=int, help="seed of ids and jitter (default: random)")


async def main(args: argparse.Namespace) -> int:
    """Run the simulated doors until SIGINT or SIGTERM; return the exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        with EventStore(args.store) as store:
            doors = doors_of(args, store=store, now=lambda: datetime.now(UTC))
            async with running(doors), controlling(doors, port=args.control_port) as address:
                ready = {"ready": True, "doors": list(doors), "control": f"{address[0]}:{address[1]}"}
                sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
                sys.stdout.flush()
                await stop.wait()
    except* (OSError, GatehouseError) as errors:
        for error in errors.exceptions:
            sys.stderr.write(f"simulated door: {error}\n")
        return_code = 1
    else:
        return_code = 0
    return return_code


def doors_of(args: argparse.Namespace, *, store: EventStore, now: Callable[[], datetime]) -> dict[str, SimulatedDoor]:
    """Make the doors that the options ask for.

    Raises:
        InvalidInput: the broker's address, a door's id or the users cannot be used.
    """
    host, _, port = args.broker.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInput("--broker", f"use HOST:PORT, not {args.broker!r}")
    users = read_users(args.users) if args.users else None
    habits = Habits(plain=args.plain, auto_open_s=args.auto_open, open_for_s=args.open_for)
    rng = random.Random(args.seed)  # noqa: S311 - repeatable on purpose, nothing depends on its secrecy
    doors: dict[str, SimulatedDoor] = {}
    for door_id in args.door or ["gate"]:
        endpoint = Endpoint(
            host=host,
            port=int(port),
            client_id=f"door-{check_id(door_id, '--door')}",
            username=door_id if users else None,
            password=_password(users, door_id),
            protocol=args.protocol,
            tls=args.ca_file is not None,
            ca_file=args.ca_file,
            cert_file=args.cert_file,
            key_file=args.key_file,
        )
        door = doors[door_id] = SimulatedDoor(door_id, endpoint=endpoint, store=store, now=now, rng=rng, habits=habits)
        door.faults.update(args.misbehave)
    return doors


def _password(users: Users | None, door_id: str) -> str | None:
    if users is None:
        return None
    if door_id not in users.doors:
        raise InvalidInput("--users", f"it has no password for door {door_id!r}")
    return users.doors[door_id]
