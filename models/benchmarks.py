"""One row of a benchmark report: what was measured, beside whom, and whether the aim was met."""

from __future__ import annotations

import msgspec


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, with the peer's figure from the same run where there is a peer.

    Attributes:
        name: What was measured, e.g. `embed_one`.
        unit: Of `ours`, `theirs` and `samples`: ms, MB, %, count.
        ours: The median, unless `detail` says otherwise.
        peer: Whom we are compared with, empty without.
        theirs: The peer's figure.
        ratio: How many times better we are, by `theirs` and `ours`.
        target: What was aimed at: of `ratio` where there is a peer, else of `ours`.
        met: Whether it was reached.
        samples: Every single measurement of ours.
        detail: How it was measured, in one sentence.
        curve: What was measured (y, in ms) at growing sizes (x), where the row is about growth.
    """

    name: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool
    samples: tuple[float, ...] = ()
    detail: str = ""
    curve: tuple[tuple[float, float], ...] = ()
