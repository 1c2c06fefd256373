"""Queries about stills: a still is the picture of one order to a camera's edge, so its id is the order's."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from gateway.store.media import TRIAL, Medium, media_among
from gateway.store.tables import cameras, commands, media
from models.errors import NotFound
from models.link import Result, TakeStill

KIND = "take_still"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one order for a still, its end if it has ended, and its picture while that is kept."""

    order: TakeStill
    asked_at: datetime
    result: Result | None = None
    medium: Medium | None = None


def still_asked(connection: Connection, still_id: str, *, camera_id: str) -> Asked:
    """Return how an order for a still of a camera stands.

    Raises:
        NotFound: there was none.
    """
    row = connection.execute(select(commands).where(commands.c.id == still_id, commands.c.kind == KIND)).first()
    order = None if row is None else msgspec.json.decode(row.body, type=TakeStill)
    if row is None or order is None or order.camera_id != camera_id:
        raise NotFound("still", still_id)
    found = media_among(connection, media.c.id == still_id, media.c.camera_id == camera_id)
    result = None if row.result is None else msgspec.json.decode(row.result, type=Result)
    return Asked(order=order, asked_at=row.created_at, result=result, medium=next(iter(found), None))


def open_still(connection: Connection, camera_id: str, *, at: datetime) -> Asked | None:
    """Return the order for a still of a camera that its edge may yet carry out; nobody else orders one meanwhile."""
    held = select(cameras.c.edge_id).where(cameras.c.id == camera_id).with_for_update()
    edge_id = connection.execute(held).scalar_one_or_none()
    waiting = (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None) & (commands.c.deadline > at)
    for row in connection.execute(select(commands).where(waiting, commands.c.kind == KIND)):
        order = msgspec.json.decode(row.body, type=TakeStill)
        if order.camera_id == camera_id:
            return Asked(order=order, asked_at=row.created_at)
    return None


def stills_before(connection: Connection, before: datetime) -> list[Medium]:
    """Return the stills that were received before a time, oldest first, some at once."""
    orders = select(commands.c.id).where(commands.c.kind.in_((KIND, TRIAL)))
    return media_among(connection, media.c.id.in_(orders), media.c.received_at < before)
