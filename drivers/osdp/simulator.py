"""The simulated readers as a process: a line on a pseudo-terminal or a TCP port, and a loopback control port.

`python -m drivers simulate osdp` runs it and prints one JSON line when it is ready. Tests may hold a `SimulatedBus` in their
own process instead. Control: one JSON object per line, one answer per line (docs/osdp.md lists them).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from drivers.osdp.settings import read_key, write_key
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import FAULTS, Fault, SimulatedReader
from models.errors import GatehouseError, InvalidInput
from models.places import check_id

MAX_LINE_BYTES: Final = 16 * 1024
Deed = Literal["open", "close", "force", "tamper", "clear_tamper", "exit", "emergency", "cut"]
Until = Literal["unlocked", "locked", "open", "closed"]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the control port. `unplug` and `plug_in` are about the whole line; `misbehave` turns one fault on or off."""

    door: str | None = None
    act: Literal["card", "pin", "flat_pin", "input", "unplug", "plug_in", "misbehave", "wait", "status"] | Deed
    value: str | None = None
    fault: Fault | None = None
    on: bool = True
    until: Until | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a simulated reader's door stands, and what was last told at it: shown, lit, sounded."""

    contact: str
    lock: str
    tamper: bool
    unlocks: int
    told: list[str]
    faults: list[str]


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an order: of a request its outcome and the time in ms to it."""

    ok: bool
    error: str | None = None
    unlocked: bool = False
    feedback: str | None = None
    ms: float | None = None
    port: str | None = None
    doors: dict[str, Standing] | None = None


def standing(reader: SimulatedReader) -> Standing:
    """Return how a reader's door stands."""
    return Standing(
        contact=reader.contact,
        lock=reader.lock,
        tamper=reader.tampered,
        unlocks=reader.unlocks,
        told=list(reader.told)[-10:],
        faults=sorted(reader.faults),
    )


async def obey(bus: SimulatedBus, order: Order) -> Answer:
    """Carry out one order; a mistake in it becomes an answer, never an exception."""
    readers = {reader.id: reader for reader in bus.readers}
    if order.act == "status" and order.door is None:
        return Answer(ok=True, doors={name: standing(reader) for name, reader in readers.items()})
    if order.act in {"unplug", "plug_in"}:
        bus.unplug() if order.act == "unplug" else bus.plug_in()
        return Answer(ok=True, port=bus.port or None)
    name = order.door if order.door is not None or len(readers) != 1 else next(iter(readers))
    reader = readers.get(name or "")
    if reader is None:
        return Answer(ok=False, error=f"no door {str(name)[:64]!r} here")
    try:
        return await _act(reader, order)
    except InvalidInput as error:
        return Answer(ok=False, error=str(error))


async def _act(reader: SimulatedReader, order: Order) -> Answer:
    if order.act in {"card", "pin", "flat_pin"}:
        outcome = await reader.request(order.act, order.value, timeout_s=order.timeout_s)
        return msgspec.convert(outcome, Answer, from_attributes=True)
    if order.act == "status":
        return Answer(ok=True, doors={reader.id: standing(reader)})
    if order.act == "wait":
        return await _wait(reader, order)
    if order.act == "misbehave":
        if order.fault is None:
            raise InvalidInput("fault", f"name one of {', '.join(FAULTS)}")
        (reader.faults.add if order.on else reader.faults.discard)(order.fault)
    elif order.act == "input":
        reader.set_input(order.value or "", on=order.on)
    else:
        _do(reader, order.act)
    return Answer(ok=True)


def _do(reader: SimulatedReader, act: str) -> None:
    deeds: dict[str, Callable[[], object]] = {
        "open": reader.open,
        "close": reader.close,
        "force": reader.force,
        "tamper": reader.tamper,
        "clear_tamper": reader.clear_tamper,
        "exit": reader.press_exit,
        "emergency": partial(reader.set_input, "emergency", on=True),
        "cut": reader.drop,
    }
    deeds[act]()


async def _wait(reader: SimulatedReader, order: Order) -> Answer:
    wanted: dict[str, Callable[[], bool]] = {
        "unlocked": lambda: reader.lock == "unlocked",
        "locked": lambda: reader.lock == "locked",
        "open": lambda: reader.contact == "open",
        "closed": lambda: reader.contact == "closed",
    }
    if order.until is None:
        raise InvalidInput("until", f"name one of {', '.join(wanted)}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(order.timeout_s):
            await reader.until(wanted[order.until])
    except TimeoutError:
        error = f"not {order.until} within {order.timeout_s} s"
        return Answer(ok=False, error=error, doors={reader.id: standing(reader)})
    return Answer(ok=True, ms=round((loop.time() - began) * 1000, 1))


@contextlib.asynccontextmanager
async def controlling(bus: SimulatedBus, *, port: int = 0) -> AsyncIterator[tuple[str, int]]:
    """Take orders on a port of 127.0.0.1 until the block ends; yield its address.

    Raises:
        OSError: the port cannot be had.
    """
    talking: set[asyncio.StreamWriter] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(writer)
        try:
            while line := await reader.readline():
                try:
                    answer = await obey(bus, msgspec.json.decode(line, type=Order))
                except msgspec.MsgspecError as error:
                    answer = Answer(ok=False, error=f"unreadable order: {error}")
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the other side is gone, or sent a line without end: either way this conversation is over
        finally:
            talking.discard(writer)
            writer.close()

    listener = await asyncio.start_server(converse, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    try:
        host, bound = listener.sockets[0].getsockname()[:2]
        yield host, bound
    finally:
        listener.close()
        for writer in tuple(talking):
            writer.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the simulated readers to a parser."""
    parser.description = "Be OSDP readers on a pseudo-terminal, each with a door, and a control port."
    add = parser.add_argument
    add(
        "--door",
        action="append",
        metavar="ID",
        help="a reader at a door; may repeat, addresses count from 0 (default: gate)",
    )
    add(
        "--key-file",
        type=Path,
        help="their key, 32 hexadecimal digits; written when they are given one (default: none yet)",
    )
    add("--link", type=Path, metavar="PATH", help="a link that always leads to the port")
    add("--listen", metavar="HOST:PORT", help="be a serial converter on the network instead")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 for a free one")
    add("--misbehave", action="append", choices=FAULTS, default=[], help="misbehave from the start; may repeat")


async def main(args: argparse.Namespace) -> int:
    """Run the simulated readers until SIGINT or SIGTERM; return the exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with bus_of(args) as bus, controlling(bus, port=args.control_port) as address:
            ready = {
                "ready": True,
                "port": bus.port,
                "doors": [reader.id for reader in bus.readers],
                "control": f"{address[0]}:{address[1]}",
            }
            sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
            sys.stdout.flush()
            await stop.wait()
    except (OSError, GatehouseError) as error:
        sys.stderr.write(f"simulated OSDP readers: {error}\n")
        return 1
    return 0


def bus_of(args: argparse.Namespace) -> SimulatedBus:
    """Make the bus that the options ask for.

    Raises:
        InvalidInput: a door's id, the key file or the address to listen on cannot be used.
    """
    listen = None
    if args.listen is not None:
        host, _, port = args.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InvalidInput("--listen", f"use HOST:PORT, not {args.listen!r}")
        listen = host, int(port)
    key = read_key(args.key_file, where="--key-file") if args.key_file is not None and args.key_file.exists() else None
    keep = partial(write_key, args.key_file) if args.key_file is not None else _forget
    readers = [
        SimulatedReader(check_id(door, "--door"), address=address, key=key, on_key=keep)
        for address, door in enumerate(args.door or ["gate"])
    ]
    for reader in readers:
        reader.faults.update(args.misbehave)
    return SimulatedBus(*readers, link=args.link, listen=listen)


def _forget(_key: bytes) -> None:
    """Keep a key in memory only."""
