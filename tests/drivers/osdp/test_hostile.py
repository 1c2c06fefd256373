"""A reader torn from the wall, with something in its place that knows frames and checksums but means no good."""

from __future__ import annotations

import random
from typing import Any, cast

from drivers.osdp import wire
from drivers.osdp.messages import Online, Output, ReaderSetup
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from tests.drivers.osdp.conftest import Table

ANSWERS = 16
IDENTITY = bytes([0x45]) + bytes(12)
ABILITIES = bytes([0x46, 1, 1, 5, 2, 1, 1, 3, 1, 1, 4, 1, 1, 9, 1, 0])
REPLIES = (
    0x40,
    0x41,
    0x45,
    0x46,
    0x48,
    0x49,
    0x4A,
    0x4B,
    0x50,
    0x51,
    0x53,
    0x54,
    0x57,
    0x76,
    0x78,
    0x79,
    0x7A,
    0x80,
    0x90,
)


class Impostor:
    """Answer whatever is asked with frames that are whole and wrong, until an honest reader takes over."""

    def __init__(self, honest: SimulatedReader, *, seed: int) -> None:
        self.honest = honest
        self.answers = 0
        self.send: Any = None
        self._rng = random.Random(seed)
        self._frames = wire.Frames()

    @property
    def is_over(self) -> bool:
        return self.answers >= ANSWERS

    def hear(self, data: bytes) -> None:
        if self.is_over:
            self.honest.hear(data)
            return
        for frame in self._frames.feed(data):
            if not frame.from_reader and frame.address == self.honest.address:
                self.answers += 1
                self.send(self._answer(frame))

    def step(self) -> None:
        if self.is_over:
            self.honest.send = self.send
            self.honest.step()

    def close_timers(self) -> None:
        self.honest.close_timers()

    def _answer(self, asked: wire.Frame) -> bytes:
        rng = self._rng
        if asked.code == wire.IDENTIFY:
            body = IDENTITY
        elif asked.code == 0x62:
            body = ABILITIES
        elif asked.code == wire.POLL and rng.random() < 0.4:
            body = bytes([wire.ACK])
        else:
            body = bytes([rng.choice(REPLIES)]) + rng.randbytes(rng.choice((0, 1, 2, 4, 5, 32, 230)))
        secret = rng.choice(
            (b"", b"", b"", bytes([2, 0x16]), bytes([2, 0x18]), bytes([3, 0x12, 1]), bytes([3, 0x14, 1]))
        )
        control = asked.raw[4] & 0x03 | wire.WITH_CRC | (wire.WITH_SECURITY if secret else 0)
        length = 5 + len(secret) + len(body) + 2
        head = bytes([wire.START, asked.raw[1] | wire.FROM_READER, length & 0xFF, length >> 8, control]) + secret + body
        return head + wire.checksum(head).to_bytes(2, "little")


async def test_an_impostor_breaks_nothing_and_an_honest_reader_serves_after_it() -> None:
    honest = SimulatedReader("gate", address=1, key=None)
    impostor = Impostor(honest, seed=2)
    setup = ReaderSetup(address=1, trust="plain", ask=("local", "input", "output"))
    async with SimulatedBus(cast("SimulatedReader", impostor)) as bus:
        table = Table(bus, setup, hastening_s=0.04)
        await table.until(lambda: impostor.is_over, limit_s=30)
        assert table.session.begun > 3
        assert not any(isinstance(said, Online) and said.secure for said in table.said)
        table.hastening_s = 0.0
        honest.faults.clear()
        table.said.clear()
        await table.until(lambda: table.has(Online) or table.session._present)
        table.act(1, Output(number=0, turn="pulse", hold_s=0.1), within_s=5.0)
        await table.until(lambda: table.done(1) != [])
        assert table.done(1)[0].ok
        assert honest.unlocks >= 1
        table.line.close()
