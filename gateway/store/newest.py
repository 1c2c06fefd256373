"""Newest first, over some sites: what every list of the console asks for.

One site's newest rows are the end of an index. For several sites, first the newest rows of all sites are looked through, a
bounded number: who sees much of the district finds a page there. Who does not is helped site by site: the ends of the
sites' own indexes are put together, in one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    text,
    true,
)  # fmt: skip

from gateway.store.types import UtcTime, as_text

LOOK = 3000
"""How many of the newest rows of all sites are looked through."""
SITES_MOST = 400
"""How many sites are helped one by one; SQLite puts at most 500 selections together."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Say which rows are wanted: of which sites, with which values in other columns, before which place, how many."""

    sites: Sequence[str]
    equal: dict[str, str] = {}
    before: tuple[datetime, str] | None = None
    limit: int


def newest(connection: Connection, table: Table, *, at: Column[Any], wanted: Wanted) -> Sequence[Row[Any]]:
    """Return a table's wanted rows, newest first by a column of times and then by id."""
    order = (at.desc(), table.c.id.desc())
    if len(wanted.sites) <= 1:
        here = table.c.site_id == (wanted.sites[0] if wanted.sites else None)
        alike = [table.c[name] == value for name, value in wanted.equal.items()]
        query = select(table).where(here, *alike, *earlier(at, table.c.id, before=wanted.before))
        return connection.execute(query.order_by(*order).limit(wanted.limit)).all()
    found = connection.execute(select(table).where(table.c.id.in_(_look(table, at, wanted))).order_by(*order)).all()
    if len(found) == wanted.limit or _is_the_whole(connection, table, at, wanted):
        return found
    if len(wanted.sites) > SITES_MOST:
        return _slowly(connection, table, at, wanted)
    helped = _ends if connection.dialect.name == "sqlite" else _laterals
    ids = helped(connection, table, at, wanted)
    return connection.execute(select(table).where(table.c.id.in_(ids)).order_by(*order)).all()


def earlier(
    at: ColumnElement[Any], key: ColumnElement[Any], *, before: tuple[datetime, str] | None
) -> list[ColumnElement[bool]]:
    """Return the condition of the rows that follow a place in a list that is newest first; none without a place."""
    if before is None:
        return []
    when, last = before
    # The first half bounds the index for databases that do not see through the second.
    return [and_(at <= when, or_(at < when, key < last))]


def _look(table: Table, at: Column[Any], wanted: Wanted) -> Select[Any]:
    """Select the ids of wanted rows among the newest of all sites."""
    columns = [table.c[name] for name in wanted.equal]
    newest_of_all = select(table.c.id, at.label("at"), table.c.site_id, *columns).where(
        *earlier(at, table.c.id, before=wanted.before)
    )
    near = newest_of_all.order_by(at.desc(), table.c.id.desc()).limit(LOOK).subquery()
    alike = [near.c[name] == value for name, value in wanted.equal.items()]
    chosen = select(near.c.id).where(near.c.site_id.in_(wanted.sites), *alike)
    return chosen.order_by(near.c.at.desc(), near.c.id.desc()).limit(wanted.limit)


def _is_the_whole(connection: Connection, table: Table, at: Column[Any], wanted: Wanted) -> bool:
    """Return whether all rows were looked through."""
    query = select(table.c.id).where(*earlier(at, table.c.id, before=wanted.before))
    query = query.order_by(at.desc(), table.c.id.desc()).offset(LOOK).limit(1)
    return connection.execute(query).first() is None


def _ends(connection: Connection, table: Table, at: Column[Any], wanted: Wanted) -> list[str]:
    """Return the newest ids of all sites' ends on SQLite, which knows no LATERAL; the text is the same for other sites."""
    conditions = "".join(f" AND {name} = :{name}" for name in wanted.equal)
    values: dict[str, Any] = {"sites": as_text(wanted.sites), "most": wanted.limit, **wanted.equal}
    if wanted.before is not None:
        conditions += f" AND {at.name} <= :when AND ({at.name} < :when OR id < :last)"
        values |= {"when": wanted.before[0], "last": wanted.before[1]}
    end = (
        f"SELECT * FROM (SELECT id, {at.name} AS at FROM {table.name} WHERE site_id = json_extract(:sites, '$[%d]')"  # noqa: S608
        f"{conditions} ORDER BY {at.name} DESC, id DESC LIMIT :most)"
    )
    together = " UNION ALL ".join(end % number for number in range(len(wanted.sites)))
    query = text(f"SELECT id FROM ({together}) ORDER BY at DESC, id DESC LIMIT :most")  # noqa: S608 - our own names
    if wanted.before is not None:
        query = query.bindparams(bindparam("when", type_=UtcTime()))
    return list(connection.execute(query, values).scalars())


def _laterals(connection: Connection, table: Table, at: Column[Any], wanted: Wanted) -> list[str]:
    """Return the newest ids of all sites' ends on PostgreSQL."""
    sites = select(func.unnest(bindparam("sites", type_=ARRAY(String))).label("site_id")).subquery()
    alike = [table.c[name] == value for name, value in wanted.equal.items()]
    end = select(table.c.id, at.label("at")).where(
        table.c.site_id == sites.c.site_id, *alike, *earlier(at, table.c.id, before=wanted.before)
    )
    ends = end.order_by(at.desc(), table.c.id.desc()).limit(wanted.limit).lateral()
    query = select(ends.c.id).select_from(sites.join(ends, true()))
    query = query.order_by(ends.c.at.desc(), ends.c.id.desc()).limit(wanted.limit)
    return list(connection.execute(query, {"sites": list(wanted.sites)}).scalars())


def _slowly(connection: Connection, table: Table, at: Column[Any], wanted: Wanted) -> Sequence[Row[Any]]:
    """Return the wanted rows of very many sites, through the rows of all others."""
    alike = [table.c[name] == value for name, value in wanted.equal.items()]
    query = select(table).where(
        table.c.site_id.in_(wanted.sites), *alike, *earlier(at, table.c.id, before=wanted.before)
    )
    return connection.execute(query.order_by(at.desc(), table.c.id.desc()).limit(wanted.limit)).all()
