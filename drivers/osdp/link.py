"""The panel process from the driver's side: started, told, heard, ended. It never outlives this object or this process."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Final, Self, cast

import msgspec

from drivers.osdp.messages import (
    MAX_LINE_BYTES,
    Act,
    Address,
    Broken,
    Card,
    Command,
    Done,
    FromPanel,
    Keys,
    Setup,
    encode,
    from_panel,
)  # fmt: skip

log = logging.getLogger("gatehouse.drivers.osdp")

END_S: Final = 2.0
LATE_S: Final = 0.25
"""How long after a command's deadline the panel may take to say so."""
STALE_S: Final = 3.0
"""What was presented longer ago has waited: this process was held up, and nobody may stand there any more."""


class PanelLink(asyncio.SubprocessProtocol):
    """Hold the panel process of one port, within an async block.

    Args:
        setup: the port and its readers.
        on_record: takes what the panel tells, except for answers.
        clock: seconds since the machine started, as the panel counts them.
    """

    def __init__(self, setup: Setup, *, on_record: Callable[[FromPanel], None], clock: Callable[[], float]) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the panel has ended, once it has."""
        self._setup = setup
        self._on_record = on_record
        self._clock = clock
        self._exited = asyncio.Event()
        self._rest = b""
        self._last = 0
        self._answers: dict[int, asyncio.Future[Done]] = {}

    async def __aenter__(self) -> Self:
        command = (sys.executable, "-m", "drivers.osdp.panel")
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.subprocess_exec(lambda: self, *command, stderr=subprocess.DEVNULL)
        self._write(encode(self._setup))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End the panel: it leaves the port when nobody speaks to it any more."""
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._exited.wait()
        except TimeoutError:
            self._transport.kill()
            await self._exited.wait()
        finally:
            self._transport.close()

    def pause(self) -> None:
        """Take nothing for now: whoever reads is behind."""
        self._output().pause_reading()

    def resume(self) -> None:
        """Take what the panel tells again."""
        if not self.ended.done():
            self._output().resume_reading()

    def tell(self, address: Address, command: Command, *, until: float) -> asyncio.Future[Done]:
        """Have a command carried out before `until` (by `clock`) or not at all; return its answer to be.

        The answer is there shortly after `until` at the latest: not certain, if the panel itself said nothing.
        """
        loop = asyncio.get_running_loop()
        self._last += 1
        number, answer = self._last, loop.create_future()
        self._answers[number] = answer
        unsaid = Done(number=number, ok=False, certain=False, error="no answer in time")
        timer = loop.call_later(until - self._clock() + LATE_S, self._answer, unsaid)
        answer.add_done_callback(lambda _: timer.cancel())
        self._write(encode(Act(number=number, address=address, until=until, command=command)))
        return answer

    # ---- what asyncio calls -----------------------------------------------------------------------------------------

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Take lines of the panel; one that cannot be read ends the link."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._end("the panel process told nonsense")
            return
        for line in lines:
            try:
                record = from_panel(line)
            except msgspec.MsgspecError as error:
                self._end(f"the panel process told nonsense: {error}")
                return
            if isinstance(record, Done):
                self._answer(record)
            elif isinstance(record, Broken):
                self._end(record.what)
            else:
                self._on_record(self._dated(record))

    def _dated(self, record: FromPanel) -> FromPanel:
        """Return what the panel told, marked if it is not about now: this process may have been stopped meanwhile."""
        if isinstance(record, Card | Keys) and self._clock() - record.at > STALE_S:
            return msgspec.structs.replace(record, waited=True)
        return record

    def process_exited(self) -> None:
        """Take note that the panel has ended."""
        self._exited.set()
        self._end("the panel process ended")

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
            for number in tuple(self._answers):
                self._answer(Done(number=number, ok=False, certain=False, error=why))

    def _answer(self, done: Done) -> None:
        answer = self._answers.pop(done.number, None)
        if answer is not None and not answer.done():
            answer.set_result(done)

    def _output(self) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(1))

    def _write(self, line: bytes) -> None:
        cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0)).write(line)
