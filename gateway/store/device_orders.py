"""Queries about orders that concern devices nobody adopted yet, and the still that a trial of a camera took."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from gateway.store.media import TRIAL, Medium, media_among
from gateway.store.tables import commands, edges, media
from models.errors import NotFound
from models.link import Result

KINDS = ("discover", "probe_device", TRIAL, "install_key")


class KeptOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an order without what it holds: it may name a password."""

    kind: Literal["discover", "probe_device", "try_part", "install_key"]
    edge_id: str
    site_id: str
    asked_at: datetime
    deadline: datetime
    result: Result | None = None
    medium: Medium | None = None


def device_order(connection: Connection, order_id: str, *, site_ids: frozenset[str]) -> KeptOrder:
    """Return an order about devices that was given to an edge of one of these sites.

    Raises:
        NotFound: there was none, or none that the caller may see.
    """
    query = select(commands, edges.c.site_id).join(edges, edges.c.id == commands.c.edge_id)
    mine = (commands.c.id == order_id) & commands.c.kind.in_(KINDS) & edges.c.site_id.in_(site_ids)
    row = connection.execute(query.where(mine)).first()
    if row is None:
        raise NotFound("order", order_id)
    found = media_among(connection, media.c.id == order_id, media.c.edge_id == row.edge_id)
    return KeptOrder(
        kind=row.kind, edge_id=row.edge_id, site_id=row.site_id, asked_at=row.created_at, deadline=row.deadline,
        result=None if row.result is None else msgspec.json.decode(row.result, type=Result),
        medium=next(iter(found), None),
    )  # fmt: skip
