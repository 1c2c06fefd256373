"""Power cuts: doors of an edge that lose mains at about the same time are one cut, and it ends when all are back. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from models.events import PowerCut, PowerRestored, fact_id

GATHER: Final = timedelta(seconds=5)
"""Doors that lose mains within this time are told together; a loss that is over sooner is none."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """Remember a power cut: what it is called, its doors, and since when others wait to be told."""

    cut: str = ""
    doors: tuple[str, ...] = ()
    since: datetime | None = None


def look(
    power: Power, *, dark: Iterable[str], edge_id: str, at: datetime
) -> tuple[Power, PowerCut | PowerRestored | None]:
    """Return what is remembered from now on, and the fact that follows, if one does.

    A door that was told of stays part of the cut until all doors are back, so that a flickering one says nothing twice;
    one that joins later is told as soon as it has been dark for as long as the first.

    Args:
        power: what was remembered.
        dark: the doors of this edge that are without mains now.
        edge_id: the edge.
        at: aware time.
    """
    without = frozenset(dark)
    fresh = without.difference(power.doors)
    if not without:
        if not power.doors:
            return Power(), None
        key = fact_id(edge_id, edge_id, f"{power.cut}:restored", "power_restored")
        return Power(), PowerRestored(id=key, at=at, edge_id=edge_id)
    if not fresh:
        return msgspec.structs.replace(power, since=None), None
    since = power.since or at
    if at - since < GATHER:
        return msgspec.structs.replace(power, since=since), None
    key = fact_id(edge_id, edge_id, since.isoformat(), "power_cut")
    told = PowerCut(id=key, at=at, edge_id=edge_id, doors=tuple(sorted(fresh)))
    return Power(cut=power.cut or key, doors=tuple(sorted({*power.doors, *fresh}))), told
