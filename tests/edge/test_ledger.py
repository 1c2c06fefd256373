"""The ledger: on a disk that stays full, what came of a door's reports is kept to the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edge import ledger
from edge.ledger import Ledger
from edge.spool import Spool
from models.doors import DoorState
from models.events import AccessDenied, DoorForced
from tests.edge.doubles import EDGE, door, now


def denied(n: int) -> AccessDenied:
    return AccessDenied(id=f"a{n}", at=now(), door_id="d1", attempt=f"a{n}", method="card", reason="unknown_credential")


async def test_a_forced_door_is_never_given_up_for_newer_admissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "UNSAVED_LIMIT", 10)
    counted: Counter[str] = Counter()
    async with Spool(tmp_path / "s.db") as spool:
        book = Ledger(spool, count=lambda name: counted.update([name]))
        kept = book.keep(door("d1"), DoorState(door_id="d1", edge_id=EDGE))
        version = book.note(kept, kept.state, facts=[DoorForced(id="f", at=now(), door_id="d1")])
        kept.saving = True  # the disk does not answer
        for n in range(30):
            version = book.note(kept, kept.state, facts=[denied(n)])
        assert list(kept.unsaved) == ["f", *(f"a{n}" for n in range(21, 30))]
        assert counted["facts_given_up"] == 21
        kept.saving = False
        book._save(kept)
        await book.on_disk(kept, version)
        stored = await spool.oldest(50, max_bytes=100_000)
        assert "f" in {fact.id for fact in stored}
