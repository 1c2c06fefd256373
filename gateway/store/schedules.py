"""Queries about schedules, calendars and permission groups. What is in use stays; what the site file describes is changed there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, delete, or_, select

from gateway.person_views import CalendarView, GroupView, ScheduleView
from gateway.store.dialect import insert_into
from gateway.store.tables import calendars, doors, flats, permission_groups, schedules
from gateway.store.tables_people import permits
from gateway.store.types import as_text, doors_of
from models.errors import Conflict, NotFound
from models.people import Group
from models.schedules import Calendar, Schedule


def put_schedule(connection: Connection, schedule: Schedule, *, seeded: bool = False) -> None:
    """Write a schedule under its id, new or not."""
    values = {"site_id": schedule.site_id, "name": schedule.name, "record": as_text(schedule), "seeded": seeded}
    _put(connection, schedules, key=schedule.id, values=values)


def put_calendar(connection: Connection, calendar: Calendar, *, seeded: bool = False) -> None:
    """Write a calendar under its id, new or not."""
    values = {"site_id": calendar.site_id, "name": calendar.name, "record": as_text(calendar), "seeded": seeded}
    _put(connection, calendars, key=calendar.id, values=values)


def put_group(connection: Connection, group: Group, *, seeded: bool = False) -> None:
    """Write a permission group under its id, new or not."""
    values = {
        "site_id": group.site_id, "name": group.name, "doors": as_text(group.doors),
        "schedule_id": group.schedule_id, "seeded": seeded,
    }  # fmt: skip
    _put(connection, permission_groups, key=group.id, values=values)


def _put(connection: Connection, table: Table, *, key: str, values: dict[str, Any]) -> None:
    """Write a row; its version grows if something changed, and it never moves to another site."""
    upsert = insert_into(connection, table).values(id=key, **values)
    different = or_(*(table.c[name].is_distinct_from(value) for name, value in values.items()))
    here = table.c.site_id == values["site_id"]
    changes = {**values, "version": table.c.version + 1}
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=changes, where=different & here))


def check_free(connection: Connection, key: str, *, kind: str) -> None:
    """Pass if nothing of a kind (`schedule`, `calendar`, `group`) has an id yet.

    Raises:
        Conflict: the id is taken.
    """
    table = {"schedule": schedules, "calendar": calendars, "group": permission_groups}[kind]
    if connection.execute(select(table.c.id).where(table.c.id == key)).first() is not None:
        raise Conflict(f"a {kind} with id {key!r} exists already")


def schedule_by_id(
    connection: Connection, schedule_id: str, *, site_ids: frozenset[str], lock: bool = False
) -> ScheduleView:
    """Return a schedule of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    return _schedule_view(_row(connection, schedules, key=schedule_id, site_ids=site_ids, lock=lock))


def calendar_by_id(
    connection: Connection, calendar_id: str, *, site_ids: frozenset[str], lock: bool = False
) -> CalendarView:
    """Return a calendar of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    return _calendar_view(_row(connection, calendars, key=calendar_id, site_ids=site_ids, lock=lock))


def group_by_id(connection: Connection, group_id: str, *, site_ids: frozenset[str], lock: bool = False) -> GroupView:
    """Return a permission group of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    return _group_view(_row(connection, permission_groups, key=group_id, site_ids=site_ids, lock=lock))


def _row(connection: Connection, table: Table, *, key: str, site_ids: frozenset[str], lock: bool) -> Row[Any]:
    query = select(table).where(table.c.id == key, table.c.site_id.in_(site_ids))
    row = connection.execute(
        query.with_for_update(key_share=True) if lock else query
    ).first()  # what is changed is read once at a time
    if row is None:
        raise NotFound(KINDS[table.name], key)
    return row


KINDS = {"schedules": "schedule", "calendars": "calendar", "permission_groups": "group"}


def schedules_of(
    connection: Connection, *, site_ids: frozenset[str], after: str = "", limit: int = 1000
) -> list[ScheduleView]:
    """Return the schedules of some sites by id, after an id."""
    return [_schedule_view(row) for row in _rows(connection, schedules, site_ids, after=after, limit=limit)]


def calendars_of(
    connection: Connection, *, site_ids: frozenset[str], after: str = "", limit: int = 1000
) -> list[CalendarView]:
    """Return the calendars of some sites by id, after an id."""
    return [_calendar_view(row) for row in _rows(connection, calendars, site_ids, after=after, limit=limit)]


def groups_of(
    connection: Connection, *, site_ids: frozenset[str], after: str = "", limit: int = 1000
) -> list[GroupView]:
    """Return the permission groups of some sites by id, after an id."""
    return [_group_view(row) for row in _rows(connection, permission_groups, site_ids, after=after, limit=limit)]


def _rows(
    connection: Connection, table: Table, site_ids: Iterable[str], *, after: str, limit: int
) -> Iterable[Row[Any]]:
    query = select(table).where(table.c.site_id.in_(tuple(site_ids)), table.c.id > after)
    return connection.execute(query.order_by(table.c.id).limit(limit))


def _schedule_view(row: Row[Any]) -> ScheduleView:
    held = msgspec.json.decode(row.record, type=Schedule)
    values = {**_fields(held), "id": row.id, "site_id": row.site_id, "name": row.name}
    return ScheduleView(**values, seeded=row.seeded, version=row.version)


def _calendar_view(row: Row[Any]) -> CalendarView:
    held = msgspec.json.decode(row.record, type=Calendar)
    values = {**_fields(held), "id": row.id, "site_id": row.site_id, "name": row.name}
    return CalendarView(**values, seeded=row.seeded, version=row.version)


def _group_view(row: Row[Any]) -> GroupView:
    return GroupView(**_fields(group_from(row)), seeded=row.seeded, version=row.version)


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def group_from(row: Row[Any]) -> Group:
    """Return the record of a row of `permission_groups`."""
    return Group(id=row.id, site_id=row.site_id, name=row.name, doors=doors_of(row.doors), schedule_id=row.schedule_id)


def check_unchanged(view: ScheduleView | CalendarView | GroupView, *, version: int | None) -> None:
    """Pass if a record may be changed by who saw it at a version (None: at any).

    Raises:
        Conflict: it was changed meanwhile, or the site file describes it.
    """
    if view.seeded:
        raise Conflict("this comes from the site file: change it there and run `gatehouse apply`")
    if version is not None and version != view.version:
        raise Conflict(f"it was changed meanwhile (version {view.version}): read it again")


def remove_schedule(connection: Connection, schedule_id: str) -> None:
    """Delete a schedule.

    Raises:
        Conflict: a group, a permit or a door uses it: without it they would hold never.
    """
    groups = select(permission_groups.c.id).where(permission_groups.c.schedule_id == schedule_id)
    given = select(permits.c.id).where(permits.c.schedule_id == schedule_id)
    _refuse_if_used(connection, groups, "a permission group")
    _refuse_if_used(connection, given, "a permit")
    named = doors.c.record.contains(f'"free_schedule_id":"{schedule_id}"', autoescape=True)
    _refuse_if_used(connection, select(doors.c.id).where(named), "a door")
    connection.execute(delete(schedules).where(schedules.c.id == schedule_id))


def remove_calendar(connection: Connection, calendar_id: str, *, site_id: str) -> None:
    """Delete a calendar.

    Raises:
        Conflict: a schedule uses it.
    """
    for view in schedules_of(connection, site_ids=frozenset({site_id})):
        if calendar_id in view.calendars:
            raise Conflict(f"schedule {view.id!r} uses it: take it out there first")
    connection.execute(delete(calendars).where(calendars.c.id == calendar_id))


def remove_group(connection: Connection, group_id: str, *, site_id: str) -> None:
    """Delete a permission group.

    Raises:
        Conflict: a flat or a permit names it.
    """
    _refuse_if_used(connection, select(permits.c.id).where(permits.c.group_id == group_id), "a permit")
    held = select(flats.c.id, flats.c.groups).where(flats.c.site_id == site_id, flats.c.groups != "[]")
    for row in connection.execute(held):
        if group_id in doors_of(row.groups):
            raise Conflict(f"flat {row.id!r} names it: take it out there first")
    connection.execute(delete(permission_groups).where(permission_groups.c.id == group_id))


def _refuse_if_used(connection: Connection, query: Any, what: str) -> None:
    if connection.execute(query.limit(1)).first() is not None:
        raise Conflict(f"{what} uses it: change that first")
