"""Frames of OSDP, cut from whatever is on the line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.osdp import wire
from drivers.osdp.wire import Frame, Frames, checksum

IDENTIFY = bytes.fromhex("53 05 09 00 04 61 00 c1 25")
ACK_IN_SECRET = bytes.fromhex("53 85 0e 00 0d 02 16 40 b7 3a 7a bd 43 fc")
"""Recorded between libosdp's panel and device."""


def framed(address: int, body: bytes, *, crc: bool = True) -> bytes:
    """Return a frame around a code and its data, by the standard and not by the code under test."""
    length = 5 + len(body) + (2 if crc else 1)
    head = bytes([0x53, address, length & 0xFF, length >> 8, 0x04 if crc else 0x00]) + body
    return head + (checksum(head).to_bytes(2, "little") if crc else bytes([-sum(head) & 0xFF]))


def test_frames_of_both_sides_are_read_in_clear_and_in_the_secure_channel() -> None:
    frames = Frames()
    assert frames.feed(b"\xff" + IDENTIFY + b"\xff\xff" + ACK_IN_SECRET) == [
        Frame(address=5, from_reader=False, code=wire.IDENTIFY, raw=IDENTIFY),
        Frame(address=5, from_reader=True, code=wire.ACK, raw=ACK_IN_SECRET),
    ]
    assert frames.unreadable == 0  # marks between frames are no noise


def test_an_old_reader_may_use_a_checksum_of_one_byte() -> None:
    raw = framed(0x87, bytes([wire.NAK, 3]), crc=False)
    assert Frames().feed(raw) == [Frame(address=7, from_reader=True, code=wire.NAK, raw=raw)]


def test_noise_before_between_and_after_frames_is_counted_and_costs_no_frame() -> None:
    frames = Frames()
    found = frames.feed(b"noise" + IDENTIFY + b"\x00\x01" + ACK_IN_SECRET + b"more")
    assert [frame.raw for frame in found] == [IDENTIFY, ACK_IN_SECRET]
    assert frames.unreadable == 3


def test_a_damaged_frame_is_none() -> None:
    for at in range(len(ACK_IN_SECRET)):
        damaged = bytearray(ACK_IN_SECRET)
        damaged[at] ^= 0x20
        frames = Frames()
        assert frames.feed(bytes(damaged)) == []
        frames.forget()
        assert frames.unreadable == 1


def test_a_frame_that_claims_to_be_long_holds_up_nothing_beyond_the_next_question() -> None:
    frames = Frames()
    assert frames.feed(b"\x53\x85\x00\x02\x04" + ACK_IN_SECRET) == []  # 512 bytes are promised, and never come
    frames.forget()
    assert [frame.raw for frame in frames.feed(ACK_IN_SECRET)] == [ACK_IN_SECRET]
    assert frames.unreadable == 1


def test_a_frame_longer_than_any_reader_takes_is_noise_at_once() -> None:
    frames = Frames()
    assert [frame.raw for frame in frames.feed(b"\x53\x85\x01\x02\x04" + ACK_IN_SECRET)] == [ACK_IN_SECRET]


def test_a_security_block_that_reaches_beyond_its_frame_is_no_frame() -> None:
    head = bytes([0x53, 0x85, 10, 0, 0x0C, 200, 0x16, 0x40])
    assert Frames().feed(head + checksum(head).to_bytes(2, "little")) == []


pieces = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([IDENTIFY, ACK_IN_SECRET, b"\x53", b"\x53\x85\xff\x01\x04"])),
    max_size=12,
)


@given(pieces)
def test_any_bytes_give_only_frames_that_are_whole(given_pieces: list[bytes]) -> None:
    frames = Frames()
    heard = b"".join(given_pieces)
    found = [frame for piece in given_pieces for frame in frames.feed(piece)]
    for frame in found:
        assert frame.raw in heard
        assert frame.raw[0] == wire.START
        assert 0 <= frame.address < 128
    assert len(frames._rest) <= wire.MAX_FRAME_BYTES


@given(st.binary(max_size=60), st.integers(1, 9))
def test_how_the_bytes_are_cut_up_changes_nothing(noise: bytes, size: int) -> None:
    stream = noise.replace(b"\x53", b"\x54") + IDENTIFY + noise.replace(b"\x53", b"\x54") + ACK_IN_SECRET
    whole, cut = Frames(), Frames()
    in_one = whole.feed(stream)
    in_pieces = [frame for at in range(0, len(stream), size) for frame in cut.feed(stream[at : at + size])]
    assert in_pieces == in_one
    assert [frame.raw for frame in in_one] == [IDENTIFY, ACK_IN_SECRET]
    assert cut.unreadable == whole.unreadable


@given(st.binary(min_size=1, max_size=200), st.integers(0, 126), st.booleans())
def test_every_whole_frame_is_found(body: bytes, address: int, crc: bool) -> None:
    raw = framed(address | wire.FROM_READER, body, crc=crc)
    (frame,) = Frames().feed(raw)
    assert (frame.address, frame.from_reader, frame.code) == (address, True, body[0])
