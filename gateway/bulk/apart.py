"""Read a workbook in a process of its own: a file that was made to hang or to fill the memory costs that process, not the server.

The process gets the bytes and nothing else of the gateway: no settings, no database, no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from typing import BinaryIO

import msgspec

from gateway.bulk.reading import Sheet, is_workbook, read_sheet
from models.errors import InvalidInput

READ, REFUSED = b"+", b"-"
UNREADABLE = "it takes too long or too much memory to read: save it again as CSV UTF-8 and send that"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what one workbook may cost: processor time, time, and bytes of memory."""

    cpu_s: int = 60
    wall_s: float = 180.0
    memory: int = 2 * 1024**3


LIMITS = Limits()


async def read_apart(content: bytes, limits: Limits = LIMITS) -> Sheet:
    """Return the rows of a file: of a workbook from a process of its own, of text from a thread.

    Raises:
        InvalidInput: it cannot be read, or not within the limits, with what to do.
    """
    if not is_workbook(content):
        return await asyncio.to_thread(read_sheet, content)
    answer = await _answer(content, limits)
    if answer[:1] == READ:
        return await asyncio.to_thread(msgspec.msgpack.decode, answer[1:], type=Sheet)
    if answer[:1] == REFUSED:
        where, what = msgspec.msgpack.decode(answer[1:], type=tuple[str, str])
        raise InvalidInput(where, what)
    raise InvalidInput("file", UNREADABLE)


async def _answer(content: bytes, limits: Limits) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.bulk", str(limits.cpu_s), str(limits.memory),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        answer, _ = await asyncio.wait_for(child.communicate(content), limits.wall_s)
    except TimeoutError:
        return b""
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return answer if child.returncode == 0 else b""


def serve(source: BinaryIO, target: BinaryIO, *, limits: Limits) -> None:
    """Read one workbook from a stream within limits, and write its rows or why not; the process ends where they are passed."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    try:
        answer = READ + msgspec.msgpack.encode(read_sheet(source.read()))
    except InvalidInput as error:
        answer = REFUSED + msgspec.msgpack.encode((error.where, error.what))
    target.write(answer)
    target.flush()
