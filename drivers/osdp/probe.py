"""Asking one reader what it is: for adoption, and as `python -m drivers osdp probe`. Adopts nothing, opens nothing."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from drivers.osdp.line import BAUD_RATES, check_port
from drivers.osdp.link import PanelLink
from drivers.osdp.messages import Address, FromPanel, Offline, Online, ReaderSetup, Setup
from drivers.osdp.place import Place
from drivers.osdp.reader import Reader
from drivers.osdp.settings import Inputs, ReaderSettings, key_of
from drivers.since_boot import since_boot_s
from models.devices import Candidate, Part, Setting
from models.errors import DeviceUnreachable, GatehouseError, InvalidInput

ANSWER_S: Final = 6.0
OUTPUTS: Final = 2
"""Function code of outputs (OSDP 2.2, annex B)."""
NO_SERIAL: Final = frozenset({0, 0xFFFFFFFF})
"""What readers say that were given none."""
TROUBLES: Final = {"silent": "unreachable", "key": "credentials", "insecure": "unsupported", "garbled": "unsupported"}


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say where a reader is, and by which key it is to be trusted."""

    port: str
    baud_rate: int = 9600
    address: Address = 0
    key: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    key_file: str | None = None
    plain: bool = False

    def __repr__(self) -> str:
        """Show the place without the key."""
        return f"ProbeSettings(port={self.port!r}, address={self.address})"


async def probe(settings: Mapping[str, object], *, now: Callable[[], datetime]) -> Candidate:
    """Return what a reader says that it is; without its key, only that it answers.

    Args:
        settings: `port`, `baud_rate`, `address`, and `key`, `key_file` or `plain`.
        now: the clock.

    Raises:
        InvalidInput: settings that cannot be used.
    """
    asked = read_probe(settings)
    setup = ReaderSetup(
        address=asked.address, trust="plain" if asked.plain else "key", key=None if asked.plain else _key(asked)
    )
    place = Place(port=asked.port, baud_rate=asked.baud_rate, address=asked.address)
    try:
        reached = await reach(asked.port, setup, baud_rate=asked.baud_rate)
    except DeviceUnreachable as error:
        return unreached(place, asked.address, at=now(), detail=error.what)
    if isinstance(reached, Offline):
        heard = "heard" if reached.why == "silent" else "answers"
        found = unreached(place, asked.address, at=now())
        return msgspec.structs.replace(found, reach=heard, trouble=TROUBLES[reached.why])
    return candidate_of(place, reached, at=now(), plain=asked.plain)


def unreached(place: Place, address: int, *, at: datetime, detail: str = "") -> Candidate:
    """Return a reader of which nothing is known but where it should be."""
    where = place.at(address)
    return Candidate(id=f"osdp-{where}", wire="osdp", address=where, trouble="unreachable", detail=detail, seen_at=at)


def candidate_of(place: Place, online: Online, *, at: datetime, plain: bool = False) -> Candidate:
    """Return a reader that told what it is; one without a serial of its own is known by its place."""
    where, serial = place.at(online.address), f"{online.serial:08X}"
    named = online.serial not in NO_SERIAL
    return Candidate(
        id=f"osdp-{online.vendor:06x}-{online.serial:08x}" if named else f"osdp-{where}",
        wire="osdp",
        address=where,
        reach="known",
        maker=f"{online.vendor:06X}",
        model=str(online.model),
        serial=serial if named else "",
        firmware=".".join(str(byte) for byte in online.firmware.to_bytes(4, "big")[1:]),
        parts=(_part(place, online, plain=plain),),
        seen_at=at,
    )


async def reach(port: str, setup: ReaderSetup, *, baud_rate: int) -> Online | Offline:
    """Return the first word of a reader, within 6 s; a reader that has none is silent.

    Raises:
        DeviceUnreachable: the port is not there, is in use, or went away.
    """
    first: asyncio.Future[Online | Offline] = asyncio.get_running_loop().create_future()

    def on_record(record: FromPanel) -> None:
        if isinstance(record, Online | Offline) and not first.done():
            first.set_result(record)

    asked = Setup(port=port, baud_rate=baud_rate, readers=(setup,))
    async with PanelLink(asked, on_record=on_record, clock=since_boot_s) as link:
        link.ended.add_done_callback(lambda ended: None if first.done() else first.set_exception(_gone(port, ended)))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await first
        except TimeoutError:
            return Offline(address=setup.address, why="silent")


def read_probe(settings: Mapping[str, object]) -> ProbeSettings:
    """Return where a reader is. Raises `InvalidInput` for settings that cannot be used."""
    try:
        asked = msgspec.convert(dict(settings), ProbeSettings)
    except msgspec.ValidationError as error:
        raise InvalidInput("osdp", str(error)) from None
    check_port(asked.port)
    if asked.baud_rate not in BAUD_RATES:
        raise InvalidInput("baud_rate", f"use one of {', '.join(map(str, BAUD_RATES))}")
    return asked


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a reader to a parser."""
    add = parser.add_argument
    add("--port", required=True, help="serial port, or tcp://HOST:PORT of a converter")
    add(
        "--baud-rate",
        type=int,
        default=9600,
        choices=sorted(BAUD_RATES),
        help="rate of the line (default: %(default)s)",
    )
    add("--address", type=int, default=0, help="the reader's address, 0 to 126 (default: %(default)s)")
    add("--key-file", help="its key, 32 hexadecimal digits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the probe to a parser."""
    parser.description = "Ask an OSDP reader what it is. Nothing else may use the line meanwhile."
    add_place(parser)
    parser.add_argument("--plain", action="store_true", help="ask in clear, without its key")


async def main(args: argparse.Namespace) -> int:
    """Ask a reader what it is, print that as JSON, and return the exit status: 0 if it told."""
    given = {"port": args.port, "baud_rate": args.baud_rate, "address": args.address, "plain": args.plain}
    try:
        found = await probe({**given, "key_file": args.key_file}, now=lambda: datetime.now(UTC))
    except GatehouseError as error:
        sys.stderr.write(f"osdp probe: {error}\n")
        return 1
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    return 0 if found.reach == "known" else 1


def _gone(port: str, ended: asyncio.Future[str]) -> DeviceUnreachable:
    return DeviceUnreachable(port, ended.result())


def _key(asked: ProbeSettings) -> bytes:
    return key_of(ReaderSettings(door="-", address=asked.address, key=asked.key, key_file=asked.key_file))


def _part(place: Place, online: Online, *, plain: bool) -> Part:
    """Return the reader as a door to be adopted: what is wired to it, only an installer can tell."""
    strike = 0 if online.capabilities.get(OUTPUTS, (0, 0))[1] else None
    reader = Reader(ReaderSettings(door="-", strike=strike, inputs=Inputs()))
    reader.arrive(online)
    where: dict[str, Setting] = {"kind": "osdp", "port": place.port, "baud_rate": place.baud_rate}
    wired: dict[str, Setting] = {} if strike is None else {"strike": strike}
    return Part(
        id=str(online.address),
        kind="door",
        name=f"reader {online.address}",
        capabilities=tuple(sorted(reader.capabilities())),
        settings={**where, "address": online.address, "plain": plain, **wired},
    )
