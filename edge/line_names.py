"""Whether two names are one line of readers: links followed, host names resolved. A second master would garble the first."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from typing import Final

from drivers.osdp.line import NETWORK
from models.devices import whereabouts

RESOLVED_WITHIN_S: Final = 2.0


async def same_lines(line: str, others: Iterable[str]) -> frozenset[str]:
    """Return the names of a line: the one that is given, and those of the others that lead to the same place."""
    names = sorted({*others} - {line})
    own, *their = await asyncio.gather(*(_places(name) for name in (line, *names)))
    return frozenset({line, *(name for name, places in zip(names, their, strict=True) if own & places)})


async def _places(line: str) -> frozenset[object]:
    """Return where a name leads, as far as that can be told now; a name that cannot be resolved is compared as it is."""
    if not line.startswith(NETWORK):
        return _device(line)
    host, _, number = line.removeprefix(NETWORK).rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVED_WITHIN_S):
            found = await loop.getaddrinfo(host, int(number), type=socket.SOCK_STREAM)
    except (OSError, ValueError, TimeoutError):
        found = []
    return frozenset({whereabouts(line), *(address[:2] for *_, address in found)})


def _device(path: str) -> frozenset[object]:
    return frozenset({os.path.realpath(path)} if path.startswith("/") and "\0" not in path else ())
