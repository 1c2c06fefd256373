"""The settings of an OSDP bus: port, readers, their keys, and what is wired to them. Reads key files, opens no port."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from drivers.osdp.line import BAUD_RATES, check_port
from drivers.osdp.messages import Address, Byte
from models.errors import InvalidInput

KEY_BYTES: Final = 16
READERS_MOST: Final = 32
"""What a line of RS-485 carries without a repeater."""
WELL_KNOWN_KEY: Final = bytes(range(0x30, 0x40))
"""The key that every reader leaves its factory with (OSDP 2.2, annex D): it keeps nobody out."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say which input of a reader says what, by its number; an active input means yes, one in `inverted` means no."""

    open: Byte | None = None
    exit: Byte | None = None
    emergency: Byte | None = None
    unlocked: Byte | None = None
    mains_lost: Byte | None = None
    battery_low: Byte | None = None
    inverted: tuple[Byte, ...] = ()

    @property
    def wired(self) -> dict[str, int]:
        """Return the inputs that are wired: what each says, and its number."""
        names = ("open", "exit", "emergency", "unlocked", "mains_lost", "battery_low")
        return {name: number for name in names if (number := getattr(self, name)) is not None}


class ReaderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describe one reader: the door and side that it is at, its key, its keypad, and what is wired to it."""

    door: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    address: Address = 0
    side: Literal["in", "out"] = "in"
    key: str | None = None
    key_file: str | None = None
    plain: bool = False
    """Whether it is talked to in clear: anybody at its cable can then be any card."""
    keypad: Literal["pin", "flat_pin", "off"] = "pin"
    strike: Byte | None = None
    """The output that its door's lock hangs on."""
    inputs: Inputs = Inputs()

    def __repr__(self) -> str:
        """Show the reader without its key."""
        return f"ReaderSettings(door={self.door!r}, address={self.address})"


class BusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describe one line and the readers on it."""

    port: str
    baud_rate: int = 9600
    readers: Annotated[tuple[ReaderSettings, ...], msgspec.Meta(min_length=1, max_length=READERS_MOST)]


def read_settings(settings: Mapping[str, object], *, doors: tuple[str, ...]) -> BusSettings:
    """Return the settings of a bus for these doors; readers of doors that are not served here are left out.

    A line with one reader may name it without a list: its keys beside `port`, its door the only one. `doors` holds for each
    door its own readers, in a list or one without; a reader in a door's list that names another door is none of it.

    Raises:
        InvalidInput: they cannot be used; the text says what to write, and never quotes a key.
    """
    given = dict(settings)
    own = given.pop("doors", None)
    if isinstance(own, Mapping):
        given["readers"] = [reader for door in doors for reader in _readers_of(door, own.get(door))]
        if not given["readers"]:
            raise InvalidInput("driver.readers", f"no reader is at door {doors[0]!r}: give it one")
    if "readers" not in given and len(doors) == 1:
        line = {name: given.pop(name) for name in given.keys() & {"port", "baud_rate"}}
        given = line | {"readers": [given | {"door": doors[0]}]}
    try:
        bus = msgspec.convert(given, BusSettings)
    except msgspec.ValidationError as error:
        raise InvalidInput("driver", str(error)) from None
    check_port(bus.port)
    if bus.baud_rate not in BAUD_RATES:
        raise InvalidInput("driver.baud_rate", f"use one of {', '.join(map(str, BAUD_RATES))}")
    addresses = [reader.address for reader in bus.readers]
    if len(set(addresses)) < len(addresses):
        raise InvalidInput("driver.readers", "every reader of a line needs an address of its own")
    served = tuple(reader for reader in bus.readers if reader.door in doors)
    if missing := sorted(set(doors) - {reader.door for reader in served}):
        raise InvalidInput("driver.readers", f"no reader is at door {missing[0]!r}: give one its name as `door`")
    for reader in served:
        check_reader(reader)
    for door in doors:
        if sum(reader.strike is not None for reader in served if reader.door == door) > 1:
            raise InvalidInput("driver.readers", f"door {door!r} has two strikes: name one")
    return msgspec.structs.replace(bus, readers=served)


def _readers_of(door: str, part: object) -> list[object]:
    """Return the readers of a door from its own part of the settings, each under its name."""
    if not isinstance(part, Mapping):
        return []
    given = part.get("readers")
    if given is not None and len(part) > 1:
        raise InvalidInput("driver.readers", f"door {door!r}: name its readers in the list, and nothing beside it")
    listed = given if isinstance(given, list | tuple) else [part if given is None else given]
    return [
        {**one, "door": door} if isinstance(one, Mapping) else one
        for one in listed
        if not isinstance(one, Mapping) or one.get("door", door) == door
    ]


def check_reader(reader: ReaderSettings) -> None:
    """Refuse a reader whose key is not one, or that has neither a key nor leave to speak in clear.

    Raises:
        InvalidInput: what to write instead.
    """
    numbers = [*reader.inputs.wired.values()]
    if len(set(numbers)) < len(numbers):
        raise InvalidInput("driver.readers.inputs", f"reader {reader.address}: one input cannot say two things")
    if reader.plain:
        if reader.key is not None or reader.key_file is not None:
            raise InvalidInput("driver.readers.plain", f"reader {reader.address}: in clear, or with a key: not both")
        return
    key_of(reader)


def key_of(reader: ReaderSettings) -> bytes:
    """Return a reader's key (16 bytes).

    Raises:
        InvalidInput: there is none, it cannot be read, or it is the one that everybody knows.
    """
    if reader.key_file is not None:
        return read_key(Path(reader.key_file), where="driver.readers.key_file")
    what = (
        f"reader {reader.address}: give its key as 32 hexadecimal digits in `key` or `key_file`, or say `plain: true`"
    )
    return parse_key(reader.key or "", where="driver.readers.key", what=what)


def read_key(file: Path, *, where: str) -> bytes:
    """Return the key that a file holds.

    Raises:
        InvalidInput: it cannot be read, or holds no key; the text never quotes it.
    """
    try:
        with file.open(encoding="ascii") as stream:
            text = stream.read(256)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII"
        raise InvalidInput(where, f"{file} cannot be read: {reason}") from None
    return parse_key(text, where=where, what=f"{file} needs 32 hexadecimal digits")


def parse_key(text: str, *, where: str, what: str) -> bytes:
    """Return a key from its 32 hexadecimal digits.

    Raises:
        InvalidInput: it is none (`what` says what to do), or the one that everybody knows.
    """
    if re.fullmatch(r"[0-9A-Fa-f]{32}", text.strip()) is None:
        raise InvalidInput(where, what)
    key = bytes.fromhex(text.strip())
    if key in {WELL_KNOWN_KEY, bytes(KEY_BYTES)}:
        raise InvalidInput(where, "that key keeps nobody out: draw one at random")
    return key


def write_key(file: Path, key: bytes) -> None:
    """Keep a key in a file that only its owner can read. Raises `OSError` if it cannot be written."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as stream:
        stream.write(f"{key.hex()}\n")
