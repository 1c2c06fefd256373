"""What a restored database needs so that nobody takes it for the one that went on after the backup was written."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from gateway.store.dialect import insert_into
from gateway.store.policy import EPOCH_MARK
from gateway.store.tables import edges, marks, policy_versions
from gateway.store.tables_events import counters

FEED_LEAP = 1_000_000
RESTORED_MARK = "restored"
"""The mark that says when the database was restored last."""


def leave_the_past(connection: Connection, epoch: int, *, at: datetime) -> int:
    """Raise the epoch of all policies, to `epoch` if that is more, and leap the live feed; return the epoch.

    Browsers that ask for what followed an announcement of after the backup are told to load everything anew.
    """
    used = connection.execute(select(func.max(policy_versions.c.epoch))).scalar() or 1
    mark = connection.execute(select(marks.c.value).where(marks.c.name == EPOCH_MARK)).scalar() or "1"
    raised = max(epoch, used + 1, int(mark) + 1)
    _put_mark(connection, EPOCH_MARK, value=str(raised), at=at)
    _put_mark(connection, RESTORED_MARK, value=at.isoformat(), at=at)
    leap = insert_into(connection, counters).values(name="feed", value=FEED_LEAP)
    leap = leap.on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value + FEED_LEAP})
    connection.execute(leap)
    return raised


def enrolled_before_restore(connection: Connection, edge_id: str) -> bool:
    """Return whether an edge was enrolled before this database was restored."""
    restored_at = connection.execute(select(marks.c.at).where(marks.c.name == RESTORED_MARK)).scalar()
    enrolled_at = connection.execute(select(edges.c.enrolled_at).where(edges.c.id == edge_id)).scalar()
    return restored_at is not None and enrolled_at is not None and enrolled_at < restored_at


def _put_mark(connection: Connection, name: str, *, value: str, at: datetime) -> None:
    upsert = insert_into(connection, marks).values(name=name, value=value, at=at)
    connection.execute(upsert.on_conflict_do_update(index_elements=["name"], set_={"value": value, "at": at}))
