"""Card formats as versioned rows: how the readers of a site write the numbers of cards. Holds no number of any card."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from gateway.place_views import CardFormatView
from gateway.store.kept import Act, Kind, rows_of
from gateway.store.places import put_card_format
from gateway.store.sites import check_site_in_scope, in_sites
from gateway.store.tables import card_formats, doors, readers
from models.cards import CardFormat, check_format
from models.errors import InvalidInput


def _read(row: Row[Any]) -> CardFormat:
    return msgspec.json.decode(row.record, type=CardFormat)


def _view(row: Row[Any]) -> CardFormatView:
    return CardFormatView(**msgspec.structs.asdict(_read(row)), version=row.version, seeded=row.seeded)


def _check(_connection: Connection, one: CardFormat, act: Act) -> None:
    check_site_in_scope(one.site_id, act.caller)
    check_format(one)


def _uses(connection: Connection, one: CardFormat, _at: datetime) -> Iterator[str]:
    named = readers.c.record.contains(f'"format":"{one.id}"', autoescape=True)
    here = readers.c.door_id.in_(select(doors.c.id).where(doors.c.site_id == one.site_id))
    yield from rows_of(connection, readers, named, here, what="a reader")


CARD_FORMATS = Kind(
    name="card_format",
    table=card_formats,
    seen=lambda _connection, caller: in_sites(card_formats, caller),
    record=_read,
    view=_view,
    put=put_card_format,
    check=_check,
    uses=_uses,
)


def formats_of(connection: Connection, site_id: str) -> tuple[CardFormat, ...]:
    """Return the formats of a site by id."""
    query = select(card_formats).where(card_formats.c.site_id == site_id).order_by(card_formats.c.id)
    return tuple(_read(row) for row in connection.execute(query))


def format_named(connection: Connection, format_id: str, *, site_id: str, where: str) -> CardFormat:
    """Return a format of a site.

    Raises:
        InvalidInput: the site has none of that id.
    """
    here = (card_formats.c.id == format_id) & (card_formats.c.site_id == site_id)
    row = connection.execute(select(card_formats).where(here)).first()
    if row is None:
        raise InvalidInput(where, f"this site has no card format {format_id!r}: add it first, or name another")
    return _read(row)
