"""One simulated camera: plays encoded scenes to whoever asked, in real time, and misbehaves on request.

Nothing is encoded here and no RTSP is spoken: a `Track` is one client's RTP state over a `send` that the server hands
it. While nobody plays, nothing ticks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec

from drivers.rtsp.rtp import CLOCK_HZ, packets, sender_report
from drivers.rtsp.scenes import Clip, Picture

Fault = Literal[
    "cut", "mute", "stall", "freeze", "corrupt", "noise_payload", "wrong_credentials", "slow", "clock_jump", "clock_off",
    "garbage",
]  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
CLOCK_JUMP_S: Final = 100
CLOCK_OFF_S: Final = 3600
BURST_S: Final = 3.0
REPORT_S: Final = 5.0
MAX_SEQUENCE: Final = 0x1_0000


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One picture at its time on the camera's clock (90 kHz)."""

    picture: Picture
    timestamp: int


class Track:
    """One client's stream: its own numbers, starting with a key picture.

    `send_rtp` and `send_rtcp` take one packet and must not block; `room` says whether the client keeps up.
    """

    def __init__(
        self,
        *,
        send_rtp: Callable[[bytes], None],
        send_rtcp: Callable[[bytes], None],
        room: Callable[[], bool],
        rng: random.Random,
        aggregate: bool = False,
    ) -> None:
        self.ssrc = rng.getrandbits(32)
        self.sequence = rng.getrandbits(16)
        self._send_rtp = send_rtp
        self._send_rtcp = send_rtcp
        self._room = room
        self._rng = rng
        self._aggregate = aggregate
        self._waits_for_key = True
        self._packet_count = 0
        self._octet_count = 0
        self._reported_at: float | None = None

    def play(self, tick: Tick, *, fault: Fault | None, unix_s: float) -> None:
        """Send one picture, or skip until the next key picture if the client does not keep up."""
        if not self._room():
            self._waits_for_key = True
        if self._waits_for_key and not tick.picture.key:
            return
        self._waits_for_key = False
        cut = packets(
            tick.picture.units,
            sequence=self.sequence,
            timestamp=tick.timestamp,
            ssrc=self.ssrc,
            aggregate=self._aggregate,
            codec=tick.picture.codec,
        )
        self.sequence = (self.sequence + len(cut)) % MAX_SEQUENCE
        if self._reported_at is None or unix_s - self._reported_at >= REPORT_S:
            self._report(unix_s, tick.timestamp, off_s=CLOCK_OFF_S if fault == "clock_off" else 0)
        for packet in cut:
            self._packet_count += 1
            self._octet_count += len(packet) - 12
            damaged = self._damage(packet, fault)
            if damaged is not None:
                self._send_rtp(damaged)

    def _report(self, unix_s: float, timestamp: int, *, off_s: float) -> None:
        self._reported_at = unix_s
        counts = {"packet_count": self._packet_count, "octet_count": self._octet_count}
        self._send_rtcp(sender_report(ssrc=self.ssrc, unix_s=unix_s + off_s, timestamp=timestamp, **counts))

    def _damage(self, packet: bytes, fault: Fault | None) -> bytes | None:
        if fault == "noise_payload":
            return packet[:12] + self._rng.randbytes(len(packet) - 12)
        if fault != "corrupt" or self._rng.random() > 0.3:
            return packet
        if self._rng.random() < 0.3:
            return None
        spoilt = bytearray(packet)
        for _ in range(8):
            spoilt[self._rng.randrange(12, len(spoilt))] = self._rng.randrange(256)
        return bytes(spoilt)


class Player:
    """One camera's clock and programme.

    `run` ticks until cancelled. `show` changes the programme at the next picture; a clip that does not loop is
    followed by `quiet`.
    """

    def __init__(self, quiet: Clip, *, fps: int, rng: random.Random) -> None:
        self.quiet = quiet
        self.fault: Fault | None = None
        self.fault_until: float | None = None
        self._clip = quiet
        self._home = quiet
        self._position = 0
        self.fps = fps
        self._tracks: set[Track] = set()
        self._watched = asyncio.Event()
        self._timestamp = rng.getrandbits(32)
        self._last_key: Picture = quiet.pictures[0]
        self._held: list[Tick] = []
        self._held_since = 0.0

    @property
    def timestamp(self) -> int:
        """RTP time of the next picture."""
        return self._timestamp & 0xFFFF_FFFF

    @property
    def clients(self) -> int:
        """How many are playing."""
        return len(self._tracks)

    def show(self, clip: Clip) -> None:
        """Start a clip at the next picture. A clip that loops stays until the next `show`."""
        self._clip = clip
        self._position = 0
        if clip.loops:
            self._home = clip

    def add(self, track: Track) -> None:
        """Start playing to one more client; the first one gets a key picture at once."""
        if not self._tracks and self._clip.loops:
            self._position = 0
        self._tracks.add(track)
        self._watched.set()

    def remove(self, track: Track) -> None:
        """Stop playing to a client."""
        self._tracks.discard(track)
        if not self._tracks:
            self._watched.clear()

    def misbehave(self, fault: Fault | None, *, for_s: float | None = None) -> None:
        """Begin a fault, or end it with None. A clock jump happens once and is over."""
        if fault == "clock_jump":
            self._timestamp += CLOCK_JUMP_S * CLOCK_HZ
            return
        self.fault = fault
        self.fault_until = time.monotonic() + for_s if fault and for_s else None

    def current_fault(self) -> Fault | None:
        """Return the fault in force now."""
        if self.fault_until is not None and time.monotonic() >= self.fault_until:
            self.fault = self.fault_until = None
        return self.fault

    async def run(self) -> None:
        """Tick at the camera's rate while somebody plays."""
        step_s = 1 / self.fps
        while True:
            await self._watched.wait()
            due = time.monotonic()
            while self._tracks:
                self._tick(due)
                due += step_s
                late = time.monotonic() - due
                if late > 1.0:
                    due += late
                    self._timestamp += round(late * CLOCK_HZ)
                await asyncio.sleep(max(0.0, -late))

    def _tick(self, now: float) -> None:
        fault = self.current_fault()
        tick = Tick(picture=self._next_picture(fault), timestamp=self.timestamp)
        self._timestamp += round(CLOCK_HZ / self.fps)
        if fault == "stall":
            return
        if fault == "slow":
            self._held_since = self._held_since or now
            self._held.append(tick)
            if now - self._held_since < BURST_S:
                return
        due = [*self._held, tick] if fault != "slow" else self._held
        self._held, self._held_since = [], 0.0
        unix_s = time.time()
        for ready in due:
            for track in tuple(self._tracks):
                track.play(ready, fault=fault, unix_s=unix_s)

    def _next_picture(self, fault: Fault | None) -> Picture:
        picture = self._clip.pictures[self._position]
        self._position += 1
        if self._position >= len(self._clip.pictures):
            self._position = 0
            self._clip = self._clip if self._clip.loops else self._home
        if picture.key and fault != "freeze":
            self._last_key = picture
        return self._last_key if fault == "freeze" else picture
