"""What a driver and its panel process tell each other: JSON, one record per line. Records only.

The panel is the process that holds libosdp (drivers.osdp.panel); keys go to it in `Setup`, on its standard input alone.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

MAX_LINE_BYTES: Final = 64 * 1024
OWN: Final = 0
"""The number of a command that nobody waits for."""

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Address = Annotated[int, msgspec.Meta(ge=0, le=126)]
Trust = Literal["key", "plain", "install"]
"""How a reader is talked to: by its own key; in clear; or by the well-known key, to give it its own (install mode)."""
Topic = Literal["local", "input", "output"]
Away = Literal["silent", "key", "insecure", "garbled"]
"""Why a reader is away: it says nothing; it does not have our key; it knows no secure channel; or it makes no sense."""


class ReaderSetup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Name a reader, how to trust it, and what to ask of it when it is there."""

    address: Address
    trust: Trust
    key: bytes | None = None
    ask: tuple[Topic, ...] = ()

    def __repr__(self) -> str:
        """Show the reader without its key."""
        return f"ReaderSetup(address={self.address}, trust={self.trust!r})"


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Begin: the port and the readers on it. The first line, once."""

    port: str
    baud_rate: int
    readers: tuple[ReaderSetup, ...]


class Output(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Set an output on or off for good, or pulse it for `hold_s`; a pulse ends by itself at the reader."""

    number: Byte
    turn: Literal["on", "off", "pulse"]
    hold_s: float = 0.0


class Light(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Light the LED for a while, steady or blinking, then as it was."""

    color: Literal["red", "green", "amber"]
    for_s: float
    blink: bool = False


class Beep(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Sound the buzzer, `times` times for `on_s`."""

    times: Byte
    on_s: float = 0.1


class Show(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Show a line of text for a while."""

    text: Annotated[str, msgspec.Meta(max_length=32)]
    for_s: float


Command = Output | Light | Beep | Show


class Act(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Carry out a command before `until` (since this machine started, in s), or not at all."""

    number: int
    address: Address
    until: float
    command: Command


class Online(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say that a reader is there, and had nothing more to tell from before."""

    address: Address
    secure: bool
    vendor: int
    model: int
    serial: int
    firmware: int
    capabilities: dict[int, tuple[int, int]]
    """Function code to compliance level and number of items (OSDP 2.2, annex B)."""


class Offline(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say that a reader is away, and as far as that can be told, why."""

    address: Address
    why: Away


class Card(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say that a card was read: its bits as they came, the first in the highest place of the first byte."""

    address: Address
    bits: int
    raw: bytes
    at: float
    """When the panel took it (since this machine started, in s)."""
    waited: bool
    """True if it is not about now: it was read before the reader was reached, or waited on its way to the driver."""

    def __repr__(self) -> str:
        """Show that there was a card, not which."""
        return f"Card(address={self.address}, bits={self.bits}, waited={self.waited})"


class Keys(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say that keys were pressed."""

    address: Address
    keys: bytes
    at: float
    waited: bool

    def __repr__(self) -> str:
        """Show that keys were pressed, not which."""
        return f"Keys(address={self.address}, waited={self.waited})"


class Status(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say how the reader's housing and power (`local`), inputs or outputs stand; one byte each."""

    address: Address
    topic: Topic
    report: bytes


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say how an `Act` ended; not `certain` if the reader may have obeyed."""

    number: int
    ok: bool
    certain: bool = True
    error: str | None = None


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say how often the line carried no frame (`unreadable`) and how often a reader's session began anew."""

    unreadable: int
    sessions: int


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say why the panel ends: the port is gone or cannot be opened. The last line."""

    what: str


T = TypeVar("T")
ToPanel = Act
FromPanel = Online | Offline | Card | Keys | Status | Done | Counted | Broken

_TO: Final[msgspec.json.Decoder[ToPanel]] = msgspec.json.Decoder(ToPanel)
_FROM: Final[msgspec.json.Decoder[FromPanel]] = msgspec.json.Decoder(FromPanel)


def encode(record: Setup | ToPanel | FromPanel) -> bytes:
    """Return a record as its line."""
    return msgspec.json.encode(record) + b"\n"


def to_panel(line: bytes) -> ToPanel:
    """Return what a driver tells. Raises `msgspec.MsgspecError` for anything else."""
    return _read(line, _TO)


def from_panel(line: bytes) -> FromPanel:
    """Return what a panel tells. Raises `msgspec.MsgspecError` for anything else."""
    return _read(line, _FROM)


def _read(line: bytes, by: msgspec.json.Decoder[T]) -> T:
    try:
        return by.decode(line)
    except UnicodeDecodeError:
        raise msgspec.DecodeError("it is not UTF-8") from None
