"""Who is on a line: every address is asked in clear what it is and what it has, which a reader tells anybody (for adoption).

Two questions per address, of our own frames; libosdp begins only where a reader's key is to be seen to be right. A reader
that answers is known by maker and serial; without its key it goes no further up the ladder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import msgspec

from drivers.osdp import wire
from drivers.osdp.line import Line, check_serial
from drivers.osdp.messages import Offline, Online, ReaderSetup
from drivers.osdp.place import Place, read_place
from drivers.osdp.probe import TROUBLES, candidate_of, reach, unreached
from drivers.osdp.settings import READERS_MOST, parse_key
from models.devices import Candidate
from models.errors import DeviceUnreachable, InvalidInput

REPLY_S: Final = 0.25
"""A reader answers within 200 ms (OSDP 2.2, clause 5.7)."""
ASKED_TWICE: Final = 2
"""A frame may be lost to noise once."""
SECURITY: Final = 9
"""Function code of the secure channel (OSDP 2.2, annex B)."""


async def survey(address: str, *, key: str, now: Callable[[], datetime]) -> tuple[Candidate, ...]:
    """Return the readers of a line at the addresses 0 to 31, or the one that is named, with its key if there is one.

    Args:
        address: `PORT`, `PORT?baud=RATE`, either with `#ADDRESS`.
        key: of the one reader, 32 hexadecimal digits; empty for none.
        now: the clock.

    Raises:
        DeviceUnreachable: a whole line was to be searched, and cannot be opened.
        InvalidInput: no place of a line, no serial port, no key, or a key for a whole line.
    """
    place = read_place(address)
    if place.address is None:
        if key:
            raise InvalidInput("address", "a key is one reader's: name it behind the port, as /dev/ttyUSB0#0")
        told = await _ask_all(place, range(READERS_MOST))
        return tuple(_in_clear(place, online, at=now()) for online in told)
    secret = parse_key(key, where="password", what="a reader's key is 32 hexadecimal digits") if key else None
    try:
        told = await _ask_all(place, (place.address,))
        if not told:
            return (unreached(place, place.address, at=now(), detail="nobody answers at this address"),)
        if secret is None:
            return (_in_clear(place, told[0], at=now()),)
        setup = ReaderSetup(address=place.address, trust="key", key=secret)
        reached = await reach(place.port, setup, baud_rate=place.baud_rate)
    except DeviceUnreachable as error:
        return (unreached(place, place.address, at=now(), detail=error.what),)
    if isinstance(reached, Offline):
        stopped = candidate_of(place, told[0], at=now())
        return (msgspec.structs.replace(stopped, reach="answers", trouble=TROUBLES[reached.why]),)
    return (candidate_of(place, reached, at=now()),)


def _in_clear(place: Place, online: Online, *, at: datetime) -> Candidate:
    """Return a reader of which nobody has shown the key."""
    plain = online.capabilities.get(SECURITY, (0, 0))[0] == 0
    found = candidate_of(place, online, at=at, plain=plain)
    if plain:
        return msgspec.structs.replace(found, reach="answers", trouble="unsupported", detail="it has no secure channel")
    return msgspec.structs.replace(found, reach="answers")


async def _ask_all(place: Place, addresses: Iterable[int]) -> list[Online]:
    check_serial(place.port)
    line = await asyncio.to_thread(Line, place.port, baud_rate=place.baud_rate)
    try:
        asking = _Asking(line)
        told = [await asking.ask(address) for address in addresses]
    finally:
        line.close()
    return [online for online in told if online is not None]


class _Asking:
    """Ask one reader after the other over an open line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def ask(self, address: int) -> Online | None:
        """Return what a reader says that it is; None if nobody answers, or makes no sense."""
        identity = await self._answer(address, wire.IDENTIFY, reply=wire.IDENTITY)
        if identity is None or len(identity) < wire.IDENTITY_BYTES:
            return None
        able = await self._answer(address, wire.ASK_CAPABILITIES, reply=wire.CAPABILITIES) or b""
        triples = [able[at : at + 3] for at in range(0, len(able) - len(able) % 3, 3)]
        return Online(
            address=address,
            secure=False,
            vendor=int.from_bytes(identity[:3], "little"),
            model=identity[3],
            serial=int.from_bytes(identity[5:9], "little"),
            firmware=int.from_bytes(identity[9:12], "big"),
            capabilities={one[0]: (one[1], one[2]) for one in triples},
        )

    async def _answer(self, address: int, code: int, *, reply: int) -> bytes | None:
        """Return the data of an answer of the kind that is asked for; None if there is none in time."""
        for _ in range(ASKED_TWICE):
            frames = wire.Frames()
            self._line.write(wire.command(address, code, data=b"\0"))
            try:
                async with asyncio.timeout(REPLY_S):
                    while True:
                        for frame in frames.feed(await self._heard()):
                            if (frame.from_reader, frame.address, frame.code) == (True, address, reply):
                                return wire.data_of(frame)
            except TimeoutError:
                if not frames.began:
                    return None
        return None

    async def _heard(self) -> bytes:
        """Return what comes next. Raises `DeviceUnreachable` if the line is gone."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._line.fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._line.fd)
        return self._line.read()
