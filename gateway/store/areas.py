"""Areas and property companies: who may see and change them, and what would dangle without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, or_, select, true

from gateway.auth.roles import Caller
from gateway.place_views import AreaView, CompanyView
from gateway.store.kept import Act, Kind, names, rows_of
from gateway.store.places import put_area, put_company
from gateway.store.scopes import below_areas, seen_areas, successors
from gateway.store.tables import areas, companies, sites
from gateway.store.tables_access import api_tokens, users
from models.errors import Forbidden, InvalidInput
from models.places import Area, Company, check_area, followed


def _changed_by(connection: Connection, caller: Caller) -> ColumnElement[bool]:
    return below_areas(caller, successors(connection))


def _check_area(connection: Connection, area: Area, act: Act) -> None:
    check_area(area)
    if area.parent is not None and not rows_of(connection, areas, areas.c.code == area.parent):
        raise InvalidInput("parent", f"there is no area {area.parent}: add it first")
    if area.successor is None:
        return
    # Whoever has an area in scope gets its successor too: it must be the caller's to give.
    reach = _changed_by(connection, act.caller)
    if not rows_of(connection, areas, areas.c.code == area.successor, reach):
        raise InvalidInput("successor", f"there is no area {area.successor} in your scope: add it first")
    later = followed(area.successor, {**successors(connection), area.code: area.successor})
    if area.code in later:
        raise InvalidInput("successor", f"{area.successor} was itself replaced by {area.code}")


def _area_uses(connection: Connection, area: Area, _at: datetime) -> Iterator[str]:
    yield from rows_of(connection, sites, or_(sites.c.community == area.code, sites.c.grid == area.code), what="a site")
    yield from rows_of(connection, areas, areas.c.parent == area.code, what="an area below it")
    yield from rows_of(connection, areas, areas.c.successor == area.code, what="an area that it replaced")
    yield from rows_of(connection, users, names(users.c.areas, area.code), what="a user's scope")
    yield from rows_of(connection, api_tokens, names(api_tokens.c.areas, area.code), what="a token's scope")


def _fields(row: Row[Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in kind.__struct_fields__}


AREAS = Kind(
    name="area",
    table=areas,
    seen=seen_areas,
    changed_by=_changed_by,
    record=lambda row: Area(**_fields(row, Area)),
    view=lambda row: AreaView(**_fields(row, AreaView)),
    put=put_area,
    check=_check_area,
    uses=_area_uses,
)


def _seen_companies(_connection: Connection, caller: Caller) -> ColumnElement[bool]:
    if caller.everywhere:
        return true()
    return companies.c.id.in_(select(sites.c.company_id).where(sites.c.id.in_(caller.sites)))


def _check_company(_connection: Connection, _company: Company, act: Act) -> None:
    # A company may have sites of which the caller knows nothing.
    if not act.caller.everywhere:
        raise Forbidden("companies are kept by administrators whose scope is every site")


def _company_uses(connection: Connection, company: Company, _at: datetime) -> Iterable[str]:
    return rows_of(connection, sites, sites.c.company_id == company.id, what="a site")


COMPANIES = Kind(
    name="company",
    table=companies,
    seen=_seen_companies,
    record=lambda row: Company(**_fields(row, Company)),
    view=lambda row: CompanyView(**_fields(row, CompanyView)),
    put=put_company,
    check=_check_company,
    uses=_company_uses,
)
