"""Unix sockets of an edge's run directory: a fresh one each start, for this user only. The messages are edge.wire's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(path: Path, meet: Meet) -> asyncio.Server:
    """Listen at a socket that only this user may use; what a killed process left there is replaced."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await meet(reader, writer)
        except asyncio.CancelledError:  # only the end of the loop cancels it, and Python 3.11 would log that
            writer.close()

    await asyncio.to_thread(path.unlink, missing_ok=True)
    server = await asyncio.start_unix_server(met, path=str(path))
    await asyncio.to_thread(path.chmod, 0o600)
    return server
