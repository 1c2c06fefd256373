"""One row of a benchmark: what was measured, against whom, against which target. Measures nothing itself."""

from __future__ import annotations

import msgspec


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one figure. `ratio` is the peer's cost over ours (or our rate over the peer's): more is better."""

    name: str
    unit: str
    ours: float
    peer: str | None = None
    theirs: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool
    samples: tuple[float, ...] = ()
    detail: str = ""
