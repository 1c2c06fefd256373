"""Queries about imports: what they know before a batch, what a batch writes, and what they remember for an undo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from gateway.bulk.planning import Batch, Known, flat_key
from gateway.bulk.reports import ImportReport, ImportState, ImportView
from gateway.store.tables import flats
from gateway.store.tables_people import credentials, import_changes, imports, occupancies, people
from gateway.store.types import as_text
from models.errors import NotFound
from models.people import Occupancy, Person

ChangeKind = Literal["person.add", "person.set", "occupancy.add", "occupancy.set", "card.add"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Remember one thing that an import wrote: as it was before (None: it was not there) and as it was left."""

    number: int
    kind: ChangeKind
    object_id: str
    before: str | None = None
    after: str = ""


def flats_at(connection: Connection, site_id: str) -> dict[Any, str]:
    """Return the ids of a site's flats, by id and by (building, unit, room)."""
    found: dict[Any, str] = {}
    for row in connection.execute(select(flats).where(flats.c.site_id == site_id)):
        found[row.id] = row.id
        found[flat_key((row.building, row.unit, row.room))] = row.id
    return found


def known_about(connection: Connection, external_ids: Sequence[str], *, site_id: str, digests: Sequence[str]) -> Known:
    """Return what the database knows about some rows: flats, persons, tenancies and cards."""
    named = (people.c.site_id == site_id) & people.c.external_id.in_(external_ids)
    persons = {row.external_id: (_person(row), row.seeded) for row in connection.execute(select(people).where(named))}
    held: dict[str, list[Occupancy]] = {}
    ids = [person.id for person, _ in persons.values()]
    for row in connection.execute(
        select(occupancies).where(occupancies.c.person_id.in_(ids)).order_by(occupancies.c.id)
    ):
        held.setdefault(row.person_id, []).append(_occupancy(row))
    used = (credentials.c.site_id == site_id) & (credentials.c.kind == "card") & credentials.c.digest.in_(digests)
    cards = {row.digest: (row.person_id, row.state) for row in connection.execute(select(credentials).where(used))}
    return Known(
        flats=flats_at(connection, site_id), people=persons,
        occupancies={person_id: tuple(some) for person_id, some in held.items()}, cards=cards,
    )  # fmt: skip


def _person(row: Row[Any]) -> Person:
    return Person(**{name: getattr(row, name) for name in Person.__struct_fields__})


def _occupancy(row: Row[Any]) -> Occupancy:
    return Occupancy(**{name: getattr(row, name) for name in Occupancy.__struct_fields__})


def write_batch(connection: Connection, batch: Batch, *, site_id: str, import_id: str, at: datetime) -> int:
    """Write what a batch changes, and remember it for an undo; return how many changes there were."""
    _insert_all(connection, batch, site_id=site_id, at=at)
    if batch.people_set:
        query = update(people).where(people.c.id == bindparam("own")).values(version=people.c.version + 1)
        _set_all(connection, query, [after for _, after in batch.people_set])
    if batch.occupancies_set:
        query = update(occupancies).where(occupancies.c.id == bindparam("own"))
        _set_all(connection, query, [after for _, after in batch.occupancies_set])
    changes = list(_changes(batch, _last_change(connection, import_id) + 1))
    if changes:
        rows = [{**msgspec.structs.asdict(change), "import_id": import_id} for change in changes]
        connection.execute(insert(import_changes), rows)
    return len(changes)


def _insert_all(connection: Connection, batch: Batch, *, site_id: str, at: datetime) -> None:
    made = {"created_at": at}
    if batch.people:
        connection.execute(insert(people), [msgspec.structs.asdict(one) | made for one in batch.people])
    if batch.occupancies:
        connection.execute(insert(occupancies), [msgspec.structs.asdict(one) | made for one in batch.occupancies])
    if batch.cards:
        held = made | {"site_id": site_id}
        connection.execute(insert(credentials), [msgspec.structs.asdict(one) | held for one in batch.cards])


def _set_all(connection: Connection, query: Any, records: Sequence[Person | Occupancy]) -> None:
    names = [name for name in records[0].__struct_fields__ if name != "id"]
    values = query.values({name: bindparam(f"new_{name}") for name in names})
    connection.execute(
        values, [{"own": one.id} | {f"new_{name}": getattr(one, name) for name in names} for one in records]
    )


def _changes(batch: Batch, first: int) -> Iterable[Change]:
    kept: list[tuple[ChangeKind, str, str | None, str]] = [
        *(("person.add", one.id, None, as_text(one)) for one in batch.people),
        *(("person.set", after.id, as_text(before), as_text(after)) for before, after in batch.people_set),
        *(("occupancy.add", one.id, None, as_text(one)) for one in batch.occupancies),
        *(("occupancy.set", after.id, as_text(before), as_text(after)) for before, after in batch.occupancies_set),
        *(("card.add", one.id, None, one.person_id) for one in batch.cards),
    ]
    for number, (kind, object_id, before, after) in enumerate(kept, first):
        yield Change(number=number, kind=kind, object_id=object_id, before=before, after=after)


def _last_change(connection: Connection, import_id: str) -> int:
    query = select(func.max(import_changes.c.number)).where(import_changes.c.import_id == import_id)
    return connection.execute(query).scalar() or 0


def begin_import(connection: Connection, view: ImportView) -> None:
    """Write that an import has begun."""
    values = {name: getattr(view, name) for name in ("id", "site_id", "created_by", "created_at", "sha256", "state")}
    connection.execute(insert(imports).values(**values, done=view.done, total=view.total, report=as_text(view.report)))


def note_import(
    connection: Connection, import_id: str, *, state: ImportState, done: int | None = None, report: ImportReport,
    at: datetime | None = None,
) -> None:  # fmt: skip
    """Write how far an import is; with `at`, when it was undone."""
    values: dict[str, Any] = {"state": state, "report": as_text(report)}
    if done is not None:
        values["done"] = done
    if at is not None:
        values["undone_at"] = at
    connection.execute(update(imports).where(imports.c.id == import_id).values(**values))


def import_by_id(
    connection: Connection, import_id: str, *, site_ids: frozenset[str], alone: bool = False
) -> ImportView:  # fmt: skip
    """Return an import of one of these sites; `alone` makes others who want it so wait for this transaction's end.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    query = select(imports).where(imports.c.id == import_id, imports.c.site_id.in_(site_ids))
    row = connection.execute(query.with_for_update() if alone else query).first()
    if row is None:
        raise NotFound("import", import_id)
    return _view(row)


def _view(row: Row[Any]) -> ImportView:
    names = ("id", "site_id", "created_by", "created_at", "sha256", "state", "done", "total", "undone_at")
    report = msgspec.json.decode(row.report, type=ImportReport)
    return ImportView(**{name: getattr(row, name) for name in names}, report=report)


def imports_of(
    connection: Connection, *, site_ids: frozenset[str], before: tuple[datetime, str] | None = None, limit: int = 100
) -> list[ImportView]:
    """Return imports of some sites, newest first, before a place in that order."""
    query = select(imports).where(imports.c.site_id.in_(site_ids))
    if before is not None:
        at, import_id = before
        same = (imports.c.created_at == at) & (imports.c.id < import_id)
        query = query.where((imports.c.created_at < at) | same)
    rows = connection.execute(query.order_by(imports.c.created_at.desc(), imports.c.id.desc()).limit(limit))
    return [_view(row) for row in rows]


def same_file(connection: Connection, sha256: str, *, site_id: str) -> ImportView | None:
    """Return the import of the same file that was carried out or is running and was not undone, or None."""
    query = select(imports).where(
        imports.c.site_id == site_id, imports.c.sha256 == sha256, imports.c.state.in_(("running", "done"))
    )
    row = connection.execute(query.order_by(imports.c.created_at.desc()).limit(1)).first()
    return None if row is None else _view(row)


def running_imports(connection: Connection) -> list[ImportView]:
    """Return the imports that have begun and not ended."""
    rows = connection.execute(select(imports).where(imports.c.state == "running").order_by(imports.c.id))
    return [_view(row) for row in rows]


def last_changes(connection: Connection, import_id: str, *, limit: int) -> list[Change]:
    """Return the latest changes of an import that are not undone, latest first."""
    query = select(import_changes).where(import_changes.c.import_id == import_id)
    rows = connection.execute(query.order_by(import_changes.c.number.desc()).limit(limit))
    return [Change(**{name: getattr(row, name) for name in Change.__struct_fields__}) for row in rows]


def forget_changes(connection: Connection, import_id: str, *, numbers: Sequence[int]) -> None:
    """Forget changes that were undone, or that cannot be."""
    own = (import_changes.c.import_id == import_id) & import_changes.c.number.in_(numbers)
    connection.execute(delete(import_changes).where(own))


def drop_old_changes(connection: Connection, *, before: datetime) -> int:
    """Forget how to undo imports of before a time: what they remember is personal data. Return how many rows went."""
    old = select(imports.c.id).where(imports.c.created_at < before)
    return connection.execute(delete(import_changes).where(import_changes.c.import_id.in_(old))).rowcount
