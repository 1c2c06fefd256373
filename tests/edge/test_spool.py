"""The spool: what it says is stored is stored, in one piece; what does not fit is refused and nothing else suffers."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from edge.spool import Spool
from models.doors import DoorState
from models.errors import StorageUnavailable
from models.events import DoorOpened, fact_id
from models.sequence import Numbers
from tests.edge.doubles import EDGE, now


def opened(n: int, *, size: int = 1) -> DoorOpened:
    return DoorOpened(
        id=fact_id(EDGE, "d1", str(n), "door_opened"), at=now(), door_id="d1", cause="unknown", attempt="x" * size
    )


def state(seq: int) -> DoorState:
    return DoorState(door_id="d1", edge_id=EDGE, numbers=Numbers(last=seq))


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(state(1), (opened(1),))
        await spool.remember("policy", b"p")
    async with Spool(tmp_path / "s.db") as spool:
        assert (await spool.states())["d1"].numbers.last == 1
        assert [fact.id for fact in await spool.oldest(10, max_bytes=10_000)] == [opened(1).id]
        assert await spool.recall("policy") == b"p"
        assert spool.backlog == 1


async def test_the_same_fact_is_stored_once_and_in_its_first_place(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        for n in (1, 2, 1, 3, 2):
            await spool.commit(state(n), (opened(n),))
        assert [f.id for f in await spool.oldest(10, max_bytes=10_000)] == [opened(n).id for n in (1, 2, 3)]


async def test_only_confirmed_ids_are_deleted(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(None, [opened(n) for n in range(5)])
        await spool.confirm([opened(1).id, "somebody else's"])
        left = [fact.id for fact in await spool.oldest(10, max_bytes=10_000)]
        assert left == [opened(n).id for n in (0, 2, 3, 4)]
        await asyncio.sleep(0)
        assert spool.backlog == 4


async def test_a_batch_keeps_to_its_bytes_but_never_gets_stuck(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(None, [opened(n, size=1000) for n in range(5)])
        assert len(await spool.oldest(10, max_bytes=3000)) == 2
        assert len(await spool.oldest(10, max_bytes=10)) == 1


async def test_many_commits_share_transactions(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await asyncio.gather(*(spool.commit(state(n), (opened(n),)) for n in range(200)))
        assert spool.commits < 50


async def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db", budget_bytes=300_000) as spool:
        kept = 0
        with pytest.raises(StorageUnavailable):
            for n in range(1000):
                await spool.commit(state(n), (opened(n, size=5000),))
                kept = n + 1
        assert kept > 10
        facts = await spool.oldest(1000, max_bytes=100_000_000)
        assert [fact.id for fact in facts] == [opened(n).id for n in range(kept)]
        assert (await spool.states())["d1"].numbers.last == kept - 1
        await spool.confirm([opened(n).id for n in range(5)])
        await spool.commit(state(9999), (opened(9999, size=5000),))


async def test_what_fits_is_not_refused_with_what_does_not(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db", budget_bytes=300_000) as spool:
        small = spool.commit(state(1), (opened(1),))
        huge = spool.commit(None, (opened(2, size=1_000_000),))
        also = spool.commit(state(3), (opened(3),))
        await small
        await also
        with pytest.raises(StorageUnavailable):
            await huge


async def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database" * 1000)
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(state(1), (opened(1),))
    assert len(list(tmp_path.glob("s.db.damaged-*"))) == 1


async def test_the_file_is_private_and_fully_synchronous(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(state(1), ())
        assert (tmp_path / "s.db").stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


async def test_an_unreadable_state_starts_as_unknown(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        await spool.commit(state(1), ())
    db = sqlite3.connect(tmp_path / "s.db")
    db.execute("UPDATE door_state SET body = '{}'")
    db.commit()
    db.close()
    async with Spool(tmp_path / "s.db") as spool:
        assert await spool.states() == {}
