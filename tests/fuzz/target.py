"""What a fuzz target is, and how its input becomes pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

Take = Callable[[bytes], object]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Say how to make what is fuzzed, what it may raise, and what inputs look like."""

    make: Callable[[], Take]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], Iterator[bytes]]
    bytes_most: int = 4096


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield data in pieces, the first of which says by its first byte how long they are."""
    step = 1 + (data[0] % 64 if data else 0)
    for at in range(1, len(data), step):
        yield data[at : at + step]
