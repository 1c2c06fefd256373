"""OSDP frames as bytes: where one begins and ends, whom it is from, and which bytes are none. Pure: no port, no clock.

libosdp speaks the protocol. This only watches the line: it hands on whole frames with a right checksum, counts the rest
as noise, and reads the clear part of a header (address, command or reply), so that silence, a refusal and a wrong key can
be told apart. Source: OSDP 2.2 (IEC 60839-11-5), clause 5 "Communication settings" and 5.9 "Packet format".
"""

from __future__ import annotations

from typing import Final

import msgspec

START: Final = 0x53
MARK: Final = 0xFF
FROM_READER: Final = 0x80
MAX_FRAME_BYTES: Final = 512
"""Longer frames are none: libosdp takes 256 bytes."""
MIN_FRAME_BYTES: Final = 7
IDENTITY_BYTES: Final = 12
"""Maker, model, version, serial and firmware (OSDP 2.2, clause 7.4)."""
HEADER_BYTES: Final = 5
WITH_CRC: Final = 0x04
WITH_SECURITY: Final = 0x08

ACK: Final = 0x40
NAK: Final = 0x41
IDENTITY: Final = 0x45
CAPABILITIES: Final = 0x46
POLL: Final = 0x60
IDENTIFY: Final = 0x61
ASK_CAPABILITIES: Final = 0x62
CHALLENGE: Final = 0x76
SERVER_CRYPTOGRAM: Final = 0x77


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one frame: `code` is its command or reply, `from_reader` who sent it."""

    address: int
    from_reader: bool
    code: int
    raw: bytes


class Frames:
    """Cut a stream of bytes into frames; whatever is none is counted in `unreadable`, once per stretch."""

    def __init__(self) -> None:
        self.unreadable = 0
        self._rest = b""
        self._in_noise = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete with these bytes; at most 512 bytes wait for their end."""
        rest = self._rest + data
        found: list[Frame] = []
        while rest:
            at = rest.find(bytes([START]))
            if at:
                rest = self._skip(rest, len(rest) if at < 0 else at)
                continue
            length = _length(rest)
            if length is None or len(rest) < length:
                break
            frame = _frame(rest[:length]) if length else None
            if frame is None:
                rest = self._skip(rest, 1)
                continue
            self._in_noise = False
            found.append(frame)
            rest = rest[length:]
        self._rest = rest
        return found

    @property
    def began(self) -> bool:
        """Return whether anything but frames was heard: noise, or the beginning of a frame."""
        return bool(self.unreadable or self._rest)

    def forget(self) -> None:
        """Drop a frame that was begun: what follows is an answer to something new."""
        self._skip(self._rest, len(self._rest))
        self._rest = b""
        self._in_noise = False

    def _skip(self, rest: bytes, count: int) -> bytes:
        """Return what is left after bytes that are no frame; fill bytes between frames are not noise."""
        noise = rest[:count].strip(bytes([MARK]))
        if noise and not self._in_noise:
            self.unreadable += 1
            self._in_noise = True
        return rest[count:]


def command(address: int, code: int, *, data: bytes) -> bytes:
    """Return a command in clear that begins anew: sequence 0, with a CRC (OSDP 2.2, clause 5.9)."""
    length = HEADER_BYTES + 1 + len(data) + 2
    body = bytes([START, address, length & 0xFF, length >> 8, WITH_CRC, code]) + data
    return body + checksum(body).to_bytes(2, "little")


def data_of(frame: Frame) -> bytes:
    """Return what an answer in clear carries behind its code; nothing of one in a secure channel."""
    control = frame.raw[4]
    return b"" if control & WITH_SECURITY else frame.raw[HEADER_BYTES + 1 : -2 if control & WITH_CRC else -1]


def checksum(data: bytes) -> int:
    """Return the CRC-16 of a frame without it (polynomial 0x1021, first 0x1D0F; OSDP 2.2, annex C)."""
    crc = 0x1D0F
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _length(rest: bytes) -> int | None:
    """Return how long the frame at the start says that it is, 0 if it cannot be one, None if it has not said yet."""
    if len(rest) < 4:
        return None
    length = rest[2] | rest[3] << 8
    return length if MIN_FRAME_BYTES <= length <= MAX_FRAME_BYTES else 0


def _frame(raw: bytes) -> Frame | None:
    control = raw[4]
    body, tail = (raw[:-2], raw[-2] | raw[-1] << 8) if control & WITH_CRC else (raw[:-1], raw[-1])
    expected = checksum(body) if control & WITH_CRC else -sum(body) & 0xFF
    at = HEADER_BYTES
    if control & WITH_SECURITY and len(body) > at:
        at += body[at]
    if tail != expected or at >= len(body):
        return None
    return Frame(address=raw[1] & ~FROM_READER, from_reader=bool(raw[1] & FROM_READER), code=body[at], raw=raw)
