"""`python -m drivers osdp install`: give a reader its own key, in install mode, because somebody standing there says so.

Nothing else ever speaks with the key that everybody knows: whoever listens meanwhile learns the new one.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from drivers.osdp.line import check_serial
from drivers.osdp.messages import Offline, ReaderSetup
from drivers.osdp.place import read_place
from drivers.osdp.probe import add_place, reach, read_probe
from drivers.osdp.settings import KEY_BYTES, parse_key, read_key, write_key
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the installation to a parser."""
    parser.description = (
        "Give an OSDP reader its own key, in install mode. For a moment both sides use the key that everybody knows: "
        "do it where nobody else is at the cable. Nothing else may use the line meanwhile."
    )
    add_place(parser)


async def main(args: argparse.Namespace) -> int:
    """Install a reader's key and return the exit status."""
    try:
        if args.key_file is None:
            raise InvalidInput("--key-file", "name the file that holds the key, or that a new one is written to")
        key = _key_in(Path(args.key_file))
        place = {"port": args.port, "baud_rate": args.baud_rate, "address": args.address}
        await install(place, key=key)
    except (GatehouseError, OSError) as error:
        sys.stderr.write(f"osdp install: {error}\n")
        return 1
    sys.stdout.write(f"reader {args.address} has the key in {args.key_file}\n")
    return 0


def _key_in(file: Path) -> bytes:
    """Return the key in a file, drawn and written there if there is none: what a reader has must be written down."""
    if file.exists():
        return read_key(file, where="--key-file")
    key = secrets.token_bytes(KEY_BYTES)
    write_key(file, key)
    return key


async def install(place: dict[str, object], *, key: bytes) -> None:
    """Give a reader its key, and see that it answers by it; a reader that has it already is left alone.

    Raises:
        DeviceRefused: it does not take the key: it is not in install mode, or knows no secure channel.
        DeviceUnreachable: the port or the reader does not answer.
        InvalidInput: a place that cannot be one.
    """
    asked = read_probe(place)
    given = ReaderSetup(address=asked.address, trust="install", key=key)
    reached = await reach(asked.port, given, baud_rate=asked.baud_rate)
    if not isinstance(reached, Offline):
        kept = ReaderSetup(address=asked.address, trust="key", key=key)
        reached = await reach(asked.port, kept, baud_rate=asked.baud_rate)
    if not isinstance(reached, Offline):
        return
    reader = f"{asked.port} reader {asked.address}"
    if reached.why == "silent":
        raise DeviceUnreachable(reader, "it does not answer")
    raise DeviceRefused(reader, "it does not take the key: put it in install mode")


async def install_at(address: str, *, key: str) -> None:
    """Give the reader at a place (`PORT#ADDRESS`) its key of 32 hexadecimal digits.

    Raises:
        DeviceRefused: it does not take the key: it is not in install mode, or knows no secure channel.
        DeviceUnreachable: the port or the reader does not answer.
        InvalidInput: a place or a key that cannot be one.
    """
    place = read_place(address)
    if place.address is None:
        raise InvalidInput("address", "name the reader behind the port, as /dev/ttyUSB0#0")
    check_serial(place.port)
    secret = parse_key(key, where="key", what="a reader's key is 32 hexadecimal digits")
    await install({"port": place.port, "baud_rate": place.baud_rate, "address": place.address}, key=secret)
