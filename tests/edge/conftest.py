"""Fixtures of the edge's tests."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from edge.admission import Admission
from edge.clock import SteadyClock
from edge.doorkeeper import LOST_AFTER_S, DoorKeeper
from edge.spool import Spool, SpooledFact
from models.events import AnyFact
from tests.edge.doubles import EDGE, MemoryWire


@dataclass
class House:
    """An edge without a gateway: spool, doors and admission on a wire in memory."""

    spool: Spool
    clock: SteadyClock
    keeper: DoorKeeper
    admission: Admission
    wire: MemoryWire
    tasks: asyncio.TaskGroup

    async def facts(self) -> list[AnyFact]:
        """Return the facts on disk, in order."""
        rows: list[SpooledFact] = await self.spool.oldest(100_000, max_bytes=1_000_000_000)
        return [msgspec.json.decode(row.body, type=AnyFact) for row in rows]


@contextlib.asynccontextmanager
async def open_house(
    folder: Path, *, wire: MemoryWire | None = None, budget_bytes: int = 10**8, lost_after_s: float = LOST_AFTER_S
) -> AsyncIterator[House]:
    """Start an edge without a gateway in a folder, and stop it."""
    wire = wire or MemoryWire()
    async with Spool(folder / "spool.db", budget_bytes=budget_bytes) as spool, asyncio.TaskGroup() as tasks:
        clock = SteadyClock()
        keeper = DoorKeeper(
            edge_id=EDGE,
            spool=spool,
            clock=clock,
            tasks=tasks,
            open_driver=lambda _doors: wire,
            driver_key=lambda _door: "memory",
            new_id=lambda: uuid.uuid4().hex,
            lost_after_s=lost_after_s,
        )
        admission = Admission(edge_id=EDGE, keeper=keeper, clock=clock, spool=spool)
        await admission.load()
        await keeper.start(admission.consider)
        yield House(spool=spool, clock=clock, keeper=keeper, admission=admission, wire=wire, tasks=tasks)
        for task in list(tasks._tasks):
            task.cancel()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened
