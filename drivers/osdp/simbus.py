"""The simulated bus: readers on a pseudo-terminal (or a converter's TCP port), which can be unplugged as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Final, Self

import osdp
import osdp_sys

from drivers.osdp.line import make_raw
from drivers.osdp.simreader import SimulatedReader

STEP_S: Final = 0.01
BAUD_RATE: Final = 9600


class SimulatedBus:
    """Hold the readers of one line, within an async block.

    Args:
        readers: each with its own address.
        link: a path that always leads to the port, whatever its name is now; None for none.
        listen: host and port to be a converter on, instead of a pseudo-terminal.
    """

    def __init__(
        self, *readers: SimulatedReader, link: Path | None = None, listen: tuple[str, int] | None = None
    ) -> None:
        self.readers = readers
        self.port = ""
        """Where a driver finds the line; empty while it is unplugged."""
        self._link = link
        self._listen = listen
        self._listener: socket.socket | None = None
        self._fds: tuple[int, ...] = ()
        self._connection: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        osdp_sys.set_loglevel(osdp.LogLevel.Emergency)
        for reader in readers:
            reader.send = self._send

    async def __aenter__(self) -> Self:
        if self._listen is not None:
            self._listener = socket.create_server(self._listen)
            self._listener.setblocking(False)
        self.plug_in()
        self._task = asyncio.create_task(self._run(), name="simulated OSDP bus")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.unplug()
        if self._listener is not None:
            self._listener.close()
        for reader in self.readers:
            reader.close_timers()

    def plug_in(self) -> None:
        """Give the line a port."""
        if self.port:
            return
        if self._listener is not None:
            host, port = self._listener.getsockname()[:2]
            self.port = f"tcp://{host}:{port}"
            return
        ours, theirs = os.openpty()
        make_raw(theirs, BAUD_RATE)
        os.set_blocking(ours, False)
        self._fds = ours, theirs
        self.port = os.ttyname(theirs)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.port)

    def unplug(self) -> None:
        """Take the port away, as when a converter is pulled out; whoever has it open is told."""
        for fd in self._fds:
            os.close(fd)
        self._fds = ()
        self._hang_up()
        self.port = ""
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    async def _run(self) -> None:
        while True:
            data = self._receive()
            for reader in self.readers:
                if data:
                    reader.hear(data)
                reader.step()
            await asyncio.sleep(STEP_S)

    def _receive(self) -> bytes:
        with contextlib.suppress(OSError):
            if self._listener is None:
                return os.read(self._fds[0], 4096) if self._fds else b""
            if self.port and self._connection is None:
                self._connection = self._listener.accept()[0]
                self._connection.setblocking(False)
            if self._connection is not None:
                data = self._connection.recv(4096)
                if not data:
                    self._hang_up()
                return data
        return b""

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a line that takes nothing loses it
            if self._fds:
                os.write(self._fds[0], data)
            elif self._connection is not None:
                self._connection.send(data)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
