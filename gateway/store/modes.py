"""Queries about the modes of doors: what was asked for, until when, and which doors say that they follow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, select, update

from gateway.store.tables import device_status, doors
from models.link import DoorStatus
from models.policy import DesiredMode, DoorMode

VERSIONS_EACH = 2
"""The version in between is the edge's, for the end of a mode with a time."""


class ModeView(msgspec.Struct, frozen=True, kw_only=True):
    """Show the mode that a door shall be in, and the one that it says it is in."""

    door_id: str
    site_id: str
    name: str
    mode: DoorMode
    until: datetime | None
    after: DoorMode | None
    """What holds again once an evacuation ends, if a lock-down was in force."""
    version: int
    told: str | None
    """What the door last said; None if it was never heard."""
    online: bool
    follows: bool


def mode_views(
    connection: Connection, *, at: datetime, site_ids: Iterable[str], door_ids: Iterable[str] | None = None
) -> list[ModeView]:
    """Return the modes of the doors of some sites, by name; with `door_ids`, only those."""
    status = and_(device_status.c.id == doors.c.id, device_status.c.kind == "door")
    query = select(doors, device_status.c.body).outerjoin(device_status, status)
    query = query.where(doors.c.site_id.in_(tuple(site_ids))).order_by(doors.c.name, doors.c.id)
    if door_ids is not None:
        query = query.where(doors.c.id.in_(tuple(door_ids)))
    return [_view(row, at=at) for row in connection.execute(query)]


def _view(row: Row[Any], *, at: datetime) -> ModeView:
    desired = desired_of(row)
    now = desired.now(at)
    told = None if row.body is None else msgspec.json.decode(row.body, type=DoorStatus)
    return ModeView(
        door_id=row.id, site_id=row.site_id, name=row.name, mode=now.mode, until=now.until,
        after=row.mode_after, version=now.version,
        told=None if told is None else told.mode, online=told is not None and told.online,
        follows=told is not None and told.online and told.mode == now.mode,
    )  # fmt: skip


def desired_of(row: Row[Any]) -> DesiredMode:
    """Return the record of the mode in a row of `doors`."""
    return DesiredMode(door_id=row.id, version=row.mode_version, mode=row.mode, until=row.mode_until)


def set_modes(
    connection: Connection,
    door_ids: Iterable[str],
    *,
    mode: DoorMode,
    until: datetime | None = None,
    after: DoorMode | None = None,
) -> None:
    """Ask some doors to be in a mode from now on; `after` is what holds again when an evacuation ends."""
    changed = update(doors).where(doors.c.id.in_(tuple(door_ids)))
    version = doors.c.mode_version + VERSIONS_EACH
    connection.execute(changed.values(mode=mode, mode_until=until, mode_after=after, mode_version=version))


def forget_after(connection: Connection, door_ids: Iterable[str]) -> None:
    """Let nothing hold again when these doors' evacuation ends."""
    connection.execute(update(doors).where(doors.c.id.in_(tuple(door_ids))).values(mode_after=None))
