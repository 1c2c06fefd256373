"""H.264 over RTP: whatever a picture consists of, its packets put together give it back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.rtsp import rtp
from models.errors import InvalidInput

UNIT = st.tuples(st.sampled_from([0x41, 0x65, 0x67, 0x68, 0x06]), st.binary(min_size=1, max_size=6000)).map(
    lambda pair: bytes((pair[0],)) + pair[1]
)


@given(st.lists(UNIT, min_size=1, max_size=6), st.booleans(), st.integers(0, 0xFFFF), st.integers(0, 2**33))
def test_packets_put_together_give_the_picture_back(
    units: list[bytes], aggregate: bool, sequence: int, timestamp: int
) -> None:
    packets = rtp.packets(units, sequence=sequence, timestamp=timestamp, ssrc=5, aggregate=aggregate)
    parsed = [rtp.parse_packet(packet) for packet in packets]
    assert all(len(packet) <= rtp.MTU_PAYLOAD_BYTES + 12 for packet in packets)
    assert [packet.sequence for packet in parsed] == [(sequence + number) % 65536 for number in range(len(parsed))]
    assert {packet.timestamp for packet in parsed} == {timestamp % 2**32}
    assert [packet.marker for packet in parsed] == [False] * (len(parsed) - 1) + [True]
    assert rtp.reassemble(packet.payload for packet in parsed) == units


def test_small_units_travel_together_when_asked() -> None:
    units = [b"\x67abc", b"\x68d", b"\x65" + b"x" * 3000]
    assert len(rtp.payloads(units, aggregate=True)) == 1 + 3
    assert len(rtp.payloads(units)) == 2 + 3


def test_a_stream_is_cut_at_start_codes_of_three_and_four_bytes() -> None:
    assert rtp.split_annexb(b"\0\0\0\1\x67a\0\0\1\x68b\0\0\0\1\x65c") == [b"\x67a", b"\x68b", b"\x65c"]


@pytest.mark.parametrize("packet", [b"", b"\x80" * 11, b"\x40" + b"\0" * 11])
def test_what_is_no_rtp_is_refused(packet: bytes) -> None:
    with pytest.raises(InvalidInput):
        rtp.parse_packet(packet)


@pytest.mark.parametrize("pieces", [[b"\x7c\x05abc"], [b"\x78\x00\x09ab"], [b"\x78\x00\x00"], [b""], [b"\x7c"]])
def test_pieces_without_their_start_or_end_are_refused(pieces: list[bytes]) -> None:
    with pytest.raises(InvalidInput):
        rtp.reassemble(pieces)


def test_a_sender_report_has_the_time_in_both_clocks() -> None:
    report = rtp.sender_report(ssrc=9, unix_s=1.5, timestamp=90_000, packet_count=3, octet_count=400)
    first, kind, words, ssrc, ntp, stamp, packets, octets = struct.unpack_from("!BBHIQIII", report)
    assert (first, kind, words, ssrc) == (0x80, 200, 6, 9)
    assert ntp == int((2_208_988_800 + 1.5) * 2**32)
    assert (stamp, packets, octets) == (90_000, 3, 400)
    assert len(report) % 4 == 0
    assert len(report) == 28 + (struct.unpack_from("!H", report, 30)[0] + 1) * 4
