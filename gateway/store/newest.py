"""Newest first, over some sites: what every list of the console asks for.

One site's newest rows are the end of an index. Of several sites, each site's newest are put together and the newest of
those taken: an index over all sites would be read through rows of other people's sites, however many those are.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, and_, or_, select, union_all

SITES_MOST = 400
"""How many sites are looked up one by one; SQLite puts at most 500 selections together."""


def newest(
    table: Table, at: Column[Any], *, site_ids: Collection[str] | None, where: Collection[ColumnElement[bool]] = (),
    before: tuple[datetime, str] | None = None, limit: int,
) -> Select[Any]:  # fmt: skip
    """Return a selection of a table's rows, newest first, before a place in that order.

    Args:
        table: with the columns `site_id` and `id`.
        at: its column of times.
        site_ids: the sites; None if `where` names what belongs to one site.
        where: what else must be so.
        before: the time and id of the last row of the page before.
        limit: how many at most.
    """
    conditions = list(where)
    if before is not None:
        when, key = before
        # The first half bounds the index for databases that do not see through the second.
        conditions.append(and_(at <= when, or_(at < when, table.c.id < key)))
    order = (at.desc(), table.c.id.desc())
    plain = select(table).where(*conditions).order_by(*order).limit(limit)
    if site_ids is None:
        return plain
    if len(site_ids) == 1:
        return plain.where(table.c.site_id == next(iter(site_ids)))
    if not 0 < len(site_ids) <= SITES_MOST:
        return plain.where(table.c.site_id.in_(site_ids))
    end = select(table.c.id, at.label("at")).where(*conditions).order_by(*order).limit(limit)
    # Each wrapped, as SQLite allows no order inside of a union.
    ends = union_all(
        *(select(end.where(table.c.site_id == site_id).subquery()) for site_id in sorted(site_ids))
    ).subquery()
    chosen = select(ends.c.id).order_by(ends.c.at.desc(), ends.c.id.desc()).limit(limit)
    return select(table).where(table.c.id.in_(chosen)).order_by(*order)
