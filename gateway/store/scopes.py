"""Which sites and areas a scope covers. An area that was replaced still finds its sites, and theirs find its successor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, true

from gateway.auth.roles import Caller
from gateway.store.tables import areas, sites
from models.places import followed, lineage


def successors(connection: Connection) -> dict[str, str]:
    """Return the code that replaced it by replaced code."""
    rows = connection.execute(select(areas.c.code, areas.c.successor).where(areas.c.successor.is_not(None)))
    return {row.code: row.successor for row in rows}


def sites_in(connection: Connection, *, site_ids: tuple[str, ...], area_codes: tuple[str, ...]) -> frozenset[str]:
    """Return the sites that a scope covers: named ones (`*` is all) and those that lie in an area or its successor."""
    if "*" in site_ids:
        return frozenset(connection.execute(select(sites.c.id)).scalars())
    named = frozenset(connection.execute(select(sites.c.id).where(sites.c.id.in_(site_ids))).scalars())
    if not any(area_codes):
        return named
    replaced = successors(connection)
    wanted = {code for area in area_codes if area for code in followed(area, replaced)}
    if not replaced:
        below = [or_(sites.c.community.startswith(code), sites.c.grid.startswith(code)) for code in wanted]
        return named | frozenset(connection.execute(select(sites.c.id).where(or_(*below))).scalars())
    rows = connection.execute(select(sites.c.id, sites.c.community, sites.c.grid))
    return named | {row.id for row in rows if _lies_in(wanted, _codes(row), replaced)}


def _lies_in(wanted: Iterable[str], codes: Iterable[str], replaced: dict[str, str]) -> bool:
    return any(code.startswith(tuple(wanted)) for code in lineage(codes, replaced))


def _codes(row: Any) -> list[str]:
    return [code for code in (row.community, row.grid) if code is not None]


def below_areas(caller: Caller, replaced: dict[str, str]) -> ColumnElement[bool]:
    """Return the condition on `areas` that one lies in the caller's area scope, so that the caller may change it."""
    if caller.everywhere:
        return true()
    wanted = sorted({code for area in caller.areas if area for code in followed(area, replaced)})
    return or_(*(areas.c.code.startswith(code) for code in wanted), areas.c.code.in_(()))


def covers(connection: Connection, caller: Caller, *, codes: Iterable[str]) -> bool:
    """Return whether a place with these codes lies in the caller's areas."""
    replaced = successors(connection)
    wanted = {code for area in caller.areas if area for code in followed(area, replaced)}
    return caller.everywhere or _lies_in(wanted, codes, replaced)


def seen_areas(connection: Connection, caller: Caller) -> ColumnElement[bool]:
    """Return the condition on `areas` that a caller may see one: it is in scope, or above a site in scope."""
    replaced = successors(connection)
    if caller.everywhere:
        return true()
    rows = connection.execute(select(sites.c.community, sites.c.grid).where(sites.c.id.in_(caller.sites)))
    above = lineage((code for row in rows for code in _codes(row)), replaced)
    return or_(below_areas(caller, replaced), areas.c.code.in_(sorted(above)))


def seen_sites(connection: Connection, caller: Caller) -> ColumnElement[bool]:
    """Return the condition on `sites` that a caller may see one now, those made in this transaction included."""
    if caller.everywhere:
        return true()
    return sites.c.id.in_(sites_in(connection, site_ids=named(caller.sites), area_codes=named(caller.areas)))


def named(ids: Iterable[str]) -> tuple[str, ...]:
    """Return ids in order."""
    return tuple(sorted(ids))
