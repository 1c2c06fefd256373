"""The process that holds libosdp: `python -m drivers.osdp.panel`, told what to do on standard input, telling on output.

Its own process, because readers must be polled every 50 ms whatever else goes on, and because a C library that parses
bytes from an open wall should not share memory with the keys of a house. It ends when its standard input does, when the
port is gone, or when nobody reads what it tells.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import osdp
import osdp_sys

from drivers.osdp.bus import Bus
from drivers.osdp.line import Line
from drivers.osdp.messages import (
    MAX_LINE_BYTES,
    OWN,
    Broken,
    Counted,
    Done,
    FromPanel,
    Setup,
    encode,
    to_panel,
)  # fmt: skip
from drivers.osdp.session import Session
from drivers.since_boot import since_boot_s
from models.errors import DeviceUnreachable

STEP_S: Final = 0.01
COUNT_EVERY_S: Final = 1.0
TELLING_MOST: Final = 4096
"""Lines that may wait for the driver to read them; with more, it is taken for dead."""


class Panel:
    """Serve the readers of one port.

    Args:
        setup: the port and its readers.
        line: the open port.
        told: descriptor that lines come from, not blocking.
        telling: descriptor that lines go to, not blocking.
        clock: monotonic, in s.
    """

    def __init__(self, setup: Setup, *, line: Line, told: int, telling: int, clock: Callable[[], float]) -> None:
        self._line = line
        self._told = told
        self._telling = telling
        self._clock = clock
        self._bus = Bus(line, clock=clock)
        self._sessions = {
            reader.address: Session(reader, bus=self._bus, say=self.say, clock=clock) for reader in setup.readers
        }
        self._turns = deque(self._sessions.values())
        self._in = b""
        self._out: deque[bytes] = deque()
        self._counted = Counted(unreadable=0, sessions=0)
        self._count_at = 0.0

    def run(self) -> None:
        """Serve until the driver is gone.

        Raises:
            DeviceUnreachable: the line is gone.
        """
        while self._hear(0.0 if self._bus.is_lively() else STEP_S) and len(self._out) < TELLING_MOST:
            self._bus.take()
            self._give_turns()
            if self._bus.lost is not None:
                raise self._bus.lost
            if self._clock() > self._count_at:
                self._count_at = self._clock() + COUNT_EVERY_S
                self._count()
            self._tell()

    def say(self, record: FromPanel) -> None:
        """Tell the driver something, in turn."""
        if isinstance(record, Done) and record.number == OWN:
            return
        self._count()
        self._out.append(encode(record))

    def _give_turns(self) -> None:
        """Let the readers step: first those that somebody waits at, then whoever had a turn longest ago."""
        for session in sorted(self._turns, key=lambda session: not session.is_commanded):
            session.step()
            if self._bus.is_held_by(session.address):
                self._turns.remove(session)
                self._turns.append(session)

    def _hear(self, wait_s: float) -> bool:
        """Wait for the line or the driver; return False once the driver is gone."""
        ready, _, _ = select.select([self._told, self._line.fd], [], [], wait_s)
        if self._told not in ready:
            return True
        data = os.read(self._told, MAX_LINE_BYTES)
        *lines, self._in = (self._in + data).split(b"\n")
        for text in lines:
            act = to_panel(text)
            self._sessions[act.address].act(act)
        return bool(data)

    def _count(self) -> None:
        sessions = sum(session.begun for session in self._sessions.values())
        counted = Counted(unreadable=self._bus.frames.unreadable, sessions=sessions)
        if counted != self._counted:
            self._counted = counted
            self._out.append(encode(counted))

    def _tell(self) -> None:
        while self._out:
            try:
                written = os.write(self._telling, self._out[0])
            except BlockingIOError:
                return
            rest = self._out.popleft()[written:]
            if rest:
                self._out.appendleft(rest)


def main() -> int:
    """Serve what standard input names until it ends; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which then hangs up
    told, telling = sys.stdin.fileno(), os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a C library that prints must not spoil the lines
    osdp_sys.set_loglevel(osdp.LogLevel.Emergency)
    try:
        setup = msgspec.json.decode(_first_line(told), type=Setup)
        line = Line(setup.port, baud_rate=setup.baud_rate)
    except DeviceUnreachable as error:
        os.write(telling, encode(Broken(what=error.what)))
        return 1
    os.set_blocking(told, False)
    os.set_blocking(telling, False)
    panel = Panel(setup, line=line, told=told, telling=telling, clock=since_boot_s)
    try:
        panel.run()
    except DeviceUnreachable as error:
        os.write(telling, encode(Broken(what=error.what)))
        return 1
    except BrokenPipeError:
        return 0
    finally:
        line.close()
    return 0


def _first_line(told: int) -> bytes:
    """Return the first line, read byte by byte so that nothing behind it is taken."""
    text = b""
    while not text.endswith(b"\n") and len(text) < MAX_LINE_BYTES:
        text += os.read(told, 1) or b"\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
