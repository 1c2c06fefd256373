"""Sites and flats: who may see and change them, and what would dangle without them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, select

from gateway.auth.roles import Caller
from gateway.place_views import FlatView, SiteView
from gateway.store.areas import COMPANIES
from gateway.store.kept import Act, Kind, names, rows_of
from gateway.store.places import check_keypads, put_flat, put_site
from gateway.store.scopes import covers, seen_sites
from gateway.store.tables import (
    assessments,
    calendars,
    calibrations,
    cameras,
    controllers,
    doors,
    edge_tokens,
    edges,
    flats,
    media,
    notices,
    permission_groups,
    schedules,
    sites,
)
from gateway.store.tables_access import api_tokens, users
from gateway.store.tables_events import alerts, facts
from gateway.store.tables_people import imports, occupancies, people, visitor_passes
from gateway.store.types import doors_of
from models.errors import Forbidden, InvalidInput, NotFound
from models.places import Flat, Site, check_keypad, check_site

OF_A_SITE: dict[str, Table] = {
    "doors": doors, "cameras": cameras, "controllers": controllers, "flats": flats, "people": people, "edges": edges,
    "groups": permission_groups, "schedules": schedules, "calendars": calendars, "notices": notices,
    "assessments": assessments, "imports": imports, "visitor passes": visitor_passes, "alerts": alerts, "facts": facts,
    "media": media, "calibrations": calibrations,
}  # fmt: skip


def _check_site(connection: Connection, site: Site, act: Act) -> None:
    check_site(site)
    codes = [code for code in (site.community, site.grid) if code is not None]
    before = connection.execute(select(sites.c.community, sites.c.grid).where(sites.c.id == site.id)).first()
    moves = before is None or (before.community, before.grid) != (site.community, site.grid)
    if moves and not covers(connection, act.caller, codes=codes):
        raise Forbidden("this community is not in your areas: somebody with a wider scope may put a site there")
    if site.company_id is not None:
        company = COMPANIES.seen(connection, act.caller)
        if not rows_of(connection, COMPANIES.table, COMPANIES.key == site.company_id, company):
            raise InvalidInput("company_id", f"there is no company {site.company_id!r}: add it first")


def _site_uses(connection: Connection, site: Site, _at: datetime) -> Iterator[str]:
    for what, table in OF_A_SITE.items():
        yield from rows_of(connection, table, table.c.site_id == site.id, what=what)
    yield from rows_of(connection, users, names(users.c.sites, site.id), what="a user's scope")
    yield from rows_of(connection, api_tokens, names(api_tokens.c.sites, site.id), what="a token's scope")


def _forget_site(connection: Connection, site: Site) -> None:
    connection.execute(delete(edge_tokens).where(edge_tokens.c.site_id == site.id))


SITES = Kind(
    name="site",
    table=sites,
    seen=seen_sites,
    record=lambda row: Site(**{name: getattr(row, name) for name in Site.__struct_fields__}),
    view=lambda row: SiteView(**{name: getattr(row, name) for name in SiteView.__struct_fields__}),
    put=put_site,
    check=_check_site,
    uses=_site_uses,
    forget=_forget_site,
)


def in_sites(table: Table, caller: Caller) -> ColumnElement[bool]:
    """Return the condition that a row with a `site_id` is at a site in scope."""
    return table.c.site_id.in_(caller.sites)


def check_site_in_scope(site_id: str, caller: Caller) -> None:
    """Pass if a site is in a caller's scope.

    Raises:
        NotFound: it is not, or there is no such site.
    """
    if site_id not in caller.sites:
        raise NotFound("site", site_id)


def _check_flat(connection: Connection, flat: Flat, act: Act) -> None:
    check_site_in_scope(flat.site_id, act.caller)
    check_keypad(flat.keypad)
    known = select(permission_groups.c.id).where(
        permission_groups.c.site_id == flat.site_id, permission_groups.c.id.in_(flat.groups)
    )
    missing = set(flat.groups) - set(connection.execute(known).scalars())
    if missing:
        raise InvalidInput("groups", f"there is no group {min(missing)[:64]!r} at this site")


def _flat_uses(connection: Connection, flat: Flat, _at: datetime) -> Iterator[str]:
    yield from rows_of(
        connection, occupancies, occupancies.c.flat_id == flat.id, what="somebody who belongs or belonged to it"
    )


def _put_flat(connection: Connection, flat: Flat) -> None:
    put_flat(connection, flat)
    check_keypads(connection, flat.site_id)


FLATS = Kind(
    name="flat",
    table=flats,
    seen=lambda _connection, caller: in_sites(flats, caller),
    record=lambda row: Flat(**_flat_fields(row)),
    view=lambda row: FlatView(**_flat_fields(row), version=row.version, seeded=row.seeded),
    put=_put_flat,
    check=_check_flat,
    uses=_flat_uses,
)


def _flat_fields(row: Row[Any]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in Flat.__struct_fields__}
    return {**values, "groups": doors_of(row.groups)}
