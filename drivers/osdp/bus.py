"""The bus: one exchange at a time, a reader's answer for whoever asked, and everything else counted as noise.

libosdp can share a line by itself, but there a reader that is away holds its queue, and its neighbours, for seconds. Here
each reader has a control panel of its own (drivers.osdp.session), and the bus gives the turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from drivers.osdp import wire
from drivers.osdp.line import Line
from models.errors import DeviceUnreachable

REPLY_S: Final = 0.25
"""A reader answers within 200 ms (OSDP 2.2, clause 5.7); a turn ends after this."""
STEPS_AFTER_ANSWER: Final = 3
"""libosdp takes an answer in one step, says so in the next, and sends what follows in a third."""


class Bus:
    """Hold the line and whose turn it is.

    Args:
        line: the open line.
        clock: monotonic, in s.
    """

    def __init__(self, line: Line, *, clock: Callable[[], float]) -> None:
        self.frames = wire.Frames()
        self.lost: DeviceUnreachable | None = None
        """Why the line is gone, once it is. libosdp's callbacks cannot raise, so it waits here for whoever looks."""
        self._line = line
        self._clock = clock
        self._turn: Turn | None = None
        self._turn_ends = 0.0
        self._steps_due = 0

    def is_lively(self) -> bool:
        """Return whether an answer has just come, so that its session should step again without waiting for anything."""
        due, self._steps_due = self._steps_due, max(0, self._steps_due - 1)
        return due > 0

    def take(self) -> None:
        """Take what has arrived; frames go to the reader whose turn it is, and to nobody if it is another's."""
        try:
            data = self._line.read()
        except DeviceUnreachable as error:
            self.lost = self.lost or error
            return
        for frame in self.frames.feed(data) if data else ():
            turn = self._turn
            if not frame.from_reader:
                continue  # our own, heard back on two wires
            if turn is None or frame.address != turn.address:
                self.frames.unreadable += 1
                continue
            turn.hear(frame)
            self._steps_due = STEPS_AFTER_ANSWER

    def is_held_by(self, address: int) -> bool:
        """Return whether the line waits for this reader's answer."""
        return self._turn is not None and self._turn.address == address

    def open_to(self, turn: Turn) -> bool:
        """Return whether this reader may be asked something now."""
        return self._turn is None or self._turn is turn or self._clock() > self._turn_ends

    def send(self, turn: Turn, data: bytes) -> float:
        """Send a frame and return when; the turn is this reader's until it has answered or its time is over."""
        now = self._clock()
        self.frames.forget()
        self._turn, self._turn_ends = turn, now + REPLY_S
        try:
            self._line.write(data)
        except DeviceUnreachable as error:
            self.lost = self.lost or error
        return now

    def release(self, turn: Turn) -> None:
        """End a reader's turn: it has been answered, or its session is over."""
        if self._turn is turn:
            self._turn = None


class Turn:
    """Be the channel of one reader's control panel: what libosdp reads and writes, observed on the way."""

    def __init__(self, address: int, *, bus: Bus) -> None:
        self.address = address
        self.id = address
        self.asked: int | None = None
        """The last command sent."""
        self.answer: int | None = None
        """What came back for it."""
        self.heard = False
        self.unanswered_since: float | None = None
        self.idle = False
        """Whether the reader answered a poll with nothing to tell."""
        self.sent: set[int] = set()
        """Every command sent in this session."""
        self._bus = bus
        self._answers: deque[bytes] = deque(maxlen=8)

    def hear(self, frame: wire.Frame) -> None:
        """Take an answer of this reader."""
        self.answer, self.heard, self.unanswered_since = frame.code, True, None
        self.idle = self.idle or (self.asked == wire.POLL and frame.code == wire.ACK)
        self._answers.append(frame.raw)
        self._bus.release(self)

    def read(self, max_bytes: int) -> bytes:
        """Return the next answer (libosdp's side)."""
        if not self._answers:
            return b""
        answer = self._answers.popleft()
        if len(answer) > max_bytes:
            self._answers.appendleft(answer[max_bytes:])
        return answer[:max_bytes]

    def write(self, buf: bytes) -> int:
        """Send a command (libosdp's side)."""
        frames = wire.Frames().feed(bytes(buf))
        self.asked = frames[0].code if frames else None
        self.answer = None
        self._answers.clear()
        if self.asked is not None:
            self.sent.add(self.asked)
        sent_at = self._bus.send(self, bytes(buf))
        if self.unanswered_since is None:
            self.unanswered_since = sent_at
        return len(buf)

    def flush(self) -> None:
        """Forget answers that nobody has read (libosdp's side)."""
        self._answers.clear()
