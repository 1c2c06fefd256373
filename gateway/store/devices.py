"""Controllers, doors, readers and cameras as they are configured: what fits what, and what would dangle without it.

An edge serves one site, so no device can be put on an edge of another; what works together sits on one edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Row, delete, or_, select

from gateway.place_views import CameraSettings, ControllerView, DoorReader, DoorSettings, ReaderView, RegisterRow
from gateway.store.bypasses import forget_bypasses
from gateway.store.card_formats import format_named
from gateway.store.door_secrets import check_door_secrets
from gateway.store.edges import of_another_site
from gateway.store.kept import Act, Kind, names, rows_of
from gateway.store.places import door_by_id, put_camera, put_controller, put_door
from gateway.store.sites import check_site_in_scope, in_sites
from gateway.store.tables import (
    assessments,
    cameras,
    controllers,
    device_status,
    doors,
    permission_groups,
    readers,
    schedules,
)
from gateway.store.tables_people import consents, permits, visitor_passes
from gateway.store.types import as_text
from models.assessments import Assessment
from models.door_rules import check_rules
from models.errors import Conflict, InvalidInput, NotFound
from models.places import (
    CONTROLLER_DOORS,
    DOOR_READERS,
    Camera,
    Controller,
    Door,
    Reader,
    check_camera,
    check_door,
    check_register,
)

FILING_TIME = timedelta(days=30)
"""Order 799 article 14; counted from the day on which the sign was seen to hang."""


def check_edge(connection: Connection, edge_id: str, *, site_id: str) -> None:
    """Pass if an edge may serve a device of a site: it is the site's own, or nobody's yet.

    Raises:
        InvalidInput: it is an edge of another site.
    """
    if of_another_site(connection, edge_id, site_id=site_id):
        raise InvalidInput("edge_id", f"this site has no edge {edge_id!r}: name one of its own")


def _other(field: str, what: str, *, edge_id: str) -> InvalidInput:
    return InvalidInput(
        field, f"{what} is on edge {edge_id!r}: take it off first, what works together sits on one edge"
    )


def _check_controller(connection: Connection, controller: Controller, act: Act) -> None:
    check_site_in_scope(controller.site_id, act.caller)
    check_edge(connection, controller.edge_id, site_id=controller.site_id)
    mine = select(doors.c.edge_id).where(doors.c.controller_id == controller.id, doors.c.edge_id != controller.edge_id)
    if (row := connection.execute(mine.limit(1)).first()) is not None:
        raise _other("edge_id", "a door that it drives", edge_id=row.edge_id)


def _controller_uses(connection: Connection, controller: Controller, _at: datetime) -> Iterator[str]:
    yield from rows_of(connection, doors, doors.c.controller_id == controller.id, what="a door")


CONTROLLERS = Kind(
    name="controller",
    table=controllers,
    seen=lambda _connection, caller: in_sites(controllers, caller),
    record=lambda row: msgspec.json.decode(row.record, type=Controller),
    view=lambda row: ControllerView(**_kept(row, Controller)),
    put=put_controller,
    check=_check_controller,
    uses=_controller_uses,
)


def _kept(row: Row[Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    record = msgspec.json.decode(row.record, type=kind)
    fields = {name: getattr(record, name) for name in kind.__struct_fields__}
    return {**fields, "version": row.version, "seeded": row.seeded}


def _check_door(connection: Connection, door: Door, act: Act) -> None:
    check_site_in_scope(door.site_id, act.caller)
    check_door(door)
    check_door_secrets(connection, door)
    check_edge(connection, door.edge_id, site_id=door.site_id)
    if door.controller_id is not None:
        _check_board(connection, door)
    if door.free_schedule_id is not None:
        known = select(schedules.c.id).where(
            schedules.c.id == door.free_schedule_id, schedules.c.site_id == door.site_id
        )
        if connection.execute(known).first() is None:
            raise InvalidInput("free_schedule_id", f"there is no schedule {door.free_schedule_id!r} at this site")
    if door.camera_id is not None:
        row = connection.execute(select(cameras).where(cameras.c.id == door.camera_id)).first()
        if row is None or row.site_id != door.site_id:
            raise InvalidInput("camera_id", f"there is no camera {door.camera_id!r} at this site")
        if row.edge_id != door.edge_id:
            raise _other("camera_id", "this camera", edge_id=row.edge_id)
    if rows_of(connection, cameras, cameras.c.edge_id != door.edge_id, _looks_at(door.id)):
        raise InvalidInput("edge_id", "a camera that looks at this door is on another edge: take its door_id off first")
    if door.interlock:
        check_sluice(connection, door)
    if door.hands_free:
        _check_assessed(connection, door, at=act.at)


def check_sluice(connection: Connection, door: Door) -> None:
    """Pass if one edge has all doors of a sluice: no other one sees whether they are shut.

    Raises:
        InvalidInput: another edge has one of them.
    """
    elsewhere = select(doors).where(doors.c.site_id == door.site_id, doors.c.edge_id != door.edge_id)
    for row in connection.execute(elsewhere.where(doors.c.id != door.id, _in_sluice(door.interlock))):
        raise _other("interlock", f"door {row.id!r} of this sluice", edge_id=row.edge_id)


def _in_sluice(name: str) -> Any:
    return doors.c.record.contains(f'"interlock":{as_text(name)}', autoescape=True)


def _looks_at(door_id: str) -> Any:
    return cameras.c.record.contains(f'"door_id":"{door_id}"', autoescape=True)


def _check_board(connection: Connection, door: Door) -> None:
    board = connection.execute(select(controllers).where(controllers.c.id == door.controller_id)).first()
    if board is None or board.site_id != door.site_id:
        raise InvalidInput("controller_id", f"there is no controller {door.controller_id!r} at this site")
    if board.edge_id != door.edge_id:
        raise _other("controller_id", "this controller", edge_id=board.edge_id)
    driven = select(doors.c.id).where(doors.c.controller_id == door.controller_id, doors.c.id != door.id)
    if len(connection.execute(driven).all()) >= CONTROLLER_DOORS:
        raise InvalidInput("controller_id", f"one controller drives at most {CONTROLLER_DOORS} doors")


def _check_assessed(connection: Connection, door: Door, *, at: datetime) -> None:
    row = connection.execute(select(assessments).where(assessments.c.id == door.impact_assessment)).first()
    found = None if row is None else msgspec.json.decode(row.record, type=Assessment)
    if found is None or (found.site_id, found.subject) != (door.site_id, "face") or not found.in_force(at):
        raise InvalidInput("impact_assessment", "this site has no such assessment of faces in force: approve it first")


def _door_uses(connection: Connection, door: Door, at: datetime) -> Iterator[str]:
    yield from rows_of(connection, cameras, _looks_at(door.id), what="a camera")
    yield from rows_of(connection, permission_groups, names(permission_groups.c.doors, door.id), what="a group")
    open_ended = or_(permits.c.valid_until.is_(None), permits.c.valid_until > at)
    yield from rows_of(connection, permits, names(permits.c.doors, door.id), open_ended, what="a permit")
    live = consents.c.withdrawn_at.is_(None) & or_(consents.c.expires_at.is_(None), consents.c.expires_at > at)
    yield from rows_of(connection, consents, names(consents.c.doors, door.id), live, what="a consent")
    good = visitor_passes.c.revoked_at.is_(None) & (visitor_passes.c.valid_until > at)
    yield from rows_of(
        connection, visitor_passes, names(visitor_passes.c.doors, door.id), good, what="a visitor's pass"
    )


def _forget_door(connection: Connection, door: Door) -> None:
    forget_bypasses(connection, door.id)
    connection.execute(delete(readers).where(readers.c.door_id == door.id))
    connection.execute(delete(device_status).where(device_status.c.id == door.id, device_status.c.kind == "door"))


def _put_door(connection: Connection, door: Door) -> None:
    """Write a door; secrets of its driver that are left out stay the ones that are kept."""
    put_door(connection, door, keep_secrets=True)


DOORS = Kind(
    name="door",
    table=doors,
    seen=lambda _connection, caller: in_sites(doors, caller),
    record=lambda row: msgspec.json.decode(row.record, type=Door),
    view=lambda row: DoorSettings(**_kept(row, Door), has_secret=bool(row.secrets)),
    put=_put_door,
    check=_check_door,
    uses=_door_uses,
    forget=_forget_door,
)


def _check_reader(connection: Connection, reader: DoorReader, act: Act) -> None:
    row = connection.execute(select(doors).where(doors.c.id == reader.door_id, in_sites(doors, act.caller))).first()
    if row is None:
        raise NotFound("door", reader.door_id)
    if row.seeded:
        raise Conflict("the door of this reader comes from the site file: change it there and run `gatehouse apply`")
    others = [one for one in door_by_id(connection, reader.door_id).readers if one.id and one.id != reader.id]
    if len(others) >= DOOR_READERS:
        raise InvalidInput("door_id", f"a door has at most {DOOR_READERS} readers")
    if reader.format:
        format_named(connection, reader.format, site_id=row.site_id, where="format")


def _bare(reader: DoorReader) -> Reader:
    return Reader(**{name: getattr(reader, name) for name in Reader.__struct_fields__})


def _put_reader(connection: Connection, reader: DoorReader) -> None:
    """Write a reader into its door: edges learn of readers with the door."""
    door = door_by_id(connection, reader.door_id)
    others = [one for one in door.readers if one.id and one.id != reader.id]
    together = tuple(sorted((*others, _bare(reader)), key=lambda one: one.id))
    _put_with(connection, door, readers=together)


def _forget_reader(connection: Connection, reader: DoorReader) -> None:
    door = door_by_id(connection, reader.door_id)
    _put_with(connection, door, readers=tuple(one for one in door.readers if one.id != reader.id))


def _put_with(connection: Connection, door: Door, *, readers: tuple[Reader, ...]) -> None:
    """Write a door with other readers, if its rules go with them."""
    changed = msgspec.structs.replace(door, readers=readers)
    check_rules(changed)
    _put_door(connection, changed)


def _reader_uses(_connection: Connection, _reader: DoorReader, _at: datetime) -> Iterator[str]:
    yield from ()


def _reader_fields(row: Row[Any]) -> dict[str, Any]:
    return {**msgspec.json.decode(row.record), "door_id": row.door_id}


READERS = Kind(
    name="reader",
    table=readers,
    seen=lambda _connection, caller: readers.c.door_id.in_(select(doors.c.id).where(in_sites(doors, caller))),
    record=lambda row: msgspec.convert(_reader_fields(row), DoorReader),
    view=lambda row: msgspec.convert({**_reader_fields(row), "version": row.version, "seeded": row.seeded}, ReaderView),
    put=_put_reader,
    check=_check_reader,
    uses=_reader_uses,
    forget=_forget_reader,
)


def _check_camera(connection: Connection, camera: Camera, act: Act) -> None:
    check_site_in_scope(camera.site_id, act.caller)
    check_camera(camera)
    _check_same_host(connection, camera)
    check_edge(connection, camera.edge_id, site_id=camera.site_id)
    if camera.door_id is not None:
        row = connection.execute(select(doors).where(doors.c.id == camera.door_id)).first()
        if row is None or row.site_id != camera.site_id:
            raise InvalidInput("door_id", f"there is no door {camera.door_id!r} at this site")
        if row.edge_id != camera.edge_id:
            raise _other("door_id", "this door", edge_id=row.edge_id)
    if rows_of(connection, doors, doors.c.edge_id != camera.edge_id, _seen_by(camera.id)):
        raise InvalidInput("edge_id", "a door that this camera sees is on another edge: take its camera_id off first")


def _check_same_host(connection: Connection, camera: Camera) -> None:
    """Pass unless a password that was given for one host would be sent to another."""
    row = connection.execute(select(cameras).where(cameras.c.id == camera.id)).first()
    if row is None or not row.password or camera.password:
        return
    before = msgspec.json.decode(row.record, type=Camera)
    if urlsplit(before.url).netloc.lower() != urlsplit(camera.url).netloc.lower():
        raise InvalidInput("password", "the address names another host: give the password for it too")


def _seen_by(camera_id: str) -> Any:
    return doors.c.record.contains(f'"camera_id":"{camera_id}"', autoescape=True)


def _camera_uses(connection: Connection, camera: Camera, _at: datetime) -> Iterator[str]:
    yield from rows_of(connection, doors, _seen_by(camera.id), what="a door")


def _forget_camera(connection: Connection, camera: Camera) -> None:
    connection.execute(delete(device_status).where(device_status.c.id == camera.id, device_status.c.kind == "camera"))


def _settings(row: Row[Any]) -> CameraSettings:
    values = _kept(row, Camera)
    del values["password"]
    return CameraSettings(**values, has_password=bool(row.password))


def _put_camera(connection: Connection, camera: Camera) -> None:
    """Write a camera; an empty password leaves the one that is kept (`set_camera_password` changes it)."""
    put_camera(connection, camera, keep_password=not camera.password)


CAMERAS = Kind(
    name="camera",
    table=cameras,
    seen=lambda _connection, caller: in_sites(cameras, caller),
    record=lambda row: msgspec.json.decode(row.record, type=Camera),
    view=_settings,
    put=_put_camera,
    check=_check_camera,
    uses=_camera_uses,
    forget=_forget_camera,
)


def camera_register(connection: Connection, site_id: str) -> list[RegisterRow]:
    """Return the register of a site's cameras by id."""
    rows = connection.execute(select(cameras.c.record).where(cameras.c.site_id == site_id).order_by(cameras.c.id))
    return [_register_row(msgspec.json.decode(record, type=Camera)) for record in rows.scalars()]


def _register_row(camera: Camera) -> RegisterRow:
    entry, whole = camera.register, _complete(camera)
    due = entry.sign_confirmed_on + FILING_TIME if entry is not None and whole and entry.filed_on is None else None
    return RegisterRow(camera_id=camera.id, name=camera.name, register=entry, complete=whole, filing_due_on=due)


def _complete(camera: Camera) -> bool:
    try:
        return camera.register is not None and bool(check_register(camera.register, "register"))
    except InvalidInput:
        return False
