"""H.264 and H.265 over RTP as values: cut an access unit into RTP packets and put it together again; RTCP sender reports.

Pure: no socket, no clock. Sources: RFC 3550 (RTP, RTCP), RFC 6184 (H.264: single units, FU-A, STAP-A), RFC 7798 section
4.4 (H.265: the same three, called FU and AP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from models.errors import InvalidInput

CLOCK_HZ: Final = 90_000
PAYLOAD_TYPE: Final = 96
MTU_PAYLOAD_BYTES: Final = 1400
NTP_EPOCH_S: Final = 2_208_988_800
Codec = Literal["h264", "h265"]
_STAP_A, _FU_A = 24, 28
_AP, _FU = 48, 49
_HEADER: Final = struct.Struct("!BBHII")


class RtpPacket(msgspec.Struct, frozen=True, kw_only=True):
    """One RTP packet without extension: sequence number, timestamp (90 kHz), end-of-picture marker and payload."""

    sequence: int
    timestamp: int
    marker: bool
    payload: bytes
    ssrc: int = 0
    payload_type: int = PAYLOAD_TYPE


def split_annexb(stream: bytes) -> list[bytes]:
    """Cut an Annex B byte stream at its start codes into NAL units."""
    units = stream.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")
    return [unit for unit in units if unit]


def kind_of(unit: bytes, codec: Codec = "h264") -> int:
    """Return the type of a NAL unit."""
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def parameter_sets(units: Sequence[bytes], codec: Codec) -> tuple[bytes, ...]:
    """Return the parameter sets of a key picture: SPS and PPS, before them a VPS in H.265."""
    first = {kind_of(unit, codec): unit for unit in units}
    return tuple(first[kind] for kind in ((7, 8) if codec == "h264" else (32, 33, 34)))


def is_key(units: Sequence[bytes], codec: Codec) -> bool:
    """Say whether decoding can start with this picture: an IDR, or any random access point of H.265."""
    kinds = {kind_of(unit, codec) for unit in units}
    return 5 in kinds if codec == "h264" else any(16 <= kind <= 23 for kind in kinds)


def payloads(
    units: Sequence[bytes], *, limit: int = MTU_PAYLOAD_BYTES, aggregate: bool = False, codec: Codec = "h264"
) -> list[bytes]:
    """Cut the NAL units of one picture into RTP payloads of at most `limit` bytes.

    Units that fit travel alone, or small neighbours together with `aggregate`; larger ones in pieces.
    """
    out: list[bytes] = []
    waiting: list[bytes] = []
    head = 1 if codec == "h264" else 2
    for unit in units:
        size = head + sum(2 + len(small) for small in waiting) + 2 + len(unit)
        if aggregate and size <= limit:
            waiting.append(unit)
            continue
        out += _flush(waiting, codec)
        waiting = []
        if aggregate and head + 2 + len(unit) <= limit:
            waiting.append(unit)
        elif len(unit) <= limit:
            out.append(unit)
        else:
            out += _fragments(unit, limit, codec)
    return out + _flush(waiting, codec)


def _flush(units: Sequence[bytes], codec: Codec) -> list[bytes]:
    if len(units) < 2:
        return list(units)
    if codec == "h264":
        head = bytes((max(unit[0] & 0x60 for unit in units) | _STAP_A,))
    else:
        head = bytes((_AP << 1, min(unit[1] for unit in units)))
    return [head + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)]


def _fragments(unit: bytes, limit: int, codec: Codec) -> list[bytes]:
    kind = kind_of(unit, codec)
    if codec == "h264":
        indicator, body = bytes(((unit[0] & 0xE0) | _FU_A,)), unit[1:]
    else:
        indicator, body = bytes(((unit[0] & 0x81) | _FU << 1, unit[1])), unit[2:]
    step = limit - len(indicator) - 1
    last = (len(body) - 1) // step * step
    return [
        indicator + bytes(((0x80 if at == 0 else 0) | (0x40 if at == last else 0) | kind,)) + body[at : at + step]
        for at in range(0, len(body), step)
    ]


def packets(
    units: Sequence[bytes],
    *,
    sequence: int,
    timestamp: int,
    ssrc: int,
    aggregate: bool = False,
    codec: Codec = "h264",
) -> list[bytes]:
    """Packetise one picture; the marker is on the last packet, sequence numbers wrap at 16 bits, timestamps at 32."""
    cut = payloads(units, aggregate=aggregate, codec=codec)
    return [
        _HEADER.pack(
            0x80,
            (0x80 if number == len(cut) - 1 else 0) | PAYLOAD_TYPE,
            (sequence + number) & 0xFFFF,
            timestamp & 0xFFFF_FFFF,
            ssrc,
        )
        + payload
        for number, payload in enumerate(cut)
    ]


def parse_packet(packet: bytes) -> RtpPacket:
    """Parse one RTP packet without header extension or padding (what `packets` writes).

    Raises:
        InvalidInput: shorter than a header, or another version.
    """
    if len(packet) < _HEADER.size or packet[0] >> 6 != 2:
        raise InvalidInput("RTP packet", "too short, or not version 2")
    _, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(packet)
    return RtpPacket(
        sequence=sequence,
        timestamp=timestamp,
        marker=bool(kind & 0x80),
        payload=packet[_HEADER.size :],
        ssrc=ssrc,
        payload_type=kind & 0x7F,
    )


def reassemble(pieces: Iterable[bytes]) -> list[bytes]:
    """Put the payloads of one picture together again, the inverse of `payloads`.

    Raises:
        InvalidInput: an empty payload, a fragment without its start or cut short, or an aggregate cut short.
    """
    units: list[bytes] = []
    open_unit: bytearray | None = None
    for piece in pieces:
        kind = piece[0] & 0x1F if piece else _FU_A
        if kind == _FU_A and len(piece) < 2:
            raise InvalidInput("RTP payload", "it is empty, or a fragment is cut short")
        if kind == _FU_A:
            if piece[1] & 0x80:
                open_unit = bytearray(((piece[0] & 0xE0) | (piece[1] & 0x1F),))
            if open_unit is None:
                raise InvalidInput("RTP payload", "a fragment has no start")
            open_unit += piece[2:]
            if piece[1] & 0x40:
                units.append(bytes(open_unit))
                open_unit = None
        elif kind == _STAP_A:
            units += _unfold(piece[1:])
        else:
            units.append(piece)
    return units


def _unfold(aggregate: bytes) -> list[bytes]:
    units = []
    while aggregate:
        size = int.from_bytes(aggregate[:2], "big")
        if size == 0 or len(aggregate) < 2 + size:
            raise InvalidInput("RTP payload", "an aggregate is cut short")
        units.append(aggregate[2 : 2 + size])
        aggregate = aggregate[2 + size :]
    return units


def sender_report(*, ssrc: int, unix_s: float, timestamp: int, packet_count: int, octet_count: int) -> bytes:
    """Write an RTCP sender report with an empty report list and a CNAME (RFC 3550 sections 6.4.1 and 6.5)."""
    ntp = int((unix_s + NTP_EPOCH_S) * 2**32) & 0xFFFF_FFFF_FFFF_FFFF
    report = struct.pack(
        "!BBHIQIII",
        0x80,
        200,
        6,
        ssrc,
        ntp,
        timestamp & 0xFFFF_FFFF,
        packet_count & 0xFFFF_FFFF,
        octet_count & 0xFFFF_FFFF,
    )
    name = b"gatehouse"
    items = bytes((1, len(name))) + name + b"\x00"
    items += b"\x00" * (-len(items) % 4)
    return report + struct.pack("!BBHI", 0x81, 202, 1 + len(items) // 4, ssrc) + items
