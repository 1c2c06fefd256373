"""How far something has come, as a number in `marks`: what was sent to a collector, for example."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from gateway.store.dialect import insert_into
from gateway.store.tables import marks


def progress(connection: Connection, name: str) -> int:
    """Return how far it has come; 0 at the beginning."""
    found = connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()
    return 0 if found is None else int(found)


def note_progress(connection: Connection, name: str, *, reached: int, at: datetime) -> None:
    """Note how far it has come."""
    values = {"value": str(reached), "at": at}
    upsert = insert_into(connection, marks).values(name=name, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["name"], set_=values))
